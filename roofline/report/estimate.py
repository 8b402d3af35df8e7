# SPDX-License-Identifier: Apache-2.0
"""One estimate as a short table."""

from __future__ import annotations

from collections.abc import Callable

from roofline.estimate import Estimate
from roofline.report.table import table
from specs.units import (
    format_bytes,
    format_energy,
    format_flops_rate,
    format_power,
    format_rate,
    format_time_s,
)

_MISFIT = "does not fit"


def estimate_text(estimate: Estimate) -> str:
    """Return what `estimate` says; what does not fit comes first."""
    parts = [
        *misfit_text(estimate),
        *asked_text(estimate),
        "",
        _numbers_text(estimate),
        "",
        table([*_memory(estimate), *_basis(estimate)], align="ll"),
        *(f"warning: {text}" for text in estimate.warnings if not text.startswith(_MISFIT)),
        f"check with: {estimate.check_command}",
    ]
    return "\n".join(parts)


def misfit_text(estimate: Estimate) -> list[str]:
    """Return what does not fit, and nothing where all fits."""
    if estimate.memory.fits:
        return []
    said = [text for text in estimate.warnings if text.startswith(_MISFIT)]
    lines = [text[0].upper() + text[1:] for text in said or [f"{_MISFIT} in device memory."]]
    return [*(line.replace("Does not fit", "DOES NOT FIT", 1) for line in lines), ""]


def asked_text(estimate: Estimate) -> list[str]:
    """Return the scenario in two lines."""
    degrees = [f"{name} {getattr(estimate, name)}" for name in ("tp", "pp", "ep", "dp")]
    layout = ", ".join(text for text in degrees if not text.endswith(" 1"))
    devices = f"{estimate.num_gpus} x {estimate.gpu}" if estimate.num_gpus > 1 else estimate.gpu
    served = estimate.mode == "serving"
    load = f"{estimate.batch} requests in flight" if served else f"batch {estimate.batch}"
    tokens = f"{estimate.input_len:,} tokens in"
    formats = f"{estimate.weight_dtype} weights"
    if _generates(estimate):
        tokens += f", {estimate.output_len:,} out"
        formats += f", {estimate.kv_dtype} KV cache"
    return [
        f"{estimate.model} on {devices}{f' ({layout})' if layout else ''} with {estimate.engine}",
        f"{load}, {tokens}, {formats}",
    ]


def _generates(estimate: Estimate) -> bool:
    """Encoders answer in one pass and put out no tokens."""
    return estimate.output_tok_per_s > 0.0


def _numbers_text(estimate: Estimate) -> str:
    """Return the figures as a table: corrected ones with their interval."""
    rows = _numbers(estimate)
    if estimate.interval is None:
        return table(
            [(name, value, floor, says) for name, value, _, floor, says in rows], align="lrrl"
        )
    return table(rows, align="lrrrl")


def _numbers(estimate: Estimate) -> list[tuple[str, ...]]:
    """Rows of name, value, interval, floor, remark."""
    interval = estimate.interval
    heading = ("", "analytic", "", "floor", "")
    if interval is not None:
        heading = ("", "expected", f"{interval.level:.0%} within", "floor", interval.standing)
    floor, prefill = estimate.floor, f"bound by {estimate.bound.prefill}, MFU {estimate.mfu:.0%}"
    ttft = _row(estimate, "TTFT", "ttft_s", format_time_s, floor.ttft_s)
    if not _generates(estimate):
        return [
            heading,
            (*ttft, f"the whole answer, {prefill}"),
            ("input", _tokens(estimate.prefill_tok_per_s), "", "", ""),
            _power(estimate),
            ("energy", format_energy(estimate.energy_per_total_token_j), "", "", "per token"),
        ]
    decode = f"decode, bound by {estimate.bound.decode}, MBU {estimate.mbu:.0%}"
    rates = f"prefill {_tokens(estimate.prefill_tok_per_s)}, "
    rates += f"decode {_tokens(estimate.decode_tok_per_s)}"
    total = f"{_tokens(estimate.total_tok_per_s)} with the input"
    energy = f"per output token, {estimate.wh_per_million_output_tokens:,.0f} Wh per million; "
    energy += f"{format_energy(estimate.energy_per_total_token_j)} per token with the input"
    return [
        heading,
        (*ttft, f"prefill, {prefill}"),
        (*_row(estimate, "TPOT", "tpot_s", format_time_s, floor.tpot_s), decode),
        (*_row(estimate, "end to end", "e2e_s", format_time_s, floor.e2e_s), rates),
        (*_row(estimate, "output", "output_tok_per_s", _tokens), total),
        _power(estimate),
        (*_row(estimate, "energy", "energy_per_output_token_j", format_energy), energy),
    ]


def _row(
    estimate: Estimate,
    title: str,
    name: str,
    write: Callable[[float], str],
    floor: float | None = None,
) -> tuple[str, ...]:
    """Name, value, interval, floor."""
    within = ""
    if estimate.interval is not None:
        within = f"{write(estimate.interval.low[name])} - {write(estimate.interval.high[name])}"
    value = estimate.power_w.mean if name == "power_mean_w" else getattr(estimate, name)
    return title, write(value), within, "" if floor is None else write(floor)


def _power(estimate: Estimate) -> tuple[str, ...]:
    power = estimate.power_w
    phases = f"per GPU, limit {format_power(estimate.power_limit_w)}"
    if _generates(estimate):
        phases += f"; prefill {format_power(power.prefill)}, decode {format_power(power.decode)}"
    return (*_row(estimate, "power", "power_mean_w", format_power), phases)


def _tokens(tok_per_s: float) -> str:
    return f"{tok_per_s:,.0f} tok/s" if tok_per_s >= 100 else f"{tok_per_s:.1f} tok/s"


def _memory(estimate: Estimate) -> list[tuple[str, ...]]:
    memory = estimate.memory
    fits = "fits" if memory.fits else "DOES NOT FIT"
    parts = ", ".join(
        f"{name} {format_bytes(value)}"
        for name, value in (
            ("weights", memory.weights_bytes),
            ("KV cache", memory.kv_bytes),
            ("activations", memory.activation_bytes),
            ("runtime", memory.runtime_bytes),
        )
    )
    room = f"at most {memory.max_batch:,} such sequences, {memory.kv_capacity_tokens:,} KV tokens"
    if memory.kv_bytes == 0.0:
        room = "no KV cache"
    total, capacity = format_bytes(memory.total_bytes), format_bytes(memory.capacity_bytes)
    return [("memory", f"{total} of {capacity} per GPU, {fits}; {room}"), ("", parts)]


def _basis(estimate: Estimate) -> list[tuple[str, ...]]:
    basis = estimate.basis
    peak = f"{format_flops_rate(basis.peak_flops_per_s, digits=4)} dense {basis.arithmetic}"
    bandwidth = format_rate(basis.mem_bytes_per_s, digits=4)
    cited = [basis.sources.get(name) for name in (_peak_field(estimate), "mem_bytes_per_s")]
    sources = ", ".join(dict.fromkeys(key for key in cited if key))
    active = f", {basis.active_params / 1e9:,.2f} B active" * (basis.active_params != basis.params)
    origin, _, where = basis.model_source.partition(" (")
    return [
        ("basis", f"{peak}, {bandwidth} ({sources or 'no source stated'})"),
        ("", f"engine profile {basis.engine_profile}; correction: {basis.correction}"),
        ("model", f"{basis.params / 1e9:,.2f} B parameters{active}; {origin}"),
        *([("", where.removesuffix(")"))] if where else []),
    ]


def _peak_field(estimate: Estimate) -> str:
    arithmetic = estimate.basis.arithmetic.removesuffix("_acc16")
    if arithmetic == "vector":
        return "vector_flops_per_s"
    return f"peak_flops_per_s.{arithmetic}"
