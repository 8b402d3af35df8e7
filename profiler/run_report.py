# SPDX-License-Identifier: Apache-2.0
"""What a run has measured, as tables of text; every figure is a measured median."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from profiler.kernels import moved_bytes, work_flops
from specs.measurement import Measurement

Cell = Callable[[Measurement], str]


def tables_text(rows: Sequence[Measurement]) -> str:
    """Return one table for each kind among `rows`."""
    tables = []
    for kind, columns in _TABLES.items():
        chosen = [row for row in rows if row.kind == kind]
        if chosen:
            tables.append(_table(chosen, columns))
    return "\n\n".join(tables)


def _table(rows: Sequence[Measurement], columns: dict[str, Cell]) -> str:
    cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    kept = [i for i in range(len(columns)) if any(line[i] for line in cells[1:])]
    widths = {i: max(len(line[i]) for line in cells) for i in kept}
    lines = []
    for line in cells:
        padded = [
            line[i].ljust(widths[i]) if i in (0, kept[-1]) else line[i].rjust(widths[i])
            for i in kept
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale:
            digits = f"{seconds / scale:#.3g}" if seconds < 1e3 else f"{seconds:.0f}"
            return f"{digits.rstrip('.')} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _plain(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return f"{number} {unit}".rstrip()


def _quality(row: Measurement) -> str:
    """Quality with the codes of its reasons; a failure with all that is known of it."""
    if row.quality == "failed":
        return f"failed: {row.reason}"[:160]
    if row.quality == "ok":
        return "ok"  # that power is missing everywhere is no news for a table
    codes = {"cpu": "contended", "spread": "spread", "budget": "few samples", "throttle": "clocks"}
    said = [word for code, word in codes.items() if f"{code}:" in row.reason]
    return f"{row.quality} ({', '.join(said)})" if said else row.quality


def _spread(row: Measurement) -> str:
    return "" if row.spread_frac is None else f"{row.spread_frac:.1%}"


def _kernel(row: Measurement) -> str:
    if row.op == "gemm":
        return f"gemm {row.m} x {row.k} x {row.n}"
    if row.op.startswith("attention"):
        return f"{row.op} {row.batch} x {row.q_len} on {row.kv_len}"
    if row.op in ("norm", "elementwise"):
        return f"{row.op} {row.m} x {row.k}"
    if row.op == "step":
        return f"step of {row.m} layers"
    return row.op if row.size_bytes is None else f"{row.op} {row.size_bytes / 2**20:.4g} MiB"


def _rate(row: Measurement, amount: Callable[..., float], unit: str) -> str:
    if row.latency_s is None:
        return ""
    total = amount(row.to_dict())
    return f"{total / row.latency_s / 1e9:,.4g} {unit}" if total else ""


_TABLES: dict[str, dict[str, Cell]] = {
    "llm": {
        "model": lambda row: row.model,
        "dtype": lambda row: row.weight_dtype,
        "run": lambda row: row.capture,
        "batch": lambda row: _plain(row.batch_size),
        "in": lambda row: _plain(row.input_tokens),
        "out": lambda row: _plain(row.output_tokens),
        "TTFT": lambda row: _time(row.ttft_s),
        "TPOT": lambda row: _time(row.tpot_s),
        "prefill tok/s": lambda row: _plain(row.prefill_tok_s),
        "decode tok/s": lambda row: _plain(row.decode_tok_s),
        "power": lambda row: _plain(row.power_w, "W"),
        "energy/token": lambda row: _plain(row.energy_per_output_token_j, "J"),
        "spread": _spread,
        "quality": _quality,
    },
    "kernel": {
        "kernel": _kernel,
        "dtype": lambda row: row.dtype,
        "time": lambda row: _time(row.latency_s),
        "rate": lambda row: _rate(row, work_flops, "GFLOP/s"),
        "traffic": lambda row: _rate(row, moved_bytes, "GB/s"),
        "power": lambda row: _plain(row.power_w, "W"),
        "spread": _spread,
        "quality": _quality,
    },
    "tabular": {
        "estimator": lambda row: row.estimator,
        "trees": lambda row: _plain(row.n_trees),
        "depth": lambda row: _plain(row.depth),
        "nodes": lambda row: f"{row.n_nodes:,}" if row.n_nodes else "",
        "features": lambda row: _plain(row.n_features),
        "rows": lambda row: f"{row.rows:,}" if row.rows else "",
        "time": lambda row: _time(row.latency_s),
        "spread": _spread,
        "quality": _quality,
    },
}
