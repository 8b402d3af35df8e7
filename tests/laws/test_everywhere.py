# SPDX-License-Identifier: Apache-2.0
"""Laws over every device that is shipped, and over ever more requests in flight."""

import numpy as np
import pytest

from roofline.predict import predict_table
from specs.catalogue import list_accelerators

DEVICES = [row.name for row in list_accelerators()]


@pytest.mark.parametrize("weight", ["int4", "mxfp4", "nvfp4", "fp8", "int8", "q4_0", "q4_k_m"])
@pytest.mark.parametrize("engine", ["vllm", "llama.cpp", "ideal"])
def test_floor_and_utilisation_in_every_format_on_every_device(weight, engine):
    table = predict_table(
        {
            "model": "Qwen/Qwen3-8B",
            "gpu": DEVICES,
            "engine": engine,
            "weight_dtype": weight,
            "input_len": 2048,
            "output_len": 16,
        },
        errors="column",
    )
    good = table["error"] == ""
    assert good.mean() > 0.95
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        assert (table[f"floor_{name}"][good] <= table[name][good] * (1 + 1e-9)).all(), name
    assert (table["mfu"][good] <= 1 + 1e-9).all()
    assert (table["mbu"][good] <= 1 + 1e-9).all()


@pytest.mark.parametrize("engine", ["tgi", "transformers", "vllm", "sglang", "ideal"])
def test_more_requests_than_fit_wait_and_cost_no_throughput(engine):
    # An L4 holds 16 GB of weights and some 60 such sequences; the others queue.
    many = np.array([16, 32, 64, 96, 104, 108, 112, 128, 256, 1024, 8192])
    table = predict_table(
        {
            "model": "meta-llama/Llama-3.1-8B",
            "gpu": "l4",
            "engine": engine,
            "concurrency": many,
            "input_len": 512,
            "output_len": 64,
        }
    )
    rate = table["output_tok_per_s"]
    assert (rate >= 0.9 * np.maximum.accumulate(rate)).all()
    assert table["fits"].all()
    assert (table["running_batch"] <= many).all()
    assert table["running_batch"][-1] < 1000
    assert (np.diff(table["ttft_s"][4:]) > 0).all()


def test_no_limit_takes_a_device_below_idle():
    from roofline.devices import idle_w
    from specs.catalogue import get_accelerator

    limits = np.array([0.2, 1.0, 14.0, 20.0, 40.0, 72.0, 500.0])
    table = predict_table({"model": "gpt2", "gpu": "l4", "power_limit_w": limits})
    idle = idle_w(get_accelerator("l4"))
    for name in ("power_prefill_w", "power_decode_w", "power_mean_w"):
        assert (table[name] >= idle - 1e-9).all()
        assert (np.diff(table[name]) >= -1e-9).all()
