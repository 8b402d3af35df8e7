# SPDX-License-Identifier: Apache-2.0
"""Phases of a request: prefill in passes, decode as its mean step, both summed over operators.

A decode phase of many steps is priced as its mean step, with the mean context taken
exactly: work is linear in the context, or in what a window lets through of it. Where
the phase changes sides as the context grows (all of compute against all of memory on
the ideal machine, the device against a host that launches) the mean of the slower side
is taken in closed form (`kernel.mean_excess`). What is left is an operator that crosses
its own ridge, and windows that fill meanwhile; the time is convex in the context, so
the mean step is never above the true sum (Jensen), and a test bounds the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from roofline.physics.bundle import (
    ACT_BYTES,
    COUNT,
    FLOPS,
    LAUNCHES,
    SENT_BYTES,
    WEIGHT_BYTES,
    Bundle,
)
from roofline.physics.kernel import FloatArray, mean_excess
from roofline.physics.mixers import context_swing_frac, mixer_costs
from roofline.physics.passes import Pass, Rates
from roofline.physics.plan import (
    ARITHMETIC_INDEX,
    COLLECTIVES,
    MATRIX,
    Amount,
    AttentionOperator,
    Plan,
    RecurrentOperator,
)
from roofline.physics.step import (
    Load,
    OperatorCosts,
    bundle_shares,
    compute_time_s,
    floors_s,
    link_times_s,
    load_of,
    memory_time_s,
    moved_bytes,
    paced,
)
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """A phase of one replica on one rank; arrays of shape ``(n,)``.

    `time_s` is the sum of what follows: time in which compute, memory or links set the
    pace, and time in which nothing of them does (launch floors, host). `at_peak_s` is the
    time of all products at their dense peaks. `compute_j` and
    `other_j` are dynamic energies of one rank.
    """

    time_s: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    link_s: FloatArray
    overhead_s: FloatArray
    flops: FloatArray
    at_peak_s: FloatArray
    moved_bytes: FloatArray
    sent_bytes: FloatArray
    compute_j: FloatArray
    other_j: FloatArray

    def scaled(self, factor: FloatArray | float) -> PhaseCost:
        """Return the phase `factor` times over."""
        return PhaseCost(**{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def plus(self, other: PhaseCost) -> PhaseCost:
        """Return both phases, one after the other."""
        return PhaseCost(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """Dynamic energies of the device of each case.

    `flop_j` has shape ``(n_arithmetic, n)``, the others shape ``(n,)``. `active_w` is drawn
    above idle whenever kernels run, whatever they do: clocks up, units scheduled.
    """

    flop_j: FloatArray
    byte_j: FloatArray
    active_w: FloatArray
    link_byte_j: FloatArray


@dataclass(slots=True)
class _Sums:
    """What the operators of one pass add up to; arrays of shape ``(n,)``.

    `flops` by arithmetic. In `compute_s` and `memory_s` an operator counts where it is
    slowest, or in both where operators overlap. `launches` and `layers` are those of
    the plan, one number or one per case. The swings are how far the times go up and
    down around their mean while the context of a decode phase grows.
    """

    flops: dict[int, FloatArray]
    unpack_ops: FloatArray
    moved_bytes: FloatArray
    sent_bytes: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    link_s: FloatArray
    floor_s: FloatArray
    compute_swing_s: FloatArray
    memory_swing_s: FloatArray
    launches: Amount
    layers: Amount

    @classmethod
    def empty(cls, size: int, layers: Amount) -> _Sums:
        """Nothing yet."""
        names = [field.name for field in fields(cls)][1:-2]
        zeros = dict(zip(names, np.zeros((len(names), size)), strict=True))
        return cls(flops={}, launches=0.0, layers=layers, **zeros)

    def add_flops(self, arithmetic: int, flops: FloatArray) -> None:
        """FLOPs of one arithmetic, as products of counts and columns: never in place."""
        kept = self.flops.get(arithmetic)
        self.flops[arithmetic] = flops if kept is None else kept + flops


def pass_cost(
    plan: Plan, step: Pass, rates: Rates, energies: Energies, engine: Engine
) -> PhaseCost:
    """One pass over the plan, host included."""
    sums, rates = _Sums.empty(step.tokens.shape[0], plan.layers), rates.during(step)
    for bundle in plan.bundles:
        _add_bundle(sums, plan, bundle, step, rates, engine)
    for op in plan.mixers:
        _add_mixer(sums, op, step, rates, engine)
    return _phase_of(sums, step, rates, energies, engine)


def _add_bundle(
    sums: _Sums, plan: Plan, bundle: Bundle, step: Pass, rates: Rates, engine: Engine
) -> None:
    """Add a bundle: row by row only where a maximum is taken for each row."""
    load = load_of(plan, bundle, step, engine)
    totals = bundle.totals
    sums.launches = sums.launches + totals[LAUNCHES]
    if bundle.works:
        sums.add_flops(bundle.arithmetic, totals[FLOPS] * load.units)
    if bundle.kind in COLLECTIVES:
        sent = bundle.sent_bytes * load.units
        link_s, empty_s = link_times_s(sent, bundle, load, rates, engine)
        sums.sent_bytes += totals[SENT_BYTES] * load.units
        sums.link_s += weighted(bundle.count, link_s)
        sums.floor_s += totals[COUNT] * empty_s
        return
    at = bundle_shares(bundle, rates, engine)
    if engine.unpack_frac and bundle.kind in MATRIX:
        sums.unpack_ops += weighted(bundle.count, bundle.unpack_ops * (load.present * load.awake))
    if not engine.overlaps:
        sums.floor_s += _all_floors_s(plan, bundle, rates, engine, at) * load.present
    if engine.overlaps or (bundle.always_spills and not bundle.works):
        _add_linear(sums, bundle, load, rates, engine, at)
    else:
        _add_in_turn(sums, bundle, load, rates, engine, at)


def _all_floors_s(
    plan: Plan, bundle: Bundle, rates: Rates, engine: Engine, at: FloatArray | None
) -> FloatArray:
    """Floors of all kernels of a bundle."""
    each_s = floors_s(plan, bundle, rates, engine, at)
    total: FloatArray = bundle.totals[LAUNCHES]
    if isinstance(each_s, float):
        return total * each_s
    if each_s.shape[0] == 1:
        first_s: FloatArray = each_s[0]
        return total * first_s
    launches, each_s = np.broadcast_arrays(bundle.launches, each_s)
    return weighted(launches, each_s)


def _add_linear(
    sums: _Sums,
    bundle: Bundle,
    load: Load,
    rates: Rates,
    engine: Engine,
    at: FloatArray | None,
) -> None:
    """Bytes and seconds of a bundle of which totals say all."""
    moved = np.zeros_like(load.units)
    if bundle.always_spills:
        moved += bundle.totals[ACT_BYTES] * load.units
    if bundle.weighs:
        moved += bundle.totals[WEIGHT_BYTES] * (load.present * load.awake)
    sums.moved_bytes += moved
    sums.memory_s += memory_time_s(bundle, load, rates, engine, moved[None], at)[0]
    if bundle.works:
        compute_s = compute_time_s(bundle, load, rates, engine, at)
        sums.compute_s += weighted(bundle.count, compute_s)


def _add_in_turn(
    sums: _Sums,
    bundle: Bundle,
    load: Load,
    rates: Rates,
    engine: Engine,
    at: FloatArray | None,
) -> None:
    """Bytes and seconds of a bundle whose operators run one after the other."""
    moved = moved_bytes(bundle, load, rates, engine)
    sums.moved_bytes += weighted(bundle.count, moved)
    memory_s = memory_time_s(bundle, load, rates, engine, moved, at)
    if not bundle.works:
        sums.memory_s += weighted(bundle.count, memory_s)
        return
    compute_s = compute_time_s(bundle, load, rates, engine, at)
    compute_s, memory_s = paced(bundle, compute_s, memory_s, rates, engine, at)
    slower = memory_s > compute_s
    memory_s *= slower
    compute_s *= ~slower
    sums.memory_s += weighted(bundle.count, memory_s)
    sums.compute_s += weighted(bundle.count, compute_s)


def _add_mixer(
    sums: _Sums,
    op: AttentionOperator | RecurrentOperator,
    step: Pass,
    rates: Rates,
    engine: Engine,
) -> None:
    """Add the layers of one token mixer."""
    cost = mixer_costs(op, step, rates, engine)
    sums.add_flops(ARITHMETIC_INDEX[op.arithmetic], op.count * cost.flops)
    sums.moved_bytes += op.count * cost.moved_bytes
    compute_s, memory_s = cost.compute_s, cost.memory_s
    if not engine.overlaps:
        slower = memory_s > compute_s
        memory_s, compute_s = memory_s * slower, compute_s * ~slower
    sums.compute_s += op.count * compute_s
    sums.memory_s += op.count * memory_s
    sums.floor_s += op.count * cost.floor_s
    if step.decode:
        swing_frac = context_swing_frac(op, step)
        sums.compute_swing_s += op.count * compute_s * swing_frac
        sums.memory_swing_s += op.count * memory_s * swing_frac
    sums.launches = sums.launches + op.count


def weighted(count: FloatArray, values: FloatArray) -> FloatArray:
    """Sum of rows, each `count` times; shapes ``(rows, 1 or n)`` to ``(1 or n,)``."""
    if count.shape[1] == 1:
        return count[:, 0] @ values
    result: FloatArray = np.einsum("kn,kn->n", count, values)
    return result


def summed(
    costs: OperatorCosts, step: Pass, rates: Rates, energies: Energies, engine: Engine
) -> PhaseCost:
    """Sum operators that are priced already to a pass: `pass_cost`, from its rows."""
    count = costs.count
    compute_s, memory_s = costs.compute_s, costs.memory_s
    if not engine.overlaps:
        slower = memory_s > compute_s
        memory_s, compute_s = memory_s * slower, compute_s * ~slower
    flops = {}
    for arithmetic in set(costs.arithmetic.tolist()):
        rows = costs.arithmetic == arithmetic
        flops[arithmetic] = count[rows] @ costs.flops[rows]
    sums = _Sums(
        flops=flops,
        unpack_ops=count @ costs.unpack_ops,
        moved_bytes=count @ costs.moved_bytes,
        sent_bytes=count @ costs.sent_bytes,
        compute_s=count @ compute_s,
        memory_s=count @ memory_s,
        link_s=count @ costs.link_s,
        floor_s=count @ costs.floor_s,
        compute_swing_s=count @ (compute_s * costs.swing_frac),
        memory_swing_s=count @ (memory_s * costs.swing_frac),
        launches=float(count @ costs.launches),
        layers=costs.layers,
    )
    return _phase_of(sums, step, rates, energies, engine)


def _phase_of(
    sums: _Sums, step: Pass, rates: Rates, energies: Energies, engine: Engine
) -> PhaseCost:
    """Turn sums to times, by what sets the pace, and to energies."""
    flops, compute_j, at_peak_s = np.zeros((3, step.tokens.shape[0]))
    for arithmetic, part in sums.flops.items():
        flops += part
        at_peak_s += part / rates.peak_flops_per_s[arithmetic]
        compute_j += part * energies.flop_j[arithmetic]
    compute_j += sums.unpack_ops * (2.0 * energies.flop_j[ARITHMETIC_INDEX["vector"]])
    times = _overlapped(sums) if engine.overlaps else _in_turn(sums, step, rates, engine)
    compute_s, memory_s, link_s, overhead_s = times
    time_s = compute_s + memory_s + link_s + overhead_s
    other_j = sums.moved_bytes * energies.byte_j + sums.sent_bytes * energies.link_byte_j
    return PhaseCost(
        time_s=time_s,
        compute_s=compute_s,
        memory_s=memory_s,
        link_s=link_s,
        overhead_s=overhead_s,
        flops=flops,
        at_peak_s=at_peak_s,
        moved_bytes=sums.moved_bytes,
        sent_bytes=sums.sent_bytes,
        compute_j=compute_j,
        other_j=other_j + energies.active_w * time_s,
    )


_Times = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def _overlapped(sums: _Sums) -> _Times:
    """Whole phase at the pace of one resource: the hard floor."""
    swing_s = sums.compute_swing_s - sums.memory_swing_s
    busy_s = sums.memory_s + mean_excess(sums.compute_s - sums.memory_s, swing_s)
    time_s = np.maximum(busy_s, sums.link_s)
    link = sums.link_s > busy_s
    compute = ~link & (sums.compute_s >= sums.memory_s)
    memory = ~link & ~compute
    return time_s * compute, time_s * memory, time_s * link, np.zeros_like(time_s)


def _in_turn(sums: _Sums, step: Pass, rates: Rates, engine: Engine) -> _Times:
    """Operators one after the other, floors and host added.

    The pace of each operator is set by its slowest resource; the device waits for the
    host where launches are not captured and take longer than the kernels. A processor that
    launches its own kernels does so between them; the floors of these, which on it are
    launches too, are then not counted twice.
    """
    present = step.tokens > 0.0
    host_s = engine.host_step_s + engine.host_sequence_s * step.sequences
    launched = rates.launched(step, engine)
    if np.any(launched):
        launches_s = sums.launches * engine.host_launch_s + sums.layers * engine.host_layer_s
        beside = 1.0 - rates.is_host
        device_s = beside * (sums.memory_s + sums.compute_s + sums.link_s) + sums.floor_s
        swing_s = beside * (sums.compute_swing_s + sums.memory_swing_s)
        host_s = host_s + launched * mean_excess(launches_s - device_s, swing_s)
    return sums.compute_s, sums.memory_s, sums.link_s, (sums.floor_s + host_s) * present


def pipelined_s(time_s: FloatArray, longest_s: FloatArray, stages: int) -> FloatArray:
    """Time of passes through `stages` stages that work at once, `time_s` with all in turn.

    ``(T + (s - 1) t) / s`` for a longest pass t. Of m equal passes t is ``T / m``, and that
    is ``T / s * (m + s - 1) / m``: the fill and drain of a pipeline (Huang et al., "GPipe",
    NeurIPS 2019, section 2.3).
    """
    return (time_s + (stages - 1.0) * longest_s) / stages
