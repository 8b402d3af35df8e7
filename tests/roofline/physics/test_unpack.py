# SPDX-License-Identifier: Apache-2.0
"""What unpacking of quantised weights costs, and when it sets the pace."""

from dataclasses import replace

import numpy as np
import pytest

from roofline.physics.unpack import OPS_PER_WEIGHT, integer_ops_per_s, unpack_ops
from roofline.predict import predict
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.precision import get_precision


def test_blends_cost_what_their_parts_cost():
    # half of the weights at 5.0, half at 3.5 lane instructions
    assert unpack_ops(get_precision("0.5*q6_k+0.5*q4_k")) == pytest.approx(4.25)
    assert unpack_ops(get_precision("bf16")) == 0.0
    assert unpack_ops(get_precision("iq2_xxs")) == 5.0
    # averages over a file go by the type in their name
    assert unpack_ops(get_precision("q4_k_xl")) == OPS_PER_WEIGHT["q4_k"]


def test_integer_rates_by_hand():
    # GA102: 82 SMs, 128 fp32 lanes each of which 64 also take integers, 1.695 GHz
    assert integer_ops_per_s(35.6e12, 82.0, 1.695e9) == pytest.approx(8.895e12, rel=1e-3)
    # RDNA2: 80 units of 64 lanes at 2.25 GHz
    assert integer_ops_per_s(23.04e12, 80.0, 2.25e9) == pytest.approx(11.52e12, rel=1e-3)
    # 2080 Ti: 68 SMs of 64 lanes, 1.545 GHz, stated as 13.4 TFLOPS (64 lanes, rounded)
    assert integer_ops_per_s(13.4e12, 68.0, 1.545e9) == pytest.approx(6.7e12, rel=1e-2)


def _step_s(gpu, weight_dtype, **more):
    estimate = predict(
        "mistralai/Mistral-7B-Instruct-v0.3", gpu, engine="llama.cpp", weight_dtype=weight_dtype,
        input_len=64, output_len=64, correction=None, **more,
    )  # fmt: skip
    return estimate.tpot_s


def test_three_bits_are_no_faster_than_four_where_integers_are_slow():
    # Measured on an A2 (10 SMs, 200 GB/s): q8_0 46, q4_k_m 37, q3_k_m 49 ms (alejandroldz)
    slow = {name: _step_s("a2", name) for name in ("q8_0", "q4_k_m", "q3_k_m")}
    assert slow["q3_k_m"] > slow["q4_k_m"]
    assert slow["q8_0"] > slow["q4_k_m"]
    measured = {"q8_0": 0.0462, "q4_k_m": 0.0365, "q3_k_m": 0.0490}
    for name, seconds in measured.items():
        assert slow[name] == pytest.approx(seconds, rel=0.25)
    # with ten times the SMs memory sets the pace: fewer bits are quicker
    fast = {name: _step_s("rtx-5000-ada", name) for name in ("q8_0", "q4_k_m", "q3_k_m")}
    assert fast["q3_k_m"] < fast["q4_k_m"] < fast["q8_0"]


def test_more_rows_take_no_less_and_faster_unpacking_no_more():
    steps = [_step_s("a2", "q6_k", batch=batch) for batch in (1, 2, 4, 8, 9, 16, 64)]
    assert (np.diff(steps) >= 0.0).all()
    # a shorter unpacking is never slower
    engine = get_engine("llama.cpp")
    times = [_step_s_with(replace(engine, unpack_frac=share)) for share in (0.2, 0.5, 0.7, 1.0)]
    assert (np.diff(times) <= 0.0).all()


def _step_s_with(engine):
    estimate = predict(
        "mistralai/Mistral-7B-Instruct-v0.3", "a2", engine=engine, weight_dtype="q6_k",
        input_len=64, output_len=64, correction=None,
    )  # fmt: skip
    return estimate.tpot_s


@pytest.mark.parametrize(
    ("gpu", "api"),
    [
        ("rtx-3090", "cuda-graphs"),
        ("rtx-2080-ti", "cuda"),
        ("gtx-1080-ti", "cuda"),
        ("rx-7900-xt", "hip"),
        ("m2-ultra-76", "metal"),
        ("arc-b580", "level-zero"),
    ],
)
def test_interfaces_by_vendor_and_generation(gpu, api):
    assert get_accelerator(gpu).api == api
