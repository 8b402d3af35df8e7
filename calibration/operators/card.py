# SPDX-License-Identifier: Apache-2.0
"""The card of the operator constants: what they were fitted on and how wrong they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calibration.operators.laws import LAWS
from calibration.operators.leaveout import FORMS, Score
from calibration.operators.levels import Pool

_HEAD = """# Operator constants: card

Fitted by `python -m calibration.operators.fit --kernels DIR --out {out}` on {date}.
Kernel tables: {tables} files, SHA-256 {hash} (first 16 digits); {rows} kernels of {devices}
devices, at most {most} per device and operator, an even draw over engines and versions.
Sources: NVIDIA aiconfigurator (Apache-2.0), NeuSight (fp32 operators), Vidur (MIT).

Form: `t = max(c, m) + b min(c, m)^2 / max(c, m) + t_0`, c and m over shares in (0, 1]: the
one that `roofline.physics.step` evaluates; terms in `calibration/operators/features.py`,
formulas in `laws.py`. Each device is fitted alone by soft-L1 on the log ratio; the population
is the mean over families of their means; a family of n devices is drawn to its kind of matrix
unit (synchronous or asynchronous), that to the population, by n / (n + 1), but for links and
plain traffic, which know no kinds. The odds of the compute plateau `e_c / (1 - e_c)` of
products follow the headroom of the power limit, (limit - idle) over (energy per FLOP of the
process node times peak), within 1/4 and 2. Offsets of engines are scored and not shipped:
they help on kernels and not end to end.

Caveats: the tables loop a kernel in a captured graph, a burst of about ten, so times hold no
host launch (the Intel tables are eager and hold it: their floors are the host's, stay with that
device and do not enter the means); sustained
runs are 8 to 16% slower where compute-bound. The energies per FLOP behind the headroom were
themselves taken from power readings of three of these boards, not from their times. The
forms below were compared on these folds, so the choice among them is not untouched.
"""

_TABLES = """
## Left out: median absolute percentage error

Of rows read from memory, not from a warm cache, where there are 30 of those; mean over devices
and, after the stroke, median over devices. *plain*: the roofline. *constant*: one efficiency
over the roofline and a floor, from other devices. Then the law: with the *population*'s
constants, the *family*'s, the family's with *engine* offsets, and the family's with the
*power* headroom (what ships).
*own*: the law fitted on the device itself, the noise left by shapes, kernels and versions.

"""


def write_card(
    pools: Mapping[str, Pool], scores: Mapping[str, Sequence[Score]], meta: Mapping[str, Any]
) -> str:
    """Text of the card, Markdown."""
    head = _HEAD.format(
        out=meta["out"],
        date=meta["date"],
        tables=meta["tables"],
        hash=meta["data_hash"],
        rows=meta["rows"],
        devices=len(meta["devices"]),
        most=meta["most_rows"],
    )
    parts = [head, _TABLES, _summary(scores, "gpu", "One device left out")]
    parts.append(_summary(scores, "family_out", "One architecture family left out"))
    parts.append(_worst(scores))
    parts.append(_by_device(scores))
    parts.append(_constants(pools))
    return "\n".join(parts).rstrip() + "\n"


def _pair(values: Sequence[float]) -> str:
    found = [value for value in values if np.isfinite(value)]
    if not found:
        return "-"
    return f"{np.mean(found):.1f} / {np.median(found):.1f}"


def _summary(scores: Mapping[str, Sequence[Score]], by: str, title: str) -> str:
    lines = [f"### {title}", "", f"| operator | devices | {' | '.join(FORMS)} | own |"]
    lines.append("|---" * (len(FORMS) + 3) + "|")
    for operator, rows in sorted(scores.items()):
        known = [row for row in rows if getattr(row, by)]
        if len(known) < 2:
            continue
        cells = [_pair([getattr(row, by)[form] for row in known]) for form in FORMS]
        own = _pair([row.own for row in known])
        lines.append(f"| {operator} | {len(known)} | {' | '.join(cells)} | {own} |")
    return "\n".join(lines) + "\n"


REASONS = (
    ("mla_decode", "ampere", "vLLM's Triton kernel takes 0.3 ms at any size on this board"),
    ("gemm_int8_wo", "", "two devices, two engines: TensorRT-LLM's kernel here, SGLang's there"),
    ("", "xe", "another library, timed with its launches; no relative in the tables"),
    ("", "blackwell-rtx", "only board of its family: kernels are neither Hopper's nor B200's"),
    (
        "",
        "ampere",
        "only 16-bit device of its generation here; FlashAttention 2 and Triton kernels",
    ),
)
"""Operator prefix, family, and the reason found for such errors; the first match holds."""


def _reason(row: Score) -> str:
    for prefix, family, reason in REASONS:
        if row.operator.startswith(prefix) and family in ("", row.family):
            return reason
    if row.own > 0.5 * row.gpu["power"]:
        return "spread of shapes, kernels and versions: its own fit does little better"
    return "constants away from its relatives': its own fit does much better"


def _worst(scores: Mapping[str, Sequence[Score]]) -> str:
    rows = [row for group in scores.values() for row in group if row.gpu]
    rows.sort(key=lambda row: -row.gpu["power"])
    lines = ["## Worst ten, device left out", ""]
    lines.append("| operator | device | error % | own % | log bias | reason |")
    lines.append("|---|---|---|---|---|---|")
    for row in rows[:10]:
        lines.append(
            f"| {row.operator} | {row.device} | {row.gpu['power']:.0f} | {row.own:.0f} | "
            f"{row.bias:+.2f} | {_reason(row)} |"
        )
    return "\n".join(lines) + "\n"


def _by_device(scores: Mapping[str, Sequence[Score]]) -> str:
    lines = [
        "## By device",
        "",
        "| operator | device | rows | plain | left out | family out | own |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for operator, rows in sorted(scores.items()):
        for row in rows:
            cells = [
                f"{row.gpu['plain']:.1f}" if row.gpu else "-",
                f"{row.gpu['power']:.1f}" if row.gpu else "-",
                f"{row.family_out['power']:.1f}" if row.family_out else "-",
            ]
            lines.append(
                f"| {operator} | {row.device} | {row.rows} | {' | '.join(cells)} | {row.own:.1f} |"
            )
    return "\n".join(lines) + "\n"


def _constants(pools: Mapping[str, Pool]) -> str:
    lines = ["## Constants", "", "Population, at headroom 1; then each device's own.", ""]
    for operator, pool in sorted(pools.items()):
        law = LAWS[pool.law]
        lines += [f"### {operator}", "", f"| | {' | '.join(law.names)} | rows | spread |"]
        lines.append("|---" * (len(law.names) + 3) + "|")
        lines.append(f"| population | {_values(pool, pool.population)} | | |")
        for device, fit in sorted(pool.devices.items()):
            values = _values(pool, fit.coordinates)
            lines.append(f"| {device} | {values} | {fit.rows} | {fit.spread:.2f} |")
        lines.append("")
    return "\n".join(lines)


def _values(pool: Pool, coordinates: Any) -> str:
    return " | ".join(f"{value:.3g}" for value in LAWS[pool.law].constants(coordinates).values())
