# SPDX-License-Identifier: Apache-2.0
"""Power of predictions whose correction knows boards: by hand, bounded, and nothing else moves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.correction import Correction
from roofline.devices import idle_w
from roofline.physics.power import PowerConstants
from roofline.predict import predict, predict_table
from roofline.residual import NUMBERS, QUANTITIES, TARGETS, Residual
from specs.catalogue import get_accelerator, list_accelerators


@pytest.fixture(autouse=True)
def _law_alone(monkeypatch):
    """What the law says, not its mean with summed energies (`test_phase_power`)."""
    monkeypatch.setattr("roofline.phase_power.LEARNED_SHARE", 1.0)


LINEAR = PowerConstants(
    standby=0.2, standby_hbm_factor=0.5, standby_shared_factor=2.0,
    memory=1.0, memory_room_power=1.0, memory_power=1.0,
    compute=1.0, compute_room_power=1.0, compute_power=1.0,
)  # fmt: skip
POWERS = (
    "power_prefill_w", "power_decode_w", "power_mean_w",
    "energy_per_output_token_j", "energy_per_total_token_j",
)  # fmt: skip
H100 = "h100-sxm5-80gb"
ASKED = {"model": "meta-llama/Llama-3.1-8B", "gpu": H100, "input_len": 1000, "output_len": 101}


class Boards(Correction):
    """A correction of power alone."""

    def __init__(self, constants=LINEAR):
        self.constants = constants

    def power(self):
        return self.constants

    def basis(self, _accelerator, _engine):
        return "boards"


class Slower(Boards):
    """Phases take `ratio` times as long, and power is multiplied too."""

    def __init__(self, prefill=1.0, step=1.0, power=1.0):
        super().__init__()
        self.ratio = prefill, step, power
        self.numbers = {}

    def residual(self, keys, numbers):
        count = numbers.shape[1]
        self.numbers = dict(zip(NUMBERS, numbers, strict=True))
        ones = np.ones((len(QUANTITIES), count))
        ratio = np.array([np.full(count, value) for value in self.ratio])
        assert len(TARGETS) == len(self.ratio)
        return Residual(ratio=ratio, low=ones, high=ones, standing=np.zeros(count, dtype=np.intp))


def linear_w(memory, compute):
    """`LINEAR` on an H100 below its limit, by hand: HBM3 85 pJ/B, 4 nm 0.6 pJ per FLOP."""
    device = get_accelerator(H100)
    room_w = device.tdp_w - idle_w(device)
    share = 0.1 + memory * 3.35e12 * 85e-12 / room_w
    share += compute * device.peak_flops_per_s["bf16"] * 0.6e-12 / room_w
    return idle_w(device) + room_w * share


def test_static_case_by_hand():
    correction = Slower()
    row = {k: v[0] for k, v in predict_table({**ASKED, "batch": 4}, correction=correction).items()}
    numbers = {name: values[0] for name, values in correction.numbers.items()}
    # what is in use: MFU of the prefill and MBU of the step are columns of their own
    assert numbers["prompt_peak_share"] == pytest.approx(row["mfu"], rel=1e-9)
    assert numbers["step_memory_share"] == pytest.approx(row["mbu"], rel=1e-9)
    prefill_w = linear_w(numbers["prompt_memory_share"], row["mfu"])
    decode_w = linear_w(row["mbu"], numbers["step_peak_share"])
    # the soft minimum with the limit takes up to 7% near it, nothing well below
    assert decode_w < 0.6 * 700.0
    assert row["power_decode_w"] == pytest.approx(decode_w, rel=0.003)
    assert row["power_prefill_w"] == pytest.approx(min(prefill_w, 0.98 * 700.0), rel=0.07)
    # of the run's time TTFT is prefill and 100 steps are decode
    part = row["ttft_s"] / row["e2e_s"]
    mean_w = part * row["power_prefill_w"] + (1.0 - part) * row["power_decode_w"]
    assert row["power_mean_w"] == pytest.approx(mean_w, rel=1e-9)
    energy_j = mean_w * row["e2e_s"] / (4 * 101)
    assert row["energy_per_output_token_j"] == pytest.approx(energy_j, rel=1e-9)


def test_only_power_and_energy_change():
    for engine in ("vllm", "llama.cpp", "ideal"):
        asked = {**ASKED, "engine": engine, "batch": [1, 8, 64]}
        plain = predict_table(asked)
        for constants in (LINEAR, None):
            table = predict_table(asked, correction=Boards(constants))
            for name, values in plain.items():
                same = np.array_equal(values, table[name])
                learned = constants is not None and engine != "ideal" and name in POWERS
                assert same != learned, (engine, name)


def test_slower_steps_draw_less_and_ratio_of_power_multiplies():
    asked = {**ASKED, "batch": 4}
    base, slow, more = (
        predict_table(asked, correction=each)
        for each in (Slower(), Slower(1.0, 2.0), Slower(1.0, 1.0, 1.1))
    )
    # half the bytes per second: half of what is above idle and standby
    device = get_accelerator(H100)
    still_w = idle_w(device) + 0.1 * (device.tdp_w - idle_w(device))
    half_w = still_w + 0.5 * (base["power_decode_w"] - still_w)
    assert slow["power_decode_w"] == pytest.approx(half_w, rel=0.01)  # the soft minimum
    assert slow["power_prefill_w"] == pytest.approx(base["power_prefill_w"], rel=1e-12)
    assert more["power_mean_w"] == pytest.approx(1.1 * base["power_mean_w"], rel=1e-12)


def test_stages_share_the_work():
    # one sequence keeps one of two stages at work at a time
    alone, staged = Slower(), Slower()
    predict_table({**ASKED, "batch": 1}, correction=alone)
    predict_table({**ASKED, "batch": 1, "num_gpus": 2, "pp": 2}, correction=staged)
    for name in ("step_memory_share", "step_peak_share", "prompt_peak_share"):
        assert staged.numbers[name][0] == pytest.approx(0.5 * alone.numbers[name][0], rel=0.05)


@settings(deadline=None, max_examples=20)
@given(
    size=st.integers(1, 512), mode=st.sampled_from(["batch", "concurrency"]),
    lengths=st.tuples(st.integers(1, 8000), st.integers(1, 2000)),
    limit=st.floats(0.05, 1.2), ratios=st.tuples(*[st.floats(0.3, 4.0)] * 3),
    layout=st.sampled_from([{}, {"tp": 4}, {"pp": 2}, {"dp": 2}]),
)  # fmt: skip
def test_power_lies_between_idle_and_limit(size, mode, lengths, limit, ratios, layout):
    names = [row.name for row in list_accelerators()][::37]
    devices = [get_accelerator(name) for name in names]
    limits_w = [device.tdp_w * limit for device in devices]
    table = predict_table(
        {**ASKED, "gpu": names, mode: size, "input_len": lengths[0], "output_len": lengths[1],
         "power_limit_w": limits_w, "engine": "vllm", **layout},
        errors="column", correction=Slower(*ratios),
    )  # fmt: skip
    good = table["error"] == ""
    assert good.mean() > 0.5
    idle = np.array([idle_w(device) for device in devices])
    cap = np.maximum(np.minimum(limits_w, [device.tdp_w for device in devices]), idle)
    for name in POWERS[:3]:
        assert (table[name] >= idle * (1 - 1e-9))[good].all(), name
        assert (table[name] <= cap * (1 + 1e-9))[good].all(), name


def test_a_board_with_more_watts_per_byte_draws_more():
    hungry = replace(LINEAR, memory=2.0)
    mild, wild = (
        predict("meta-llama/Llama-3.1-8B", H100, correction=Boards(constants)).power_w
        for constants in (LINEAR, hungry)
    )
    assert wild.decode > mild.decode
    assert wild.mean > mild.mean


def test_a_limit_slows_where_it_is_below_what_boards_draw():
    free = predict_table({**ASKED, "batch": 4}, correction=Boards())
    # far below the default limit the soft minimum takes nothing: this is what is wanted
    wanted_w = free["power_decode_w"][0]
    limits_w = wanted_w * np.array([1.02, 0.98, 0.9, 0.7, 0.5])
    table = predict_table({**ASKED, "batch": 4, "power_limit_w": limits_w}, correction=Boards())
    assert table["tpot_s"][0] == free["tpot_s"][0]
    assert (np.diff(table["ttft_s"]) >= 0).all()
    assert (np.diff(table["tpot_s"]) >= 0).all()
    assert table["tpot_s"][-1] > 1.05 * free["tpot_s"][0]
    assert table["power_decode_w"] == pytest.approx(limits_w, rel=0.09)  # 0.98 * 2**(-1/10)
    assert (table["power_decode_w"] <= limits_w).all()
