# SPDX-License-Identifier: Apache-2.0
"""GuideLLM ``benchmarks.json``, metadata versions 1 and 2.

``time_per_output_token_ms`` is (last token - start) / output tokens: it includes TTFT and
is no TPOT. ``inter_token_latency_ms`` leaves TTFT out, and is weighted by each request's
tokens, so it is the pooled ITL. ``request_latency`` is in seconds, the rest in ms. Only
requests that succeeded count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.values import at, count, items, mapping, moment, number, positive, text

_LATENCIES = (
    ("ttft_s", "time_to_first_token_ms", "ms", "requests", "request start to first token"),
    ("itl_s", "inter_token_latency_ms", "ms", "tokens", "(last - first token) / (tokens - 1)"),
    ("e2e_s", "request_latency", "s", "requests", "request start to last token"),
    ("", "time_per_output_token_ms", "ms", "tokens", "includes TTFT"),
)
_RATES = (
    ("decode_tok_s", "output_tokens_per_second", "tok/s"),
    ("total_tok_s", "tokens_per_second", "tok/s"),
    ("", "requests_per_second", "req/s"),
    ("", "request_concurrency", ""),
)
_VERSIONS = (1, 2)
_STATISTICS = ("mean", "median", "std_dev")


def _recognises(document: Document) -> bool:
    return any(
        "time_to_first_token_ms" in mapping(mapping(item).get("metrics"))
        for item in items(document.single.get("benchmarks"))
    )


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    report = document.single
    for index, item in enumerate(items(report.get("benchmarks"))):
        benchmark = mapping(item)
        metrics = mapping(benchmark.get("metrics"))
        where = f"benchmarks[{index}]"
        totals = mapping(metrics.get("request_totals"))
        done = count(totals.get("successful")) or count(
            at(metrics, "time_to_first_token_ms.successful.count")
        )
        if done is None:
            yield Refusal(where=where, why="no request completed")
            continue
        draft = Draft(where=where, needs=(*MODEL_RUN, *LENGTHS, "concurrency|request_rate"))
        draft.put(mode="serving", n_samples=done, measured_at=moment(benchmark.get("start_time")))
        errored = count(totals.get("errored"))
        if errored:
            draft.partial.append(f"requests: {errored} of {errored + done} failed")
        _settings(draft, report, benchmark)
        _lengths(draft, metrics)
        _figures(draft, metrics)
        yield draft


def _settings(draft: Draft, report: Mapping[str, Any], benchmark: Mapping[str, Any]) -> None:
    config = mapping(report.get("config")) or mapping(report.get("args"))
    draft.put(
        tool_version=text(at(report, "metadata.guidellm_version")),
        model=text(config.get("model"))
        or text(at(config, "backend.model"))
        or text(at(benchmark, "config.backend.model")),
    )
    version = number(at(report, "metadata.version"))
    if version is not None:
        draft.environment["metadata_version"] = version
        if version not in _VERSIONS:
            draft.notes.append(f"metadata version {version:g} is newer than this importer")
    own = mapping(benchmark.get("config"))
    strategy = mapping(own.get("strategy")) or mapping(own.get("profile"))
    kind = text(strategy.get("type_")) or text(strategy.get("kind")) or text(strategy.get("type"))
    streams = strategy.get("streams", strategy.get("max_concurrency"))
    if kind == "synchronous":
        draft.put(concurrency=1)
    elif kind == "concurrent":
        values = items(streams)
        draft.put(concurrency=count(values[0] if len(values) == 1 else streams))
    rate = positive(strategy.get("rate"))
    if kind in ("constant", "poisson", "async"):
        draft.put(request_rate=rate)
    if kind:
        draft.environment["strategy"] = kind
    if kind == "throughput":
        mean = positive(_value(benchmark, "request_concurrency", "mean"))
        draft.put(concurrency=mean)
        draft.notes.append("throughput strategy: concurrency is the mean that was counted")


def _value(benchmark: Mapping[str, Any], metric: str, statistic: str) -> Any:
    return at(benchmark, f"metrics.{metric}.successful.{statistic}")


def _lengths(draft: Draft, metrics: Mapping[str, Any]) -> None:
    for column, name in (
        ("input_tokens", "prompt_token_count"),
        ("output_tokens", "output_token_count"),
    ):
        mean = at(metrics, f"{name}.successful.mean")
        draft.put(**{column: positive(mean)})
        draft.keep(name, mean, "tokens", "mean over requests")


def _figures(draft: Draft, metrics: Mapping[str, Any]) -> None:
    for column, name, unit, over, said in _LATENCIES:
        block = mapping(at(metrics, f"{name}.successful"))
        for key in _STATISTICS:
            statistic = f"{statistic_of(key.replace('_dev', ''), over)}; {said}"
            draft.keep(f"{name}.{key}", block.get(key), unit, statistic)
        for key, value in mapping(block.get("percentiles")).items():
            draft.keep(f"{name}.{key}", value, unit, f"{statistic_of(str(key), over)}; {said}")
        if column:
            draft.figure(column, block.get("mean"), unit, f"mean over {over}, {said}")
    for column, name, unit in _RATES:
        mean = at(metrics, f"{name}.successful.mean")
        draft.keep(f"{name}.mean", mean, unit, "mean over the run")
        if column:
            draft.figure(column, mean, unit, f"{name}, mean over the run, all GPUs")


GUIDELLM = Importer(name="guidellm", tool="guidellm", recognises=_recognises, drafts=_drafts)
