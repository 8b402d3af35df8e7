# SPDX-License-Identifier: Apache-2.0
"""All-reduce over several devices: one process per device, as engines run them.

The processes meet over the loopback interface. Each sample begins at a barrier; what is
kept is the time on the first rank, from its own start to its own end.
"""

from __future__ import annotations

import socket
import time
from statistics import median
from typing import Any

from profiler.run_target import Target
from profiler.steady import Samples, spread_of
from profiler.timers import Reading
from specs.errors import InvalidInputError

WARM_UPS, MOST_SAMPLES, MIN_SAMPLES = 5, 100, 5
TARGET_SPREAD_FRAC = 0.02
TIMEOUT_S = 120.0
_BACKENDS = {"cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}


def all_reduce_samples(target: Target, size_bytes: int, budget_s: float) -> Samples:
    """Time the sum of `size_bytes` of bf16 over all devices of `target`.

    Raises
    ------
    InvalidInputError
        A kind of device without collectives.
    RuntimeError
        A process of a rank failed.
    """
    import torch.multiprocessing as workers

    if target.kind not in _BACKENDS:
        raise InvalidInputError(f"torch has no collectives for {target.kind} devices.")
    context = workers.get_context("spawn")
    results = context.SimpleQueue()
    arguments = (target.devices, target.kind, size_bytes, budget_s, _free_port(), results)
    started = workers.start_processes(
        _rank, arguments, nprocs=len(target.devices), join=False, start_method="spawn"
    )
    end_s = time.perf_counter() + TIMEOUT_S + budget_s
    while not started.join(timeout=1.0):
        if time.perf_counter() > end_s:
            for process in started.processes:
                process.kill()
            raise RuntimeError(f"all-reduce did not end within {TIMEOUT_S + budget_s:.0f} s")
    return _samples(results.get(), "device" if target.events else "wall")


def _rank(
    rank: int,
    devices: tuple[str, ...],
    kind: str,
    size_bytes: int,
    budget_s: float,
    port: int,
    results: Any,
) -> None:
    """One process: rank 0 decides after each sample whether another follows."""
    import torch
    import torch.distributed as group

    if kind == "cuda":
        torch.cuda.set_device(devices[rank])
    group.init_process_group(
        _BACKENDS[kind],
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=len(devices),
    )
    try:
        tensor = torch.ones(size_bytes // 2, dtype=torch.bfloat16, device=devices[rank])
        more = torch.ones(1, device=devices[rank])
        samples_s: list[float] = []
        end_s = time.perf_counter() + budget_s
        for index in range(WARM_UPS + MOST_SAMPLES):
            sample_s = _once(tensor, kind)
            if index >= WARM_UPS:
                samples_s.append(sample_s)
            settled = len(samples_s) >= MIN_SAMPLES and (
                spread_of(samples_s) <= TARGET_SPREAD_FRAC or time.perf_counter() > end_s
            )
            more.fill_(0.0 if settled else 1.0)
            group.broadcast(more, src=0)
            if not more.item():
                break
        if rank == 0:
            results.put(samples_s)
    finally:
        group.destroy_process_group()


def _once(tensor: Any, kind: str) -> float:
    """Seconds of one all-reduce, by events on CUDA and ROCm and by the clock elsewhere."""
    import torch
    import torch.distributed as group

    group.barrier()
    if kind == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        group.all_reduce(tensor)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3
    start_s = time.perf_counter()
    group.all_reduce(tensor)
    if kind == "xpu":
        torch.xpu.synchronize()
    return time.perf_counter() - start_s


def _samples(samples_s: list[float], clock: str) -> Samples:
    spread_frac = spread_of(samples_s)
    settled = spread_frac <= TARGET_SPREAD_FRAC
    reason = f"spread: {spread_frac:.1%} above {TARGET_SPREAD_FRAC:.1%}"
    return Samples(
        samples_s=tuple(samples_s),
        median_s=median(samples_s),
        spread_frac=spread_frac,
        quality="ok" if settled else "noisy",
        reason="" if settled else reason,
        run_delay_frac=None,
        clock=clock,
        calls_per_sample=1,
        attempts=1,
        readings=tuple(Reading(n_calls=1, elapsed_s=sample_s) for sample_s in samples_s),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
