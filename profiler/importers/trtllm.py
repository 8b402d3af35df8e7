# SPDX-License-Identifier: Apache-2.0
"""trtllm-bench ``--report_json``: the one report that states hardware and parallelism.

``avg_tpot_ms`` is a mean over requests of generation time / (tokens - 1), TTFT left out;
``streaming_metrics`` exist only for streaming runs. The concurrency is the mean that was
counted, since the file does not hold the one that was asked for. Power and energy (newer
versions) are filled for one GPU only: of several the report does not say whether
``average_gpu_power`` is of one or of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal
from profiler.importers.values import at, count, degree, leaves, mapping, positive, text

_FIGURES = (
    ("ttft_s", "streaming_metrics.avg_ttft_ms", "ms", "mean over requests, to first token"),
    (
        *("tpot_s", "streaming_metrics.avg_tpot_ms", "ms"),
        "mean over requests of generation time / (output tokens - 1)",
    ),
    ("e2e_s", "performance.avg_request_latency_ms", "ms", "mean over requests, to last token"),
    (
        *("decode_tok_s", "performance.system_output_throughput_tok_s", "tok/s"),
        "output tokens over the time from first request to last, all GPUs",
    ),
    (
        *("total_tok_s", "performance.system_total_throughput_tok_s", "tok/s"),
        "input and output tokens over the time from first request to last, all GPUs",
    ),
)
_PERCENTILES = (
    ("performance.request_latency_percentiles_ms", "ms"),
    ("streaming_metrics.ttft_percentiles", "ms"),
    ("streaming_metrics.tpot_percentiles", "ms"),
)
_FORMATS = {"W4A16_AWQ": "awq-int4", "W4A16_GPTQ": "gptq-int4", "W8A16": "int8", "W4A16": "int4"}


def _recognises(document: Document) -> bool:
    record = document.single
    return all(mapping(record.get(key)) for key in ("engine", "world_info", "performance"))


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    engine, world = mapping(record.get("engine")), mapping(record.get("world_info"))
    requests = mapping(record.get("request_info"))
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, "concurrency|request_rate"))
    version, quantisation = text(engine.get("version")), text(engine.get("quantization"))
    draft.put(
        gpu_raw=text(at(record, "machine.name")),
        model=text(engine.get("model")),
        engine="trtllm",
        engine_version=version,
        tool_version=version,
        weight_dtype=_FORMATS.get(quantisation, quantisation) or text(engine.get("dtype")),
        kv_dtype=text(engine.get("kv_cache_dtype")),
        num_gpus=degree(world.get("world_size")),
        tp=degree(world.get("tp_size")),
        pp=degree(world.get("pp_size")),
        ep=degree(world.get("ep_size")),
        mode="serving",
        concurrency=positive(requests.get("avg_num_concurrent_requests")),
        input_tokens=positive(requests.get("avg_input_length")),
        output_tokens=positive(requests.get("avg_output_length")),
        n_samples=count(requests.get("num_requests")),
    )
    for column, path, unit, said in _FIGURES:
        draft.figure(column, at(record, path), unit, said)
    _keep(draft, record)
    _energy(draft, record)
    if mapping(record.get("decoding_stats")):
        draft.notes.append("speculative decoding was on")
        draft.record(mapping(record.get("decoding_stats")), ("mode",))
    draft.record(engine, ("backend",))
    draft.record(world, ("max_batch_size", "max_num_tokens", "scheduling_policy"))
    yield draft


def _keep(draft: Draft, record: Mapping[str, Any]) -> None:
    for part in ("performance", "streaming_metrics"):
        for name, value in leaves(mapping(record.get(part))):
            draft.keep(f"{part}.{name}", value, _unit(name), "mean, or over the whole run")
    for path, unit in _PERCENTILES:
        for name, value in leaves(mapping(at(record, path))):
            draft.keep(f"{path}.{name}", value, unit, f"{name} over requests")


def _energy(draft: Draft, record: Mapping[str, Any]) -> None:
    energy = mapping(record.get("energy"))
    for name, unit in (("total_energy_j", "J"), ("average_gpu_power", "W")):
        draft.keep(f"energy.{name}", energy.get(name), unit, "over the whole run")
    if draft.columns.get("num_gpus") != 1:
        return
    said = "average_gpu_power over the whole run"
    draft.figure("power_w", energy.get("average_gpu_power"), "W", said)
    requests, out = draft.columns.get("n_samples"), draft.columns.get("output_tokens")
    total_j = positive(energy.get("total_energy_j"))
    if requests and out and total_j:
        said = "total_energy_j over num_requests times avg_output_length"
        draft.figure("energy_per_output_token_j", total_j / (requests * out), "J", said)


def _unit(name: str) -> str:
    """Unit that a name ends in."""
    for ending, unit in (("_ms", "ms"), ("_tok_s", "tok/s"), ("_req_s", "req/s"), ("_s", "s")):
        if name.endswith(ending):
            return unit
    return ""


TRTLLM = Importer(name="trtllm-bench", tool="trtllm-bench", recognises=_recognises, drafts=_drafts)
