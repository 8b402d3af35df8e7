# SPDX-License-Identifier: Apache-2.0
"""llm-d benchmark report, version 0.2 (YAML or JSON).

Every statistic states its units. ``time_per_output_token`` is whatever the load generator
calls so: TPOT of vLLM, InferenceMAX and inference-perf, and not of GuideLLM, whose figure
includes TTFT. ``inter_token_latency`` of aiperf is TPOT by definition. Accelerators are
counted as replicas times the degrees of parallelism.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.values import (
    at,
    count,
    degree,
    factor_of,
    items,
    leaves,
    mapping,
    moment,
    positive,
    tag_of,
    text,
)

_LATENCY = "results.request_performance.aggregate.latency"
_THROUGHPUT = "results.request_performance.aggregate.throughput"
_REQUESTS = "results.request_performance.aggregate.requests"
_LATENCIES = (
    ("ttft_s", "time_to_first_token"),
    ("tpot_s", "time_per_output_token"),
    ("itl_s", "inter_token_latency"),
    ("e2e_s", "request_latency"),
    ("", "normalized_time_per_output_token"),
)
_RATES = (("decode_tok_s", "output_token_rate"), ("total_tok_s", "total_token_rate"))
_TPOT_TOOLS = ("vllm", "inferencemax", "inferencex", "inferenceperf")


def _recognises(document: Document) -> bool:
    record = document.single
    return (
        "version" in record
        and bool(mapping(record.get("scenario")))
        and bool(mapping(at(record, "results.request_performance")) or "metrics" in record)
    )


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    version = str(record.get("version"))
    if not version.startswith("0.2"):
        yield Refusal(where="", why=f"report version {version[:20]}; 0.2 is read: convert it")
        return
    engines = [
        standard
        for part in items(at(record, "scenario.stack"))
        if text((standard := mapping(at(part, "standardized"))).get("kind")) == "inference_engine"
    ]
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, "concurrency|request_rate"))
    why = _stack(draft, engines)
    if why:
        yield Refusal(where="", why=why)
        return
    _load(draft, record)
    _figures(draft, record)
    draft.environment["report_version"] = version
    draft.put(measured_at=moment(at(record, "run.time.end")))
    yield draft


def _stack(draft: Draft, engines: list[Mapping[str, Any]]) -> str:
    """State what served; return why that is not one deployment."""

    def said(path: str) -> set[str]:
        return {text(at(engine, path)) for engine in engines} - {""}

    devices, models = said("accelerator.model"), said("model.name")
    if len(models) > 1 or len(devices) > 1:
        return f"several devices or models ({', '.join(sorted(devices | models))}): no one row"
    roles, tools, images = said("role"), said("tool"), said("tool_version")
    draft.put(gpu_raw="".join(devices), model="".join(models))
    draft.put(mode="disagg" if "prefill" in roles else "serving")
    if len(tools) == 1 and tools != {"llm-d"}:  # which says nothing of the engine inside
        draft.put(engine="".join(tools))
    if len(images) == 1:
        image = "".join(images)
        draft.environment["image"] = image
        if tools != {"llm-d"}:
            draft.put(engine_version=tag_of(image) or image)
    draft.put(num_gpus=sum(filter(None, map(_devices, engines))) or None)
    decode = [engine for engine in engines if text(engine.get("role")) != "prefill"]
    if len(decode) == 1:
        degrees = mapping(at(decode[0], "accelerator.parallelism"))
        replicas = degree(decode[0].get("replicas")) or 1
        draft.put(**{name: degree(degrees.get(name)) for name in ("tp", "pp", "ep")})
        draft.put(dp=(degree(degrees.get("dp")) or 1) * replicas)
    elif decode:
        draft.hints["tp"] = f"the file has {len(decode)} decode components"
    return ""


def _devices(engine: Mapping[str, Any]) -> int | None:
    """Accelerators of one component, all replicas."""
    degrees = mapping(at(engine, "accelerator.parallelism"))
    replicas = degree(engine.get("replicas")) or 1
    tp = degree(degrees.get("tp"))
    if tp is None:
        each = degree(at(engine, "accelerator.count"))
        return each * replicas if each else None
    return replicas * tp * (degree(degrees.get("pp")) or 1) * (degree(degrees.get("dp")) or 1)


def _load(draft: Draft, record: Mapping[str, Any]) -> None:
    load = mapping(at(record, "scenario.load.standardized"))
    tool = text(load.get("tool"))
    draft.environment["load_tool"] = tool
    draft.put(
        tool_version=" ".join(filter(None, (tool, text(load.get("tool_version"))))),
        concurrency=positive(load.get("concurrency")),
        request_rate=positive(load.get("rate_qps")),
    )
    requests = mapping(at(record, _REQUESTS))
    total, failed = count(requests.get("total")), count(requests.get("failures"))
    draft.put(n_samples=total)
    if failed and total:
        draft.partial.append(f"requests: {failed} of {total} failed")
    for column, name, asked in (
        ("input_tokens", "input_length", "input_seq_len"),
        ("output_tokens", "output_length", "output_seq_len"),
    ):
        # A mean of 0 is what converters write for "not recorded".
        counted = positive(at(requests, f"{name}.mean"))
        draft.put(**{column: counted or positive(at(load, f"{asked}.value"))})
        draft.keep(f"{name}.mean", counted, "tokens", "mean over requests")
    if mapping(load.get("prefix")) or mapping(load.get("multi_turn")):
        draft.notes.append("shared prefixes or several turns: part of the input was cached")


def _figures(draft: Draft, record: Mapping[str, Any]) -> None:
    tool = "".join(filter(str.isalnum, text(draft.environment.get("load_tool")).lower()))
    for column, name in _LATENCIES:
        block = mapping(at(record, f"{_LATENCY}.{name}"))
        units = text(block.get("units"))
        for key, value in leaves(block):
            draft.keep(f"{name}.{key}", value, units, statistic_of(key, "requests or tokens"))
        column, said = _meaning(column, name, tool)
        if column and block and factor_of(units, "s") is None:
            draft.partial.append(f"{column}: units {units!r:.20} of {name} are not known")
        elif column:
            draft.figure(column, block.get("mean"), units, said)
    for column, name in _RATES:
        block = mapping(at(record, f"{_THROUGHPUT}.{name}"))
        units = text(block.get("units"))
        draft.keep(f"{name}.mean", block.get("mean"), units, "over the whole run")
        if factor_of(units, "tok/s"):
            draft.figure(column, block.get("mean"), units, f"{name}, over the whole run, all GPUs")


def _meaning(column: str, name: str, tool: str) -> tuple[str, str]:
    """Column that a latency of this load generator belongs to, and its definition."""
    if column == "tpot_s":
        if not tool.startswith(_TPOT_TOOLS):
            return "", ""
        return column, "mean over requests of (E2E - TTFT) / (output tokens - 1)"
    if column == "itl_s" and tool.startswith("aiperf"):
        return "tpot_s", f"{name} of aiperf: mean over requests, TTFT left out"
    return column, f"{name} as the load generator defines it, mean"


LLMD = Importer(name="llm-d", tool="llm-d benchmark report", recognises=_recognises, drafts=_drafts)
