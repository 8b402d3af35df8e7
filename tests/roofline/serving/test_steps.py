# SPDX-License-Identifier: Apache-2.0
"""The tabled step times are those of the predictor, and the simulation that of predict."""

import time

import numpy as np
import pytest

from calibration.correct import shipped
from roofline.predict import predict
from roofline.serving.arrivals import closed_loop, poisson
from roofline.serving.simulate import simulate
from roofline.serving.steps import limits_of, serve, step_table
from roofline.setups import FormatNames, layout_of, setup_of
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.errors import InvalidInputError
from specs.hub import get_model

LLAMA = "meta-llama/Llama-3.1-8B"


def compiled(engine, model=LLAMA, gpu="h100-sxm5-80gb", tp=1):
    """Setup and device."""
    profile = get_engine(engine)
    layout = layout_of(profile, num_gpus=tp, tp=tp, pp=0, ep=0, dp=0)
    names = FormatNames(weight="", kv="", activation="")
    return setup_of(get_model(model), layout, names, profile), get_accelerator(gpu)


def run(engine, concurrency, *, input_len, output_len, **change):
    """Simulate what predict's concurrency means."""
    setup, device = compiled(engine, **change)
    traffic = closed_loop(concurrency, input_tokens=input_len, output_tokens=output_len)
    return serve(setup, device, traffic)


@pytest.mark.parametrize("tokens", [17, 512, 3000, 8192])
def test_a_prompt_alone_costs_what_predict_says(tokens):
    setup, device = compiled("vllm")
    table = step_table(setup, device, most_tokens=8192, most_sequences=64)
    said = predict(LLAMA, device, engine="vllm", batch=1, input_len=tokens, output_len=2)
    # Linear between four nodes per octave: tiles and waves are steps in between.
    assert table(tokens, tokens / 2, 0, 0) == pytest.approx(said.ttft_s, rel=0.08)


@pytest.mark.parametrize(("batch", "context"), [(1, 100), (7, 3000), (64, 900), (200, 20_000)])
def test_a_decode_step_costs_what_predict_says(batch, context):
    setup, device = compiled("vllm")
    table = step_table(setup, device, most_tokens=8192, most_sequences=256)
    said = predict(LLAMA, device, engine="vllm", batch=batch, input_len=context, output_len=2)
    assert table(0, 0, batch, context) == pytest.approx(said.tpot_s, rel=0.03)


@pytest.mark.parametrize("limit_w", [300.0, 700.0])
def test_corrected_steps_cost_what_predict_says_before_its_residual(limit_w):
    setup, device = compiled("vllm")
    given = {"correction": shipped(), "power_limit_w": limit_w}
    table = step_table(setup, device, most_tokens=8192, most_sequences=256, **given)
    for tokens in (512, 8192):
        said = predict(LLAMA, device, engine="vllm", input_len=tokens, output_len=2, **given)
        expected_s = said.interval.analytic["ttft_s"]
        assert table(tokens, tokens / 2, 0, 0) == pytest.approx(expected_s, rel=0.02)
    for batch, context in ((1, 512), (64, 8192)):
        asked = {"batch": batch, "input_len": context, "output_len": 2, **given}
        said = predict(LLAMA, device, engine="vllm", **asked)
        expected_s = said.interval.analytic["tpot_s"]
        assert table(0, 0, batch, context) == pytest.approx(expected_s, rel=0.01)


def test_a_mixed_step_is_no_less_than_either_and_no_more_than_both():
    setup, device = compiled("vllm")
    table = step_table(setup, device, most_tokens=8192, most_sequences=256)
    for prompt in (64, 1000, 7000):
        for decoding in (1, 30, 200):
            mixed_s = table(prompt, prompt / 2, decoding, 1000)
            parts = table(prompt, prompt / 2, 0, 0), table(0, 0, decoding, 1000)
            assert max(parts) <= mixed_s * (1 + 1e-9)
            # A little over the sum where one more tile row opens.
            assert mixed_s <= sum(parts) * 1.02


def test_one_client_is_the_isolated_request():
    said = predict(
        LLAMA, "h100-sxm5-80gb", engine="vllm", concurrency=1, input_len=1024, output_len=256
    )
    found = run("vllm", 1, input_len=1024, output_len=256)
    assert found.ttft_s.mean() == pytest.approx(said.ttft_s, rel=0.05)
    assert found.tpot_s.mean() == pytest.approx(said.tpot_s, rel=0.02)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llama.cpp"])
@pytest.mark.parametrize("concurrency", [4, 32, 256])
@pytest.mark.parametrize(("input_len", "output_len"), [(1024, 256), (8192, 256), (256, 1024)])
def test_predict_agrees_with_the_simulation(engine, concurrency, input_len, output_len):
    columns = {"engine": engine, "input_len": input_len, "output_len": output_len}
    said = predict(LLAMA, "h100-sxm5-80gb", concurrency=concurrency, **columns)
    found = run(engine, concurrency, input_len=input_len, output_len=output_len)
    # Closed form against simulation: 3% in the median, see test_closed_form.
    assert said.ttft_s == pytest.approx(found.ttft_s.mean(), rel=0.3)
    assert said.tpot_s == pytest.approx(found.tpot_s.mean(), rel=0.12)


def test_a_large_run_takes_about_a_second():
    setup, device = compiled("vllm")
    traffic = closed_loop(256, input_tokens=1024, output_tokens=1000, shortest_frac=0.8)
    table = step_table(setup, device, most_tokens=8192, most_sequences=256)
    start = time.process_time()
    found = simulate(traffic, limits_of(setup, device, traffic), table)
    assert time.process_time() - start < 2.0
    assert np.isfinite(found.ttft_s).all()


def test_more_requests_per_second_wait_longer_and_power_limits_slow_down():
    setup, device = compiled("vllm")
    runs = [
        serve(setup, device, poisson(rate, input_tokens=2000, output_tokens=100, prompts=300))
        for rate in (0.5, 4.0, 16.0)
    ]
    waits = [found.ttft_s.mean() for found in runs]
    assert waits[0] < waits[1] < waits[2]
    assert runs[0].goodput_per_s(ttft_s=0.5, tpot_s=0.05) == pytest.approx(
        runs[0].requests_per_s, rel=0.02
    )
    traffic = poisson(4.0, input_tokens=2000, output_tokens=100, prompts=300)
    limited = serve(setup, device, traffic, power_limit_w=0.5 * device.tdp_w)
    assert limited.ttft_s.mean() > waits[1]


def test_models_that_do_not_generate_are_refused():
    setup, device = compiled("transformers", model="google-bert/bert-base-uncased")
    with pytest.raises(InvalidInputError, match="does not generate"):
        step_table(setup, device, most_tokens=512, most_sequences=8)
