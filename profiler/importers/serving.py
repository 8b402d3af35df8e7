# SPDX-License-Identifier: Apache-2.0
"""What the serving benchmarks of vLLM, SGLang and InferenceX have in common.

All three descend from one client: flat keys such as ``mean_ttft_ms``, ``p99_tpot_ms``,
``median_itl_ms``. Of these only TPOT is a mean over requests of (E2E - TTFT) / (output
tokens - 1); ITL pools every gap between chunks, and is weighted by tokens. Goodput depends
on targets that somebody chose and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from profiler.importers.draft import Draft, statistic_of
from profiler.importers.values import count, number, positive

SERVING = ("concurrency|request_rate",)
"""How hard the server was driven."""

DEFINITIONS = {
    "ttft_s": "mean over requests, request sent to first content token",
    "tpot_s": "mean over requests of (E2E - TTFT) / (output tokens - 1)",
    "itl_s": "mean of all gaps between chunks, pooled over tokens",
    "e2e_s": "mean over requests, request sent to last token",
}
_METRIC = re.compile(
    r"(?P<stat>mean|median|std|p\d+(?:\.\d+)?)_(?P<metric>ttft|tpot|itl|e2el|e2e_latency)_ms"
)
_COLUMN = {
    "ttft": "ttft_s",
    "tpot": "tpot_s",
    "itl": "itl_s",
    "e2el": "e2e_s",
    "e2e_latency": "e2e_s",
}
_RATES = (
    ("request_throughput", "req/s"),
    ("input_throughput", "tok/s"),
    ("output_throughput", "tok/s"),
    ("total_token_throughput", "tok/s"),
    ("total_throughput", "tok/s"),
    ("max_output_tokens_per_s", "tok/s"),
)


def put_latencies(draft: Draft, record: Mapping[str, Any]) -> None:
    """Fill latencies from ``STAT_METRIC_ms`` keys, and keep every statistic of them."""
    for name, value in record.items():
        match = _METRIC.fullmatch(name) if isinstance(name, str) else None
        if match is None or number(value) is None:
            continue
        over = "all gaps" if match["metric"] == "itl" else "requests"
        draft.keep(name, value, "ms", statistic_of(match["stat"], over))
        if match["stat"] == "mean":
            column = _COLUMN[match["metric"]]
            draft.figure(column, value, "ms", DEFINITIONS[column])


def put_rates(draft: Draft, record: Mapping[str, Any], *, output: str, total: str) -> None:
    """Fill throughputs from the keys `output` and `total`, and keep all rates."""
    for name, unit in _RATES:
        draft.keep(name, record.get(name), unit, "over the whole run")
    said = "tokens per second of all GPUs over the whole run"
    draft.figure("decode_tok_s", record.get(output), "tok/s", f"output {said}")
    draft.figure("total_tok_s", record.get(total), "tok/s", f"input and output {said}")


def put_lengths(draft: Draft, record: Mapping[str, Any]) -> None:
    """Fill mean lengths and the number of requests from totals."""
    completed = count(record.get("completed"))
    draft.put(n_samples=completed)
    for column, name in (
        ("input_tokens", "total_input_tokens"),
        ("output_tokens", "total_output_tokens"),
    ):
        total = positive(record.get(name))
        draft.keep(name, record.get(name), "tokens", "sum over requests")
        if completed and total:
            draft.put(**{column: total / completed})


def put_load(draft: Draft, record: Mapping[str, Any]) -> None:
    """Fill concurrency and request rate; without either, all requests were sent at once."""
    rate, concurrency = positive(record.get("request_rate")), count(record.get("max_concurrency"))
    draft.put(mode="serving", request_rate=rate, concurrency=concurrency)
    sent = count(record.get("num_prompts")) or count(record.get("completed"))
    unlimited = str(record.get("request_rate", "")).strip().lower() in ("inf", "infinity")
    if rate is None and concurrency is None and unlimited and sent:
        draft.put(concurrency=sent)
        draft.notes.append(f"all {sent} requests sent at once; the engine may run fewer")


def check_failures(draft: Draft, record: Mapping[str, Any]) -> str:
    """Mark failed requests; return why the run is useless, if it is."""
    completed, sent = count(record.get("completed")), count(record.get("num_prompts"))
    if completed is None:
        return "no request completed"
    failed = count(record.get("failed")) or (sent - completed if sent and sent > completed else 0)
    if failed:
        draft.partial.append(f"requests: {failed} of {completed + failed} failed")
    return ""


def note_speculation(draft: Draft, record: Mapping[str, Any]) -> None:
    """Say that tokens were guessed ahead: times per token are then not those of a step."""
    for name, value in record.items():
        if not isinstance(name, str):
            continue
        if name.startswith("spec_decode_") or name == "accept_length":
            found = number(value)
            if found:
                draft.environment[name] = found
    if any(name.startswith("spec_decode_") for name in draft.environment) or (
        draft.environment.get("accept_length", 1.0) > 1.0
    ):
        draft.notes.append("speculative decoding was on")
