# SPDX-License-Identifier: Apache-2.0
"""The power law: between idle and limit, rising with what is done, and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.power.law import (
    ARTIFACT,
    SHARPNESS,
    Activity,
    PowerFacts,
    PowerLaw,
    activity_of,
    facts_of,
    from_dict,
    held_w,
    load_power,
)
from specs.catalogue import get_accelerator
from specs.errors import SpecDataError

LINEAR = PowerLaw(
    standby=0.2, standby_hbm_factor=0.5, standby_shared_factor=2.0,
    memory=1.0, memory_room_power=1.0, memory_power=1.0,
    compute=1.0, compute_room_power=1.0, compute_power=1.0,
)  # fmt: skip
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
    assert LINEAR.demand_w(board(), at(0.5, 0.1)) == pytest.approx(336.0)
    # half the standby with HBM, twice in a shared package
    assert LINEAR.demand_w(board(hbm=1.0), at(0.5, 0.1)) == pytest.approx(296.0)
    assert LINEAR.demand_w(board(shared=1.0), at(0.5, 0.1)) == pytest.approx(416.0)


def test_activity_by_hand():
    # 8 GB in 10 ms at 2 TB/s is 0.4 of the bandwidth; 1 ms of products 0.1 of the peak
    found = activity_of(8e9, 1e-3, 10e-3, 2e12)
    assert found.memory_frac == pytest.approx(0.4)
    assert found.compute_frac == pytest.approx(0.1)


def test_a_limit_holds_a_little_below_itself():
    # far above the limit 0.98 of it; at that level the soft minimum takes 2**(-1/10) = 0.933
    facts = board(limit_w=300.0)
    assert held_w(np.array([3000.0]), facts) == pytest.approx(0.98 * 300.0)
    assert held_w(np.array([294.0]), facts) == pytest.approx(294.0 * 2.0 ** (-1.0 / SHARPNESS))
    assert held_w(np.array([100.0]), facts) == pytest.approx(100.0, rel=1e-4)
    # a limit below idle does not take the device there
    assert held_w(np.array([300.0]), board(limit_w=50.0)) == 100.0


def test_a_run_lies_between_its_phases():
    law, facts = load_power(), board()
    prefill, decode = at(0.2, 0.6), at(0.6, 0.01)
    ends = sorted([law.phase_w(facts, prefill)[0], law.phase_w(facts, decode)[0]])
    means = [law.mean_w(facts, prefill, decode, part)[0] for part in (0.0, 0.3, 1.0)]
    assert ends[0] <= means[1] <= ends[1]
    assert means[0] == pytest.approx(law.phase_w(facts, decode)[0])
    assert means[2] == pytest.approx(law.phase_w(facts, prefill)[0])


@given(memory=share, compute=share, more=share, limit_w=st.floats(120.0, 500.0))
def test_power_rises_with_activity_and_limit(memory, compute, more, limit_w):
    law, facts = load_power(), board(limit_w=limit_w)
    base = law.phase_w(facts, at(memory, compute))[0]
    assert 100.0 <= base <= limit_w
    assert law.phase_w(facts, at(memory + more, compute))[0] >= base - 1e-9
    assert law.phase_w(facts, at(memory, compute + more))[0] >= base - 1e-9
    assert law.phase_w(board(limit_w=limit_w + 50.0 * more), at(memory, compute))[0] >= base - 1e-9


@pytest.mark.parametrize("gpu", ["h100-sxm5-80gb", "rtx-4090", "radeon-8060s", "m2-ultra-76"])
def test_shipped_constants_hold_on_real_boards(gpu):
    device = get_accelerator(gpu)
    facts = facts_of([device])
    low, high = load_power().phase_w(facts, at(0.0, 0.0))[0], load_power().phase_w(
        facts, at(1.0, 1.0)
    )[0]  # fmt: skip
    assert facts.idle_w[0] < low < high <= device.tdp_w


def test_limits_are_those_of_the_case():
    device = get_accelerator("h100-sxm5-80gb")
    facts = facts_of([device, device, device], [400.0, 900.0, np.inf])
    assert facts.limit_w.tolist() == [400.0, device.tdp_w, device.tdp_w]
    # 3.35 TB/s at 85 pJ/B over 700 - 71 W
    assert facts.memory_room_frac[0] == pytest.approx(3.35e12 * 85e-12 / 629.0, rel=1e-6)


def test_constants_survive_writing_and_strange_ones_are_told():
    data = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    assert from_dict(data) == load_power()
    assert data["constants"] == pytest.approx(load_power().to_dict())
    with pytest.raises(SpecDataError, match="schema"):
        from_dict({**data, "schema": 99})
    with pytest.raises(SpecDataError, match="fit them anew"):
        from_dict({**data, "constants": {"standby": 1.0}})
