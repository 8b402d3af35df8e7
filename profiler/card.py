# SPDX-License-Identifier: Apache-2.0
"""The dataset card of a store: hardware, method, schema and licence of what it holds.

Made from the rows alone, so the same rows always make the same card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from specs.measurement import COLUMNS, SCHEMA_VERSION, WORDS, Measurement

BEGIN, END = "<!-- measurements: begin -->", "<!-- measurements: end -->"
"""Between these lines the card is renewed by every push; what stands after them is kept."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**12, "100K<n<1M"))


def dataset_card(rows: Sequence[Measurement], *, name: str) -> str:
    """Markdown with the front matter that dataset hubs read.

    Parameters
    ----------
    rows : sequence of Measurement
        Everything the data set holds.
    name : str
        Its title.
    """
    parts = [
        _front_matter(rows, name),
        BEGIN,
        f"# {name}",
        _summary(rows),
        "## Hardware",
        _counted(
            rows,
            ("accelerator", "as reported", "driver", "power limit (W)", "instance"),
            lambda r: (r.gpu, r.gpu_raw, r.driver, r.power_limit_w, r.instance),
        ),
        "## Method",
        _METHOD,
        _counted(
            rows,
            ("tool", "version", "method", "engine", "version", "capture"),
            lambda r: (r.tool, r.tool_version, r.method, r.engine, r.engine_version, r.capture),
        ),
        _counted(rows, ("quality", "reason"), lambda r: (r.quality, r.reason)),
        "## Source and licence",
        _counted(rows, ("source", "licence"), lambda r: (r.source, r.license or "not stated")),
        "## Schema",
        f"Schema {SCHEMA_VERSION}. SI units; power per accelerator; an unknown number is null, an "
        f"unknown text empty.",
        _schema(),
        END,
    ]
    return "\n\n".join(parts) + "\n"


def renewed_card(existing: str | None, made: str) -> str | None:
    """`made` with what the owner wrote after it in `existing`.

    None where `existing` is somebody's own page: it is left as it is.
    """
    if existing is None or not existing.strip():
        return made
    if BEGIN not in existing or END not in existing:
        return None
    own = existing.partition(END)[2].strip("\n")
    return made + (f"\n{own}\n" if own else "")


_METHOD = (
    "Times come from a monotonic clock or device events after a warm-up. Every timed sample is in "
    "`samples_s`, their interquartile range over their median in `spread_frac`; the figures of "
    "another tool stand in `raw` under that tool's own names. A figure that was not measured is "
    "empty and `reason` says why."
)


def _front_matter(rows: Sequence[Measurement], name: str) -> str:
    licences = {row.license for row in rows}
    stated = licences.pop().lower() if len(licences) == 1 else "other"
    size = next(word for limit, word in _SIZES if len(rows) < limit)
    lines = [
        "---",
        # JSON strings are YAML strings, whatever a name holds.
        f"pretty_name: {json.dumps(name)}",
        f"license: {json.dumps(stated or 'unknown')}",
        f"size_categories: [{size}]",
        "tags: [benchmark, inference, latency, power, energy]",
        "configs:",
        "- config_name: default",
        "  data_files: data/*.parquet",
        "---",
    ]
    return "\n".join(lines)


def _summary(rows: Sequence[Measurement]) -> str:
    kinds = Counter(row.kind for row in rows)
    days = sorted(row.measured_at[:10] for row in rows if row.measured_at)
    models = len({row.model for row in rows if row.model})
    said = ", ".join(f"{kinds[kind]:,} {kind}" for kind in WORDS["kind"] if kinds[kind])
    between = f", measured {days[0]} to {days[-1]}" if days else ""
    return (
        f"{len(rows):,} measurements of inference ({said or 'none yet'}) of {models} models"
        f"{between}. One row is one measured point."
    )


def _counted(
    rows: Iterable[Measurement],
    head: Sequence[str],
    key: Callable[[Measurement], tuple[object, ...]],
) -> str:
    """A table of the distinct values of `key`, and how many rows have them."""
    counts = Counter(key(row) for row in rows)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return _table([*head, "rows"], [[*values, f"{count:,}"] for values, count in ordered])


def _schema() -> str:
    return _table(
        ["column", "type", "unit", "meaning"],
        [[f"`{name}`", col.type, col.unit, col.says] for name, col in COLUMNS.items()],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value or "")
    return " ".join(text.replace("|", "\\|").split())[:120]
