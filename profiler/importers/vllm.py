# SPDX-License-Identifier: Apache-2.0
"""``vllm bench serve``, ``latency``, ``throughput`` and ``forward``.

None of the four states GPU, engine version or number format; ``latency`` and
``throughput`` not even the model's name or the lengths. They come from ``--metadata`` keys
in the file (``gpu=... tp=... dtype=...``), from the ``NAME.pytorch.json`` that vLLM writes
beside ``NAME.json`` when it is told to, or from the caller.

``tokens_per_second`` of ``throughput`` counts input and output. ``latency`` times the
whole generation of a static batch: prefill and decode are not apart in it. ``forward``
times one model step without scheduler and sampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers import serving
from profiler.importers.document import Document, load_document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.values import (
    at,
    count,
    degree,
    items,
    mapping,
    moment,
    number,
    numbers,
    text,
)
from specs.errors import InvalidInputError

_METADATA = {
    "gpu_raw": ("gpu", "gpu_name", "gpu_type", "accelerator", "hardware"),
    "tp": ("tp", "tensor_parallel_size", "tp_size"),
    "pp": ("pp", "pipeline_parallel_size", "pp_size"),
    "dp": ("dp", "data_parallel_size", "dp_size"),
    "num_gpus": ("num_gpus", "gpu_count"),
    "weight_dtype": ("weight_dtype", "quantization", "dtype"),
    "kv_dtype": ("kv_dtype", "kv_cache_dtype"),
    "engine": ("engine",),
    "engine_version": ("engine_version", "vllm_version"),
}
"""Keys that people give ``--metadata`` for what the file lacks."""

_COUNTS = ("tp", "pp", "dp", "num_gpus")
_BATCH = ("batch_size",)


def _sidecar(draft: Draft, source: Mapping[str, Any]) -> None:
    """Take facts from free metadata, the caller's own words at the time of the run."""
    for column, names in _METADATA.items():
        for name in names:
            value = source.get(name)
            value = degree(value) if column in _COUNTS else text(value)
            if value:
                draft.columns.setdefault(column, value)
                break


def _is_serve(document: Document) -> bool:
    wanted = {"completed", "total_token_throughput", "request_throughput"}
    return any(wanted <= record.keys() for record in document.records)


def _serve(document: Document) -> Iterator[Draft | Refusal]:
    for at_record, record in enumerate(document.records, 1):
        where = f"record {at_record}" if len(document.records) > 1 else ""
        draft = Draft(where=where, needs=(*MODEL_RUN, *LENGTHS, *serving.SERVING))
        useless = serving.check_failures(draft, record)
        if "total_input_sequences" in record or "input_sequence_throughput" in record:
            useless = "an embedding run, which generates nothing"
        if useless:
            yield Refusal(where=where, why=useless)
            continue
        draft.put(model=text(record.get("model_id")), measured_at=moment(record.get("date")))
        _sidecar(draft, record)
        serving.put_load(draft, record)
        serving.put_lengths(draft, record)
        serving.put_latencies(draft, record)
        serving.put_rates(draft, record, output="output_throughput", total="total_token_throughput")
        serving.note_speculation(draft, record)
        draft.record(record, ("backend", "endpoint_type", "burstiness", "label", "duration"))
        yield draft


def _is_latency(document: Document) -> bool:
    record = document.single
    return {"avg_latency", "latencies", "percentiles"} <= record.keys()


def _latency(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, *_BATCH))
    draft.put(model=text(record.get("model_id")), engine="vllm", mode="static")
    _sidecar(draft, record)
    _arguments(draft, document)
    samples = numbers(record.get("latencies"))
    draft.put(samples_s=samples, n_samples=len(samples) or None)
    for name in ("avg_latency", "std_latency"):
        draft.keep(name, record.get(name), "s", statistic_of(name[:3], "iterations"))
    for name, value in mapping(record.get("percentiles")).items():
        draft.keep(f"percentiles.{name}", value, "s", statistic_of(f"p{name}", "iterations"))
    said = "mean over iterations, the whole generation of a static batch"
    draft.figure("e2e_s", record.get("avg_latency"), "s", said)
    yield draft


def _arguments(draft: Draft, document: Document) -> None:
    """Take the command line from the PyTorch-format twin of a file, where there is one."""
    twin = document.path.with_name(f"{document.path.stem}.pytorch.json")
    if not twin.is_file():
        return
    try:
        entry = load_document(twin).first
    except InvalidInputError:
        draft.notes.append(f"{twin.name} cannot be read")
        return
    arguments = mapping(at(entry, "benchmark.extra_info.args"))
    draft.columns.setdefault("model", text(arguments.get("model")) or text(at(entry, "model.name")))
    draft.put(
        input_tokens=count(arguments.get("input_len")),
        output_tokens=count(arguments.get("output_len")),
        batch_size=count(arguments.get("batch_size")),
    )
    _sidecar(draft, arguments)


def _is_throughput(document: Document) -> bool:
    wanted = {"elapsed_time", "num_requests", "total_num_tokens", "tokens_per_second"}
    return wanted <= document.single.keys()


def _throughput(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    draft = Draft()
    requests = count(record.get("num_requests"))
    draft.put(engine="vllm", mode="serving", concurrency=requests, n_samples=requests)
    draft.notes.append("offline: all requests given at once; the engine may run fewer")
    _sidecar(draft, record)
    _arguments(draft, document)
    draft.columns.pop("batch_size", None)
    for name, unit in (
        ("elapsed_time", "s"),
        ("total_num_tokens", "tokens"),
        ("requests_per_second", "req/s"),
        ("tokens_per_second", "tok/s"),
    ):
        draft.keep(name, record.get(name), unit, "over the whole run")
    said = "input and output tokens per second of all GPUs over the whole run"
    draft.figure("total_tok_s", record.get("tokens_per_second"), "tok/s", said)
    yield draft


def _is_forward(document: Document) -> bool:
    wanted = {"case", "requests", "median_us"}
    return any(wanted <= record.keys() for record in document.records)


def _forward(document: Document) -> Iterator[Draft | Refusal]:
    for record in document.records:
        yield _case(record)


def _case(record: Mapping[str, Any]) -> Draft | Refusal:
    """One batch shape: a decode step, or a prefill that starts from nothing."""
    where = f"case {text(record.get('case')) or '?'}"
    requests = [mapping(item) for item in items(record.get("requests"))]
    lengths = [(count(r.get("query_len")), number(r.get("kv_len"))) for r in requests]
    queries = [query for query, _ in lengths if query]
    contexts = [context for _, context in lengths if context is not None]
    if not requests or len(queries) < len(requests) or len(contexts) < len(requests):
        return Refusal(where=where, why="its requests lack query_len or kv_len")
    if any(count(r.get("num_draft_tokens")) for r in requests):
        return Refusal(where=where, why="has draft tokens; a row holds plain steps")
    draft = Draft(where=where, needs=MODEL_RUN)
    draft.put(engine="vllm", mode="static", batch_size=len(requests), capture="graph")
    draft.keep("median_us", record.get("median_us"), "us", "median over samples")
    step = "one model step in a CUDA graph, without scheduler and sampling"
    median_s = (number(record.get("median_us")) or 0.0) * 1e-6
    if all(query == 1 for query in queries):
        draft.put(input_tokens=sum(contexts) / len(contexts), output_tokens=1)
        draft.figure("tpot_s", median_s, "s", f"median of {step}")
    elif all(c in (0, q) for q, c in zip(queries, contexts, strict=True)):
        draft.put(input_tokens=sum(queries) / len(queries), output_tokens=0)
        draft.figure("ttft_s", median_s, "s", f"median of {step}, the prompts of the batch")
        rate = sum(queries) / median_s if median_s > 0 else 0.0
        draft.figure("prefill_tok_s", rate, "tok/s", f"prompt tokens over the median of {step}")
    else:
        return Refusal(where=where, why="mixes prefill, decode or chunks; a row holds one kind")
    return draft


SERVE = Importer(name="vllm-serve", tool="vllm bench serve", recognises=_is_serve, drafts=_serve)
LATENCY = Importer(
    name="vllm-latency", tool="vllm bench latency", recognises=_is_latency, drafts=_latency
)
THROUGHPUT = Importer(
    name="vllm-throughput",
    tool="vllm bench throughput",
    recognises=_is_throughput,
    drafts=_throughput,
)
FORWARD = Importer(
    name="vllm-forward", tool="vllm bench forward", recognises=_is_forward, drafts=_forward
)
