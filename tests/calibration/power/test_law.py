# SPDX-License-Identifier: Apache-2.0
"""The shipped constants: read, refused where strange, and sound on boards of all kinds."""

import json

import numpy as np
import pytest

from calibration.power import load_constants, load_power
from calibration.power.law import ARTIFACT, facts_of
from roofline.physics.power import Activity, phase_power_w
from specs.catalogue import get_accelerator, list_accelerators
from specs.errors import SpecDataError


def test_shipped_constants_hold_on_all_devices():
    devices = [get_accelerator(row.name) for row in list_accelerators()[::7]]
    facts = facts_of(devices)
    steps = np.linspace(0.0, 1.0, 6)
    powers = np.array(
        [
            phase_power_w(
                load_power(),
                facts,
                Activity(
                    memory_frac=np.full(len(devices), u), compute_frac=np.full(len(devices), u)
                ),
            )
            for u in steps
        ]
    )
    assert (np.diff(powers, axis=0) >= -1e-9).all()
    assert (powers >= facts.idle_w).all()
    assert (powers <= np.maximum(facts.tdp_w, facts.idle_w)).all()


def test_facts_by_hand():
    device = get_accelerator("h100-sxm5-80gb")
    facts = facts_of([device, device, device], [400.0, 900.0, np.inf])
    assert facts.limit_w.tolist() == [400.0, device.tdp_w, device.tdp_w]
    # 3.35 TB/s at 85 pJ/B, and 989.4 TFLOP/s at 0.6 pJ (4 nm), over 700 - 71 W
    assert facts.memory_room_frac[0] == pytest.approx(3.35e12 * 85e-12 / 629.0, rel=1e-6)
    assert facts.compute_room_frac[0] == pytest.approx(989.4e12 * 0.6e-12 / 629.0, rel=1e-3)
    assert (facts.hbm[0], facts.shared[0]) == (1.0, 0.0)
    other = facts_of([get_accelerator("radeon-8060s")])
    assert (other.hbm[0], other.shared[0]) == (0.0, 1.0)


def test_strange_constants_are_told():
    data = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    assert load_constants(data) == load_power()
    with pytest.raises(SpecDataError, match="schema"):
        load_constants({**data, "schema": 99})
    with pytest.raises(SpecDataError, match="schema"):
        load_constants({"schema": 1})
    with pytest.raises(SpecDataError, match="fit them anew"):
        load_constants({**data, "constants": {"standby": 1.0}})
    with pytest.raises(SpecDataError, match="fit them anew"):
        load_constants({**data, "constants": {**data["constants"], "extra": 1.0}})
