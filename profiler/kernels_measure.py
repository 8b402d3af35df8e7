# SPDX-License-Identifier: Apache-2.0
"""Measures points of kernels and of tabular models: one call each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from profiler.kernels import Kernel, moved_bytes, work_flops
from profiler.kernels_calls import call_of
from profiler.plan import Point
from profiler.run_bench import Bench, PointError, Timed, engine_version
from profiler.run_target import cache_bytes
from profiler.tabular import call_of as tabular_call
from profiler.tabular import case_of
from specs.measurement import COLUMNS, Measurement

_SIZES = tuple(
    name
    for name, column in COLUMNS.items()
    if column.group == "kernel" and name not in ("op", "dtype")
)

SHARE = 0.2
"""Of a model's budget: single calls settle sooner, and there are many of them."""


def measure_kernel(bench: Bench, point: Point) -> Measurement:
    """Measure one kernel on the first device, or a collective on all.

    Raises
    ------
    PointError
        torch has no such kernel on this device.
    """
    sizes = {name: point.columns[name] for name in _SIZES if name in point.columns}
    kernel = Kernel(op=point.columns["op"], dtype=point.columns["dtype"], sizes=sizes)
    if kernel.op == "all_reduce":
        from profiler.kernels_collective import all_reduce_samples

        samples = all_reduce_samples(bench.target, sizes["size_bytes"], SHARE * bench.budget_s)
        timed = Timed(call=lambda: None, samples=samples)
        return _row(bench, point, timed, {}, watched=False)
    import torch

    try:
        with torch.no_grad():
            call = call_of(kernel, bench.target)
            timed = bench.time(call, timer=_timer(bench, kernel), share=SHARE)
    except NotImplementedError as error:
        raise PointError(f"unsupported: {' '.join(str(error).split())[:120]}") from error
    facts = {
        "work_flops": work_flops(kernel.columns),
        "moved_bytes": moved_bytes(kernel.columns),
    }
    if kernel.op == "launch" and bench.target.events:
        facts["captured_s"] = _captured_s(bench, call)
    return _row(bench, point, timed, facts, watched=_is_steady(kernel, bench))


def measure_tabular(bench: Bench, point: Point) -> Measurement:
    """Measure one call of a tabular model; fits it first where it is another one."""
    case = case_of(point.columns)
    call, n_nodes = tabular_call(case, threads=bench.target.threads)
    return _row(bench, point, bench.time(call, share=SHARE), {}, n_nodes=n_nodes)


def _timer(bench: Bench, kernel: Kernel) -> Any:
    """Device events with the cache emptied; none for what is there for the host's time."""
    if not bench.target.events or kernel.op in ("launch", "step"):
        return None
    from profiler.timers import EventTimer, l2_flush

    index = int(bench.target.devices[0].partition(":")[2])
    return EventTimer(l2_flush(index))


def _is_steady(kernel: Kernel, bench: Bench) -> bool:
    """Tell whether repeats cost what the timed call did; else its power would be another's.

    Between the samples the cache is emptied and between the repeats it is not, so that
    only products far above the ridge and arrays beyond the cache qualify.
    """
    columns = kernel.columns
    if kernel.op == "gemm":
        return bool(columns["m"] == columns["n"] == columns["k"])
    return moved_bytes(columns) > 2 * cache_bytes(bench.target)


def _captured_s(bench: Bench, call: Callable[[], Any]) -> float:
    """Device time per kernel of a captured chain of a hundred empty ones: the floor."""
    from profiler.timers import GraphTimer

    chain = 100

    def calls() -> None:
        for _ in range(chain):
            call()

    timer = GraphTimer(calls)
    return bench.time(timer.replay, timer=timer).samples.median_s / chain


def _row(
    bench: Bench,
    point: Point,
    timed: Timed,
    facts: dict[str, Any],
    *,
    watched: bool = True,
    **further: Any,
) -> Measurement:
    samples = timed.samples
    power, why = bench.call_power(timed) if watched else ({}, "")
    environment = {**bench.environment(), **facts, "timing": timed.detail()}
    return Measurement(
        **bench.origin(),
        **point.columns,
        engine_version=engine_version(point.columns["engine"]),
        latency_s=samples.median_s,
        n_samples=len(samples.samples_s),
        samples_s=samples.samples_s,
        spread_frac=samples.spread_frac,
        quality=samples.quality,
        reason="; ".join(filter(None, (samples.reason, why))),
        environment=json.dumps(environment),
        **power,
        **further,
    )
