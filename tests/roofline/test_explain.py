# SPDX-License-Identifier: Apache-2.0
import pytest

import roofline
from calibration.correct import shipped
from roofline.explain import explain

LLAMA = "meta-llama/Llama-3.1-8B"
STATIC = [
    (LLAMA, "RTX 4090", {"batch": 1}),
    (LLAMA, "RTX 4090", {"batch": 4, "engine": "transformers"}),
    (LLAMA, "L4", {"engine": "ideal", "batch": 16, "input_len": 3000}),
    (LLAMA, "L4", {"batch": 8, "input_len": 5000, "power_limit_w": 40.0}),
    (LLAMA, "L4", {"batch": 2, "cached_len": 300}),
    (LLAMA, "M3 Max 40", {"engine": "llama.cpp", "weight_dtype": "q4_k_m"}),
    ("meta-llama/Llama-3.1-70B", "A100 SXM4 80GB", {"tp": 4, "pp": 2, "input_len": 9000}),
    ("Qwen/Qwen3-30B-A3B", "H200", {"tp": 2, "dp": 2, "ep": 4, "batch": 64}),
    ("deepseek-ai/DeepSeek-R1", "H200", {"tp": 8, "engine": "sglang", "batch": 32}),
    ("google/gemma-4-26B-A4B", "H200", {"input_len": 4096}),
    ("nvidia/Nemotron-H-56B-Base-8K", "H200", {"batch": 4}),
    ("google/flan-t5-xl", "L4", {"batch": 2}),
    ("openai/whisper-large-v3", "L4", {"input_len": 1500}),
]


@pytest.mark.parametrize(("model", "gpu", "asked"), STATIC)
def test_operators_add_up_to_the_prediction(model, gpu, asked):
    explanation = explain(model, gpu, **asked)
    estimate, prefill, decode = explanation.estimate, explanation.prefill, explanation.decode
    assert sum(row.time_s for row in prefill.operators) == pytest.approx(estimate.ttft_s, rel=1e-9)
    assert sum(row.time_s for row in decode.operators) == pytest.approx(estimate.tpot_s, rel=1e-9)
    # Nothing is left over for other requests: there are none in a static batch.
    assert all(row.kind != "queueing" for row in (*prefill.operators, *decode.operators))
    assert all(row.time_s >= 0.0 for row in (*prefill.operators, *decode.operators))


CORRECTED = [
    *STATIC,
    (LLAMA, "H100", {"engine": "sglang", "batch": 4, "power_limit_w": 350.0}),
    (LLAMA, "H100", {"batch": 512, "power_limit_w": 250.0, "input_len": 64}),
    ("meta-llama/Llama-3.1-70B", "A100 SXM4 80GB", {"tp": 2, "pp": 4, "power_limit_w": 200.0}),
    ("Qwen/Qwen3-30B-A3B", "H200", {"concurrency": 32, "power_limit_w": 300.0}),
]


@pytest.mark.parametrize(("model", "gpu", "asked"), CORRECTED)
def test_the_corrected_prediction_is_what_is_taken_apart(model, gpu, asked):
    explanation = explain(model, gpu, correction=shipped(), **asked)
    estimate = roofline.predict(model, gpu, correction=shipped(), **asked)
    assert explanation.estimate == estimate
    analytic = {} if estimate.interval is None else estimate.interval.analytic
    for phase, name in ((explanation.prefill, "ttft_s"), (explanation.decode, "tpot_s")):
        whole_s = getattr(estimate, name)
        time_s = {row.kind: 0.0 for row in phase.operators}
        for row in phase.operators:
            time_s[row.kind] += row.time_s
        assert sum(time_s.values()) == pytest.approx(whole_s, rel=1e-9)
        residual_s = whole_s - analytic.get(name, whole_s)
        assert time_s.pop("residual", 0.0) == pytest.approx(residual_s, abs=1e-12)
        # With the clock that the board's learned power leaves, nothing else is left over.
        assert ("queueing" in time_s) == (estimate.mode == "serving")


def test_encoders_have_a_prefill_alone():
    explanation = explain("bert-base-uncased", "L4", batch=8)
    assert explanation.decode is None
    assert explanation.prefill.time_s == explanation.estimate.ttft_s
    assert explanation.to_dict()["decode"] is None


def test_served_requests_wait_for_each_other():
    explanation = explain(LLAMA, "L4", concurrency=16, input_len=1000, output_len=200)
    for phase, time_s in (
        (explanation.prefill, explanation.estimate.ttft_s),
        (explanation.decode, explanation.estimate.tpot_s),
    ):
        waits = [row for row in phase.operators if row.kind == "queueing"]
        assert len(waits) == 1
        assert waits[0].time_s > 0.0
        assert sum(row.time_s for row in phase.operators) == pytest.approx(time_s)


def test_golden_decode_projection():
    # One bf16 token of Llama-3.1-8B through gate and up, 32 layers, by hand:
    #   work  = 2 * 4096 * (2 * 14336) * 32            = 7 516 192 768 FLOP
    #   moved = 2 * 4096 * (2 * 14336) * 32 of weights = 7 516 192 768 B
    decode = explain(LLAMA, "L4", engine="ideal", input_len=128).decode
    row = next(row for row in decode.operators if row.name == "gate_up_proj")
    assert row.count == 32
    assert row.flops == pytest.approx(7_516_192_768)
    assert row.moved_bytes == pytest.approx(7_516_192_768, rel=1e-3)  # activations aside
    # At 300 GB/s that takes 25.05 ms, and memory sets the pace.
    assert row.time_s == pytest.approx(25.05e-3, rel=2e-3)
    assert row.bound == "memory"


def test_layers_collapse_and_windows_are_named():
    rows = explain("google/gemma-4-26B-A4B", "H200", input_len=4096).prefill.operators
    layers = {row.name: row.count for row in rows if row.kind == "attention"}
    assert layers == {"attention (window 1024)": 25.0, "attention": 5.0}


def test_operators_come_longest_first():
    times = [row.time_s for row in explain(LLAMA, "L4").decode.operators]
    assert times == sorted(times, reverse=True)
