# SPDX-License-Identifier: Apache-2.0
"""genai-perf's ``profile_export_genai_perf.json``, and what aiperf's file shares with it.

Every metric states its unit, and the unit counts. ``inter_token_latency`` of both tools is
a mean over requests of (E2E - TTFT) / (output tokens - 1): TPOT by definition, under
another name. Telemetry lists every GPU of the machine, idle ones too, so power is filled
only where it lists as many GPUs as took part. Its ``energy_consumption`` is a counter since
the driver was loaded, in megajoules (MJ, not mJ): kept as it is, never made into joules per
token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.values import at, count, factor_of, items, mapping, positive, text

METRICS = (
    ("ttft_s", "time_to_first_token", "s", "mean over requests, sent to first token"),
    (
        *("tpot_s", "inter_token_latency", "s"),
        "mean over requests of (E2E - TTFT) / (output tokens - 1)",
    ),
    ("e2e_s", "request_latency", "s", "mean over requests, sent to last token"),
    ("decode_tok_s", "output_token_throughput", "tok/s", "output tokens per second, all GPUs"),
    ("total_tok_s", "total_token_throughput", "tok/s", "input and output tokens per second"),
)
_LENGTHS = (
    ("input_tokens", "input_sequence_length"),
    ("output_tokens", "output_sequence_length"),
)
_ONLY_KEPT = (
    *("time_to_second_token", "request_throughput", "output_token_throughput_per_user"),
    *("inter_chunk_latency", "input_sequence_length", "output_sequence_length"),
)
_STATISTICS = ("avg", "min", "max", "std", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95")


def is_metric(value: Any) -> bool:
    """Whether `value` is a statistics block of either tool."""
    return "unit" in mapping(value) and "avg" in mapping(value)


def put_metrics(draft: Draft, record: Mapping[str, Any]) -> None:
    """Fill latencies, rates and lengths, and keep every statistic of them."""
    for name in (*(metric[1] for metric in METRICS), *_ONLY_KEPT):
        block = mapping(record.get(name))
        for key in (*_STATISTICS, "p99"):
            said = statistic_of(key, "requests")
            draft.keep(f"{name}.{key}", block.get(key), text(block.get("unit")), said)
    for column, name, target, said in METRICS:
        block = mapping(record.get(name))
        unit = text(block.get("unit"))
        if block and factor_of(unit, target) is None:
            draft.partial.append(f"{column}: unit {unit!r:.20} of {name} is not known")
        elif block:
            draft.figure(column, block.get("avg"), unit, f"{name}: {said}")
    for column, name in _LENGTHS:
        draft.put(**{column: positive(at(record, f"{name}.avg"))})
    draft.put(n_samples=count(at(record, "request_count.avg")))


def put_power(draft: Draft, powers: Iterable[Any], *, name: str) -> None:
    """Fill mean power per GPU, to be dropped where the number of GPUs differs."""
    watts = [positive(power) for power in powers]
    known = [power for power in watts if power is not None]
    for index, power in enumerate(known):
        draft.keep(f"{name}.gpu{index}", power, "W", "mean over the run")
    if known:
        draft.environment["telemetry_gpus"] = len(known)
        said = f"{name}: mean over the run and over the {len(known)} GPUs of the telemetry"
        draft.figure("power_w", sum(known) / len(known), "W", said)


def _recognises(document: Document) -> bool:
    record = document.single
    return (
        is_metric(record.get("request_latency"))
        and "input_config" in record
        and "aiperf_version" not in record
        and not {"run_info", "was_cancelled", "telemetry_data"} & record.keys()
    )


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, "concurrency|request_rate"))
    config = mapping(record.get("input_config"))
    stimulus = mapping(at(config, "perf_analyzer.stimulus"))
    names = items(config.get("model")) or items(config.get("model_names"))
    names = names or items(at(config, "endpoint.model_names"))
    draft.put(
        mode="serving",
        model=text(config.get("model")) or (text(names[0]) if len(names) == 1 else ""),
        concurrency=count(config.get("concurrency")) or count(stimulus.get("concurrency")),
        request_rate=positive(config.get("request_rate")) or positive(stimulus.get("request_rate")),
    )
    put_metrics(draft, record)
    usage = mapping(at(record, "telemetry_stats.gpu_power_usage"))
    if text(usage.get("unit")) == "W":
        gpus = [block.get("avg") for block in usage.values() if isinstance(block, Mapping)]
        put_power(draft, gpus, name="gpu_power_usage")
    energy = mapping(at(record, "telemetry_stats.energy_consumption"))
    for key, block in energy.items():
        if isinstance(block, Mapping):
            unit, said = text(energy.get("unit")), "counter since the driver was loaded"
            draft.keep(f"energy_consumption.{key}", block.get("avg"), unit, said)
    yield draft


GENAI_PERF = Importer(name="genai-perf", tool="genai-perf", recognises=_recognises, drafts=_drafts)
