# SPDX-License-Identifier: Apache-2.0
"""What a serving benchmark at a fixed number of requests in flight reports, in closed form.

Closed loop: whenever a request ends, the next one is sent, as ``--max-concurrency`` of
the engines' benchmarks does. The first prompts are all sent at once, and every client
sends `ROUNDS` prompts; means are over all of them, opening burst included.

Counted in steps first (`rhythm`: who decodes while whom prefills, which no speed
changes), then in seconds (`closed_loop`). `roofline.serving` simulates the same run event
by event; a test bounds the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.physics.kernel import FloatArray

ROUNDS = 10
"""Prompts per client of a benchmark: the custom of the engines' serving benchmarks, and
what the check command of an estimate asks for. A tenth of them are in the opening burst."""

_NARROWING = 0.523
"""Mean over rounds 2 to 10 of ``1 / sqrt(r - 1)``: ends of requests spread like a random
walk from round to round, and arrivals thin out as the spread grows."""

_LEAST_LEFT = 1.0 / 16.0
"""Least share of a pass left for prompts beside the decoding sequences: keeps an engine
with more sequences than tokens per pass from standing still."""

_ITERATIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How the steps of a round fall, whatever they last; arrays of shape ``(n,)``.

    Parameters
    ----------
    running, waiting, steps : ndarray
        As given to `rhythm`.
    decoding : ndarray
        Sequences per decode step.
    chunks, first_chunks : ndarray
        Passes that a prompt fills beside the decoding sequences, in the mean and in the
        opening burst.
    window : ndarray
        Steps of a round over which requests end.
    per_step, met : ndarray
        Prompts per step of the window; prompts that one prompt is prefilled with, itself
        included.
    missed, held, queue : ndarray
        Steps in progress that a prompt waits for; decode steps that the engine then lets
        it wait while others run; passes that it waits for others.
    load, own : ndarray
        Share of the room for prompts that is used in the window; passes of a prompt's
        own prefill.
    round_steps : ndarray
        Steps from one request of a client to its next.
    mixes : bool
    """

    running: FloatArray
    waiting: FloatArray
    steps: FloatArray
    decoding: FloatArray
    chunks: FloatArray
    first_chunks: FloatArray
    window: FloatArray
    per_step: FloatArray
    met: FloatArray
    missed: FloatArray
    held: FloatArray
    load: FloatArray
    own: FloatArray
    queue: FloatArray
    round_steps: FloatArray
    mixes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """What the parts last, in seconds; arrays of shape ``(n,)``.

    Parameters
    ----------
    request_s : float
        Time of a request outside the engine's loop.
    prompt_s : ndarray
        One prompt's prefill when nothing else runs.
    batched, batched_s : ndarray
        Prompts that fill one pass (at least 1, at most `running`), and their prefill.
    step_s, caches_s : ndarray
        Decode step of the sequences decoding, and what of it they spend on their caches.
    token_s : ndarray
        What a decoding sequence adds to a pass with prompts beside its cache.
    """

    request_s: float
    prompt_s: FloatArray
    batched: FloatArray
    batched_s: FloatArray
    step_s: FloatArray
    caches_s: FloatArray
    token_s: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """Arrays of shape ``(n,)``: seconds, requests per second.

    `ttft_s` is the mean of a benchmark run, `later_ttft_s` that of its requests after
    the opening burst (near the median of a run).
    """

    ttft_s: FloatArray
    later_ttft_s: FloatArray
    tpot_s: FloatArray
    requests_per_s: FloatArray


def rhythm(
    *,
    running: FloatArray,
    waiting: FloatArray,
    steps: FloatArray,
    spread_frac: FloatArray,
    prompt_tokens: FloatArray,
    chunks: FloatArray,
    held_steps: FloatArray | float = 0.0,
    mixes: bool,
    instant: bool = False,
) -> Rhythm:
    """Steps of a round of the closed loop.

    Parameters
    ----------
    running, waiting : ndarray, shape (n,)
        Requests that the KV cache admits at once, and those queued behind them.
    steps : ndarray
        Decode steps per request.
    spread_frac : ndarray
        Width of the uniform distribution of lengths over its mean; 0 where all are equal.
    prompt_tokens, chunks : ndarray
        Tokens of one prompt, and those over what a pass may carry.
    held_steps : ndarray
        Decode steps that an engine at work lets a prompt wait before it takes it in.
    mixes : bool
        Whether prompts ride on decode steps, or run by themselves while decoding stands.
    instant : bool
        Whether a request sent as a step ends is in the next one; else it misses that.

    Notes
    -----
    Requests that start together end together: after the burst, the ends of the R running
    requests fall into a window of U steps of a round, as wide as the burst's own prefill
    (where prompts ride on steps) and the spread of lengths, which grows with the square
    root of the rounds, make it. So ``R / (1 + U)`` prompts come per step of the window
    and are prefilled as one batch; where they come at random, one prompt meets one more.
    Where a pass cannot carry all, M/D/1 in the mean, ``rho / (2 (1 - rho))`` of a
    service, within what the arrivals of one window can pile up (their square root).
    """
    others = 1.0 - 1.0 / running
    # Whole steps: w + 1 values have the spread of a continuous sqrt((w + 1)^2 - 1).
    spread = np.sqrt((steps * spread_frac + 1.0) ** 2 - 1.0)
    chance = np.minimum(spread, 1.0)
    decoding, beside = running, chunks
    for _ in range(_ITERATIONS if mixes else 1):
        if mixes:
            beside = _chunks_beside(chunks, decoding * others, prompt_tokens)
        width = np.maximum(running * beside - 1.0, 0.0) if mixes else np.zeros_like(running)
        most = np.maximum(steps + np.maximum(beside, 1.0), running * beside) if mixes else steps
        window = np.minimum(np.hypot(width, spread / _NARROWING), most)
        per_step = running / (1.0 + window)
        load = np.minimum(per_step * beside, 1.0) * others
        left = np.maximum(1.0 - load, 1.0 / np.sqrt(running))
        queue = chance * beside * load / (2.0 * left)
        whole = np.ceil(beside - 1e-9)
        own = np.where(beside > 1.0, whole + chance * (beside + 0.5 - whole), 1.0)
        # Of requests that all end together none decodes: nothing is missed or held back.
        apart = window / (1.0 + window)
        missed = apart * np.minimum(running - 1.0, float(not instant))
        held = apart * np.minimum(running - 1.0, 1.0) * held_steps
        round_steps = steps + missed + held
        if mixes:
            round_steps = np.maximum(round_steps + own + queue, running * beside)
        decoding = running * steps / np.maximum(round_steps, 1.0)
        decoding = np.maximum(decoding, np.minimum(running, 1.0))
    met = np.maximum(per_step, 1.0) + chance * others * np.minimum(per_step, 1.0)
    return Rhythm(
        running=running,
        waiting=waiting,
        steps=steps,
        decoding=decoding,
        chunks=beside,
        first_chunks=_chunks_beside(chunks, 0.5 * decoding * others, prompt_tokens),
        window=window,
        per_step=per_step,
        met=np.minimum(met, running),
        missed=missed,
        held=held,
        load=load,
        own=own,
        queue=queue,
        round_steps=round_steps,
        mixes=mixes,
    )


def _chunks_beside(
    chunks: FloatArray, decoding: FloatArray, prompt_tokens: FloatArray
) -> FloatArray:
    """Passes that a prompt fills where decoding sequences take their tokens first."""
    left_frac = 1.0 - chunks * decoding / prompt_tokens
    return chunks / np.maximum(left_frac, _LEAST_LEFT)


@dataclass(frozen=True, slots=True)
class _Prefill:
    """Linear pieces: `k` prompts take ``fixed min(passes, k) + each k``."""

    fixed_s: FloatArray
    each_s: FloatArray
    chunks: FloatArray

    @classmethod
    def of(cls, durations: Durations, chunks: FloatArray) -> _Prefill:
        alone_s, batched = durations.prompt_s, durations.batched
        several = batched > 1.0
        more_s = (durations.batched_s - alone_s) / np.where(several, batched - 1.0, 1.0)
        each_s = np.where(several, np.clip(more_s, 0.0, alone_s), alone_s)
        return cls(alone_s - each_s, each_s, chunks)

    def passes(self, prompts: FloatArray) -> FloatArray:
        return np.maximum(prompts * self.chunks, 1.0)

    def time_s(self, prompts: FloatArray) -> FloatArray:
        shared = np.minimum(self.passes(prompts), prompts)
        return self.fixed_s * shared + self.each_s * prompts

    def pass_s(self, prompts: FloatArray) -> FloatArray:
        return self.time_s(prompts) / self.passes(prompts)

    def mean_end_frac(self, prompts: FloatArray) -> FloatArray:
        """Mean time at which prompts that start together end, over the time of all."""
        passes = self.passes(prompts)
        return (passes + np.minimum(np.maximum(self.chunks, 1.0), passes)) / (2.0 * passes)


_Times = tuple[FloatArray, FloatArray, FloatArray]
"""Mean TTFT of the burst and after it, TPOT."""


def closed_loop(beat: Rhythm, durations: Durations) -> SteadyState:
    """Mean TTFT and TPOT of a benchmark run of `ROUNDS` prompts per client.

    Notes
    -----
    A prompt waits for the step in progress (a request that ends with a step misses the
    next) and for prompts before it, then prefills with its batch. In the burst, prompt i
    of R ends after its share of all R. TPOT is the decode step and the prefills of the
    others, once each per round. What the cache does not admit waits for its turn. A burst
    that is served sooner than what follows is paid for when the run drains, so it does
    not lower the mean. The rate follows from Little's law.
    """
    times = _mixed(beat, durations) if beat.mixes else _prefill_first(beat, durations)
    burst_s, later_s, tpot_s = times
    running, waiting = beat.running, beat.waiting
    decode_s = beat.steps * tpot_s
    beside_s = np.where(running > 1.0, durations.step_s, 0.0)
    later_s = np.maximum(later_s, (beat.round_steps - beat.steps) * beside_s)
    later_s = np.maximum(later_s, _device_s(beat, durations) - decode_s)
    flight = running + waiting
    turn_s = waiting * (later_s + decode_s) / running
    # The first to come wait behind half of those that wait, all others behind all.
    first_s = later_s + (burst_s - later_s) * running / flight
    first_s += turn_s * waiting / (2.0 * flight)
    later_s = later_s + turn_s
    ttft_s = later_s + np.maximum(first_s - later_s, 0.0) / ROUNDS
    return SteadyState(
        ttft_s=ttft_s,
        later_ttft_s=later_s,
        tpot_s=tpot_s,
        requests_per_s=flight / np.maximum(ttft_s + decode_s, 1e-30),
    )


def _device_s(beat: Rhythm, durations: Durations) -> FloatArray:
    """Least time of a round: all its prompts, and the steps that carry none of them."""
    prefill = _Prefill.of(durations, beat.chunks)
    steps = beat.steps
    if beat.mixes:
        carrying = beat.running / np.maximum(beat.per_step, 1.0)
        carrying = np.maximum(carrying, prefill.passes(beat.running))
        steps = np.clip(beat.round_steps - carrying, 0.0, beat.steps)
    return prefill.time_s(beat.running) + steps * durations.step_s


def _boundary_s(
    beat: Rhythm, durations: Durations, step_s: FloatArray, beat_s: FloatArray
) -> FloatArray:
    """From sending to the end of the step in progress, or of those the prompt is held for.

    A request is sent as a step ends and arrives `request_s` into the next, or into one
    further on; where all end together, nothing runs then. One that the cache kept
    waiting is there already. `step_s` is of a pass, `beat_s` from one decode step to the next.
    """
    outside = durations.request_s
    left_s = np.maximum(step_s - outside, 0.5 * step_s)
    waits_s = outside + beat.missed * left_s + beat.held * beat_s
    return np.where(beat.waiting > 0.0, 0.0, waits_s)


def _prefill_first(beat: Rhythm, durations: Durations) -> _Times:
    """Prompts run by themselves, as soon as they wait."""
    prefill, step_s, running = _Prefill.of(durations, beat.chunks), durations.step_s, beat.running
    batch_s = prefill.time_s(beat.met)
    beat_s = step_s + beat.per_step * batch_s
    next_s = beat_s / (1.0 + beat.per_step)
    beat_s = step_s + np.minimum(beat.per_step, 1.0) * batch_s
    waits_s = _boundary_s(beat, durations, next_s, beat_s)
    later_s = waits_s + batch_s * prefill.mean_end_frac(beat.met)
    all_s = prefill.time_s(running)
    later_s = np.where(beat.steps > 0.0, later_s, np.maximum(later_s, all_s))
    size = np.maximum(beat.per_step, 1.0)
    # Batches of a round but one's own, and what is left of that after one's own end.
    others_s = (running / size - 1.0) * prefill.time_s(size)
    own_s = prefill.time_s(size) * (1.0 - prefill.mean_end_frac(size))
    tpot_s = step_s + (others_s + own_s) / np.maximum(beat.steps, 1.0)
    return durations.request_s + all_s * prefill.mean_end_frac(running), later_s, tpot_s


def _mixed(beat: Rhythm, durations: Durations) -> _Times:
    """Prompts ride on decode steps as far as a pass has room."""
    prefill, running = _Prefill.of(durations, beat.chunks), beat.running
    others = 1.0 - 1.0 / running
    added_s = (durations.caches_s + durations.token_s * beat.decoding) * others
    beside_s = np.where(running > 1.0, durations.step_s, 0.0)
    carrying_s = np.maximum(prefill.pass_s(beat.met) + added_s, beside_s)
    dense = np.minimum(beat.per_step * np.maximum(beat.chunks, 1.0), 1.0)
    dense = dense * beat.window / (1.0 + beat.window)
    next_s = durations.step_s + dense * np.maximum(carrying_s - durations.step_s, 0.0)
    # A prompt's last pass fills up with the prompts behind it, if there are any.
    alone_s = durations.prompt_s + np.maximum(beat.chunks, 1.0) * added_s
    crowded = np.where(beat.chunks > 1.0, beat.load, 1.0)
    own_s = alone_s + crowded * (beat.own * carrying_s - alone_s)
    later_s = _boundary_s(beat, durations, next_s, next_s) + beat.queue * carrying_s + own_s
    later_s = np.maximum(later_s, (running * beat.chunks - beat.steps) * carrying_s)
    first = _Prefill.of(durations, beat.first_chunks)
    full_s = np.maximum(first.pass_s(running) + 0.5 * added_s, 0.5 * beside_s)
    burst_s = first.passes(running) * full_s * first.mean_end_frac(running)
    size = np.maximum(beat.per_step, 1.0)
    passes = np.minimum(np.maximum(running / size, prefill.passes(running)), beat.round_steps)
    stalls = np.maximum(passes - beat.own, 0.0) / np.maximum(beat.round_steps, 1.0)
    stall_s = np.maximum(prefill.pass_s(size) + added_s - durations.step_s, 0.0)
    tpot_s = durations.step_s + stalls * stall_s
    return durations.request_s + burst_s, later_s, tpot_s
