# SPDX-License-Identifier: Apache-2.0
"""What requests come to: from their course, times, rates, power, energy and intervals.

`roofline.pricing` finds the course: the phases, how many sequences run at once, and TTFT,
TPOT and request rate of those. Here a correction is asked and applied, and whole requests
are summed up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from roofline.devices import CaseDevices
from roofline.phase_costs import Setup, Work
from roofline.phase_power import Paced, activities, between, learned_powers
from roofline.physics.kernel import FloatArray
from roofline.physics.memory import MemoryUse
from roofline.physics.phases import PhaseCost
from roofline.physics.power import Activity, mean_power_w
from roofline.residual import COMPOSED_SLACK, QUANTITIES, Ask, Residual, corrects, numbers_of

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What requests go through; arrays of shape ``(n,)`` and the two phases.

    `ttft_s` is the mean of a benchmark run, `later_ttft_s` that after its opening burst;
    `decoding` sequences decode at once on a replica; `requests_per_s` is that of the
    whole deployment in a steady state, 0 where there is none. `free_s` are the times of
    prefill and step at the default power limit, `pace` what each is expected to take over
    its analytic time.
    """

    prefill: PhaseCost
    step: PhaseCost
    ttft_s: FloatArray
    later_ttft_s: FloatArray
    tpot_s: FloatArray
    decoding: FloatArray
    requests_per_s: FloatArray
    free_s: tuple[FloatArray, FloatArray]
    pace: tuple[FloatArray | float, FloatArray | float] = (1.0, 1.0)

    @property
    def paced(self) -> Paced:
        """The phases at their expected times."""
        return Paced(
            prefill=self.prefill,
            step=self.step,
            prefill_s=self.prefill.time_s * self.pace[0],
            step_s=self.step.time_s * self.pace[1],
            free_prefill_s=self.free_s[0] * self.pace[0],
            free_step_s=self.free_s[1] * self.pace[1],
            decoding=self.decoding,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """What a course comes to; arrays of shape ``(n,)``.

    `power_w` per device in prefill, in decode, and over the whole.
    """

    e2e_s: FloatArray
    requests_per_s: FloatArray
    power_w: tuple[FloatArray, ...]

    def at(self, ratio: FloatArray, work: Work, devices: CaseDevices) -> _Whole:
        """Return the same at `ratio` times the power, between idle and the limit."""
        cap = np.maximum(np.minimum(work.power_limit_w, devices.tdp_w), devices.idle_w)
        power_w = tuple(np.clip(each * ratio, devices.idle_w, cap) for each in self.power_w)
        return replace(self, power_w=power_w)


_Active = tuple[Activity, Activity]


def outcome_of(
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    memory: MemoryUse,
    course: Course,
    ask: Ask | None,
) -> Columns:
    """Return the columns that `roofline.pricing.price` names for a course.

    With `ask`, times and power are corrected if `ask` answers for this engine, and
    ``CORRECTED`` is there in any case.
    """
    floor = _floor(setup, work, devices)
    learns = ask is not None or devices.power is not None
    active = [activities(setup, devices, course.paced)] if learns else []
    found = None
    if ask is not None and corrects(setup.engine):
        numbers = numbers_of(
            setup,
            work,
            devices,
            prefill=course.prefill,
            step=course.step,
            ttft_s=course.ttft_s,
            tpot_s=course.tpot_s,
            running=course.decoding,
            active=active[0],
        )
        found = ask(numbers)
    if found is None:
        (whole,) = _wholes(setup, work, devices, [course], active)
        result = _assemble(setup, work, devices, memory, course, floor, whole)
        if ask is None:
            return result
        return {**result, **_uncorrected(result)}
    corrected = _corrected(course, found, floor, _steps(setup, work), work.serving)
    if devices.power is not None:
        active.append(activities(setup, devices, corrected.paced))
    plain, whole = _wholes(setup, work, devices, [course, corrected], active)
    whole = whole.at(found.ratio[2], work, devices)
    result = _assemble(setup, work, devices, memory, corrected, floor, whole)
    analytic = _quantities(setup, work, course, plain)
    result.update({f"analytic_{name}": analytic[name] for name in QUANTITIES})
    result.update(_intervals(setup, work, devices, result, found))
    return result


def _steps(setup: Setup, work: Work) -> FloatArray:
    """Decode steps of a request after its first token."""
    steps: FloatArray = np.maximum(work.output_tokens - 1.0, 0.0) * float(setup.generates)
    return steps


def _wholes(
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    courses: Sequence[Course],
    active: Sequence[_Active],
) -> list[_Whole]:
    """Sum up courses of the same cases; `active` where the power law was learned."""
    steps, times = _steps(setup, work), []
    for course in courses:
        e2e_s = course.ttft_s + steps * course.tpot_s
        isolated = work.batch / e2e_s
        rate = np.where(work.serving, course.requests_per_s, isolated)
        times.append((e2e_s, np.where(rate > 0, rate, isolated)))
    pairs = list(zip(courses, times, strict=True))
    power = [_power(setup, work, devices, course, rate) for course, (_, rate) in pairs]
    if devices.power is not None:
        asked = [
            (course.paced, phases, rate)
            for (course, (_, rate)), phases in zip(pairs, active, strict=True)
        ]
        learned = learned_powers(devices.power, setup, work, devices, asked)
        capped = work.power_limit_w < devices.tdp_w
        power = [between(mine, its, capped) for mine, its in zip(power, learned, strict=True)]
    return [
        _Whole(e2e_s=e2e_s, requests_per_s=rate, power_w=power_w)
        for (e2e_s, rate), power_w in zip(times, power, strict=True)
    ]


def _quantities(setup: Setup, work: Work, course: Course, whole: _Whole) -> Columns:
    """`QUANTITIES` of a course."""
    output = work.output_tokens * float(setup.generates)
    gpus = setup.tensor_ranks * float(setup.layout.pp * setup.layout.dp)
    per_request_j = whole.power_w[2] * gpus / whole.requests_per_s
    return {
        "ttft_s": course.ttft_s,
        "tpot_s": course.tpot_s,
        "e2e_s": whole.e2e_s,
        "output_tok_per_s": whole.requests_per_s * output,
        "power_mean_w": whole.power_w[2],
        "energy_per_output_token_j": per_request_j / np.maximum(output, 1.0),
    }


def _uncorrected(result: Columns) -> Columns:
    """``CORRECTED`` where nothing is: no interval, no standing."""
    ends = ("analytic", "low", "high")
    same = {f"{end}_{name}": result[name] for end in ends for name in QUANTITIES}
    return {**same, "standing": np.full(result["ttft_s"].shape, -1)}


def _intervals(
    setup: Setup, work: Work, devices: CaseDevices, result: Columns, found: Residual
) -> Columns:
    """How sure corrected columns are."""
    added: Columns = {"standing": found.standing}
    for row, name in enumerate(QUANTITIES):
        added[f"low_{name}"] = result[name] * found.low[row]
        added[f"high_{name}"] = result[name] * found.high[row]
    _compose(added, result, _steps(setup, work))
    cap = np.maximum(np.minimum(work.power_limit_w, devices.tdp_w), devices.idle_w)
    for end in ("low", "high"):
        name = f"{end}_power_mean_w"
        added[name] = np.clip(added[name], np.minimum(devices.idle_w, cap), cap)
    for name in FLOORED:
        least = np.minimum(result[name], result[f"floor_{name}"])
        added[f"low_{name}"] = np.maximum(added[f"low_{name}"], least)
    return added


def _compose(added: Columns, result: Columns, steps: FloatArray) -> None:
    """Intervals of whole requests, from those of TTFT and TPOT."""
    value = result["e2e_s"]
    for end in ("low", "high"):
        whole = added[f"{end}_ttft_s"] + steps * added[f"{end}_tpot_s"]
        factor = (whole / value) ** COMPOSED_SLACK
        added[f"{end}_e2e_s"] = value * factor
        other = "high" if end == "low" else "low"
        added[f"{other}_output_tok_per_s"] = result["output_tok_per_s"] / factor


FLOORED = ("ttft_s", "tpot_s", "e2e_s")
"""Quantities with a hard floor."""


def _corrected(
    course: Course,
    found: Residual,
    floor: tuple[FloatArray, ...],
    steps: FloatArray,
    serving: np.ndarray,
) -> Course:
    """Times as expected, never below the floor; rates follow by Little's law."""
    before = course.ttft_s + steps * course.tpot_s
    # What queues behind slower steps queues longer: the whole of TTFT scales.
    ttft_s = np.maximum(course.ttft_s * found.ratio[0], floor[0])
    later_s = np.maximum(course.later_ttft_s * found.ratio[0], floor[0])
    tpot_s = np.maximum(course.tpot_s * found.ratio[1], floor[1])
    # A served TTFT is mostly queueing and says nothing of the pace of its prefill.
    alone = np.where(serving, 1.0, ttft_s / course.ttft_s)
    pace = alone, tpot_s / np.maximum(course.tpot_s, 1e-30)
    # A device serves all its requests in turn, however long each takes.
    after = np.maximum(ttft_s + steps * tpot_s, floor[2])
    ttft_s = after - steps * tpot_s
    return replace(
        course,
        ttft_s=ttft_s,
        later_ttft_s=later_s,
        tpot_s=tpot_s,
        requests_per_s=course.requests_per_s * before / np.maximum(after, 1e-30),
        pace=pace,
    )


def _floor(setup: Setup, work: Work, devices: CaseDevices) -> tuple[FloatArray, ...]:
    """Hard floors of TTFT, TPOT and end-to-end latency.

    A served request may find the device to itself, so the floor of its TTFT and TPOT is
    that of one sequence; its latency is also at least its turn in a full device.
    """
    ideal = setup.ideal
    per_replica = np.maximum(work.batch / setup.layout.dp, 1.0)
    alone = np.where(work.serving, 1.0, per_replica)
    ttft_s = ideal.prefill(alone, work, devices).time_s
    if not setup.generates:
        return ttft_s, np.zeros_like(ttft_s), ttft_s
    steps = work.output_tokens - 1.0
    tpot_s = ideal.decode(alone, work, devices).time_s
    e2e_s = ttft_s + steps * tpot_s
    if work.serving.any():
        full = ideal.decode(per_replica, work, devices).time_s
        turn_s = steps * full
        e2e_s = np.where(work.serving, np.maximum(e2e_s, turn_s), e2e_s)
    return ttft_s, tpot_s, e2e_s


def _assemble(
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    memory: MemoryUse,
    course: Course,
    floor: tuple[FloatArray, ...],
    whole: _Whole,
) -> Columns:
    """``PRICED`` columns."""
    requests_per_s, power_w = whole.requests_per_s, whole.power_w
    output = work.output_tokens * float(setup.generates)
    tokens = work.input_tokens + output
    found = _quantities(setup, work, course, whole)
    per_request_j = found["energy_per_output_token_j"] * np.maximum(output, 1.0)
    prompts_per_s = np.where(work.serving, requests_per_s, work.batch / course.ttft_s)
    static_decode = work.batch / np.maximum(course.tpot_s, 1e-30) * float(setup.generates)
    result: Columns = {
        **found,
        "later_ttft_s": course.later_ttft_s,
        "requests_per_s": requests_per_s,
        "running_batch": course.decoding * setup.layout.dp,
        "prefill_tok_per_s": prompts_per_s * work.new_tokens,
        "decode_tok_per_s": np.where(work.serving, requests_per_s * output, static_decode),
        "total_tok_per_s": requests_per_s * tokens,
        "floor_ttft_s": floor[0],
        "floor_tpot_s": floor[1],
        "floor_e2e_s": floor[2],
        "power_prefill_w": power_w[0],
        "power_decode_w": power_w[1],
        "energy_per_total_token_j": per_request_j / tokens,
        "weights_bytes": memory.weights_bytes,
        "kv_bytes": memory.kv_bytes,
        "activation_bytes": memory.activation_bytes,
        "runtime_bytes": memory.runtime_bytes,
        "total_bytes": memory.total_bytes,
        "capacity_bytes": memory.capacity_bytes,
        "fits": memory.fits,
        "max_batch": memory.max_batch * setup.layout.dp,
        "kv_capacity_tokens": memory.kv_capacity_tokens,
        "bound_prefill": _bound(course.prefill),
        "bound_decode": _bound(course.step),
    }
    result.update(_utilisation(setup, devices, course.prefill, course.step))
    return result


def _power(
    setup: Setup, work: Work, devices: CaseDevices, course: Course, requests_per_s: FloatArray
) -> tuple[FloatArray, ...]:
    """Mean power per device in prefill, in decode, and over the whole."""
    prefill, step, decoding = course.prefill, course.step, course.decoding
    # No limit takes a device below idle; the answer warns of one that asks for it.
    cap = np.maximum(np.minimum(work.power_limit_w, devices.tdp_w), devices.idle_w)
    prefill_j = prefill.compute_j + prefill.other_j
    share = setup.decode_parts(decoding) / setup.layout.pp
    step_j = (step.compute_j + step.other_j) * share
    steps = _steps(setup, work)
    idle = devices.idle_w
    prefill_w = mean_power_w(prefill_j, prefill.time_s, idle_w=idle, cap_w=cap)
    if not setup.generates:
        return prefill_w, idle, prefill_w
    decode_w = mean_power_w(step_j, step.time_s, idle_w=idle, cap_w=cap)
    prompts = np.where(work.serving, 1.0, np.maximum(work.batch / setup.layout.dp, 1.0))
    per_replica = requests_per_s / setup.layout.dp
    busy_w = per_replica * (
        (prefill_w - idle) * prefill.time_s / prompts
        + (decode_w - idle) * step.time_s * steps / np.maximum(decoding, 1e-9)
    )
    return prefill_w, decode_w, np.minimum(idle + busy_w, cap)


def _bound(cost: PhaseCost) -> np.ndarray:
    """Index into ``roofline.pricing.BOUNDS`` of what takes most of the time."""
    parts = np.stack([cost.compute_s, cost.memory_s, cost.link_s, cost.overhead_s])
    longest: np.ndarray = np.argmax(parts, axis=0)
    return longest


def _utilisation(
    setup: Setup, devices: CaseDevices, prefill: PhaseCost, step: PhaseCost
) -> Columns:
    """MFU of the prefill and MBU of the decode step, at the rates of what runs there.

    MFU is the time that all products would take at their own dense peaks, over the time
    that the prefill takes.
    """
    plan = setup.decoder if setup.generates else setup.encoder
    assert plan is not None
    main = plan.main_arithmetic
    peak = devices.rates.peak_flops_per_s[main]
    stages = setup.layout.pp
    step_s = np.maximum(step.time_s, 1e-30)
    return {
        "arithmetic": np.full(peak.shape, main),
        "peak_flops_per_s": peak,
        "mem_bytes_per_s": devices.rates.mem_bytes_per_s,
        "mfu": prefill.at_peak_s / (prefill.time_s * stages),
        "mbu": step.moved_bytes / (step_s * devices.rates.mem_bytes_per_s),
    }
