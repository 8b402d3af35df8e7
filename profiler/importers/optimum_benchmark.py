# SPDX-License-Identifier: Apache-2.0
"""optimum-benchmark: ``benchmark.json``, or a report with ``benchmark_config.json`` beside it.

Only ``latency`` and ``energy.gpu`` count. The tool's own ``throughput`` of ``generate`` is
labelled samples where it holds decode tokens, and its energy total and efficiency include
a modelled CPU and RAM; both are worked out anew. ``decode`` is generate minus prefill, so
decode / (new tokens - 1) is TPOT by definition. ``per_token`` mixes prefill in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers.document import Document, load_document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.values import (
    at,
    count,
    flag,
    items,
    mapping,
    number,
    numbers,
    positive,
    text,
)
from specs.errors import InvalidInputError

_TARGETS = ("prefill", "decode", "generate")
_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "stdev")
_J_PER_KWH = 3.6e6
_ENGINES = {"pytorch": "transformers", "py-txi": "tgi"}


def _is_report(value: Mapping[str, Any]) -> bool:
    return any("latency" in mapping(value.get(target)) for target in _TARGETS)


def _recognises(document: Document) -> bool:
    found = document.single
    if "config" in found and "report" in found:
        return _is_report(mapping(found["report"]))
    return _is_report(found) and "load_model" in found


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    found = document.single
    report = mapping(found.get("report")) if "report" in found else found
    config = mapping(found.get("config")) if "config" in found else _beside(document)
    if not positive(at(report, "prefill.latency.mean")):
        yield Refusal(where="", why="has no prefill latency: no text generation, or none finished")
        return
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, "batch_size"))
    draft.put(mode="static")
    _settings(draft, config)
    _latencies(draft, report)
    _energy(draft, report)
    yield draft


def _beside(document: Document) -> Mapping[str, Any]:
    """The configuration that the tool writes beside its report."""
    path = document.path.with_name("benchmark_config.json")
    if not path.is_file():
        return {}
    try:
        return load_document(path).single
    except InvalidInputError:
        return {}


def _settings(draft: Draft, config: Mapping[str, Any]) -> None:
    backend, scenario = mapping(config.get("backend")), mapping(config.get("scenario"))
    environment = mapping(config.get("environment"))
    engine = text(backend.get("name"))
    engine = _ENGINES.get(engine, engine)
    new_tokens = count(at(scenario, "generate_kwargs.max_new_tokens"))
    draft.put(
        model=text(backend.get("model")),
        engine=engine,
        engine_version=text(environment.get(f"{engine}_version")),
        tool_version=text(environment.get("optimum_benchmark_version")),
        batch_size=count(at(scenario, "input_shapes.batch_size")),
        input_tokens=positive(at(scenario, "input_shapes.sequence_length")),
        output_tokens=new_tokens,
        host_cpu=text(environment.get("cpu")),
    )
    if engine == "transformers":
        draft.put(capture="compiled" if flag(backend.get("torch_compile")) else "eager")
    _format(draft, backend)
    _devices(draft, backend, environment)
    if (number(at(scenario, "generate_kwargs.num_beams")) or 1) > 1:
        draft.notes.append("beam search")
    names = ("attn_implementation", "cache_implementation", "version", "device_map", "tp_plan")
    draft.record(backend, names)
    draft.record(environment, ("platform", "python_version", "accelerate_version"))


def _format(draft: Draft, backend: Mapping[str, Any]) -> None:
    """The number format, where a quantisation scheme does not hide it."""
    scheme = text(backend.get("quantization_scheme"))
    if scheme:
        draft.hints["weight_dtype"] = f"the file says quantization scheme {scheme!r:.30}"
        return
    draft.put(weight_dtype=text(backend.get("torch_dtype")) or text(backend.get("dtype")))


def _devices(draft: Draft, backend: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Which devices ran it: those of the machine count only if all were used."""
    device = text(backend.get("device")).partition(":")[0]
    if device == "cpu":
        draft.put(gpu_raw=text(environment.get("cpu")), num_gpus=1, tp=1)
        return
    gpus = sorted({text(name) for name in items(environment.get("gpu"))} - {""})
    if len(gpus) == 1:
        draft.put(gpu_raw=gpus[0])
    ids = backend.get("device_ids")
    used = len([part for part in str(ids).split(",") if part.strip()]) if ids is not None else 0
    used = used or (count(environment.get("gpu_count")) or 0)
    if used == 1:
        draft.put(num_gpus=1, tp=1)
    elif used > 1:
        draft.hints["tp"] = f"the file says {used} devices"


def _latencies(draft: Draft, report: Mapping[str, Any]) -> None:
    for target in _TARGETS:
        latency = mapping(at(report, f"{target}.latency"))
        for name in _STATISTICS:
            said = statistic_of(name.replace("stdev", "std"), "runs")
            draft.keep(f"{target}.latency.{name}", latency.get(name), "s", said)
    batch, prompt = draft.columns.get("batch_size"), draft.columns.get("input_tokens")
    prefill_s = number(at(report, "prefill.latency.mean"))
    decode_s = number(at(report, "decode.latency.mean"))
    draft.figure("ttft_s", prefill_s, "s", "mean over runs, prefill of the batch and first token")
    generate_s = number(at(report, "generate.latency.mean"))
    draft.figure("e2e_s", generate_s, "s", "mean over runs, generate() of the batch")
    steps = (draft.columns.get("output_tokens") or 1) - 1
    if decode_s is not None and steps > 0:
        said = "mean over runs of (generate - prefill) / (new tokens - 1)"
        draft.figure("tpot_s", decode_s / steps, "s", said)
    if batch and prompt and prefill_s:
        said = "prompt tokens of the batch over the mean prefill latency"
        draft.figure("prefill_tok_s", batch * prompt / prefill_s, "tok/s", said)
    samples = numbers(at(report, "generate.latency.values"))
    draft.put(samples_s=samples, n_samples=len(samples) or None)


def _energy(draft: Draft, report: Mapping[str, Any]) -> None:
    """Energy of the GPUs alone, and what follows from it."""
    for target in _TARGETS:
        for part in ("gpu", "cpu", "ram", "total"):
            value = at(report, f"{target}.energy.{part}")
            said = "mean over runs" + ("" if part == "gpu" else ", modelled in part")
            draft.keep(f"{target}.energy.{part}", value, "kWh", said)
    energy = positive(at(report, "generate.energy.gpu"))
    if energy is None:
        return
    energy_j = energy * _J_PER_KWH
    said = "energy.gpu of generate(): all GPUs, one batch, sampled at 1 Hz"
    draft.figure("energy_j", energy_j, "J", said)
    batch, out = draft.columns.get("batch_size"), draft.columns.get("output_tokens")
    if batch and out:
        said = "energy.gpu of generate() over the output tokens of the batch"
        draft.figure("energy_per_output_token_j", energy_j / (batch * out), "J", said)
    e2e_s, devices = draft.columns.get("e2e_s"), draft.columns.get("num_gpus")
    if e2e_s and devices:
        said = "energy.gpu over the latency of generate(), per GPU"
        draft.figure("power_w", energy_j / e2e_s / devices, "W", said)


OPTIMUM_BENCHMARK = Importer(
    name="optimum-benchmark", tool="optimum-benchmark", recognises=_recognises, drafts=_drafts
)
