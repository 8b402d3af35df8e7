# SPDX-License-Identifier: Apache-2.0
"""One measured point: what was asked, on what, how it was measured, and what came out.

Wide and nullable: an unknown number is None, an unknown text empty, and never 0. Times,
powers and energies are SI; power is per accelerator. Figures are what the definition of
their column says, or absent: the tool's own figures stay in ``raw`` under its own names.
A row whose columns changed meaning carries a higher `SCHEMA_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from specs.errors import InvalidInputError
from specs.measurement_columns import (
    CLEAN,
    SCHEMA_VERSION,
    WORDS,
    Column,
    RawFigure,
    as_utc,
    check_object,
    check_range,
    check_version,
    check_word,
    is_missing,
)
from specs.sources import nearest

__all__ = [
    "ASKED",
    "COLUMNS",
    "FIGURES",
    "SCHEMA_VERSION",
    "WORDS",
    "Column",
    "Measurement",
    "RawFigure",
    "now_utc",
    "point_id_of",
]


def _text(group: str, says: str, default: str = "") -> Any:
    column = Column(type="text", group=group, unit="", says=says)
    return field(default=default, metadata={"column": column})


def _count(group: str, says: str, *, zero: bool = False) -> Any:
    column = Column(type="int", group=group, unit="", says=says, zero=zero)
    return field(default=None, metadata={"column": column})


def _number(group: str, unit: str, says: str, *, zero: bool = False) -> Any:
    column = Column(type="float", group=group, unit=unit, says=says, zero=zero)
    return field(default=None, metadata={"column": column})


def _list(type_: str, unit: str, says: str) -> Any:
    column = Column(type=type_, group="quality", unit=unit, says=says)
    return field(default=(), metadata={"column": column})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured point; the meaning and unit of every column are in `COLUMNS`.

    Only `kind` must be given. A blank `point_id` becomes the hash of what was asked.
    Whole floats are taken for counts, numpy scalars for numbers, mappings for raw figures.

    Raises
    ------
    InvalidInputError
        A figure that is not positive (0 W is a broken sensor: leave the cell empty and
        say why in `reason`), is not finite, or cannot be in its unit; an unknown word;
        a time without a zone; a failed or partial row without a reason.
    """

    schema_version: int = field(
        default=SCHEMA_VERSION,
        metadata={"column": Column(type="int", group="identity", unit="", says="schema of row")},
    )
    run_id: str = _text("identity", "one invocation of a profiler or importer")
    point_id: str = _text("identity", "hash of the asked settings")
    measured_at: str = _text("identity", "ISO 8601 in UTC, or a date alone; empty if unknown")
    kind: str = _text("identity", "llm, kernel or tabular")

    source: str = _text("origin", "who measured: a key, such as first-party")
    source_ref: str = _text("origin", "where in the source: file, URL, table")
    license: str = _text("origin", "SPDX name of the licence of the figures")
    tool: str = _text("origin", "program that took the figures")
    tool_version: str = _text("origin", "its version")
    method: str = _text("origin", "short key of the method of measuring")

    gpu: str = _text("hardware", "catalogue slug, empty if not identified")
    gpu_raw: str = _text("hardware", "name as the driver, tool or file gives it")
    num_gpus: int | None = _count("hardware", "accelerators in all")
    tp: int | None = _count("hardware", "tensor parallel degree")
    pp: int | None = _count("hardware", "pipeline parallel degree")
    ep: int | None = _count("hardware", "expert parallel degree")
    dp: int | None = _count("hardware", "data parallel degree")
    host_cpu: str = _text("hardware", "name of the host's processor")
    power_limit_w: float | None = _number("hardware", "W", "power limit per accelerator in force")
    driver: str = _text("hardware", "driver and runtime version")
    instance: str = _text("hardware", "cloud instance type")
    region: str = _text("hardware", "cloud region")
    price_usd_per_h: float | None = _number("hardware", "USD/h", "price of the instance")
    image_digest: str = _text("hardware", "digest of the container image")

    engine: str = _text("software", "vllm, sglang, transformers, llama.cpp, ...")
    engine_version: str = _text("software", "its version")
    capture: str = _text("software", "eager, graph or compiled; empty if unknown")
    environment: str = _text("software", "JSON object of everything else that was recorded")

    model: str = _text("llm", "Hugging Face name or a local key")
    weight_dtype: str = _text("llm", "weight format, as in roofline specs")
    kv_dtype: str = _text("llm", "KV cache format")
    mode: str = _text("llm", "static batch, serving or disagg")
    batch_size: int | None = _count("llm", "sequences in the static batch")
    concurrency: float | None = _number("llm", "", "requests in flight, serving")
    request_rate: float | None = _number("llm", "1/s", "requests sent per second, if limited")
    input_tokens: float | None = _number("llm", "", "prompt tokens per request (mean)", zero=True)
    cached_tokens: float | None = _number("llm", "", "of them cached before", zero=True)
    output_tokens: float | None = _number("llm", "", "tokens generated per request", zero=True)

    op: str = _text("kernel", "gemm, attention_decode, copy, all_reduce, launch, ...")
    dtype: str = _text("kernel", "arithmetic of the kernel")
    m: int | None = _count("kernel", "rows of the left matrix")
    n: int | None = _count("kernel", "columns of the right matrix")
    k: int | None = _count("kernel", "shared dimension")
    batch: int | None = _count("kernel", "independent problems in one call")
    q_len: int | None = _count("kernel", "query tokens")
    kv_len: int | None = _count("kernel", "key/value tokens")
    heads: int | None = _count("kernel", "query heads")
    kv_heads: int | None = _count("kernel", "key/value heads")
    head_dim: int | None = _count("kernel", "width of a head")
    size_bytes: int | None = _count("kernel", "size of the message or array")

    estimator: str = _text("tabular", "class of the tabular model")
    rows: int | None = _count("tabular", "rows predicted in one call")
    n_features: int | None = _count("tabular", "columns of the input")
    n_trees: int | None = _count("tabular", "trees of the ensemble")
    depth: int | None = _count("tabular", "depth of the trees", zero=True)
    n_nodes: int | None = _count("tabular", "nodes of all trees")

    ttft_s: float | None = _number("figures", "s", "request sent to first content token")
    tpot_s: float | None = _number("figures", "s", "(e2e - TTFT) / (output tokens - 1)")
    itl_s: float | None = _number("figures", "s", "gap between chunks, pooled over tokens")
    e2e_s: float | None = _number("figures", "s", "request sent to last token")
    latency_s: float | None = _number("figures", "s", "one kernel or tabular call")
    prefill_tok_s: float | None = _number("figures", "tok/s", "prompt tokens over prefill time")
    decode_tok_s: float | None = _number("figures", "tok/s", "output tokens per second, in all")
    total_tok_s: float | None = _number("figures", "tok/s", "input and output tokens per second")
    power_w: float | None = _number("figures", "W", "mean per accelerator over the whole")
    prefill_power_w: float | None = _number("figures", "W", "mean per accelerator, prefill")
    decode_power_w: float | None = _number("figures", "W", "mean per accelerator, decode")
    idle_power_w: float | None = _number("figures", "W", "per accelerator before the run")
    energy_j: float | None = _number("figures", "J", "all accelerators, one batch or call")
    energy_per_output_token_j: float | None = _number("figures", "J", "all accelerators")

    n_samples: int | None = _count("quality", "samples behind the figures", zero=True)
    samples_s: tuple[float, ...] = _list("floats", "s", "every timed sample of the main figure")
    spread_frac: float | None = _number(
        "quality", "", "IQR over median of the samples; of prefill and decode the larger", zero=True
    )
    quality: str = _text("quality", "ok, noisy, throttled, partial or failed", "ok")
    reason: str = _text("quality", "why a figure is missing or the point failed")
    notes: str = _text("quality", "free text")
    raw: tuple[RawFigure, ...] = _list("raw", "", "figures exactly as the tool names them")

    def __post_init__(self) -> None:
        """Normalise and check every column."""
        for name, column in COLUMNS.items():
            value = CLEAN[column.type](name, getattr(self, name))
            check_range(name, column, value)
            object.__setattr__(self, name, value)
        for name, words in WORDS.items():
            check_word(name, getattr(self, name), words)
        check_version(self.schema_version)
        object.__setattr__(self, "measured_at", as_utc(self.measured_at))
        if self.quality in ("failed", "partial") and not self.reason:
            raise InvalidInputError(f"a {self.quality} measurement needs its reason; give reason.")
        check_object(self.environment)
        if not self.point_id:
            object.__setattr__(self, "point_id", point_id_of(self.to_dict()))

    @property
    def figures(self) -> dict[str, float]:
        """Figures that were measured, by column."""
        return {name: value for name in FIGURES if (value := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """All columns as plain values that JSON can hold."""
        row = {name: getattr(self, name) for name in COLUMNS}
        row["samples_s"] = list(self.samples_s)
        row["raw"] = [
            {"name": r.name, "statistic": r.statistic, "unit": r.unit, "value": r.value}
            for r in self.raw
        ]
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Measurement:
        """Read one row of a table or a JSON object; NaN and null mean unknown.

        Raises
        ------
        InvalidInputError
            An unknown column, a row of a newer schema, or what the class refuses.
        """
        check_version(row.get("schema_version", SCHEMA_VERSION))
        for name in row:
            if name not in COLUMNS:
                raise InvalidInputError(
                    f"no column {name!r:.60} in a measurement; nearest: {nearest(name, COLUMNS)}."
                )
        return cls(**{name: value for name, value in row.items() if not is_missing(value)})


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {f.name: f.metadata["column"] for f in fields(Measurement)}
)
"""Every column in order: its type, group, unit and meaning."""

FIGURES = tuple(name for name, column in COLUMNS.items() if column.group == "figures")
"""Columns that hold what came out."""

ASKED = (
    *("kind", "method", "gpu", "gpu_raw", "num_gpus", "tp", "pp", "ep", "dp", "power_limit_w"),
    *("engine", "capture"),
    *(name for name, column in COLUMNS.items() if column.group in ("llm", "kernel", "tabular")),
)
"""Columns that say what was asked: equal in all of them, two rows measure the same point."""


def point_id_of(settings: Mapping[str, Any]) -> str:
    """Hash of the asked columns among `settings`, known before anything is measured.

    Examples
    --------
    >>> point_id_of({"kind": "kernel", "op": "gemm", "m": 8}) == point_id_of(
    ...     {"op": "gemm", "m": 8.0, "kind": "kernel", "latency_s": 1e-3}
    ... )
    True
    """
    asked = {
        name: CLEAN[COLUMNS[name].type](name, settings[name])
        for name in ASKED
        if not is_missing(settings.get(name)) and settings[name] != ""
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def now_utc() -> str:
    """Time of day for `measured_at`; durations come from a monotonic clock instead."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
