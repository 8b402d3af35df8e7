# SPDX-License-Identifier: Apache-2.0
"""Steady state of continuous batching at a fixed number of requests in flight.

Closed loop: whenever a request ends, the next one is sent, as ``--max-concurrency`` of
the engines' benchmarks does. The start-up burst of such a run is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.physics.kernel import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """Arrays of shape ``(n,)``: seconds, requests per second, sequences decoding at once."""

    ttft_s: FloatArray
    tpot_s: FloatArray
    requests_per_s: FloatArray
    decoding: FloatArray


def closed_loop(
    *,
    running: FloatArray,
    waiting: FloatArray,
    steps: FloatArray,
    prefill_s: FloatArray,
    stall_s: FloatArray,
    step_low_s: FloatArray,
    step_high_s: FloatArray,
    low: FloatArray,
    iterations: int = 40,
) -> SteadyState:
    """Solve for the rate at which `running` requests circulate.

    Parameters
    ----------
    running, waiting : ndarray, shape (n,)
        Requests that the KV cache admits at once, and those queued behind them.
    steps : ndarray
        Decode steps per request.
    prefill_s : ndarray
        Time of one prompt's prefill when nothing else runs.
    stall_s : ndarray
        Time by which one prompt's prefill lengthens the steps of the others.
    step_low_s, step_high_s, low : ndarray
        Decode step at `low` sequences and at `running` sequences; linear between.

    Notes
    -----
    With X requests/s, B sequences decoding and a step of t(B), a token takes
    ``t(B) + X * tpot * stall`` because X prefills per second interrupt it, so
    ``tpot = t / (1 - X stall)``. A prompt waits for half a step, then prefills while
    others decode, and for prompts before it (M/D/1: ``rho / (2 (1 - rho))`` of its own
    prefill at load ``rho = X stall``). Little's law closes the loop:
    ``X = running / (ttft + steps * tpot)`` and ``B = X * steps * tpot``. Damped
    fixed-point iteration.
    """
    slope = (step_high_s - step_low_s) / np.maximum(running - low, 1e-9)
    decoding = np.array(running, float)
    rate = running / (prefill_s + steps * step_high_s + running * stall_s)
    tpot = ttft = np.zeros_like(decoding)
    for _ in range(iterations):
        step_s = np.maximum(step_low_s + (decoding - low) * slope, 1e-12)
        load = np.minimum(rate * stall_s, 0.98)
        tpot = step_s / (1.0 - load)
        ttft = prefill_s + 0.5 * step_s + stall_s * load / (2.0 * (1.0 - load))
        target = running / (ttft + steps * tpot)
        rate = 0.5 * rate + 0.5 * target
        decoding = np.clip(rate * steps * tpot, np.minimum(low, running), running)
    ttft = ttft + waiting / rate
    return SteadyState(ttft_s=ttft, tpot_s=tpot, requests_per_s=rate, decoding=decoding)
