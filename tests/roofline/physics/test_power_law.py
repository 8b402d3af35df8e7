# SPDX-License-Identifier: Apache-2.0
"""Power by fitted constants: between idle and limit, rising with what is done, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.physics.constants import HELD_SHARPNESS
from roofline.physics.power import (
    Activity,
    PowerConstants,
    PowerFacts,
    activity_of,
    demand_w,
    held_w,
    phase_power_w,
)

LINEAR = PowerConstants(
    standby=0.2, standby_hbm_factor=0.5, standby_shared_factor=2.0,
    memory=1.0, memory_room_power=1.0, memory_power=1.0,
    compute=1.0, compute_room_power=1.0, compute_power=1.0,
)  # fmt: skip
BENT = replace(LINEAR, memory_room_power=0.9, memory_power=1.2, compute=2.0, compute_power=0.9)
share = st.floats(0.0, 1.0)


def board(*, limit_w=500.0, hbm=0.0, shared=0.0, memory=0.6, compute=0.9):
    one = np.ones(1)
    return PowerFacts(
        idle_w=100.0 * one, tdp_w=500.0 * one, limit_w=limit_w * one, hbm=hbm * one,
        memory_room_frac=memory * one, compute_room_frac=compute * one, shared=shared * one,
    )  # fmt: skip


def at(memory, compute):
    return Activity(memory_frac=np.array([memory]), compute_frac=np.array([compute]))


def test_demand_by_hand():
    # 400 W of room: 0.2 standby, 0.6 * 0.5 memory, 0.9 * 0.1 arithmetic = 0.59: 236 W above 100
    assert demand_w(LINEAR, board(), at(0.5, 0.1)) == pytest.approx(336.0)
    # half the standby with HBM, twice in a shared package
    assert demand_w(LINEAR, board(hbm=1.0), at(0.5, 0.1)) == pytest.approx(296.0)
    assert demand_w(LINEAR, board(shared=1.0), at(0.5, 0.1)) == pytest.approx(416.0)
    # powers of a quarter: 0.6 * 0.25**1.5 = 0.075 and 2 * 0.9 * 0.25**0.5 = 0.9, so 1.175 * 400 W
    bent = replace(LINEAR, memory_power=1.5, compute=2.0, compute_power=0.5)
    assert demand_w(bent, board(), at(0.25, 0.25)) == pytest.approx(570.0)


def test_activity_by_hand():
    # 8 GB in 10 ms at 2 TB/s is 0.4 of the bandwidth; 1 ms of products 0.1 of the peak
    found = activity_of(8e9, 1e-3, 10e-3, 2e12)
    assert found.memory_frac == pytest.approx(0.4)
    assert found.compute_frac == pytest.approx(0.1)


def test_no_more_than_all_of_a_peak_is_in_use():
    assert demand_w(BENT, board(), at(3.0, 5.0)) == demand_w(BENT, board(), at(1.0, 1.0))


def test_a_limit_holds_a_little_below_itself():
    # far above the limit 0.98 of it; at that level the soft minimum takes 2**(-1/10) = 0.933
    facts = board(limit_w=300.0)
    assert held_w(np.array([3000.0]), facts) == pytest.approx(0.98 * 300.0)
    assert held_w(np.array([294.0]), facts) == pytest.approx(294.0 * 2.0 ** (-1.0 / HELD_SHARPNESS))
    assert held_w(np.array([100.0]), facts) == pytest.approx(100.0, rel=1e-4)
    # a limit below idle does not take the device there
    assert held_w(np.array([300.0]), board(limit_w=50.0)) == 100.0


@given(memory=share, compute=share, more=share, limit_w=st.floats(120.0, 500.0))
def test_power_rises_with_activity_and_limit(memory, compute, more, limit_w):
    facts = board(limit_w=limit_w)
    base = phase_power_w(BENT, facts, at(memory, compute))[0]
    assert 100.0 <= base <= limit_w
    assert phase_power_w(BENT, facts, at(memory + more, compute))[0] >= base - 1e-9
    assert phase_power_w(BENT, facts, at(memory, compute + more))[0] >= base - 1e-9
    looser = board(limit_w=limit_w + 50.0 * more)
    assert phase_power_w(BENT, looser, at(memory, compute))[0] >= base - 1e-9


@given(moved=st.floats(0.0, 1e12), busy_s=st.floats(0.0, 1.0), k=st.floats(1.0, 100.0))
def test_the_same_work_in_more_time_draws_no_more(moved, busy_s, k):
    quick = activity_of([moved], [busy_s], [1.0], [2e12])
    slow = activity_of([moved], [busy_s], [k], [2e12])
    quick_w = phase_power_w(BENT, board(), quick)
    assert phase_power_w(BENT, board(), slow) <= quick_w * (1 + 1e-12)


def test_arrays_are_element_by_element():
    facts = PowerFacts(
        idle_w=np.array([100.0, 70.0]), tdp_w=np.array([500.0, 700.0]),
        limit_w=np.array([300.0, 700.0]), memory_room_frac=np.array([0.6, 0.4]),
        compute_room_frac=np.array([0.9, 1.1]), hbm=np.array([0.0, 1.0]), shared=np.zeros(2),
    )  # fmt: skip
    both = phase_power_w(
        BENT, facts, Activity(memory_frac=np.array([0.5, 0.7]), compute_frac=np.array([0.1, 0.0]))
    )
    assert both[0] == phase_power_w(BENT, board(limit_w=300.0), at(0.5, 0.1))[0]
