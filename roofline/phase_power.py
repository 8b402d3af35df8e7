# SPDX-License-Identifier: Apache-2.0
"""Power of cases by constants learned on boards: from what their phases do and how long.

Used where a correction supplies `PowerConstants`; without, `roofline.pricing` sums energies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roofline.devices import CaseDevices
from roofline.phase_costs import Setup, Work
from roofline.physics.kernel import FloatArray
from roofline.physics.phases import PhaseCost
from roofline.physics.power import Activity, PowerConstants, activity_of, phase_power_w

LEARNED_SHARE = 0.5
"""Weight of the power learned on boards beside that of summed energies.

They err for unlike reasons (boards like none that was measured; energies taken from process
and memory kind), so their geometric mean errs less than either: on whole devices left out a
median of 6% by device against 14 and 12, and 15% against 18 and 18 for energy per token.
Chosen in view of these (0.25 and 0.75 are no better)."""


def between(
    summed: Sequence[FloatArray], learned: Sequence[FloatArray], limited: NDArray[np.bool_]
) -> tuple[FloatArray, ...]:
    """Geometric mean of powers in prefill, in decode and over the whole.

    Where a power limit is asked for, what was learned alone: the clock that meets the limit is
    solved with it.
    """
    share = np.where(limited, 1.0, LEARNED_SHARE)
    pairs = zip(summed, learned, strict=True)
    return tuple(its**share * mine ** (1.0 - share) for mine, its in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """The two phases of cases and how long they are expected to take; shape ``(n,)``.

    Parameters
    ----------
    prefill, step : PhaseCost
        Prefill, and mean decode step; their work counts, not their times.
    prefill_s, step_s : ndarray
        Times under the power limit asked for, corrected where something corrects them.
    free_prefill_s, free_step_s : ndarray
        The same at the default power limit.
    decoding : ndarray
        Sequences that decode at once on a replica.
    """

    prefill: PhaseCost
    step: PhaseCost
    prefill_s: FloatArray
    step_s: FloatArray
    free_prefill_s: FloatArray
    free_step_s: FloatArray
    decoding: FloatArray


def activities(setup: Setup, devices: CaseDevices, paced: Paced) -> tuple[Activity, Activity]:
    """Activity of one device in prefill and in decode.

    Of pipeline stages each does its part of a prefill; in decode as many work at once as
    there are parts of the batch.
    """
    stages = float(setup.layout.pp)
    rate = devices.rates.mem_bytes_per_s
    at_once = setup.decode_parts(paced.decoding) / stages
    prefill, step = paced.prefill, paced.step
    return (
        activity_of(
            prefill.moved_bytes / stages, prefill.at_peak_s / stages, paced.free_prefill_s, rate
        ),
        activity_of(step.moved_bytes * at_once, step.at_peak_s * at_once, paced.free_step_s, rate),
    )


def wall_shares(
    setup: Setup, work: Work, paced: Paced, requests_per_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Shares of wall time in prefill and in decode steps, at most one together."""
    replica_per_s = requests_per_s / setup.layout.dp
    prompts = np.where(work.serving, 1.0, np.maximum(work.batch / setup.layout.dp, 1.0))
    steps = np.maximum(work.output_tokens - 1.0, 0.0)
    prefill = replica_per_s * paced.prefill_s / prompts
    decode = replica_per_s * paced.step_s * steps / np.maximum(paced.decoding, 1e-9)
    whole = np.maximum(prefill + decode, 1.0)
    return prefill / whole, decode / whole


def learned_powers(
    constants: PowerConstants,
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    courses: Sequence[tuple[Paced, tuple[Activity, Activity], FloatArray]],
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Mean power per device in prefill, in decode, and over the whole; idle to limit each.

    Of several courses of the same cases: how they are paced, what `activities` says of them,
    and the requests per second that they come to.
    """
    idle, facts = devices.idle_w, devices.power_facts(work.power_limit_w)
    active = [phase for _, pair, _ in courses for phase in pair[: 1 + setup.generates]]
    # At once: what a board would draw at full rate is the same in all phases.
    together = Activity(
        memory_frac=np.array([phase.memory_frac for phase in active]),
        compute_frac=np.array([phase.compute_frac for phase in active]),
    )
    power_w = iter(phase_power_w(constants, facts, together))
    found = []
    for paced, _, requests_per_s in courses:
        prefill_w = next(power_w)
        if not setup.generates:
            found.append((prefill_w, idle, prefill_w))
            continue
        decode_w = next(power_w)
        in_prefill, in_decode = wall_shares(setup, work, paced, requests_per_s)
        mean_w = idle + (prefill_w - idle) * in_prefill + (decode_w - idle) * in_decode
        found.append((prefill_w, decode_w, mean_w))
    return found
