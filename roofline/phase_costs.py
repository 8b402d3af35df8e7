# SPDX-License-Identifier: Apache-2.0
"""A model as it is laid out and stored under an engine: what its prefill and decode cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from roofline.devices import CaseDevices
from roofline.physics.constants import OTHER_ENERGY_FLOOR_FRAC, SUMMED_ENERGY_FLOOR_FRAC
from roofline.physics.kernel import FloatArray
from roofline.physics.layout import Formats, Layout
from roofline.physics.memory import Footprint, footprint
from roofline.physics.operators import decoder_plan, encoder_plan
from roofline.physics.passes import Pass, decode_pass, prefill_pass
from roofline.physics.phases import PhaseCost, pass_cost, pipelined_s
from roofline.physics.plan import Plan, Whole
from roofline.physics.power import (
    activity_of,
    capped_slowdown,
    demand_w,
    memory_stretch,
    other_energy_frac,
    standing_power_w,
)
from specs.engine import Engine, get_engine
from specs.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of each case; arrays of shape ``(n,)``.

    `batch` is of the whole deployment: a static batch, or the concurrency where
    `serving`. Of the `input_tokens`, `cached_tokens` are in the KV cache already.
    `spread_frac` is the width of the uniform distribution that lengths are drawn from,
    over its mean; 0 makes all requests alike. A prompt waits `held_steps` decode steps
    before an engine at work takes it in.
    """

    batch: FloatArray
    serving: np.ndarray
    input_tokens: FloatArray
    cached_tokens: FloatArray
    output_tokens: FloatArray
    power_limit_w: FloatArray
    spread_frac: FloatArray | float = 0.0
    held_steps: FloatArray | float = 0.0

    @property
    def new_tokens(self) -> FloatArray:
        """Prompt tokens that prefill has to process."""
        return self.input_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A plan, and the mean of the `passes` that go through it one after the other."""

    plan: Plan
    step: Pass
    passes: FloatArray


_IDEALS: dict[tuple[object, ...], Setup] = {}
_STACK_KEYS: dict[tuple[object, ...], int] = {}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Model, layout, formats and engine, compiled once for any number of cases."""

    model: Model
    layout: Layout
    formats: Formats
    engine: Engine

    @cached_property
    def decoder(self) -> Plan:
        """Operators of the decoder."""
        return decoder_plan(self.model, self.layout, self.formats, self.engine)

    @cached_property
    def encoder(self) -> Plan | None:
        """Operators of the encoder, if there is one."""
        return encoder_plan(self.model, self.layout, self.formats, self.engine)

    @cached_property
    def ideal(self) -> Setup:
        """The same on the ideal machine: the hard floor. Engines share it."""
        engine = get_engine("ideal")
        if self.engine is engine:
            return self
        key = (id(self.model), self.layout, self.formats)
        kept = _IDEALS.get(key)
        if kept is None or kept.model is not self.model:
            if len(_IDEALS) > 20_000:
                _IDEALS.clear()
            kept = _IDEALS[key] = replace(self, engine=engine)
        return kept

    @cached_property
    def sizes(self) -> Footprint:
        """Bytes of one rank, whatever the engine."""
        if self.ideal is not self:
            return self.ideal.sizes
        return footprint(self.model, self.layout, self.formats)

    @cached_property
    def stack_key(self) -> int:
        """A number that setups share whose cases can be priced side by side."""
        plans = (self.decoder, self.encoder, self.ideal.decoder, self.ideal.encoder)
        layout: object = self.layout
        if self.layout.ep == self.layout.pp == 1:
            # All groups are of `tensor_ranks`, which may differ by case.
            layout = self.layout.dp, self.layout.tp > 1
        key = (self.engine, layout, self.generates, *(p and p.stack_key for p in plans))
        return _STACK_KEYS.setdefault(key, len(_STACK_KEYS))

    @cached_property
    def tensor_ranks(self) -> Whole:
        """Degree of tensor parallelism; one per case where setups are side by side."""
        return self.layout.tp

    @property
    def ranks(self) -> tuple[int, ...]:
        """Sizes of the groups of ranks that communicate."""
        return self.layout.tp, self.layout.ep, 2 if self.layout.pp > 1 else 1

    @property
    def generates(self) -> bool:
        """Whether there is a decoder at all."""
        return bool(self.model.blocks)

    def prefill_stretches(self, sequences: FloatArray, work: Work) -> tuple[Stretch, ...]:
        """What the prefill of `sequences` prompts on one replica runs."""
        prompts = self._over_prompts(sequences, work)
        if self.encoder is None or not self.generates:
            return (prompts,)
        one = np.ones_like(sequences)
        start = prefill_pass(sequences, one, work.new_tokens, one)
        return prompts, Stretch(plan=self.decoder, step=start, passes=one)

    def _over_prompts(self, sequences: FloatArray, work: Work, *, full: bool = False) -> Stretch:
        """Passes over the tokens of prompts: their mean, or with `full` the largest of them."""
        passes, most = np.ones_like(sequences), float(self.engine.prefill_chunk_tokens)
        chunk: FloatArray | float = most
        if most:
            if self.encoder is not None:
                # Encoders look both ways: whole prompts go through together, none is cut.
                chunk = np.maximum(most, work.new_tokens)
            passes = np.maximum(sequences * work.new_tokens / chunk, 1.0)
            passes = passes if full else np.ceil(passes)
        step = prefill_pass(
            sequences,
            work.new_tokens,
            np.zeros_like(sequences),
            passes,
            work.cached_tokens if self.encoder is None else 0.0,
            chunk_tokens=chunk,
        )
        return Stretch(plan=self.encoder or self.decoder, step=step, passes=passes)

    def decode_parts(self, sequences: FloatArray) -> FloatArray:
        """Parts in which a batch that decodes goes through the stages, all at work at once."""
        stages = float(self.layout.pp) if self.engine.pipelines_decode else 1.0
        return np.minimum(sequences, stages)

    def decode_stretch(self, sequences: FloatArray, work: Work) -> Stretch:
        """Mean decode step of `sequences` sequences on one replica.

        With pipeline stages the batch goes through in parts; the step is that of one.
        """
        part = sequences / np.maximum(self.decode_parts(sequences), 1.0)
        context, cross = work.input_tokens, np.zeros_like(sequences)
        if self.encoder is not None:
            context, cross = np.ones_like(sequences), work.input_tokens
        step = decode_pass(part, context, work.output_tokens - 1.0, cross)
        return Stretch(plan=self.decoder, step=step, passes=np.ones_like(sequences))

    def prefill(self, sequences: FloatArray, work: Work, devices: CaseDevices) -> PhaseCost:
        """Prefill of `sequences` prompts on one replica, all its passes."""
        cost = self.prefill_in_turn(sequences, work, devices)
        if self.layout.pp == 1:
            return cost
        return self._staged(cost, self.stage_factor(cost, sequences, work, devices))

    def prefill_in_turn(self, sequences: FloatArray, work: Work, devices: CaseDevices) -> PhaseCost:
        """`prefill` with one stage at work at a time."""
        first, *others = self.prefill_stretches(sequences, work)
        cost = self._cost(first, devices).scaled(first.passes)
        for stretch in others:
            cost = cost.plus(self._cost(stretch, devices).scaled(stretch.passes))
        return cost

    def decode(self, sequences: FloatArray, work: Work, devices: CaseDevices) -> PhaseCost:
        """Mean decode step of `sequences` sequences on one replica, all stages in turn."""
        return self._cost(self.decode_stretch(sequences, work), devices)

    def _cost(self, stretch: Stretch, devices: CaseDevices) -> PhaseCost:
        """One pass of a stretch."""
        plan, step = stretch.plan, stretch.step
        return pass_cost(plan, step, devices.rates, devices.energies, self.engine)

    def stage_factor(
        self, in_turn: PhaseCost, sequences: FloatArray, work: Work, devices: CaseDevices
    ) -> FloatArray:
        """Time of a prefill with all stages at work at once, over that `in_turn`."""
        stages, one = self.layout.pp, np.ones_like(sequences)
        if self.engine.overlaps or stages == 1:
            return one / stages
        largest = self._cost(self._over_prompts(sequences, work, full=True), devices)
        return pipelined_s(one, np.minimum(largest.time_s / in_turn.time_s, 1.0), stages)

    def _staged(self, cost: PhaseCost, factor: FloatArray) -> PhaseCost:
        """Stages at work at once, each on its share of the layers."""
        share = 1.0 / self.layout.pp
        return replace(
            cost.scaled(factor),
            compute_j=cost.compute_j * share,
            other_j=cost.other_j * share,
            flops=cost.flops,
            at_peak_s=cost.at_peak_s,
            moved_bytes=cost.moved_bytes,
        )


def limited(
    cost: PhaseCost, devices: CaseDevices, limit_w: FloatArray, *, stages: int = 1
) -> PhaseCost:
    """Return the phase under a power limit: the clock drops until demand meets it.

    `stages` work at once on the phase, each on its part.
    """
    binding = limit_w < devices.tdp_w
    if not binding.any():
        return cost
    scale = _energy_scale(cost, devices, stages)
    floor_frac = SUMMED_ENERGY_FLOOR_FRAC if devices.power is None else OTHER_ENERGY_FLOOR_FRAC
    clock, _ = capped_slowdown(
        compute_j=cost.compute_j * scale,
        other_j=cost.other_j * scale,
        compute_s=cost.compute_s,
        memory_s=cost.memory_s,
        other_s=np.maximum(cost.time_s - cost.compute_s - cost.memory_s, 0.0),
        idle_w=devices.idle_w,
        standing_w=standing_power_w(devices.tdp_w),
        floor_frac=floor_frac,
        default_cap_w=devices.tdp_w,
        limit_w=np.minimum(limit_w, devices.tdp_w),
    )
    # Demand may meet the default limit exactly; rounding must not throttle it there.
    clock = np.where(binding, clock, 1.0)
    compute_s = cost.compute_s / clock
    memory_s = cost.memory_s * memory_stretch(clock)
    time_s = cost.time_s - cost.compute_s - cost.memory_s + compute_s + memory_s
    standing_w = np.maximum(standing_power_w(devices.tdp_w) - devices.idle_w, 0.0)
    standing_j = np.minimum(standing_w * cost.time_s, cost.other_j)
    stretch = np.divide(time_s, cost.time_s, out=np.ones_like(time_s), where=cost.time_s > 0.0)
    return replace(
        cost,
        compute_s=compute_s,
        memory_s=memory_s,
        time_s=time_s,
        compute_j=cost.compute_j * clock**2,
        other_j=(cost.other_j - standing_j) * other_energy_frac(clock, floor_frac)
        + standing_j * stretch,
    )


def _energy_scale(cost: PhaseCost, devices: CaseDevices, stages: int) -> FloatArray | float:
    """Energy that boards were seen to draw in such a phase, over the sum of its parts."""
    if devices.power is None:
        return 1.0
    rate = devices.rates.mem_bytes_per_s
    active = activity_of(cost.moved_bytes / stages, cost.at_peak_s / stages, cost.time_s, rate)
    wanted_w = demand_w(devices.power, devices.power_facts(devices.tdp_w), active)
    seen_j: FloatArray = (wanted_w - devices.idle_w) * cost.time_s
    return seen_j / np.maximum(cost.compute_j + cost.other_j, 1e-30)
