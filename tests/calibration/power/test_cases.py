# SPDX-License-Identifier: Apache-2.0
"""Rows that the fit sees are those that predictions price, at the pace that was measured."""

import numpy as np
import pandas as pd
import pytest

from calibration.power.cases import rows_of, usable
from calibration.power.fit import METHODS, errors_of, fit_from, leave_out, predict_w
from calibration.power.law import load_constants, load_power
from roofline import predict_table
from roofline.correction import Correction
from roofline.residual import NUMBERS, QUANTITIES, TARGETS, Residual

pytest.importorskip("scipy")


@pytest.fixture(autouse=True)
def _law_alone(monkeypatch):
    """What the law says, not its mean with summed energies (`test_phase_power`)."""
    monkeypatch.setattr("roofline.phase_power.LEARNED_SHARE", 1.0)


CARDS = ("h100-sxm5-80gb", "a100-sxm4-80gb", "rtx-4090", "l4")
LATENCIES = ("ttft_s", "tpot_s", "e2e_s")


class Shipped(Correction):
    """Shipped constants, times as they are; notes how the cases are described."""

    def __init__(self):
        self.seen = []

    def power(self):
        return load_power()

    def residual(self, keys, numbers):
        self.seen.append((keys.rows, numbers))
        ones = np.ones((len(QUANTITIES), numbers.shape[1]))
        none = np.zeros(numbers.shape[1], dtype=np.intp)
        return Residual(ratio=ones[: len(TARGETS)], low=ones, high=ones, standing=none)


def joined_like(power="mean", slower=1.0):
    """Cases whose measured times are predicted ones, or all so much slower."""
    cases = [
        {"gpu": gpu, "batch": batch, "concurrency": flight, "input_len": length}
        for gpu in CARDS
        for batch, flight in ((1, 0), (16, 0), (0, 1), (0, 24))
        for length in (200, 3000)
    ]
    asked = pd.DataFrame(cases).assign(model="Qwen/Qwen3-8B", engine="vllm", output_len=200)
    correction = Shipped()
    priced = predict_table(asked, correction=correction)
    table = pd.DataFrame({f"p_{name}": values for name, values in priced.items()})
    for rows, numbers in correction.seen:
        for name, values in zip(NUMBERS, numbers, strict=True):
            table.loc[rows, f"x_{name}"] = values
    for name in LATENCIES:
        table[f"predicted_{name}"] = priced[name]
        table[f"measured_{name}"] = priced[name] * slower
    table["measured_throughput"] = table["predicted_throughput"] = np.nan
    table["predicted_power_w"] = table["measured_power_w"] = priced[f"power_{power}_w"]
    mode = np.where(asked["concurrency"] > 0, "serving", "static")
    return table.assign(
        is_gpu=asked["gpu"], source="made up", mode=mode, reason="", output_tokens=200.0,
        power_limit_w=np.nan,
    )  # fmt: skip


@pytest.mark.parametrize("measured_pace", [True, False])
def test_law_on_rows_is_what_a_prediction_says(measured_pace):
    table = joined_like()
    rows = rows_of(table, measured_pace=measured_pace)
    found = predict_w(load_power(), rows)
    assert found == pytest.approx(rows.power_w, rel=1e-6)


@pytest.mark.parametrize(
    ("power", "absent", "tokens"),
    [("prefill", ["tpot_s", "e2e_s"], np.nan), ("decode", ["ttft_s", "e2e_s"], 200.0)],
)
def test_rows_of_one_phase_have_its_power(power, absent, tokens):
    table = joined_like(power).assign(output_tokens=tokens)
    table[[f"measured_{name}" for name in absent]] = np.nan
    rows = rows_of(table)
    assert predict_w(load_power(), rows) == pytest.approx(rows.power_w, rel=1e-6)


def test_runs_twice_as_long_use_half():
    base, slow = rows_of(joined_like()), rows_of(joined_like(slower=2.0))
    static = (joined_like()["mode"] == "static").to_numpy()
    assert slow.decode.memory_frac == pytest.approx(0.5 * base.decode.memory_frac)
    assert slow.prefill.compute_frac[static] == pytest.approx(
        0.5 * base.prefill.compute_frac[static]
    )
    # TTFT of a served request is queueing
    assert slow.prefill.compute_frac[~static] == pytest.approx(base.prefill.compute_frac[~static])
    assert slow.in_prefill[static] == pytest.approx(base.in_prefill[static])
    # half the requests per second; where prefill takes much of the wall time both phases
    # overfill it, and the share is cut
    half = 0.5 * base.in_prefill[~static]
    much = base.in_prefill[~static] > 0.15
    assert slow.in_prefill[~static][~much] == pytest.approx(half[~much], rel=0.06)
    assert slow.in_prefill[~static][much] == pytest.approx(half[much], rel=0.15)
    assert not much.all()


def test_the_artifact_comes_from_the_rows():
    table = joined_like()
    table.loc[0, "reason"] = "not priced"
    table.loc[1, "measured_power_w"] = np.nan
    assert len(usable(table)) == len(table) - 2
    left_out = leave_out(table)
    assert left_out.index.tolist() == list(range(2, len(table)))
    # the shipped law made these powers: constants found without a device come near it
    errors = errors_of(left_out)
    assert (errors["plain"] == 0.0).all()
    assert errors["law"].median() < 5.0
    content = fit_from(table, day="2026-01-31")
    card = content["card"]
    assert (card["date"], card["rows"], card["devices"]) == ("2026-01-31", len(table) - 2, 4)
    assert set(card["median_error_percent_of_rows"]) == set(METHODS)
    fitted = predict_w(load_constants(content), rows_of(table))
    assert np.median(np.abs(fitted / table["p_power_mean_w"] - 1.0)) < 0.03


def test_the_fit_says_the_same_again():
    table = joined_like()
    assert fit_from(table, day="2026-01-31") == fit_from(table, day="2026-01-31")
