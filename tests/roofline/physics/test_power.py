# SPDX-License-Identifier: Apache-2.0
"""Watts between idle and cap, and the clock that a limit leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.physics.power import (
    capped_slowdown,
    mean_power_w,
    memory_stretch,
    standing_power_w,
)

joules, seconds = st.floats(0.0, 1e3), st.floats(1e-6, 1e3)


def test_a_simple_phase_by_hand():
    # 1 J of activity in 5 ms is 200 W on top of 70 W of idling
    assert mean_power_w(1.0, 0.005, idle_w=70.0, cap_w=700.0) == 270.0
    # 5 J would be 1070 W: the board stops at its limit
    assert mean_power_w(5.0, 0.005, idle_w=70.0, cap_w=700.0) == 700.0


def test_a_clock_halved_by_hand():
    # 4 J of arithmetic and 1 J of the rest in 10 ms of arithmetic, idle 100 W.
    # At half the clock the arithmetic takes a quarter of its energy, the rest 0.6 of its
    # own, in twice the time: 1.0 + 0.6 J in 20 ms, 80 W above 100 W of idling
    clock, time_s = capped_slowdown(
        compute_j=4.0, other_j=1.0, compute_s=0.01, other_s=0.0,
        idle_w=100.0, default_cap_w=700.0, limit_w=180.0,
    )  # fmt: skip
    assert clock == pytest.approx(0.5, rel=1e-6)
    assert time_s == pytest.approx(0.02, rel=1e-6)


def test_memory_bound_work_keeps_its_pace():
    # 1 J of arithmetic, 1 J of traffic, in 1 ms of arithmetic beside 9 ms of traffic,
    # idle 50 W, limit 200 W: 250 W wanted. Both energies go with f^2 down to 0.6 of traffic's:
    # 2 f^2 = 150 W * (0.001 / f + 0.009) s: f = 0.8734 (1.5256 J in 10.145 ms: 150.4 W)
    clock, time_s = capped_slowdown(
        compute_j=1.0, other_j=1.0, compute_s=0.001, memory_s=0.009, other_s=0.0,
        idle_w=50.0, default_cap_w=700.0, limit_w=200.0,
    )  # fmt: skip
    assert clock == pytest.approx(0.8734, abs=2e-3)
    assert 2.0 * clock**2 == pytest.approx(150.0 * (0.001 / clock + 0.009), rel=1e-6)
    assert 0.01 < time_s < 0.0102  # hardly slower for a fifth less power


def test_memory_slows_below_its_clock_by_hand():
    # 5 J of traffic in 10 ms of memory time and nothing else, idle 100 W, limit 250 W: 600 W
    # wanted. Down to 0.6 of the clock nothing slows; then 0.6 * 5 J in 6 ms / f must be
    # 150 W: f = 0.3, twice the time
    clock, time_s = capped_slowdown(
        compute_j=0.0, other_j=5.0, compute_s=0.0, memory_s=0.01, other_s=0.0,
        idle_w=100.0, default_cap_w=700.0, limit_w=250.0,
    )  # fmt: skip
    assert clock == pytest.approx(0.3, rel=1e-6)
    assert time_s == pytest.approx(0.02, rel=1e-6)
    assert memory_stretch([1.0, 0.6, 0.3]).tolist() == pytest.approx([1.0, 1.0, 2.0])


def test_what_stands_at_any_clock_leaves_less_by_hand():
    # The same with 20 W standing above idle, and no fall of energy: of 5 J in 10 ms 0.2 J
    # stand. 150 - 20 W are left for 4.8 J * 0.6, in 6 ms / f: f = 0.006 * 130 / 2.88
    clock, _ = capped_slowdown(
        compute_j=0.0, other_j=5.0, compute_s=0.0, memory_s=0.01, other_s=0.0,
        idle_w=100.0, default_cap_w=700.0, limit_w=250.0, standing_w=120.0,
    )  # fmt: skip
    assert clock == pytest.approx(0.27083, rel=1e-4)
    # 44, 60 and 82 W were seen on boards of 130, 250 and 600 W
    seen = standing_power_w([130.0, 250.0, 600.0])
    assert seen == pytest.approx([44.0, 60.0, 82.0], rel=0.12)


def test_decode_under_limits_slows_as_measured():
    # RTX PRO 6000, decode of a dense 12B model at batch 1, 442 W without a binding limit:
    # limit W -> time over that without (DarshEllisd/LLM-Power-Cap-Expt, gemma3 12b). Demand
    # as measured, all of it taken for traffic and standby; 72 W idle.
    measured = {150: 3.09, 200: 1.82, 250: 1.34, 300: 1.14, 350: 1.05, 400: 1.01}
    limits = np.array(list(measured), float)
    _, time_s = capped_slowdown(
        compute_j=0.0, other_j=370.0, compute_s=0.0, memory_s=1.0, other_s=0.0,
        idle_w=72.0, default_cap_w=600.0, limit_w=limits,
    )  # fmt: skip
    # one constant for all boards and models: within a fifth
    assert time_s == pytest.approx(list(measured.values()), rel=0.2)


case = {
    "compute_j": joules, "other_j": joules,
    "compute_s": seconds, "memory_s": seconds, "other_s": seconds,
}  # fmt: skip


@settings(max_examples=200)
@given(**case)
def test_a_lower_limit_is_never_faster(**case):
    limits = np.linspace(110.0, 700.0, 40)
    clock, time_s = capped_slowdown(**case, idle_w=100.0, default_cap_w=700.0, limit_w=limits)
    assert (np.diff(clock) >= -1e-6).all()
    assert (np.diff(time_s) <= 1e-6 * time_s[:-1]).all()
    assert ((clock > 0.0) & (clock <= 1.0)).all()
    assert clock[-1] == pytest.approx(1.0, abs=1e-6)  # the default limit never binds


@given(energy_j=joules, time_s=seconds, idle_w=st.floats(1.0, 100.0), cap_w=st.floats(100.0, 1e3))
def test_power_lies_between_idle_and_cap(energy_j, time_s, idle_w, cap_w):
    assert idle_w <= mean_power_w(energy_j, time_s, idle_w=idle_w, cap_w=cap_w) <= cap_w
