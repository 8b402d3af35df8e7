# SPDX-License-Identifier: Apache-2.0
"""Clocks that time a call: the host's with what the scheduler did, and the device's events.

A timer runs a call a number of times and returns one `Reading`. `HostTimer` reads
``perf_counter`` and, on Linux, how long the thread waited for a processor meanwhile, so
that a shared machine shows. `EventTimer` reads device events around the calls,
`GraphTimer` events inside a captured graph, so that launch gaps stay out. torch is
imported only by the last two.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: Overwritten to empty a device's last-level cache: at least this, and twice the cache.
MIN_FLUSH_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one sample of `n_calls` calls took, in total.

    ``cpu_s`` is processor time per thread, ``run_delay_s`` the time a thread was ready
    and had no processor, ``switches`` how often it was put off one. None: not known here.
    """

    n_calls: int
    elapsed_s: float
    cpu_s: float | None = None
    run_delay_s: float | None = None
    switches: int | None = None

    @property
    def call_s(self) -> float:
        """Elapsed seconds per call."""
        return self.elapsed_s / self.n_calls

    @property
    def cpu_call_s(self) -> float | None:
        """Processor seconds per call and thread."""
        return None if self.cpu_s is None else self.cpu_s / self.n_calls


class Timer(Protocol):
    """Times calls; also the clock that budgets are kept by."""

    clock: str
    """What the readings count: "wall" or "device"."""

    def now(self) -> float:
        """Seconds of a clock that only runs forward."""

    def time(self, call: Callable[[], object], n_calls: int) -> Reading:
        """Run `call` `n_calls` times and return what it took."""


class HostTimer:
    """Wall time, with processor time and run-queue delay where the system tells.

    Parameters
    ----------
    sync : callable or None
        Waits until the device has finished. None: the work runs on this processor, and
        the scheduler is watched.
    threads : int
        Threads that the call computes with; processor time is divided by it.
    """

    clock = "wall"

    def __init__(self, sync: Callable[[], object] | None = None, *, threads: int = 1) -> None:
        self._sync = sync
        self._threads = threads

    def now(self) -> float:
        """Seconds of ``perf_counter``."""
        return time.perf_counter()

    def time(self, call: Callable[[], object], n_calls: int) -> Reading:
        """Run `call` `n_calls` times between two synchronisations."""
        if self._sync is not None:
            self._sync()
            start_s = time.perf_counter()
            for _ in range(n_calls):
                call()
            self._sync()
            return Reading(n_calls=n_calls, elapsed_s=time.perf_counter() - start_s)
        delays, switches = run_delays_s(self._threads), involuntary_switches(self._threads)
        cpu_clock = time.thread_time if self._threads == 1 else time.process_time
        cpu_s, start_s = cpu_clock(), time.perf_counter()
        for _ in range(n_calls):
            call()
        elapsed_s = time.perf_counter() - start_s
        cpu_s = (cpu_clock() - cpu_s) / self._threads
        after, switched = run_delays_s(self._threads), involuntary_switches(self._threads)
        return Reading(
            n_calls=n_calls,
            elapsed_s=elapsed_s,
            cpu_s=cpu_s,
            run_delay_s=longest_delay_s(delays, after),
            switches=None if switches is None or switched is None else switched - switches,
        )


def run_delays_s(threads: int = 1, *, proc: Path = Path("/proc")) -> dict[str, float] | None:
    """Return the seconds each thread has waited for a processor so far; None if untold.

    With one thread only the calling one is read, else all of the process: a barrier
    waits for the last of them. Source: second field of ``/proc/PID/schedstat``,
    Documentation/scheduler/sched-stats.rst of the Linux kernel, nanoseconds.
    """
    files = [proc / "thread-self" / "schedstat"]
    try:
        if threads > 1:
            files = [task / "schedstat" for task in (proc / "self" / "task").iterdir()]
    except OSError:
        return None
    delays: dict[str, float] = {}
    for file in files:
        try:
            delays[str(file)] = int(file.read_text().split()[1]) * 1e-9
        except (OSError, IndexError, ValueError):
            continue  # the thread ended, or the kernel does not count
    return delays or None


def longest_delay_s(
    before: dict[str, float] | None, after: dict[str, float] | None
) -> float | None:
    """Return how long the thread that waited longest waited between two readings."""
    if before is None or after is None:
        return None
    return max((after[key] - before.get(key, 0.0) for key in after), default=None)


def involuntary_switches(threads: int = 1) -> int | None:
    """Return how often the scheduler took the processor away so far; None if untold."""
    if sys.platform != "linux":
        return None
    import resource

    who = resource.RUSAGE_THREAD if threads == 1 else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_nivcsw


class EventTimer:
    """Device time between two events of the current stream (CUDA and ROCm).

    Parameters
    ----------
    flush : callable or None
        Run before every call, outside its events: see `l2_flush`. Each call is then
        timed by events of its own; without it, the whole sample by one pair.
    """

    clock = "device"

    def __init__(self, flush: Callable[[], object] | None = None) -> None:
        import torch

        self._torch: Any = torch
        self._flush = flush

    def now(self) -> float:
        """Seconds of ``perf_counter``."""
        return time.perf_counter()

    def time(self, call: Callable[[], object], n_calls: int) -> Reading:
        """Run `call` `n_calls` times and wait for the last event."""
        n_pairs = 1 if self._flush is None else n_calls
        events = [(self._event(), self._event()) for _ in range(n_pairs)]
        for start, end in events:
            if self._flush is not None:
                self._flush()
            start.record()
            for _ in range(n_calls // n_pairs):
                call()
            end.record()
        events[-1][1].synchronize()
        elapsed_s = sum(start.elapsed_time(end) for start, end in events) * 1e-3
        return Reading(n_calls=n_calls, elapsed_s=elapsed_s)

    def _event(self) -> Any:
        return self._torch.cuda.Event(enable_timing=True)


class GraphTimer:
    """Captures a call as a graph and times its replays by events inside the graph.

    Give `replay` to `measure` as the call and this object as its timer. ROCm has no
    events inside a graph; there they stand around each replay.

    Parameters
    ----------
    call : callable
        Launches the same kernels on the same memory every time.
    warmups : int
        Eager calls before the capture; libraries allocate their workspaces in them.
    """

    clock = "device"

    def __init__(self, call: Callable[[], object], *, warmups: int = 3) -> None:
        import torch

        cuda: Any = torch.cuda
        self._inside = torch.version.hip is None
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(warmups):
                call()
        cuda.current_stream().wait_stream(side)
        options = {"external": True} if self._inside else {}
        self._start, self._end = (cuda.Event(enable_timing=True, **options) for _ in range(2))
        self._graph = cuda.CUDAGraph()
        with cuda.graph(self._graph):
            if self._inside:
                self._start.record()
            call()
            if self._inside:
                self._end.record()

    def now(self) -> float:
        """Seconds of ``perf_counter``."""
        return time.perf_counter()

    def replay(self) -> None:
        """Launch the captured graph once."""
        if not self._inside:
            self._start.record()
        self._graph.replay()
        if not self._inside:
            self._end.record()

    def time(self, call: Callable[[], object], n_calls: int) -> Reading:
        """Run `call`, which replays, `n_calls` times; each replay is read by itself."""
        elapsed_s = 0.0
        for _ in range(n_calls):
            call()
            self._end.synchronize()
            elapsed_s += self._start.elapsed_time(self._end) * 1e-3
        return Reading(n_calls=n_calls, elapsed_s=elapsed_s)


def l2_flush(device: int = 0) -> Callable[[], object]:
    """Return a call that empties the last-level cache of CUDA or ROCm device `device`.

    It overwrites a buffer of 256 MiB, or of twice the cache where that is more.
    """
    import torch

    cache_bytes = int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0))
    n_bytes = max(MIN_FLUSH_BYTES, 2 * cache_bytes)
    buffer = torch.empty(n_bytes, dtype=torch.int8, device=f"cuda:{device}")
    flush: Callable[[], object] = buffer.zero_
    return flush
