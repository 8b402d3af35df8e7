# SPDX-License-Identifier: Apache-2.0
"""Times a call until its spread has settled, and says how far the number can be trusted.

Interface::

    samples = measure(call, sync=None, budget_s=10.0)              # work on this processor
    samples = measure(call, sync=torch.mps.synchronize)            # another device, wall time
    samples = measure(call, sync=None, timer=EventTimer(l2_flush()))  # CUDA kernel, events
    graph = GraphTimer(call)                                       # CUDA graph, events inside
    samples = measure(graph.replay, sync=None, timer=graph, throttle=device.throttle_words)

    samples.median_s, samples.spread_frac   # of one call; spread is IQR / median
    samples.samples_s                       # what median_s is the median of, seconds per call
    samples.quality, samples.reason         # "ok" | "noisy" | "throttled" | "partial"; why
    samples.run_delay_frac                  # of the wall time; None where the system is silent
    samples.detail()                        # everything else, for JSON: all samples, clocks

    n_calls = repeat_for(call, sync=None, seconds=2.0)             # inside a power window

An exception of the call (out of memory, Ctrl-C) passes through. Warm-up goes by time. A
noisy or throttled point is measured once more (so `budget_s` may be spent twice) and the
better of the two is returned, with its quality said.

On a shared processor wall time says more about the neighbours than about the call. Each
sample therefore carries its run-queue delay: below 2% of the wall time all samples count;
else those that were left alone, if there are enough; else processor time, which repeats
within 3% where wall time spreads by 30%. A point that rests on processor time is "noisy"
with the reason ``cpu: contended``, since it is not the elapsed time that it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any

from profiler.timers import HostTimer, Reading, Timer
from specs.errors import InvalidInputError

#: Share of wall time spent waiting for a processor up to which wall time is believed.
QUIET_RUN_DELAY_FRAC = 0.02
#: The same for one sample, beside having never been switched out.
UNDISTURBED_RUN_DELAY_FRAC = 0.01
#: Processor time and run delay must explain this share of the wall time to replace it.
EXPLAINED_FRAC = 0.9
#: From best to worst; a second attempt is kept where it is better.
QUALITIES = ("ok", "partial", "noisy", "throttled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Repeated timings of one call.

    ``samples_s`` holds seconds per call on `clock` ("wall", "cpu" or "device"), those
    samples that ``median_s`` is the median of; ``readings`` holds every sample taken.
    """

    samples_s: tuple[float, ...]
    median_s: float
    spread_frac: float
    quality: str
    reason: str
    run_delay_frac: float | None
    clock: str
    calls_per_sample: int
    attempts: int
    readings: tuple[Reading, ...]

    def detail(self) -> dict[str, Any]:
        """Return what does not fit a table's columns, ready for JSON."""
        cpu_s = [reading.cpu_call_s for reading in self.readings]
        return {
            "clock": self.clock,
            "calls_per_sample": self.calls_per_sample,
            "attempts": self.attempts,
            "run_delay_frac": self.run_delay_frac,
            "wall_s" if self.clock != "device" else "device_s": [
                reading.call_s for reading in self.readings
            ],
            **({} if None in cpu_s else {"cpu_s": cpu_s}),
        }


def measure(
    call: Callable[[], object],
    *,
    sync: Callable[[], object] | None,
    budget_s: float = 10.0,
    warmup_s: float = 1.0,
    min_samples: int = 5,
    max_samples: int = 200,
    target_spread_frac: float = 0.02,
    min_sample_s: float = 1e-3,
    threads: int = 1,
    timer: Timer | None = None,
    throttle: Callable[[], str] | None = None,
) -> Samples:
    """Time `call` until the spread is at most `target_spread_frac` or the budget ends.

    Parameters
    ----------
    call : callable
        What is timed; returns at once on devices that run behind the host.
    sync : callable or None
        Waits for the device. None: the work runs on this processor, or `timer` waits.
    budget_s, warmup_s : float
        Seconds for one attempt, warm-up included; at most a quarter goes to warm-up. One
        warm-up call and one sample are taken whatever they last.
    min_samples, max_samples : int
        Samples before the spread is believed, and when to stop at the latest.
    min_sample_s : float
        Shorter calls are grouped until a sample lasts this long.
    threads : int
        Threads that the call computes with on this processor.
    timer : Timer, optional
        Default: `HostTimer`.
    throttle : callable, optional
        Returns why the device is held back at this moment, "" if it is not.

    Raises
    ------
    InvalidInputError
        A budget, count or spread that cannot be.
    """
    if budget_s <= 0 or min_samples < 1 or max_samples < min_samples or target_spread_frac <= 0:
        raise InvalidInputError(
            f"cannot measure with budget {budget_s} s, {min_samples} to {max_samples} samples and "
            f"spread {target_spread_frac}: all must be positive, and the most not below the least."
        )
    clock = timer if timer is not None else HostTimer(sync, threads=threads)

    def attempt() -> Samples:
        end_s = clock.now() + budget_s
        call_s = _warm_up(call, clock, min(warmup_s, budget_s / 4))
        n_calls = max(1, math.ceil(min_sample_s / call_s)) if call_s > 0 else 1
        held_back: set[str] = set()
        readings: list[Reading] = []
        while len(readings) < max_samples:
            readings.append(clock.time(call, n_calls))
            held_back.update(_words(throttle))
            samples = _judge(readings, clock.clock, min_samples, target_spread_frac, held_back)
            if samples.quality in ("ok", "throttled") and len(readings) >= min_samples:
                return samples
            if clock.now() + n_calls * readings[-1].call_s > end_s:
                return samples
        return samples

    first = attempt()
    if first.quality in ("ok", "partial"):
        return first
    second = attempt()
    return replace(min(first, second, key=_rank), attempts=2)


def repeat_for(
    call: Callable[[], object], *, sync: Callable[[], object] | None, seconds: float
) -> int:
    """Run `call` for at least `seconds` and return how often; for power windows.

    Waits for the device after each tenth of the time, so that work does not pile up.
    """
    clock = HostTimer(sync)
    n_calls = 1
    count, start_s = 0, clock.now()
    while True:
        clock.time(call, n_calls)
        count += n_calls
        spent_s = clock.now() - start_s
        if spent_s >= seconds:
            return count
        left = count * (seconds - spent_s) / spent_s if spent_s > 0 else count
        tenth = count * seconds / 10 / spent_s if spent_s > 0 else count
        n_calls = max(1, math.ceil(min(left, tenth)))


def spread_of(samples_s: Sequence[float]) -> float:
    """Return the interquartile range over the median; 0 for a single sample."""
    middle = median(samples_s)
    if len(samples_s) < 2 or middle <= 0:
        return 0.0
    low, _, high = quantiles(samples_s, n=4, method="inclusive")
    return (high - low) / middle


def _warm_up(call: Callable[[], object], clock: Timer, warmup_s: float) -> float:
    """Run `call` for `warmup_s`, at least once, and return its last time in seconds."""
    end_s = clock.now() + warmup_s
    while True:
        call_s = clock.time(call, 1).elapsed_s
        if clock.now() >= end_s:
            return call_s


def _words(throttle: Callable[[], str] | None) -> list[str]:
    words = throttle() if throttle is not None else ""
    return [words] if words else []


def _rank(samples: Samples) -> tuple[int, float]:
    return QUALITIES.index(samples.quality), samples.spread_frac


def _judge(
    readings: Sequence[Reading],
    clock: str,
    min_samples: int,
    target_spread_frac: float,
    held_back: set[str],
) -> Samples:
    """Choose the samples that count, and say how good they are."""
    samples_s, used_clock, contended = _choose(readings, clock, min_samples)
    spread_frac = spread_of(samples_s)
    quality, reason = "ok", ""
    if held_back:
        quality, reason = "throttled", f"throttle: {', '.join(sorted(held_back))}"
    elif len(readings) < min_samples:
        quality = "partial"
        reason = f"budget: {len(readings)} of {min_samples} samples"
    elif spread_frac > target_spread_frac:
        quality = "noisy"
        reason = f"spread: {spread_frac:.1%} above {target_spread_frac:.1%}"
    elif contended:
        quality = "noisy"
    if contended:
        reason = "; ".join(filter(None, (contended, reason)))
    return Samples(
        samples_s=tuple(samples_s),
        median_s=median(samples_s),
        spread_frac=spread_frac,
        quality=quality,
        reason=reason,
        run_delay_frac=run_delay_frac(readings),
        clock=used_clock,
        calls_per_sample=readings[0].n_calls,
        attempts=1,
        readings=tuple(readings),
    )


def run_delay_frac(readings: Sequence[Reading]) -> float | None:
    """Return the share of wall time spent waiting for a processor; None if untold."""
    delays = [reading.run_delay_s for reading in readings if reading.run_delay_s is not None]
    if len(delays) < len(readings):
        return None
    elapsed_s = sum(reading.elapsed_s for reading in readings)
    return sum(delays) / elapsed_s if elapsed_s > 0 else 0.0


def _choose(
    readings: Sequence[Reading], clock: str, min_samples: int
) -> tuple[list[float], str, str]:
    """Return the samples that count, their clock, and why wall time was not enough."""
    wall_s = [reading.call_s for reading in readings]
    delay_frac = run_delay_frac(readings)
    if delay_frac is None or delay_frac <= QUIET_RUN_DELAY_FRAC:
        return wall_s, clock, ""
    alone = [reading.call_s for reading in readings if _undisturbed(reading)]
    if len(alone) >= min_samples:
        return alone, clock, ""
    cpu_s = [reading.cpu_call_s for reading in readings if reading.cpu_call_s is not None]
    explained_s = sum((r.cpu_s or 0.0) + (r.run_delay_s or 0.0) for r in readings)
    if len(cpu_s) < len(readings) or explained_s < EXPLAINED_FRAC * sum(
        reading.elapsed_s for reading in readings
    ):
        return wall_s, clock, f"cpu: contended, {delay_frac:.0%} run delay, wall time kept"
    return cpu_s, "cpu", f"cpu: contended, {delay_frac:.0%} run delay, CPU time instead of wall"


def _undisturbed(reading: Reading) -> bool:
    return (
        not reading.switches
        and (reading.run_delay_s or 0.0) <= UNDISTURBED_RUN_DELAY_FRAC * reading.elapsed_s
    )
