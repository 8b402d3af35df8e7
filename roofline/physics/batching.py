# SPDX-License-Identifier: Apache-2.0
"""What a serving benchmark at a fixed number of requests in flight reports, in closed form.

Closed loop: whenever a request ends, the next one is sent, as ``--max-concurrency`` of
the engines' benchmarks does. The first prompts are all sent at once, and as many again
follow each client's end until every client has sent `rounds` prompts; the means are over
all of them, opening burst included. `roofline.serving` simulates the same run event by
event; a test bounds the difference.
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

_ITERATIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One replica and what circulates in it; arrays of shape ``(n,)``.

    Parameters
    ----------
    running, waiting : ndarray
        Requests that the KV cache admits at once, and those queued behind them.
    steps : ndarray
        Decode steps per request.
    spread_frac : ndarray
        Width of the uniform distribution of lengths over its mean; 0 where all are equal.
    request_s : float
        Time of a request outside the engine's loop.
    prompt_tokens, chunks : ndarray
        Tokens of one prompt, and passes that it fills: those over what a pass may carry.
    prompt_s : ndarray
        One prompt's prefill when nothing else runs.
    batched, batched_s : ndarray
        Prompts that fit one pass (at least 1, at most `running`), and their prefill.
    low, step_low_s, step_high_s : ndarray
        Decode step at `low` sequences and at `running` sequences; linear between.
    mixes : bool
        Whether prompts ride on decode steps, or run by themselves while decoding stands.
    """

    running: FloatArray
    waiting: FloatArray
    steps: FloatArray
    spread_frac: FloatArray
    request_s: float
    prompt_tokens: FloatArray
    chunks: FloatArray
    prompt_s: FloatArray
    batched: FloatArray
    batched_s: FloatArray
    low: FloatArray
    step_low_s: FloatArray
    step_high_s: FloatArray
    mixes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """Arrays of shape ``(n,)``: seconds, requests per second, sequences decoding at once.

    `ttft_s` is the mean of a benchmark run, `later_ttft_s` that of its requests after
    the opening burst (near the median of a run).
    """

    ttft_s: FloatArray
    later_ttft_s: FloatArray
    tpot_s: FloatArray
    requests_per_s: FloatArray
    decoding: FloatArray


@dataclass(frozen=True, slots=True)
class _Prefill:
    """Linear pieces: `k` prompts take ``fixed max(k chunks, 1) + each k``."""

    fixed_s: FloatArray
    each_s: FloatArray
    chunks: FloatArray

    @classmethod
    def of(cls, loop: Loop, chunks: FloatArray) -> _Prefill:
        several = loop.batched > 1.0
        more_s = (loop.batched_s - loop.prompt_s) / np.where(several, loop.batched - 1.0, 1.0)
        each_s = np.where(several, np.clip(more_s, 0.0, loop.prompt_s), loop.prompt_s)
        return cls(loop.prompt_s - each_s, each_s, chunks)

    def passes(self, prompts: FloatArray) -> FloatArray:
        return np.maximum(prompts * self.chunks, 1.0)

    def time_s(self, prompts: FloatArray) -> FloatArray:
        return self.fixed_s * self.passes(prompts) + self.each_s * prompts

    def pass_s(self, prompts: FloatArray) -> FloatArray:
        return self.time_s(prompts) / self.passes(prompts)

    def mean_end_frac(self, prompts: FloatArray) -> FloatArray:
        """Mean time at which prompts that start together end, over the time of all."""
        passes = self.passes(prompts)
        return (passes + np.minimum(np.maximum(self.chunks, 1.0), passes)) / (2.0 * passes)


@dataclass(frozen=True, slots=True)
class _Times:
    """TTFT within the burst and after it, TPOT, sequences decoding."""

    burst_s: FloatArray
    later_s: FloatArray
    tpot_s: FloatArray
    decoding: FloatArray


def closed_loop(loop: Loop) -> SteadyState:
    """Mean TTFT and TPOT of a benchmark run of `ROUNDS` prompts per client.

    Notes
    -----
    Time is counted in steps. Requests that start together end together: after the burst,
    the ends of the R running requests fall into a window of U steps of a round, as wide
    as the burst's own prefill (where prompts ride on decode steps) and the spread of
    lengths, which grows with the square root of the rounds, make it. So ``j = R / (1 + U)``
    prompts come per step of the window and are prefilled as one batch.

    A prompt waits for the step in progress (a request that ends with a step misses the
    next), for prompts before it where a pass cannot carry all (M/D/1 in the mean:
    ``rho / (2 (1 - rho))`` of a service, within what a window of R arrivals can build up),
    then prefills with its batch. In the burst, prompt i of R ends after its share of all
    R. TPOT is the decode step and the prefills of the others, once each per round. What
    the cache does not admit waits for the turn of those before it. Rates follow from
    Little's law.
    """
    course = _mixed if loop.mixes else _prefill_first
    decoding = loop.running
    for _ in range(_ITERATIONS):
        times = course(loop, decoding)
        decoding = times.decoding
    life_s = times.later_s + loop.steps * times.tpot_s
    turn_s = loop.waiting * life_s / loop.running
    flight = loop.running + loop.waiting
    first_s = times.later_s + loop.running / flight * (times.burst_s - times.later_s)
    # The first to come wait behind half of those that wait, all others behind all.
    first_s += turn_s * loop.waiting / (2.0 * flight)
    later_s = times.later_s + turn_s
    ttft_s = later_s + (first_s - later_s) / ROUNDS
    # A burst that is served sooner than what follows is paid for when the run drains.
    round_s = np.maximum(ttft_s, later_s) + loop.steps * times.tpot_s
    rate = flight / np.maximum(round_s, 1e-30)
    return SteadyState(
        ttft_s=ttft_s,
        later_ttft_s=later_s,
        tpot_s=times.tpot_s,
        requests_per_s=rate,
        decoding=decoding,
    )


def _step_s(loop: Loop, decoding: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Decode step at `decoding` sequences, and what of it grows with them."""
    slope = (loop.step_high_s - loop.step_low_s) / np.maximum(loop.running - loop.low, 1e-9)
    slope = np.where(loop.running > loop.low, np.maximum(slope, 0.0), 0.0)
    step_s = loop.step_high_s - slope * np.maximum(loop.running - decoding, 0.0)
    return np.maximum(step_s, 1e-12), np.minimum(slope * decoding, step_s)


def _batches(
    loop: Loop, width: FloatArray, round_steps: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Prompts per step of the window of ends, those that one meets, and the window."""
    # Whole steps: w + 1 values have the spread of a continuous sqrt((w + 1)^2 - 1).
    spread = np.sqrt((loop.steps * loop.spread_frac + 1.0) ** 2 - 1.0) / _NARROWING
    window = np.minimum(np.hypot(width, spread), round_steps)
    per_step = loop.running / (1.0 + window)
    chance = spread / (spread + 1.0) * (1.0 - 1.0 / loop.running)
    met = np.maximum(per_step, 1.0) + chance * np.minimum(per_step, 1.0)
    return per_step, np.minimum(met, loop.running), window


def _boundary_s(loop: Loop, step_s: FloatArray, window: FloatArray) -> FloatArray:
    """From sending to the end of the step in progress.

    A request is sent as a step ends and arrives `request_s` into the next; where all end
    together, nothing runs then. One that the cache kept waiting is there already.
    """
    outside = loop.request_s
    left_s = np.where(step_s > outside, step_s - outside, 0.5 * step_s)
    others = window / (1.0 + window) * np.minimum(loop.running - 1.0, 1.0)
    return np.where(loop.waiting > 0.0, 0.0, outside + others * left_s)


def _prefill_first(loop: Loop, decoding: FloatArray) -> _Times:
    """Prompts run by themselves, as soon as they wait."""
    prefill = _Prefill.of(loop, loop.chunks)
    step_s, _ = _step_s(loop, decoding)
    per_step, met, window = _batches(loop, np.zeros_like(step_s), loop.steps)
    batch_s = prefill.time_s(met)
    next_s = (step_s + per_step * batch_s) / (1.0 + per_step)
    later_s = _boundary_s(loop, next_s, window) + batch_s * prefill.mean_end_frac(met)
    all_s = prefill.time_s(loop.running)
    later_s = np.where(loop.steps > 0.0, later_s, np.maximum(later_s, all_s))
    burst_s = loop.request_s + all_s * prefill.mean_end_frac(loop.running)
    size = np.maximum(per_step, 1.0)
    # Batches of a round but one's own, and what is left of that after one's own end.
    others_s = (loop.running / size - 1.0) * prefill.time_s(size) * (1.0 - 0.5 / ROUNDS)
    own_s = prefill.time_s(size) * (1.0 - prefill.mean_end_frac(size))
    tpot_s = step_s + (others_s + own_s) / np.maximum(loop.steps, 1.0)
    # A request misses one step of a round, if the others take one without it.
    missed = window / (1.0 + window)
    decoding = loop.running * loop.steps / np.maximum(loop.steps + missed, 1.0)
    return _Times(burst_s, later_s, tpot_s, np.maximum(decoding, np.minimum(loop.running, 1.0)))


def _mixed(loop: Loop, decoding: FloatArray) -> _Times:
    """Prompts ride on decode steps as far as a pass has room."""
    step_s, growing_s = _step_s(loop, decoding)
    others = 1.0 - 1.0 / loop.running
    growing_s, beside_s = growing_s * others, np.where(loop.running > 1.0, step_s, 0.0)
    beside = decoding * others
    chunks, first_chunks = _chunks_beside(loop, beside), _chunks_beside(loop, 0.5 * beside)
    prefill, first = _Prefill.of(loop, chunks), _Prefill.of(loop, first_chunks)
    passes = prefill.passes(loop.running)
    round_steps = np.maximum(loop.steps + np.maximum(chunks, 1.0), loop.running * chunks)
    per_step, met, window = _batches(loop, passes - 1.0, round_steps)
    carrying_s = np.maximum(prefill.pass_s(met) + growing_s, beside_s)
    load = np.minimum(per_step * chunks, 1.0) * others
    share = np.minimum(per_step * np.maximum(chunks, 1.0), 1.0) * window / (1.0 + window)
    next_s = step_s + share * (carrying_s - step_s)
    own, own_s = _own(loop, chunks, load, carrying_s, growing_s)
    chance = np.minimum(loop.steps * loop.spread_frac, 1.0)
    most = np.maximum(1.0 - load, 1.0 / np.sqrt(loop.running))
    queue_s = chance * chunks * load / (2.0 * most) * carrying_s
    later_s = _boundary_s(loop, next_s, window) + queue_s + own_s
    later_s = np.maximum(later_s, (loop.running * chunks - loop.steps) * carrying_s)
    full_s = np.maximum(first.pass_s(loop.running) + 0.5 * growing_s, 0.5 * beside_s)
    all_s = first.passes(loop.running) * full_s
    size = np.maximum(per_step, 1.0)
    carrying = np.minimum(np.maximum(loop.running / size, passes), round_steps)
    stalls = np.maximum(carrying - own, 0.0) / round_steps * (1.0 - 0.5 / ROUNDS)
    smaller_s = np.maximum(prefill.pass_s(size) + growing_s, step_s)
    tpot_s = step_s + stalls * (smaller_s - step_s)
    life_s = np.maximum(later_s + loop.steps * tpot_s, 1e-30)
    decoding = loop.running * loop.steps * tpot_s / life_s
    return _Times(
        loop.request_s + all_s * first.mean_end_frac(loop.running),
        later_s,
        tpot_s,
        np.maximum(decoding, np.minimum(loop.running, 1.0)),
    )


def _chunks_beside(loop: Loop, decoding: FloatArray) -> FloatArray:
    """Passes that a prompt fills where decoding sequences take their tokens first."""
    left_frac = 1.0 - loop.chunks * decoding / loop.prompt_tokens
    return loop.chunks / np.maximum(left_frac, _LEAST_LEFT)


def _own(
    loop: Loop, chunks: FloatArray, load: FloatArray, carrying_s: FloatArray, growing_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Passes and time of a prompt's own prefill.

    Whole passes: its last one fills up with the prompts behind it, if there are any.
    """
    whole = np.ceil(chunks - 1e-9)
    chance = np.minimum(loop.steps * loop.spread_frac, 1.0)
    own = np.where(chunks > 1.0, whole + chance * (chunks + 0.5 - whole), 1.0)
    alone_s = np.maximum(loop.prompt_s + np.maximum(chunks, 1.0) * growing_s, 0.0)
    crowded = np.where(chunks > 1.0, load, 1.0)
    return own, alone_s + crowded * (own * carrying_s - alone_s)
