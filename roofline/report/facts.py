# SPDX-License-Identifier: Apache-2.0
"""Facts of devices, models and engines as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roofline.facts import Fact
from roofline.report.table import table
from specs.accelerator import Accelerator
from specs.catalogue import AcceleratorRow
from specs.engine import Engine
from specs.model_records import ModelRow
from specs.sources import Source
from specs.units import (
    format_bytes,
    format_flops_rate,
    format_power,
    format_rate,
    format_time_s,
)


def accelerator_text(
    accelerator: Accelerator,
    facts: Sequence[Fact],
    interconnect: Mapping[str, Any],
    sources: Mapping[str, Source],
) -> str:
    """Return every fact with its unit and source, then how devices are joined."""
    rows: list[tuple[str, ...]] = [("fact", "value", "", "source")]
    rows += [(fact.name, *_value(fact), fact.source or "default") for fact in facts]
    for role in ("scale_up", "scale_out"):
        if link := interconnect.get(role):
            rate = format_rate(link["bytes_per_s"])
            latency = f"{format_time_s(link['latency_s'])} a hop, {link['title'] or link['name']}"
            rows.append((role, f"{rate} one way", latency, ", ".join(link["sources"])))
    rows.append(("devices_per_node", str(interconnect["devices_per_node"]), "", ""))
    parts = [f"{accelerator.title} ({accelerator.name})", "", table(rows, align="llll")]
    parts += [f"note: {note}" for note in accelerator.notes]
    parts += ["", "sources", table([_source(key, s) for key, s in sources.items()], align="ll")]
    return "\n".join(parts)


def _value(fact: Fact) -> tuple[str, str]:
    """Return a fact as it is stored, and as people say it."""
    value = fact.value
    if isinstance(value, str | bool):
        return str(value).lower() if isinstance(value, bool) else value, ""
    exact = f"{value:.12g} {fact.unit}".rstrip()
    spoken = {
        "B": lambda: f"{format_bytes(value)}, {format_bytes(value, binary=True)}",
        "B/s": lambda: format_rate(value, digits=4),
        "FLOP/s": lambda: format_flops_rate(value, digits=4),
        "op/s": lambda: format_rate(value, "op/s", digits=4),
        "Hz": lambda: format_rate(value, "Hz", digits=4),
    }.get(fact.unit)
    return exact, spoken() if spoken else ""


def _source(key: str, source: Source) -> tuple[str, str]:
    page = f", {source.page}" if source.page else ""
    where = f", {source.url}" if source.url else ""
    return key, f"{source.title} ({source.publisher}){page}{where}, read {source.read}"


def accelerators_text(rows: Iterable[AcceleratorRow]) -> str:
    """Return one line per accelerator."""
    lines: list[tuple[str, ...]] = [
        ("name", "vendor", "kind", "memory", "bandwidth", "16-bit", "power", "released")
    ]
    for row in rows:
        peak = row.peak_16bit_flops_per_s
        lines.append(
            (
                row.name,
                row.vendor,
                row.kind,
                format_bytes(row.mem_bytes),
                format_rate(row.mem_bytes_per_s),
                format_flops_rate(peak) if peak else "",
                format_power(row.tdp_w),
                row.released,
            )
        )
    return table(lines, align="lllrrrrl")


def models_text(rows: Iterable[ModelRow]) -> str:
    """Return one line per shipped model."""
    lines: list[tuple[str, ...]] = [("name", "type", "quantised", "also answers to")]
    for row in rows:
        others = ", ".join(row.also[:2]) + (f" and {len(row.also) - 2} more" * (len(row.also) > 2))
        lines.append((row.name, row.model_type, row.quant_method, others))
    return table(lines, align="llll")


def engines_text(engines: Iterable[Engine]) -> str:
    """Return the constants of each engine profile that shape a prediction most."""
    lines: list[tuple[str, ...]] = [
        ("name", "title", "peak", "bandwidth", "link", "floor", "host/step", "chunk", "source")
    ]
    for engine in engines:
        chunk = f"{engine.prefill_chunk_tokens:,}" if engine.prefill_chunk_tokens else "whole"
        lines.append(
            (
                engine.name,
                engine.title + (f", until {engine.until_year}" if engine.until_year else ""),
                f"{engine.compute_frac:.0%}",
                f"{engine.memory_frac:.0%}",
                f"{engine.link_frac:.0%}",
                format_time_s(engine.kernel_floor_s),
                format_time_s(engine.host_step_s),
                chunk,
                engine.source,
            )
        )
    legend = "shares of peak, bandwidth and link that large kernels reach; --json has all constants"
    return f"{table(lines, align='llrrrrrrl')}\n\n{legend}"


def model_text(facts: Mapping[str, Any]) -> str:
    """Return the facts of one model."""
    rows: list[tuple[str, ...]] = [
        ("parameters", f"{facts['params']:,}"),
        ("active per token", f"{facts['active_params']:,}"),
        ("layers", f"{facts['num_layers']}"),
        ("hidden size", f"{facts['hidden_size']:,}"),
        ("vocabulary", _vocabulary(facts)),
        (
            "longest context",
            f"{facts['max_position']:,}" if facts["max_position"] else "not stated",
        ),
        ("weights", f"{format_bytes(facts['weights_bytes'])} in {_stored(facts)}"),
        ("KV cache", _cache(facts)),
    ]
    if facts["state_bytes_per_sequence"]:
        rows.append(("state", f"{format_bytes(facts['state_bytes_per_sequence'])} per sequence"))
    if facts["mtp_layers"]:
        rows.append(("prediction layers", f"{facts['mtp_layers']}, idle without speculation"))
    if facts["card_params"]:
        rows.append(("model card", f"{facts['card_params'] / 1e9:,.4g} B parameters"))
    rows += [("blocks" if i == 0 else "", text) for i, text in enumerate(_blocks(facts, "blocks"))]
    rows += [
        ("encoder" if i == 0 else "", text) for i, text in enumerate(_blocks(facts, "encoder"))
    ]
    rows.append(("source", facts["source"]))
    parts = [f"{facts['name']} ({facts['model_type']})", "", table(rows, align="ll")]
    return "\n".join([*parts, *(f"warning: {text}" for text in facts["warnings"])])


def _vocabulary(facts: Mapping[str, Any]) -> str:
    tied = ", head tied to the embedding" if facts["tie_word_embeddings"] else ""
    return f"{facts['vocab_size']:,}{tied}"


def _stored(facts: Mapping[str, Any]) -> str:
    if facts["quantisation"]:
        return f"{facts['weight_dtype']} ({facts['quantisation']}), the rest {facts['dtype']}"
    as_run = facts["weight_dtype"]
    return as_run if as_run == facts["dtype"] else f"{as_run}, from {facts['dtype']}"


def _cache(facts: Mapping[str, Any]) -> str:
    every, full = facts["kv_bytes_per_token"], facts["kv_bytes_per_token_beyond_windows"]
    if not every:
        return "none"
    text = f"{every:,.0f} B per token in {facts['kv_dtype']}"
    return text if full == every else f"{text}, {full:,.0f} B once the windows are full"


def _blocks(facts: Mapping[str, Any], part: str) -> list[str]:
    lines = []
    for block in facts[part]:
        said = [_shape(block["mixer"]), _shape(block["ffn"])]
        said += ["cross attention"] * block["cross_attention"]
        lines.append(f"{block['count']} x {' + '.join(text for text in said if text)}")
    return lines


_SAID = {
    "num_heads": "{} heads",
    "num_kv_heads": "{} KV heads",
    "head_dim": "width {}",
    "kv_lora_rank": "latent {}",
    "key_dim": "state {}",
    "value_dim": "by {}",
    "window": "window {}",
    "sparse_topk": "reads {} tokens",
    "num_experts": "{} experts",
    "topk": "{} per token",
    "inter": "inner {}",
    "shared_inter": "shared {}",
}


def _shape(part: Mapping[str, Any] | None) -> str:
    if part is None:
        return ""
    said = [text.format(part[key]) for key, text in _SAID.items() if part.get(key)]
    return f"{part['kind']} ({', '.join(said)})"
