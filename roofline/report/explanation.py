# SPDX-License-Identifier: Apache-2.0
"""An explanation as two tables: prefill and decode, operator by operator."""

from __future__ import annotations

from roofline.explain import Explanation, OperatorShare, PhaseShares
from roofline.report.estimate import asked_text, misfit_text
from roofline.report.table import table
from specs.units import format_bytes, format_flops, format_time_s

OUTSIDE = ("host", "queueing", "residual")
"""Kinds of the rows that no operator of the request has; they come last, in this order."""

_HEADING = ("operator", "layers", "math", "FLOPs", "memory", "sent", "time", "share", "bound")


def explanation_text(explanation: Explanation, *, least_share: float) -> str:
    """Return both phases; operators below `least_share` of all operators go into one line."""
    estimate = explanation.estimate
    parts = [*misfit_text(estimate), *asked_text(estimate)]
    prefill = f"prefill of {_sequences(explanation.prefill)}"
    parts += ["", *_phase(f"TTFT, {prefill}", explanation.prefill, least_share)]
    if explanation.decode is not None:
        decode = f"TPOT, a mean decode step of {_sequences(explanation.decode)}"
        parts += ["", *_phase(decode, explanation.decode, least_share)]
    parts += ["", "Analytic values of one rank, all layers; memory and sent are bytes moved."]
    if estimate.interval is not None:
        parts.append("learned residual: what measurements add to the whole, or take from it.")
    return "\n".join(parts)


def _sequences(phase: PhaseShares) -> str:
    passes = f" in {phase.passes:g} passes" if phase.passes > 1 else ""
    return f"{phase.sequences:.4g} sequence{'s' * (phase.sequences != 1)}{passes}"


def _phase(title: str, phase: PhaseShares, least_share: float) -> list[str]:
    # Waiting for others can dwarf the work; cut by the request's own operators alone.
    own = [row for row in phase.operators if row.kind not in OUTSIDE]
    least_s = least_share * sum(row.time_s for row in own)
    shown = [row for row in own if row.time_s >= least_s]
    rest = [row for row in own if row.time_s < least_s]
    rows = [_HEADING, *(_row(row) for row in shown)]
    if rest:
        time_s, share = sum(row.time_s for row in rest), sum(row.share_frac for row in rest)
        rows.append((f"{len(rest)} more", *[""] * 5, format_time_s(time_s), f"{share:.1%}", ""))
    rows += [_row(row) for kind in OUTSIDE for row in phase.operators if row.kind == kind]
    flops, moved = format_flops(phase.flops), format_bytes(phase.moved_bytes)
    sent = format_bytes(phase.sent_bytes) if phase.sent_bytes else ""
    rows.append(("all", "", "", flops, moved, sent, format_time_s(phase.time_s), "100%", ""))
    return [f"{title}: {format_time_s(phase.time_s)}", table(rows, align="lrlrrrrrl")]


def _row(row: OperatorShare) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.count:g}",
        row.arithmetic,
        format_flops(row.flops) if row.flops else "",
        format_bytes(row.moved_bytes) if row.moved_bytes else "",
        format_bytes(row.sent_bytes) if row.sent_bytes else "",
        format_time_s(row.time_s),
        f"{row.share_frac:.1%}",
        row.bound,
    )
