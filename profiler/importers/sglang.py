# SPDX-License-Identifier: Apache-2.0
"""SGLang's static and serving benchmarks; old and new module paths write the same JSONL.

``bench_one_batch`` times phases apart at fixed shapes. Its median decode step is no TPOT;
(total - prefill) / (output - 1) is one by definition, and both times are in the file. The
files name no GPU; serving files carry the server's arguments under ``server_info``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers import serving
from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal
from profiler.importers.values import at, count, degree, mapping, number, positive, text

_SHAPE = {"batch_size", "input_len", "output_len"}
_ONE_BATCH = (
    ("prefill_latency", "s", "one sample"),
    ("prefill_throughput", "tok/s", "one sample"),
    ("median_decode_latency", "s", "median over decode steps"),
    ("median_decode_throughput", "tok/s", "median over decode steps"),
    ("total_latency", "s", "one sample"),
    ("overall_throughput", "tok/s", "one sample"),
)
_SERVER = (
    ("latency", "s", "one batch"),
    ("input_throughput", "tok/s", "one batch"),
    ("output_throughput", "tok/s", "one batch, without the time to first token"),
    ("overall_throughput", "tok/s", "one batch"),
    ("last_ttft", "s", "until all requests have their first token"),
    ("last_gen_throughput", "tok/s", "as the server logs it"),
)


def _any(document: Document, wanted: set[str]) -> bool:
    return any(wanted <= record.keys() for record in document.records)


def _records(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records, and where each stands if there are several."""
    several = len(document.records) > 1
    for number_of, record in enumerate(document.records, 1):
        yield (f"record {number_of}" if several else ""), record


def _static(
    document: Document, figures: tuple[tuple[str, str, str], ...]
) -> Iterator[tuple[Draft, Mapping[str, Any]]]:
    """Drafts of static batches with what all have, and `figures` as the file names them."""
    for where, record in _records(document):
        draft = Draft(where=where, needs=(*MODEL_RUN, *LENGTHS, "batch_size"))
        draft.put(
            engine="sglang",
            mode="static",
            batch_size=count(record.get("batch_size")),
            input_tokens=positive(record.get("input_len")),
            output_tokens=positive(record.get("output_len")),
            n_samples=1,
        )
        draft.record(record, ("run_name", "acc_length", "cache_hit_rate", "num_early_stopped"))
        for name, unit, statistic in figures:
            draft.keep(name, record.get(name), unit, statistic)
        yield draft, record


def _one_batch(document: Document) -> Iterator[Draft | Refusal]:
    for draft, record in _static(document, _ONE_BATCH):
        prefill, total = number(record.get("prefill_latency")), number(record.get("total_latency"))
        draft.figure("ttft_s", prefill, "s", "prefill of the batch, first token sampled")
        draft.figure("e2e_s", total, "s", "prefill and all decode steps of the batch")
        steps = (positive(record.get("output_len")) or 1.0) - 1.0
        if steps > 0 and prefill is not None and total is not None:
            said = "(total_latency - prefill_latency) / (output_len - 1)"
            draft.figure("tpot_s", (total - prefill) / steps, "s", said)
        said = "prompt tokens of the batch over prefill_latency"
        draft.figure("prefill_tok_s", record.get("prefill_throughput"), "tok/s", said)
        said = "input and output tokens over total_latency"
        draft.figure("total_tok_s", record.get("overall_throughput"), "tok/s", said)
        yield draft


def _one_batch_server(document: Document) -> Iterator[Draft | Refusal]:
    for draft, record in _static(document, _SERVER):
        said = "one batch, all requests sent to last token, through the server"
        draft.figure("e2e_s", record.get("latency"), "s", said)
        said = "prompt tokens of the batch until all requests have a first token"
        draft.figure("prefill_tok_s", record.get("input_throughput"), "tok/s", said)
        said = "input and output tokens of the batch over its latency"
        draft.figure("total_tok_s", record.get("overall_throughput"), "tok/s", said)
        yield draft


def _server(draft: Draft, record: Mapping[str, Any]) -> None:
    """Take what the server says of itself."""
    info = mapping(record.get("server_info"))
    backend = text(record.get("backend")).lower()
    if backend.startswith(("sglang", "vllm")):
        draft.put(engine="sglang" if backend.startswith("sglang") else "vllm")
    draft.put(
        model=text(info.get("model_path")),
        engine_version=text(info.get("version")),
        tp=degree(info.get("tp_size")),
        pp=degree(info.get("pp_size")),
        ep=degree(info.get("ep_size")),
        dp=degree(info.get("dp_size")),
        weight_dtype=text(info.get("quantization")) or text(info.get("dtype")),
        kv_dtype=text(info.get("kv_cache_dtype")),
    )
    tp, pp = degree(info.get("tp_size")), degree(info.get("pp_size")) or 1
    if tp and info.get("enable_dp_attention") is True:
        draft.put(num_gpus=tp * pp)  # the replicas of attention share the TP group
    if at(info, "disable_cuda_graph") is True:
        draft.put(capture="eager")
    draft.record(info, ("chunked_prefill_size", "mem_fraction_static", "attention_backend"))
    draft.record(record, ("backend", "dataset_name", "duration", "random_range_ratio", "tag"))


def _serving(document: Document) -> Iterator[Draft | Refusal]:
    for where, record in _records(document):
        draft = Draft(where=where, needs=(*MODEL_RUN, *LENGTHS, *serving.SERVING))
        useless = serving.check_failures(draft, record)
        if useless:
            yield Refusal(where=where, why=useless)
            continue
        _server(draft, record)
        serving.put_load(draft, record)
        serving.put_lengths(draft, record)
        serving.put_latencies(draft, record)
        serving.put_rates(draft, record, output="output_throughput", total="total_throughput")
        serving.note_speculation(draft, record)
        draft.keep("concurrency", record.get("concurrency"), "", "mean over the run")
        yield draft


def _offline(document: Document) -> Iterator[Draft | Refusal]:
    for where, record in _records(document):
        draft = Draft(where=where)
        requests = count(record.get("successful_requests"))
        if requests is None:
            yield Refusal(where=where, why="no request completed")
            continue
        _server(draft, record)
        draft.columns.setdefault("engine", "sglang")
        draft.put(mode="serving", concurrency=requests)
        serving.put_lengths(draft, {**record, "completed": requests})
        draft.notes.append("offline: all requests given at once; the engine may run fewer")
        draft.keep("total_latency", record.get("total_latency"), "s", "over the whole run")
        serving.put_rates(draft, record, output="output_throughput", total="total_throughput")
        yield draft


ONE_BATCH = Importer(
    name="sglang-one-batch",
    tool="sglang bench_one_batch",
    recognises=lambda document: _any(document, {*_SHAPE, "prefill_latency", "total_latency"}),
    drafts=_one_batch,
)
ONE_BATCH_SERVER = Importer(
    name="sglang-one-batch-server",
    tool="sglang bench_one_batch_server",
    recognises=lambda document: _any(document, {*_SHAPE, "latency", "input_throughput"}),
    drafts=_one_batch_server,
)
SERVING = Importer(
    name="sglang-serving",
    tool="sglang bench_serving",
    recognises=lambda document: _any(document, {"completed", "mean_e2e_latency_ms", "backend"}),
    drafts=_serving,
)
OFFLINE = Importer(
    name="sglang-offline",
    tool="sglang bench_offline_throughput",
    recognises=lambda document: _any(
        document, {"successful_requests", "total_latency", "total_throughput"}
    ),
    drafts=_offline,
)
