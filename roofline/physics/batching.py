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
    With X requests/s, n running, B of them decoding and a step of t(B), the prefills of
    the others take a share ``rho = X stall (n - 1) / n`` of the time (a request sees the
    loop as if it were not in it: Lavenberg and Reiser, J. Appl. Prob. 17, 1980), so
    ``tpot = t / (1 - rho)``. A prompt waits for half a step of the others, for prompts
    before it (M/D/1: ``rho / (2 (1 - rho))`` of a stall), then prefills. Little's law
    closes the loop: ``X (ttft + steps * tpot) = n`` and ``B = X * steps * tpot``. The
    left side grows with X, so bisection finds it. The device has one second per second,
    ``X (stall + steps * t(n) / n) <= 1``; what the loop holds beyond that waits for its
    first token, as do requests that the cache does not admit.
    """
    others = (running - 1.0) / running
    slope = (step_high_s - step_low_s) / np.maximum(running - low, 1e-9)
    least = np.minimum(low, running)

    def circulate(rate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """TTFT, TPOT and sequences decoding if requests went round at this rate."""
        load = np.minimum(rate * stall_s * others, 1.0 - 1e-9)
        owed = rate * steps / (1.0 - load)
        between = owed * (step_low_s - low * slope) / np.maximum(1.0 - owed * slope, 1e-12)
        decoding = np.where(owed * step_high_s >= running, running, between)
        decoding = np.clip(np.where(owed * step_low_s <= low, low, decoding), least, running)
        step_s = np.maximum(step_low_s + (decoding - low) * slope, 1e-12)
        queue_s = stall_s * load / (2.0 * (1.0 - load))
        return prefill_s + 0.5 * step_s * others + queue_s, step_s / (1.0 - load), decoding

    slowest = np.zeros_like(running)
    quickest_s = prefill_s + steps * np.minimum(step_low_s, step_high_s)
    device_s = stall_s + steps * step_high_s / running
    fastest = np.minimum(1.0 / np.maximum(device_s, 1e-12), running / quickest_s)
    for _ in range(iterations):
        rate = 0.5 * (slowest + fastest)
        ttft, tpot, _ = circulate(rate)
        over = rate * (ttft + steps * tpot) > running
        fastest = np.where(over, rate, fastest)
        slowest = np.where(over, slowest, rate)
    # Where a step grows as fast as the batch, the number decoding jumps at one rate;
    # Little's law then says how much of the jump is filled.
    below, above = circulate(slowest), circulate(fastest)
    inside = slowest * (below[0] + steps * below[1])
    jump = fastest * (above[0] + steps * above[1]) - inside
    share = np.clip((running - inside) / np.maximum(jump, 1e-300), 0.0, 1.0)
    ttft, tpot, decoding = (a + share * (b - a) for a, b in zip(below, above, strict=True))
    rate = slowest + share * (fastest - slowest)
    ttft = np.maximum(ttft, running / rate - steps * tpot) + waiting / rate
    return SteadyState(ttft_s=ttft, tpot_s=tpot, requests_per_s=rate, decoding=decoding)
