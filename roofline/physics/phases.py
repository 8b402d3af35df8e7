# SPDX-License-Identifier: Apache-2.0
"""Phases of a request: prefill in passes, decode as its mean step, both summed over operators.

A decode phase of many steps is priced as its mean step, with the mean context taken
exactly. That is exact while an operator stays on one side of its ridge, which it does
for all but a few steps; the time is convex in the context, so the mean step is never
above the true sum (Jensen), and a test bounds the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from roofline.physics.kernel import FloatArray
from roofline.physics.plan import Plan
from roofline.physics.step import OperatorCosts, Pass, Rates, operator_costs
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """A phase of one replica on one rank; arrays of shape ``(n,)``.

    `time_s` is the sum of what follows: time in which compute, memory or links set the
    pace, and time in which nothing of them does (launch floors, host). `compute_j` and
    `other_j` are dynamic energies of one rank.
    """

    time_s: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    link_s: FloatArray
    overhead_s: FloatArray
    flops: FloatArray
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


def pass_cost(
    plan: Plan, step: Pass, rates: Rates, energies: Energies, engine: Engine
) -> PhaseCost:
    """One pass over the plan, host included."""
    return summed(operator_costs(plan, step, rates, engine), step, energies, engine)


def summed(costs: OperatorCosts, step: Pass, energies: Energies, engine: Engine) -> PhaseCost:
    """Sum operators to a pass.

    The pace of each operator is set by its slowest resource; the device waits for the
    host where launches are not captured and take longer than the kernels.
    """
    count = costs.count
    flops, moved = count @ costs.flops, count @ costs.moved_bytes
    sent = count @ costs.sent_bytes
    # ``count @ (flops * energy)`` without a gathered copy of the energies' table.
    compute_j = np.zeros_like(flops)
    for arithmetic in np.unique(costs.arithmetic):
        rows = costs.arithmetic == arithmetic
        compute_j += (count[rows] @ costs.flops[rows]) * energies.flop_j[arithmetic]
    other_j = moved * energies.byte_j + sent * energies.link_byte_j
    times = _overlapped(costs) if engine.overlaps else _in_turn(costs, step, engine)
    compute_s, memory_s, link_s, overhead_s = times
    time_s = compute_s + memory_s + link_s + overhead_s
    return PhaseCost(
        time_s=time_s,
        compute_s=compute_s,
        memory_s=memory_s,
        link_s=link_s,
        overhead_s=overhead_s,
        flops=flops,
        moved_bytes=moved,
        sent_bytes=sent,
        compute_j=compute_j,
        other_j=other_j + energies.active_w * time_s,
    )


_Times = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def _overlapped(costs: OperatorCosts) -> _Times:
    """Whole phase at the pace of one resource: the hard floor."""
    totals = [costs.count @ part for part in (costs.compute_s, costs.memory_s, costs.link_s)]
    time_s = np.maximum(np.maximum(totals[0], totals[1]), totals[2])
    compute = totals[0] >= time_s
    memory = ~compute & (totals[1] >= time_s)
    zero = np.zeros_like(time_s)
    link = ~compute & ~memory
    return time_s * compute, time_s * memory, time_s * link, zero


def _in_turn(costs: OperatorCosts, step: Pass, engine: Engine) -> _Times:
    """Operators one after the other, floors and host added."""
    count = costs.count
    memory_bound = costs.memory_s > costs.compute_s
    memory_s = count @ (costs.memory_s * memory_bound)
    compute_s = count @ (costs.compute_s * ~memory_bound)
    link_s = count @ costs.link_s
    floor_s = count @ costs.floor_s
    present = step.tokens > 0.0
    host_s = engine.host_step_s + engine.host_sequence_s * step.sequences
    if not (step.decode and engine.graph_decode):
        launches_s = float(count @ costs.launches) * engine.host_launch_s
        launches_s += costs.layers * engine.host_layer_s
        device_s = memory_s + compute_s + link_s + floor_s
        host_s = host_s + np.maximum(launches_s - device_s, 0.0)
    return compute_s, memory_s, link_s, (floor_s + host_s) * present


def chunks_of(tokens: FloatArray, engine: Engine) -> FloatArray:
    """Passes that a prompt of `tokens` tokens (all sequences) is cut into."""
    if engine.prefill_chunk_tokens <= 0:
        return np.ones_like(tokens)
    return np.maximum(np.ceil(tokens / engine.prefill_chunk_tokens), 1.0)


def prefill_pass(
    sequences: FloatArray,
    input_tokens: FloatArray,
    cross_tokens: FloatArray,
    passes: FloatArray,
    cached_tokens: FloatArray | float = 0.0,
) -> Pass:
    """Return the mean pass of a prefill of `sequences` prompts cut into `passes`.

    `input_tokens` are new, after `cached_tokens` of a reused prefix. A prompt cut into
    k chunks of c tokens reads its cache k times, of mean length ``(k + 1) c / 2`` plus
    the prefix; the queries see what they would see uncut.
    """
    tokens = sequences * input_tokens / passes
    per_prompt = np.maximum(passes / sequences, 1.0)
    chunk = input_tokens / per_prompt
    return Pass(
        tokens=tokens,
        sequences=sequences / passes,
        cached_tokens=cached_tokens + (input_tokens - chunk) / 2.0,
        new_tokens=chunk,
        span_cached=np.zeros_like(tokens) + cached_tokens,
        span_new=input_tokens,
        cross_tokens=sequences * cross_tokens / passes,
        cross_context=cross_tokens,
        decode=False,
    )


def decode_pass(
    sequences: FloatArray, context: FloatArray, steps: FloatArray, cross_tokens: FloatArray
) -> Pass:
    """Return the mean of `steps` decode steps after `context` cached tokens."""
    one = np.ones_like(sequences)
    return Pass(
        tokens=sequences,
        sequences=sequences,
        cached_tokens=context,
        new_tokens=one,
        span_cached=context,
        span_new=np.maximum(steps, 1.0),
        cross_tokens=np.zeros_like(sequences),
        cross_context=cross_tokens,
        decode=True,
    )


def pipelined_s(time_s: FloatArray, passes: FloatArray, stages: int) -> FloatArray:
    """Time of `passes` equal passes through `stages` stages that work at once.

    ``T / s * (m + s - 1) / m`` for a total T of all stages in turn: the fill and drain
    of a pipeline (Huang et al., "GPipe", NeurIPS 2019, section 2.3).
    """
    return time_s / stages * (passes + stages - 1.0) / passes
