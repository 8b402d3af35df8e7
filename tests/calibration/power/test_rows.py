# SPDX-License-Identifier: Apache-2.0
"""What a stated power is the power of."""

import pytest

from calibration.power.rows import board_power

RIG = "avg_power_w 303.0 of the rig; power_w = per card (sum of 4 cards / 4)"


def test_a_plain_board_stays():
    found = board_power({"source": "hholtmann", "power_w": 310.0, "num_gpus": 1})
    assert (found.power_w, found.factor, found.reason) == (310.0, 1.0, "")


def test_idle_cards_are_taken_out_of_a_rig():
    # 303 W of four cards, one at work: 303 - 3 * 25 W
    found = board_power({"source": "rig4x3090", "notes": RIG, "power_w": 75.75, "num_gpus": 1})
    assert found.power_w == pytest.approx(228.0)
    assert found.factor == pytest.approx(228.0 / 75.75)
    whole = board_power({"source": "rig4x3090", "notes": RIG, "power_w": 219.0, "num_gpus": 4})
    assert whole.power_w == pytest.approx(219.0)


@pytest.mark.parametrize(
    ("run_s", "known"),
    # five prompts of 1.0 s fill 5 of 6 s, and 5 of 20
    [(6, True), (20, False)],
)
def test_loading_is_no_inference(run_s, known):
    row = {"source": "strix_lhl", "power_w": 60.0, "ttft_s": 1.0, "notes": f"run {run_s} s; -fa 1"}
    found = board_power(row)
    assert (found.power_w is not None) == known
    assert bool(found.reason) != known


@pytest.mark.parametrize(
    "row",
    [
        {"source": "mlperf", "power_w": 1200.0},
        {"source": "nlr_genai", "power_w": 600.0},
        {"source": "wilkins", "power_w": 90.0, "num_gpus": 4},
        {"source": "wilkins", "power_w": 90.0, "gpu": "v100-pcie-16gb", "weight_dtype": "bf16"},
        {"source": "splitwise", "power_w": None},
        {"source": "splitwise", "power_w": float("nan")},
        {"source": "strix_lhl", "power_w": 60.0, "notes": "no run stated"},
    ],
)
def test_other_powers_are_left_out_with_a_reason(row):
    found = board_power(row)
    assert found.power_w is None
    assert found.reason
