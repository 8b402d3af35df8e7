# SPDX-License-Identifier: Apache-2.0
"""Energies of a device from its process node and memory kind."""

import pytest

from roofline.devices import byte_energy_j, flop_energies_j
from roofline.physics.plan import ARITHMETIC
from specs.catalogue import get_accelerator


@pytest.mark.parametrize(
    ("gpu", "pj_per_flop", "pj_per_byte"),
    # 4 nm 0.60 pJ and HBM3 85; 5 nm 0.75 and GDDR7 200, whatever the board's limit and clock
    [
        ("h100-sxm5-80gb", 0.60, 85.0),
        ("rtx-5090", 0.75, 200.0),
        ("rtx-pro-6000-blackwell", 0.75, 200.0),
    ],
)
def test_energies_are_those_of_process_and_memory(gpu, pj_per_flop, pj_per_byte):
    device = get_accelerator(gpu)
    energies = dict(zip(ARITHMETIC, flop_energies_j(device), strict=True))
    assert energies["bf16"] == pytest.approx(pj_per_flop * 1e-12)
    # fp8 0.60 against 0.97 pJ on H200
    assert energies["fp8"] == pytest.approx(0.62 * pj_per_flop * 1e-12)
    assert byte_energy_j(device) == pytest.approx(pj_per_byte * 1e-12)
