# SPDX-License-Identifier: Apache-2.0
"""Cases that share model, layout, formats and engine, priced together as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roofline.devices import CaseDevices
from roofline.outcome import Columns, Course, outcome_of
from roofline.phase_costs import Setup, Work, limited
from roofline.physics.batching import Durations, Rhythm, closed_loop, rhythm
from roofline.physics.kernel import FloatArray
from roofline.physics.memory import MemoryUse, memory_use
from roofline.physics.memory import sequence_cache_bytes as cache_bytes
from roofline.physics.phases import PhaseCost
from roofline.residual import QUANTITIES, Ask
from specs.engine import Engine

BOUNDS = ("compute", "memory", "link", "overhead")

PRICED = (
    "ttft_s",
    "later_ttft_s",
    "tpot_s",
    "e2e_s",
    "requests_per_s",
    "running_batch",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "output_tok_per_s",
    "total_tok_per_s",
    "floor_ttft_s",
    "floor_tpot_s",
    "floor_e2e_s",
    "power_prefill_w",
    "power_decode_w",
    "power_mean_w",
    "energy_per_output_token_j",
    "energy_per_total_token_j",
    "weights_bytes",
    "kv_bytes",
    "activation_bytes",
    "runtime_bytes",
    "total_bytes",
    "capacity_bytes",
    "fits",
    "max_batch",
    "kv_capacity_tokens",
    "bound_prefill",
    "bound_decode",
    "arithmetic",
    "peak_flops_per_s",
    "mem_bytes_per_s",
    "mfu",
    "mbu",
)
"""Columns that `price` returns."""

CORRECTED = (
    *(f"analytic_{name}" for name in QUANTITIES),
    *(f"low_{name}" for name in QUANTITIES),
    *(f"high_{name}" for name in QUANTITIES),
    "standing",
)
"""Columns added by a correction: what it started from, the ends of its intervals, and an
index into ``residual.STANDINGS`` (-1 where nothing is corrected)."""


def price(setup: Setup, work: Work, devices: CaseDevices, ask: Ask | None = None) -> Columns:
    """Price every case: times, rates, memory, power, energy, floor and bounds.

    With `ask`, what it answers corrects times and power, and `CORRECTED` is added.
    """
    replicas = float(setup.layout.dp)
    per_replica = np.maximum(work.batch / replicas, 1.0)
    prompts = np.where(work.serving, 1.0, per_replica)
    memory = memory_of(setup, work, devices, per_replica)
    running = _admitted(setup, work, memory, per_replica)
    free = setup.prefill(prompts, work, devices)
    prefill = limited(free, devices, work.power_limit_w, stages=setup.layout.pp)
    steps = np.maximum(work.output_tokens - 1.0, 0.0)
    if not setup.generates:
        alone = _no_decode(prefill, per_replica, free.time_s)
        return outcome_of(setup, work, devices, memory, alone, ask)
    beat = _rhythm(setup, work, running, per_replica - running)
    decoding = running if beat is None else np.where(work.serving, beat.decoding, running)
    free_step = setup.decode(decoding, work, devices)
    step = limited(free_step, devices, work.power_limit_w)
    alone_s = prefill.time_s + setup.engine.request_s * work.serving
    course = Course(
        prefill=prefill,
        step=step,
        ttft_s=alone_s,
        later_ttft_s=alone_s,
        tpot_s=step.time_s,
        decoding=decoding,
        requests_per_s=np.zeros_like(steps),
        free_s=(free.time_s, free_step.time_s),
    )
    if beat is not None:
        course = _serve(setup, work, devices, course, beat)
    return outcome_of(setup, work, devices, memory, course, ask)


def memory_of(setup: Setup, work: Work, devices: CaseDevices, per_replica: FloatArray) -> MemoryUse:
    """Bytes per device where each replica is asked to hold `per_replica` sequences."""
    zero, one = np.zeros_like(per_replica), np.ones_like(per_replica)
    decoder_only = setup.encoder is None
    return memory_use(
        setup.sizes,
        setup.engine,
        capacity_bytes=devices.mem_bytes,
        sequences=per_replica,
        elastic=work.serving,
        input_tokens=work.input_tokens if decoder_only else one,
        output_tokens=work.output_tokens if setup.generates else zero,
        cross_tokens=zero if decoder_only else work.input_tokens,
        prompt_tokens=work.new_tokens,
    )


def _admitted(setup: Setup, work: Work, memory: MemoryUse, per_replica: FloatArray) -> FloatArray:
    """Sequences that run at once on a replica.

    All of a static batch; of a concurrency what the cache holds at mean length, at
    least one.
    """
    mean_tokens = work.input_tokens + work.output_tokens / 2.0
    each = cache_bytes(
        setup.sizes, mean_tokens, work.input_tokens, block_tokens=setup.engine.kv_block_tokens
    )
    room = np.floor(np.maximum(memory.kv_budget_bytes, 0.0) / np.maximum(each, 1e-9))
    if setup.engine.max_sequences:
        room = np.minimum(room, setup.engine.max_sequences)
    # What does not fit at all is priced as if it did; the answer says so first.
    room = np.where(room >= 1.0, room, per_replica)
    serving = np.minimum(per_replica, room)
    return np.where(work.serving, serving, per_replica)


def _no_decode(prefill: PhaseCost, per_replica: FloatArray, free_s: FloatArray) -> Course:
    zero = np.zeros_like(per_replica)
    return Course(
        prefill=prefill,
        step=prefill.scaled(0.0),
        ttft_s=prefill.time_s,
        later_ttft_s=prefill.time_s,
        tpot_s=zero,
        decoding=per_replica,
        requests_per_s=zero,
        free_s=(free_s, zero),
    )


def _rhythm(setup: Setup, work: Work, running: FloatArray, waiting: FloatArray) -> Rhythm | None:
    """How the steps of serving cases fall; None if nothing is served."""
    if not work.serving.any():
        return None
    chunk = float(setup.engine.prefill_chunk_tokens)
    zero = np.zeros_like(running)
    return rhythm(
        running=running,
        waiting=waiting,
        steps=np.maximum(work.output_tokens - 1.0, 0.0),
        spread_frac=zero + work.spread_frac,
        prompt_tokens=work.new_tokens,
        chunks=work.new_tokens / chunk if chunk else zero,
        held_steps=held_steps(setup.engine, work),
        mixes=setup.engine.mixes_prefill,
        instant=setup.engine.request_s <= 0.0,
    )


def held_steps(engine: Engine, work: Work) -> FloatArray:
    """Decode steps that prompts wait: as asked for, else as the engine does by itself."""
    asked = np.zeros_like(work.batch) + work.held_steps
    return np.where(asked > 0.0, asked, engine.held_steps)


def _caches_s(setup: Setup, work: Work, devices: CaseDevices, decoding: FloatArray) -> FloatArray:
    """Time in which decoding sequences read their caches once."""
    tokens = work.input_tokens + work.output_tokens / 2.0
    each = cache_bytes(setup.sizes, tokens, work.input_tokens)
    rate = devices.rates.mem_bytes_per_s * setup.engine.memory_frac
    return decoding * each / rate


def _serve(
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    course: Course,
    beat: Rhythm,
) -> Course:
    """Replace the isolated times of serving cases by those of a benchmark's closed loop."""
    chunk, batched = float(setup.engine.prefill_chunk_tokens), beat.running
    if chunk:
        # A little less than a full pass: rounding must not open a second one.
        batched = np.clip(chunk / work.new_tokens * (1.0 - 1e-9), 1.0, batched)
    several = setup.prefill(batched, work, devices)
    several = limited(several, devices, work.power_limit_w, stages=setup.layout.pp)
    under_way = np.clip(beat.running / batched, 1.0, setup.layout.pp)
    one = np.ones_like(batched)
    prompt_s = course.prefill.time_s * _turn_frac(setup, one, under_way, work, devices)
    batched_s = several.time_s * _turn_frac(setup, batched, under_way, work, devices)
    durations = Durations(
        request_s=setup.engine.request_s,
        prompt_s=prompt_s,
        batched=batched,
        batched_s=batched_s,
        step_s=course.step.time_s,
        caches_s=_caches_s(setup, work, devices, beat.decoding),
        token_s=batched_s / (batched * work.new_tokens),
    )
    state = closed_loop(beat, durations)
    choose, onward_s = work.serving, course.prefill.time_s - prompt_s
    return replace(
        course,
        ttft_s=np.where(choose, state.ttft_s + onward_s, course.ttft_s),
        later_ttft_s=np.where(choose, state.later_ttft_s + onward_s, course.ttft_s),
        tpot_s=np.where(choose, state.tpot_s, course.tpot_s),
        requests_per_s=np.where(choose, state.requests_per_s * setup.layout.dp, 0.0),
    )


def _turn_frac(
    setup: Setup, prompts: FloatArray, under_way: FloatArray, work: Work, devices: CaseDevices
) -> FloatArray | float:
    """Time that a prefill keeps others from a pipeline, over what it takes from end to end.

    With `under_way` passes in stages of their own at once, as under load, each holds a stage for
    its part; no less than all its work over all stages.
    """
    stages = setup.layout.pp
    if stages == 1 or not setup.engine.pipelines_decode:
        return 1.0
    in_turn = setup.prefill_in_turn(prompts, work, devices)
    factor = setup.stage_factor(in_turn, prompts, work, devices)
    found: FloatArray = np.maximum(1.0 / under_way, 1.0 / (stages * factor))
    return found
