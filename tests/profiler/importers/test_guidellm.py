# SPDX-License-Identifier: Apache-2.0
import pytest

FACTS = {
    "gpu": "L40S",
    "engine": "vllm",
    "engine_version": "0.9.0",
    "tp": 1,
    "weight_dtype": "fp8",
}


def metric(mean, **more):
    summary = {"mean": mean, "median": mean, "std_dev": 0.0, "count": 50, **more}
    return {"successful": summary, "incomplete": {}, "errored": {}, "total": summary}


METRICS = {
    "request_totals": {"successful": 50, "incomplete": 0, "errored": 0, "total": 50},
    "requests_per_second": metric(2.0),
    "request_concurrency": metric(7.9),
    "request_latency": metric(2.6, percentiles={"p99": 3.0}),
    "prompt_token_count": metric(256.0),
    "output_token_count": metric(128.0),
    "time_to_first_token_ms": metric(60.0),
    "time_per_output_token_ms": metric(20.3),
    "inter_token_latency_ms": metric(20.0),
    "output_tokens_per_second": metric(256.0),
    "tokens_per_second": metric(768.0),
}
BENCHMARK = {
    "config": {"strategy": {"type_": "concurrent", "streams": 8}},
    "metrics": METRICS,
    "start_time": 1_769_860_800.0,
    "duration": 25.0,
}
REPORT = {
    "metadata": {"version": 2, "guidellm_version": "0.7.3"},
    "config": {"model": "Qwen/Qwen3-8B"},
    "benchmarks": [BENCHMARK],
}


def test_no_tpot_is_made_of_what_guidellm_calls_so(one, raw):
    row = one(REPORT, **FACTS)
    assert (row.method, row.tool_version) == ("guidellm", "0.7.3")
    assert row.tpot_s is None  # (60 + 127 * 20) / 128 = 20.3 ms: it includes TTFT
    assert raw(row)["time_per_output_token_ms.mean"].value == 20.3
    assert "includes TTFT" in raw(row)["time_per_output_token_ms.mean"].statistic
    assert row.itl_s == pytest.approx(0.020)
    assert row.ttft_s == pytest.approx(0.060)
    assert row.e2e_s == 2.6  # seconds in the file, unlike the rest
    assert (row.decode_tok_s, row.total_tok_s) == (256, 768)
    assert (row.input_tokens, row.output_tokens, row.concurrency) == (256, 128, 8)
    assert row.measured_at == "2026-01-31T12:00:00Z"
    assert raw(row)["request_latency.p99"].value == 3.0


def test_a_sweep_gives_a_row_for_each_benchmark(read):
    constant = {**BENCHMARK, "config": {"strategy": {"type_": "constant", "rate": 2.5}}}
    alone = {**BENCHMARK, "config": {"strategy": {"type_": "synchronous"}}}
    flat = {**BENCHMARK, "config": {"strategy": {"type_": "throughput"}}}
    found = read({**REPORT, "benchmarks": [constant, alone, flat]}, **FACTS)
    loads = [(row.request_rate, row.concurrency) for row in found.rows]
    assert loads == [(2.5, None), (None, 1), (None, 7.9)]
    assert found.rows[1].source_ref == "results.json, benchmarks[1]"
    assert "mean that was counted" in found.rows[2].notes


def test_version_one_keeps_its_settings_under_args(one):
    report = {"metadata": {"version": 1}, "args": {"model": "gpt2"}, "benchmarks": [BENCHMARK]}
    assert one(report, **FACTS).model == "openai-community/gpt2"


def test_benchmarks_without_a_success_are_refused_and_errors_told(read):
    none = {**BENCHMARK, "metrics": {**METRICS, "request_totals": {"successful": 0}}}
    none["metrics"]["time_to_first_token_ms"] = {"successful": {"count": 0}}
    some = {**METRICS, "request_totals": {"successful": 40, "errored": 10}}
    found = read({**REPORT, "benchmarks": [none, {**BENCHMARK, "metrics": some}]}, **FACTS)
    assert found.refused == ("benchmarks[0]: no request completed",)
    assert found.rows[0].quality == "partial"
    assert "10 of 50" in found.rows[0].reason
