# SPDX-License-Identifier: Apache-2.0
import copy

import pytest


def stat(mean, units, **more):
    return {"units": units, "mean": mean, **more}


def engine(role="replica", replicas=2, **more):
    accelerator = {
        "model": "NVIDIA-H100-80GB-HBM3",
        "count": 8,
        "parallelism": {"dp": 1, "tp": 8, "pp": 1, "ep": 1},
    }
    standardized = {
        "kind": "inference_engine",
        "tool": "vllm",
        "tool_version": "vllm/vllm-openai:v0.11.0",
        "role": role,
        "replicas": replicas,
        "model": {"name": "Qwen/Qwen3-0.6B"},
        "accelerator": accelerator,
    }
    return {"metadata": {"label": role}, "standardized": {**standardized, **more}}


LATENCY = {
    "time_to_first_token": stat(0.05, "s", p99=0.08),
    "time_per_output_token": stat(9.0, "ms/token"),
    "inter_token_latency": stat(0.0085, "s/token"),
    "request_latency": stat(9.0, "s"),
}
LOAD = {
    "tool": "vllm-benchmark",
    "tool_version": "0.11.0",
    "rate_qps": 10.0,
    "concurrency": float("inf"),
    "input_seq_len": {"distribution": "fixed", "value": 2148},
    "output_seq_len": {"distribution": "fixed", "value": 1000},
}
REPORT = {
    "version": "0.2.1",
    "run": {"uid": "u", "time": {"end": "2026-01-31T12:00:00Z"}},
    "scenario": {
        "stack": [engine(), {"standardized": {"kind": "generic", "tool": "router"}}],
        "load": {"standardized": LOAD},
    },
    "results": {
        "request_performance": {
            "aggregate": {
                "requests": {
                    "total": 500,
                    "failures": 0,
                    "input_length": stat(2262.5, "count"),
                    "output_length": stat(0.0, "count"),
                },
                "latency": LATENCY,
                "throughput": {
                    "output_token_rate": stat(5000.0, "tokens/s"),
                    "total_token_rate": stat(16_000.0, "tokens/s"),
                },
            }
        }
    },
}


def report(**load):
    made = copy.deepcopy(REPORT)
    made["scenario"]["load"]["standardized"].update(load)
    return made


def test_report_by_hand(one, raw):
    row = one(report(), weight_dtype="bf16")
    assert (row.method, row.tool_version) == ("llm-d", "vllm-benchmark 0.11.0")
    assert (row.engine, row.engine_version) == ("vllm", "v0.11.0")
    assert (row.gpu, row.model) == ("h100-sxm5-80gb", "Qwen/Qwen3-0.6B")
    assert (row.tp, row.dp, row.num_gpus) == (8, 2, 16)  # two replicas of eight
    assert (row.request_rate, row.concurrency) == (10, None)
    assert row.input_tokens == 2262.5  # counted
    assert row.output_tokens == 1000  # asked: a mean of 0 means "not recorded"
    assert row.ttft_s == 0.05
    assert row.tpot_s == pytest.approx(0.009)  # the units say ms
    assert row.itl_s == pytest.approx(0.0085)
    assert row.e2e_s == 9
    assert (row.decode_tok_s, row.total_tok_s) == (5000, 16_000)
    assert raw(row)["time_to_first_token.p99"].value == 0.08
    assert row.measured_at == "2026-01-31T12:00:00Z"


def test_the_same_in_yaml(read, write):
    yaml = pytest.importorskip("yaml")
    path = write(yaml.safe_dump(report()), "br.yaml")
    (row,) = read(path, weight_dtype="bf16").rows
    assert row.tpot_s == pytest.approx(0.009)


def test_tpot_depends_on_who_measured(one):
    row = one(report(tool="guidellm"), weight_dtype="bf16")
    assert row.tpot_s is None
    assert row.itl_s == pytest.approx(0.0085)
    row = one(report(tool="aiperf"), weight_dtype="bf16")
    assert row.tpot_s == pytest.approx(0.0085)
    assert row.itl_s is None


def test_prefill_and_decode_apart(one):
    made = report()
    made["scenario"]["stack"] = [engine("prefill", 4), engine("decode", 1)]
    row = one(made, weight_dtype="bf16")
    assert (row.mode, row.num_gpus, row.tp, row.dp) == ("disagg", 40, 8, 1)


def test_llm_d_does_not_say_which_engine(read):
    made = report()
    made["scenario"]["stack"] = [engine(tool="llm-d", tool_version="ghcr.io/llm-d/x:0.3.1")]
    (why,) = read(made).refused
    assert why == "missing: --engine, --engine-version, --weight-dtype"


def test_other_versions_and_mixed_stacks_are_refused(read):
    found = read({**report(), "version": "0.1"})
    assert "version 0.1" in found.refused[0]
    made = report()
    other = engine()
    other["standardized"]["model"] = {"name": "gpt2"}
    made["scenario"]["stack"].append(other)
    assert "several devices or models" in read(made).refused[0]


def test_unknown_units_leave_the_cell_empty(one):
    made = report()
    latency = made["results"]["request_performance"]["aggregate"]["latency"]
    latency["time_to_first_token"]["units"] = "furlongs"
    row = one(made, weight_dtype="bf16")
    assert row.ttft_s is None
    assert "furlongs" in row.reason
