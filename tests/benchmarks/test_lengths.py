# SPDX-License-Identifier: Apache-2.0
"""What a row says of its lengths and of its opening burst."""

import pytest

from benchmarks.measured import scenario_of

ROW = {
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "h100-sxm5-80gb",
    "engine": "vllm",
    "weight_dtype": "bf16",
    "mode": "serving",
    "batch_size": 8,
    "input_tokens": 1024,
    "output_tokens": 128,
    "ttft_s": 0.1,
    "tpot_s": 0.01,
    "num_gpus": 1,
    "notes": "",
}


@pytest.mark.parametrize(
    ("change", "spread", "no_burst"),
    [
        ({}, 0.0, False),
        ({"notes": "lengths uniform in [0.8,1]x nominal"}, 0.2 / 0.9, False),
        ({"notes": "nominal 1024/1024, lengths ~U[0.8L,L]; median latencies"}, 0.2 / 0.9, True),
        ({"output_tokens": 17.6}, 1.0, False),
        ({"output_tokens": 17.6, "notes": "sharegpt at 0.50 QPS (open loop)"}, 1.0, True),
        ({"notes": "ttft/tpot are medians"}, 0.0, True),
    ],
)
def test_spread_and_burst(change, spread, no_burst):
    found = scenario_of({**ROW, **change})
    assert found["reason"] == ""
    assert found["spread_frac"] == pytest.approx(spread)
    assert found["no_burst"] is no_burst
