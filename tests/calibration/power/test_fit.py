# SPDX-License-Identifier: Apache-2.0
"""The fit finds what made the data, and never looks at the device it is asked about."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.power.cases import PowerRows
from calibration.power.fit import (
    PRIOR,
    fit_power,
    leave_devices_out,
    one_factor,
    predict_w,
    weights_of,
)
from roofline.physics.power import Activity, PowerFacts

pytest.importorskip("scipy")

TRUTH = replace(PRIOR, standby=0.3, memory=0.8, compute=1.6)


def made_up(devices=6, each=30, seed=1):
    random = np.random.default_rng(seed)
    n = devices * each
    index = np.repeat(np.arange(devices), each)
    hbm, memory = (index % 2).astype(float), random.uniform(0.4, 0.8, devices)[index]
    compute = random.uniform(0.5, 1.2, devices)[index]
    facts = PowerFacts(
        idle_w=np.full(n, 50.0), tdp_w=np.full(n, 800.0), limit_w=np.full(n, 800.0),
        memory_room_frac=memory, compute_room_frac=compute, hbm=hbm, shared=np.zeros(n),
    )  # fmt: skip
    decode = Activity(
        memory_frac=random.uniform(0.1, 0.8, n), compute_frac=random.uniform(0.0, 0.2, n)
    )
    prefill = Activity(
        memory_frac=random.uniform(0.0, 0.3, n), compute_frac=random.uniform(0.1, 0.5, n)
    )
    part = random.uniform(0.0, 0.5, n)
    rows = PowerRows(
        facts=facts, prefill=prefill, decode=decode, in_prefill=part, in_decode=0.9 - part,
        power_w=np.ones(n), device=np.array([f"d{i}" for i in index]),
        source=np.array(["a", "b"])[(np.arange(n) % 3 == 0).astype(int)],
    )  # fmt: skip
    return replace(rows, power_w=predict_w(TRUTH, rows))


def test_the_fit_finds_the_truth():
    rows = made_up()
    # priors pull the constants a little; the powers must come back
    assert predict_w(fit_power(rows), rows) == pytest.approx(rows.power_w, rel=0.02)


def test_a_run_is_the_time_mean_of_its_phases_and_idle():
    rows = made_up(devices=1, each=1)
    one, zero = np.ones(1), np.zeros(1)
    ends = [
        predict_w(TRUTH, replace(rows, in_prefill=prefill, in_decode=decode))[0]
        for prefill, decode in ((one, zero), (zero, one), (zero, zero))
    ]
    assert ends[2] == 50.0
    mixed = predict_w(TRUTH, replace(rows, in_prefill=0.2 * one, in_decode=0.5 * one))[0]
    assert mixed == pytest.approx(0.2 * ends[0] + 0.5 * ends[1] + 0.3 * 50.0)


def test_a_device_left_out_does_not_tell():
    rows = made_up()
    wrong = rows.power_w * np.where(rows.device == "d2", 3.0, 1.0)
    honest = leave_devices_out(rows)
    misled = leave_devices_out(replace(rows, power_w=wrong))
    mine = rows.device == "d2"
    assert misled[mine] == pytest.approx(honest[mine], rel=1e-9)
    assert honest[mine] == pytest.approx(rows.power_w[mine], rel=0.05)


def test_devices_weigh_the_same_however_many_rows():
    device = np.array(["a"] * 90 + ["b"] * 10)
    source = np.array(["x"] * 81 + ["y"] * 9 + ["x"] * 10)
    weights = weights_of(device, source)
    assert weights[:90].sum() == pytest.approx(1.0)
    assert weights[90:].sum() == pytest.approx(1.0)
    # 81 and 9 rows weigh as their roots, 9 to 3
    assert weights[:81].sum() / weights[81:90].sum() == pytest.approx(3.0)


def test_one_factor_is_that_of_the_others():
    rows = made_up(devices=3)
    plain = rows.power_w / np.select([rows.device == "d0", rows.device == "d1"], [1.2, 1.3], 2.0)
    # d2 gets the median of 1.2 and 1.3
    found = one_factor(plain, rows)[rows.device == "d2"]
    assert found == pytest.approx(rows.power_w[rows.device == "d2"] / 2.0 * np.sqrt(1.2 * 1.3))
