# SPDX-License-Identifier: Apache-2.0
"""Watts from activity: idle, energy per FLOP, energy per byte, between idle and cap.

The energies are defaults by process node, precision and memory kind
(`roofline.physics.constants`), each cited with its spread. `mean_power_w` adds them up as
they are; `phase_power_w` is the same with constants that were fitted on boards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.constants import (
    HELD_FRAC,
    HELD_SHARPNESS,
    MEMORY_CLOCK_FRAC,
    OTHER_ENERGY_FLOOR_FRAC,
    STANDING_FRAC,
    STANDING_W,
)
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
    standing_w: ArrayLike = 0.0,
    floor_frac: float = OTHER_ENERGY_FLOOR_FRAC,
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
    standing_w : array_like
        Power that a working board draws at any clock (`standing_power_w`), idle included.
    floor_frac : float
        Least share of `other_j` that is left at a lowered clock.

    Returns
    -------
    clock_frac : ndarray
        In (0, 1]; 1 where the limit does not bind.
    time_s : ndarray
        ``compute_s / f + memory_s * memory_stretch(f) + other_s`` at that clock f.

    Notes
    -----
    Energy per operation goes with voltage squared and voltage with the clock, so the
    arithmetic part is ``compute_j * f**2`` in that time. What stands at any clock takes its
    part of `other_j` for as long as the phase lasts. Caches, fabric and idling units
    share that voltage, memory chips do not: the rest falls to `floor_frac` at most
    (`other_energy_frac`). Memory keeps its pace down to `MEMORY_CLOCK_FRAC` of the clock
    (`memory_stretch`). At the default limit the energy is first scaled so that demand
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
    standing_j = np.maximum(np.asarray(standing_w, float) - idle_w, 0.0) * total_s
    standing_j = np.minimum(standing_j, other_j * scale)
    traffic_j: FloatArray = other_j * scale - standing_j
    limit_w = np.asarray(limit_w, float)
    floor_w = idle_w + standing_j / np.maximum(total_s, 1e-30)

    def duration_s(clock: FloatArray) -> FloatArray:
        result: FloatArray = compute_s / clock + memory_s * memory_stretch(clock) + other_s
        return result

    def demand_w(clock: FloatArray) -> FloatArray:
        energy_j = arithmetic_j * clock**2 + traffic_j * other_energy_frac(clock, floor_frac)
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


def standing_power_w(tdp_w: ArrayLike) -> FloatArray:
    """Power that a working board draws at any clock, by its default limit.

    ``33 W + 0.085 * limit``: memory chips, fans, converters and leakage
    (`STANDING_W`, `STANDING_FRAC`).
    """
    return STANDING_W + STANDING_FRAC * np.asarray(tdp_w, float)


def memory_stretch(clock_frac: ArrayLike) -> FloatArray:
    """Time that memory traffic takes at a lowered core clock, over that at the full one.

    ``max(1, MEMORY_CLOCK_FRAC / f)``: the memory's own clock does not change, but below
    some core clock too few requests are under way to keep it busy.
    """
    return np.maximum(1.0, MEMORY_CLOCK_FRAC / np.asarray(clock_frac, float))


def other_energy_frac(
    clock_frac: ArrayLike, floor_frac: float = OTHER_ENERGY_FLOOR_FRAC
) -> FloatArray:
    """Dynamic energy outside arithmetic at a lowered core clock, over that at the full one."""
    result: FloatArray = np.maximum(floor_frac, np.square(clock_frac))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerConstants:
    """Fitted constants of `demand_w`; `standby` is that of a board with GDDR memory."""

    standby: float
    standby_hbm_factor: float
    standby_shared_factor: float
    memory: float
    memory_room_power: float
    memory_power: float
    compute: float
    compute_room_power: float
    compute_power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFacts:
    """What the law needs of the device of each case; arrays of shape ``(n,)``.

    `memory_room_frac` and `compute_room_frac` are the powers of full-rate traffic and of
    full-rate 16-bit products by the energies of `roofline.physics.constants`, over default
    limit less idle. `hbm` and `shared` (a package shared with a host) are 0 or 1.
    """

    idle_w: FloatArray
    tdp_w: FloatArray
    limit_w: FloatArray
    memory_room_frac: FloatArray
    compute_room_frac: FloatArray
    hbm: FloatArray
    shared: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What one device does in a phase, at the pace of the default power limit.

    Parameters
    ----------
    memory_frac : ndarray
        Bytes moved over the time of the phase, over the peak bandwidth.
    compute_frac : ndarray
        Time of all products at their own dense peaks over the time of the phase.
    """

    memory_frac: FloatArray
    compute_frac: FloatArray


def activity_of(
    moved_bytes: ArrayLike, at_peak_s: ArrayLike, time_s: ArrayLike, mem_bytes_per_s: ArrayLike
) -> Activity:
    """Activity of a phase of one device: its bytes and products over the time it takes.

    `time_s` is the best known time of the phase at the default power limit.
    """
    time = np.maximum(np.asarray(time_s, float), 1e-12)
    return Activity(
        memory_frac=np.asarray(moved_bytes, float) / (time * np.asarray(mem_bytes_per_s, float)),
        compute_frac=np.asarray(at_peak_s, float) / time,
    )


def demand_w(constants: PowerConstants, facts: PowerFacts, activity: Activity) -> FloatArray:
    """Power wanted where no limit held it; rises with both utilisations.

    Above idling a device draws a standby part while kernels run, a part with its memory
    traffic and a part with its arithmetic,

        ``D = a + b k_m**g u_m**p + c k_c**h u_c**q``    (share of default limit - idle)

    where u are the shares of bandwidth and dense peak in use (at most 1) and k what each
    would draw at its full rate, so an unseen board has coefficients from its datasheet.
    """
    standby = (
        constants.standby
        * constants.standby_hbm_factor**facts.hbm
        * constants.standby_shared_factor**facts.shared
    )
    memory = constants.memory * facts.memory_room_frac**constants.memory_room_power
    compute = constants.compute * facts.compute_room_frac**constants.compute_room_power
    share = (
        standby
        + memory * np.clip(activity.memory_frac, 0.0, 1.0) ** constants.memory_power
        + compute * np.clip(activity.compute_frac, 0.0, 1.0) ** constants.compute_power
    )
    result: FloatArray = facts.idle_w + (facts.tdp_w - facts.idle_w) * share
    return result


def held_w(wanted_w: FloatArray, facts: PowerFacts) -> FloatArray:
    """Power drawn where `wanted_w` is wanted: a soft minimum with the limit, idle at least.

    ``L (1 + (P / L)**-k)**(-1/k)`` with L a little below the limit (`HELD_FRAC`).
    """
    limit = np.maximum(np.minimum(facts.limit_w, facts.tdp_w), 1e-9)
    level = HELD_FRAC * limit
    ratio = np.maximum(wanted_w / level, 1e-6)
    held = level * (1.0 + ratio**-HELD_SHARPNESS) ** (-1.0 / HELD_SHARPNESS)
    # No limit takes a device below idle.
    result: FloatArray = np.maximum(held, facts.idle_w)
    return result


def phase_power_w(constants: PowerConstants, facts: PowerFacts, activity: Activity) -> FloatArray:
    """Mean power of a phase by fitted constants, between idle and the limit."""
    return held_w(demand_w(constants, facts, activity), facts)
