# SPDX-License-Identifier: Apache-2.0
"""Watts between idle and cap, and the clock that a limit leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.physics.power import capped_slowdown, mean_power_w

joules, seconds = st.floats(0.0, 1e3), st.floats(1e-6, 1e3)


def test_a_simple_phase_by_hand():
    # 1 J of activity in 5 ms is 200 W on top of 70 W of idling
    assert mean_power_w(1.0, 0.005, idle_w=70.0, cap_w=700.0) == 270.0
    # 5 J would be 1070 W: the board stops at its limit
    assert mean_power_w(5.0, 0.005, idle_w=70.0, cap_w=700.0) == 700.0


def test_a_clock_halved_by_hand():
    # 4 J of arithmetic and 1 J of the rest in 10 ms of arithmetic, idle 100 W.
    # At clock f: 4 f^2 + 1 joules in 0.01 / f seconds; f = 1/2 makes 2 J in 20 ms:
    #   100 + 2 / 0.02 = 200 W
    clock, time_s = capped_slowdown(
        compute_j=4.0, other_j=1.0, compute_s=0.01, other_s=0.0,
        idle_w=100.0, default_cap_w=700.0, limit_w=200.0,
    )  # fmt: skip
    assert clock == pytest.approx(0.5, rel=1e-6)
    assert time_s == pytest.approx(0.02, rel=1e-6)


def test_memory_bound_work_keeps_its_pace():
    # 1 J of arithmetic, 1 J of traffic, in 1 ms of arithmetic beside 9 ms of traffic,
    # idle 50 W, limit 200 W: 250 W wanted. f^2 + 1 = 150 W * (0.001 / f + 0.009) s:
    # f = 0.7262 (0.52737 + 1 = 1.52736 J in 10.377 ms: 147.2 W; a little more clock):
    clock, time_s = capped_slowdown(
        compute_j=1.0, other_j=1.0, compute_s=0.001, other_s=0.009,
        idle_w=50.0, default_cap_w=700.0, limit_w=200.0,
    )  # fmt: skip
    assert clock**2 + 1.0 == pytest.approx(150.0 * (0.001 / clock + 0.009), rel=1e-6)
    assert 0.01 < time_s < 0.0105  # a twentieth slower for a fifth less power


case = {"compute_j": joules, "other_j": joules, "compute_s": seconds, "other_s": seconds}


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
