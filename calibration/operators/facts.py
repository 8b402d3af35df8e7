# SPDX-License-Identifier: Apache-2.0
"""What the operator laws need to know of a device, and which family it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from roofline.devices import idle_w, node_energy_j
from roofline.physics.constants import (
    ENERGY_RELATIVE,
    EXP_PER_VECTOR_FLOP,
)
from roofline.residual import family_of
from specs.accelerator import Accelerator
from specs.node import get_interconnect

FALLBACK = {
    "fp4": ("fp8", "bf16", "fp16", "fp32"),
    "fp8": ("bf16", "fp16", "fp32"),
    "int8": ("fp16", "bf16", "fp32"),
    "bf16": ("fp16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "fp32": (),
}
"""What runs where a device lacks the arithmetic: operands are widened."""

_ASYNCHRONOUS = ("hopper", "blackwell")


def kind_of(family: str) -> str:
    """Kind of matrix unit: what makes kernels of different families alike.

    ``asynchronous`` units are fed from shared memory by the hardware (Hopper's wgmma,
    data-centre Blackwell's tcgen05); the others, ``synchronous``, read registers that every
    warp must fill.
    """
    return "asynchronous" if family in _ASYNCHRONOUS else "synchronous"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """Link of a group of ranks: rate, empty collective, share of a ring's bytes."""

    bytes_per_s: float
    floor_s: float
    reduce_frac: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device as numbers, SI units.

    Parameters
    ----------
    name, family : str
        Slug, and family word (`family_of`).
    peak_flops_per_s : mapping of str to float
        Dense matrix peaks by arithmetic.
    mem_bytes_per_s, cache_bytes, unit_count : float
    special_per_s : float
        Exponentials per second of the special-function units, as the step counts them.
    free_w, flop_j : float
        Power limit less idle power; energy of one 16-bit matrix FLOP by process node.
    links : mapping of int to LinkFacts
        By number of ranks; empty for one device.
    """

    name: str
    family: str
    peak_flops_per_s: Mapping[str, float]
    mem_bytes_per_s: float
    cache_bytes: float
    unit_count: float
    special_per_s: float
    free_w: float
    flop_j: float
    links: Mapping[int, LinkFacts] = field(default_factory=dict)

    def headroom(self, arithmetic: str) -> float:
        """Power limit over what the peak would draw, between 1/4 and 2.

        Below one, the clock must drop before the peak is reached; above two, power does
        not bind.
        """
        drawn_w = self.flop_j * ENERGY_RELATIVE[arithmetic] * self.peak(arithmetic)
        return float(np.clip(self.free_w / drawn_w, 0.25, 2.0))

    def peak(self, arithmetic: str) -> float:
        """Dense peak of what `arithmetic` runs in on this device, widened if it must be."""
        for name in (arithmetic, *FALLBACK[arithmetic]):
            if name in self.peak_flops_per_s:
                return self.peak_flops_per_s[name]
        raise KeyError(f"{self.name} states no matrix peak that {arithmetic} could run in")


def facts_of(accelerator: Accelerator, *, ranks: tuple[int, ...] = ()) -> DeviceFacts:
    """Facts of one device, with the links of groups of `ranks`."""
    return DeviceFacts(
        name=accelerator.name,
        family=family_of(accelerator),
        peak_flops_per_s=dict(accelerator.peak_flops_per_s),
        mem_bytes_per_s=accelerator.mem_bytes_per_s,
        cache_bytes=accelerator.cache_bytes,
        unit_count=float(accelerator.unit_count),
        special_per_s=accelerator.vector_flops_per_s * EXP_PER_VECTOR_FLOP,
        free_w=accelerator.tdp_w - idle_w(accelerator),
        flop_j=node_energy_j(accelerator),
        links={count: _link(accelerator, count) for count in ranks},
    )


def _link(accelerator: Accelerator, ranks: int) -> LinkFacts:
    join = get_interconnect(accelerator).link_for(ranks)
    ring = 2.0 * (ranks - 1.0) / ranks
    added = (ranks + 1.0) / ranks if join.in_network_reduction else ring
    return LinkFacts(
        bytes_per_s=join.group_bytes_per_s(ranks),
        floor_s=join.captured_floor_of_s(ranks),
        reduce_frac=min(1.0, added / ring),
    )
