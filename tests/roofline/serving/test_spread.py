# SPDX-License-Identifier: Apache-2.0
"""Lengths that differ: a column of scenarios."""

import numpy as np
import pytest

from roofline.predict import predict_table
from specs.errors import InvalidInputError

COLUMNS = {
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "h100-sxm5-80gb",
    "input_len": 2048,
    "output_len": 512,
}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_requests_that_differ_do_not_queue_in_bunches(engine):
    found = predict_table({**COLUMNS, "engine": engine, "concurrency": 64,
                           "spread_frac": [0.0, 0.05, 0.2, 1.0]})  # fmt: skip
    assert (np.diff(found["later_ttft_s"]) <= 0).all()
    assert found["later_ttft_s"][-1] < 0.6 * found["later_ttft_s"][0]
    # The burst is the same for all.
    assert (found["ttft_s"] >= found["later_ttft_s"]).all()


def test_the_first_prompts_wait_for_each_other():
    found = predict_table({**COLUMNS, "engine": "vllm", "spread_frac": 0.2,
                           "concurrency": [1, 4, 16, 64, 128]})  # fmt: skip
    assert found["ttft_s"][0] == found["later_ttft_s"][0]
    assert (np.diff(found["ttft_s"] - found["later_ttft_s"]) > 0).all()


def test_a_batch_has_no_traffic():
    found = predict_table({**COLUMNS, "batch": 8, "spread_frac": [0.0, 1.0]})
    assert found["ttft_s"][0] == found["ttft_s"][1] == found["later_ttft_s"][0]


@pytest.mark.parametrize("wrong", [-0.1, 2.5])
def test_a_spread_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="spread_frac"):
        predict_table({**COLUMNS, "concurrency": 4, "spread_frac": wrong})
