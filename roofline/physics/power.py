# SPDX-License-Identifier: Apache-2.0
"""Watts from activity: idle, energy per FLOP, energy per byte, between idle and cap.

The energies are defaults by process node, precision and memory kind
(`roofline.physics.constants`), each cited with its spread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.constants import MEMORY_CLOCK_FRAC, OTHER_ENERGY_FLOOR_FRAC
from roofline.physics.kernel import FloatArray


def mean_power_w(
    dynamic_j: ArrayLike, time_s: ArrayLike, *, idle_w: ArrayLike, cap_w: ArrayLike
) -> FloatArray:
    """Mean power of a phase.

    ``min(cap, idle + E / t)``: what activity costs on top of idling, never above the
    power limit. All arrays broadcast; `time_s` positive.
    """
    return np.minimum(cap_w, np.asarray(idle_w, float) + np.asarray(dynamic_j, float) / time_s)


def capped_slowdown(
    *,
    compute_j: ArrayLike,
    other_j: ArrayLike,
    compute_s: ArrayLike,
    other_s: ArrayLike,
    idle_w: ArrayLike,
    default_cap_w: ArrayLike,
    limit_w: ArrayLike,
    memory_s: ArrayLike = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Clock that a power limit leaves, as a share of the clock at the default limit.

    Parameters
    ----------
    compute_j, other_j : array_like, shape (...)
        Dynamic energy of the phase in arithmetic, and in everything else.
    compute_s, memory_s, other_s : array_like
        Time that scales with the clock, time in device memory, and time that neither sets
        (links, host).
    idle_w, default_cap_w, limit_w : array_like
        Idle power, the board's default limit, the limit asked for.

    Returns
    -------
    clock_frac : ndarray
        In (0, 1]; 1 where the limit does not bind.
    time_s : ndarray
        ``compute_s / f + memory_s * memory_stretch(f) + other_s`` at that clock f.

    Notes
    -----
    Energy per operation goes with voltage squared and voltage with the clock, so the
    arithmetic part is ``compute_j * f**2`` in that time. Caches, fabric and idling units
    share that voltage, memory chips do not: the rest falls to `OTHER_ENERGY_FLOOR_FRAC` at
    most (`other_energy_frac`). Memory keeps its pace down to `MEMORY_CLOCK_FRAC` of the
    clock (`memory_stretch`). At the default limit the energy is first scaled so that demand
    does not exceed the limit (the vendor's peaks are those of the default limit). Solved by
    bisection; below a tenth of the clock the limit cannot be held and 0.1 is returned.
    """
    compute_j, other_j = np.asarray(compute_j, float), np.asarray(other_j, float)
    compute_s, other_s = np.asarray(compute_s, float), np.asarray(other_s, float)
    memory_s = np.asarray(memory_s, float)
    total_s = compute_s + memory_s + other_s
    room_j = (np.asarray(default_cap_w, float) - idle_w) * total_s
    scale = np.minimum(1.0, room_j / np.maximum(compute_j + other_j, 1e-30))
    arithmetic_j: FloatArray = compute_j * scale
    traffic_j: FloatArray = other_j * scale
    limit_w, floor_w = np.asarray(limit_w, float), np.asarray(idle_w, float)

    def duration_s(clock: FloatArray) -> FloatArray:
        result: FloatArray = compute_s / clock + memory_s * memory_stretch(clock) + other_s
        return result

    def demand_w(clock: FloatArray) -> FloatArray:
        energy_j = arithmetic_j * clock**2 + traffic_j * other_energy_frac(clock)
        result: FloatArray = floor_w + energy_j / duration_s(clock)
        return result

    low = np.full(np.broadcast_shapes(total_s.shape, limit_w.shape), 0.1)
    high = np.ones_like(low)
    binds = demand_w(high) > limit_w
    for _ in range(30):
        middle = 0.5 * (low + high)
        over = demand_w(middle) > limit_w
        high = np.where(over, middle, high)
        low = np.where(over, low, middle)
    clock = np.where(binds, low, 1.0)
    return clock, duration_s(clock)


def memory_stretch(clock_frac: ArrayLike) -> FloatArray:
    """Time that memory traffic takes at a lowered core clock, over that at the full one.

    ``max(1, MEMORY_CLOCK_FRAC / f)``: the memory's own clock does not change, but below
    some core clock too few requests are under way to keep it busy.
    """
    return np.maximum(1.0, MEMORY_CLOCK_FRAC / np.asarray(clock_frac, float))


def other_energy_frac(clock_frac: ArrayLike) -> FloatArray:
    """Dynamic energy outside arithmetic at a lowered core clock, over that at the full one."""
    result: FloatArray = np.maximum(OTHER_ENERGY_FLOOR_FRAC, np.square(clock_frac))
    return result
