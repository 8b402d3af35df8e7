# SPDX-License-Identifier: Apache-2.0
"""Measurements and findings about them as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from roofline.report.table import table
from specs.measurement import COLUMNS, Measurement
from specs.units import format_energy, format_power, format_rate, format_time_s

POINT_CHARS = 10
"""Characters of a point's id that are shown: enough to name it, and `show` takes them."""

LINE_CHARS = 48
"""Longer values follow below their name, so that they widen no column."""

_FORMATS: Mapping[str, Any] = {
    "s": format_time_s,
    "W": format_power,
    "J": format_energy,
    "tok/s": lambda value: format_rate(value, "tok/s"),
}
_SHORT = {
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "e2e_s": "e2e",
    "latency_s": "latency",
    "decode_tok_s": "decode",
    "power_w": "power",
}
"""Figures of the list, by the words that it has for them."""


def records_text(records: Iterable[Measurement]) -> str:
    """One line per measurement: what was measured, on what, and the main figures."""
    lines = [("point", "measured", "device", "what", "asked", "figures", "quality")]
    lines += [
        (
            record.point_id[:POINT_CHARS],
            record.measured_at[:10],
            _device(record),
            record.model or record.op or record.estimator,
            _asked(record),
            _figures(record),
            record.quality,
        )
        for record in records
    ]
    return table(lines, align="lllllll")


def _device(record: Measurement) -> str:
    name = record.gpu or record.gpu_raw or record.host_cpu
    return f"{record.num_gpus} x {name}" if (record.num_gpus or 1) > 1 else name


def _asked(record: Measurement) -> str:
    if record.kind == "llm":
        batch = f"batch {record.batch_size}" if record.batch_size else ""
        served = f"{record.concurrency:g} in flight" if record.concurrency else ""
        tokens = [record.input_tokens, record.output_tokens]
        lengths = "+".join("?" if count is None else f"{count:g}" for count in tokens)
        words = [batch or served, lengths, record.weight_dtype, record.engine, record.capture]
        return " ".join(word for word in words if word)
    sizes = [
        f"{name} {getattr(record, name)}"
        for name, column in COLUMNS.items()
        if column.group == record.kind and column.type == "int" and getattr(record, name)
    ]
    return " ".join([record.dtype, *sizes]).strip()


def _figures(record: Measurement) -> str:
    found = [
        f"{word} {_FORMATS[COLUMNS[name].unit](value)}"
        for name, word in _SHORT.items()
        if (value := getattr(record, name)) is not None
    ]
    return ", ".join(found) or record.reason


def record_text(record: Measurement) -> str:
    """Everything that is known of one measurement, by group, with units."""
    parts = []
    for group in dict.fromkeys(column.group for column in COLUMNS.values()):
        lines = [
            (name, _value(name, getattr(record, name)), column.says)
            for name, column in COLUMNS.items()
            if column.group == group and getattr(record, name) not in (None, "", ())
        ]
        short = [line for line in lines if len(line[1]) <= LINE_CHARS]
        if lines:
            parts.append(group)
        if short:
            parts.append(table(short, align="lll", indent="  "))
        for name, value, says in lines:
            if len(value) > LINE_CHARS:
                parts += [f"  {name}  {says}", *_wrapped(value)]
    return "\n".join(parts)


def _wrapped(text: str) -> list[str]:
    return wrap(text, 96, initial_indent="    ", subsequent_indent="    ")


def _value(name: str, value: Any) -> str:
    column = COLUMNS[name]
    if column.type == "raw":
        shown = [f"{r.name} {r.value:g} {r.unit} ({r.statistic or 'not said'})" for r in value]
        return "; ".join(shown)
    if column.type == "floats":
        return f"{len(value)} samples, {format_time_s(min(value))} to {format_time_s(max(value))}"
    if column.unit in _FORMATS:
        return str(_FORMATS[column.unit](value))
    return f"{value:g} {column.unit}".strip() if isinstance(value, float) else str(value)


def verdict_text(
    records: Sequence[Measurement],
    findings: Sequence[tuple[int, str, str, float, float, str]],
    checked: int,
    unchecked: Mapping[str, int],
) -> str:
    """What was found wrong; a finding is row (from 1), rule, column, value, limit, words."""
    lines = [
        f"{len(records):,} measurements, {checked:,} held against the ideal machine, "
        f"{len(findings):,} findings"
    ]
    lines += [f"  {count:,} not held against it: {why}" for why, count in unchecked.items()]
    if findings:
        head = ("row", "point", "rule", "column", "value", "limit", "")
        rows = [
            (
                str(row),
                records[row - 1].point_id[:POINT_CHARS],
                rule,
                column,
                _value(column, value),
                _value(column, limit),
                says,
            )
            for row, rule, column, value, limit, says in findings
        ]
        lines.append(table([head, *rows], align="rlllrrl"))
    return "\n".join(lines)
