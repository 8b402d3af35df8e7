# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: measures point after point and stores each as soon as it is finished.

A point that fails (out of memory, no such kernel) is stored too, with the reason, and the
run goes on. Ctrl-C and ``kill`` lose at most the point that was running. A later run with
``resume`` measures what the store does not hold. A point in which the process itself was
killed twice, as the system does when memory runs out, is stored as failed by the third.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiler.models import OutOfMemoryError, memory_reason
from profiler.plan import Point
from profiler.run_bench import Bench, PointError, engine_version, failed_columns
from profiler.run_progress import Progress
from profiler.store import Store
from specs.errors import RooflineError
from specs.measurement import Measurement

MOST_DEATHS = 2
WEIGHTS = {"llm": 10.0, "kernel": 1.0, "tabular": 1.0}
"""Time of a point beside one kernel's: two calls, each with five times the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run did.

    Parameters
    ----------
    measured : tuple of Measurement
        In the order of the plan, failed ones included.
    skipped : int
        Points that the store held already.
    left : int
        Points that the time did not suffice for.
    """

    measured: tuple[Measurement, ...]
    skipped: int
    left: int


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; carries what had been finished and stored.

    `is_told`: whoever catches it says so in a line of its own.
    """

    is_told = True

    def __init__(self, result: RunResult) -> None:
        super().__init__()
        self.result = result


def pending(points: Sequence[Point], store: Store, *, resume: bool) -> list[Point]:
    """Return the points that are still to be measured."""
    if not resume:
        return list(points)
    done = store.points()
    return [point for point in points if point.point_id not in done]


def run_plan(
    points: Sequence[Point],
    bench: Bench,
    store: Store,
    *,
    weights: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Measure `points` and store each.

    Raises
    ------
    Interrupted
        Ctrl-C; everything finished is in the store.
    StoreError
        The store cannot be written.
    """
    todo = pending(points, store, resume=resume)
    skipped, measured = len(points) - len(todo), list[Measurement]()

    def result() -> RunResult:
        left = len(todo) - len(measured)
        return RunResult(measured=tuple(measured), skipped=skipped, left=left)

    if todo:
        _ = bench.idle_columns  # before anything warms the device
    measure = measurer(bench, weights=weights)
    try:
        with Progress([WEIGHTS[p.kind] for p in todo], quiet=quiet) as progress:
            lasted_s: dict[str, float] = {}
            for point in todo:
                start_s = time.perf_counter()
                # Points grow along the plan: the next will hardly be shorter than the last.
                if measured and start_s + lasted_s.get(point.kind, 0.0) > bench.deadline_s:
                    break
                progress.start(point.title)
                with _marked(store.path, point.point_id) as deaths:
                    row = _one(measure, bench, point, deaths if resume else 0)
                    # What came out (nodes of fitted trees) must not make it another point.
                    row = replace(row, point_id=point.point_id)
                    store.append([row])
                measured.append(row)
                progress.finish(point.title, outcome(row))
                lasted_s[point.kind] = time.perf_counter() - start_s
    except KeyboardInterrupt:
        raise Interrupted(result()) from None
    return result()


def measurer(bench: Bench, *, weights: bool) -> Callable[[Point], Measurement]:
    """Return the function that measures one point of any kind."""
    from profiler.kernels_measure import measure_kernel, measure_tabular
    from profiler.models_measure import ModelBench

    models = ModelBench(bench, weights=weights)
    by_kind: dict[str, Callable[[Point], Measurement]] = {
        "llm": models.measure,
        "kernel": lambda point: measure_kernel(bench, point),
        "tabular": lambda point: measure_tabular(bench, point),
    }
    return lambda point: by_kind[point.kind](point)


def _one(
    measure: Callable[[Point], Measurement], bench: Bench, point: Point, deaths: int
) -> Measurement:
    """Measure one point; whatever goes wrong in the libraries becomes a failed row."""
    if deaths >= MOST_DEATHS:
        reason = f"killed: the process ended {deaths} times in this point (out of memory?)"
    else:
        try:
            return measure(point)
        except Exception as error:  # a model's code may raise anything; the sweep goes on
            reason = reason_of(error)
        # Only now, when the traceback is gone, can what it held be freed.
        if bench.target.kind != "cpu" or reason.startswith("memory"):
            bench.target.release()
    return Measurement(
        **bench.origin(),
        **point.columns,
        engine_version=engine_version(point.columns["engine"]),
        **failed_columns(reason),
    )


def reason_of(error: Exception) -> str:
    """Return why a point failed: a short code and one line."""
    says = " ".join(str(error).split())[:300]
    if isinstance(error, PointError):
        return says
    if isinstance(error, OutOfMemoryError):
        return f"memory: {says}"
    if (memory := memory_reason(error)) is not None:
        return f"memory: out of {memory}"
    if isinstance(error, RooflineError):
        return f"build: {says}"
    return f"error: {type(error).__name__}: {says}"


def outcome(row: Measurement) -> str:
    """One phrase on what became of a point."""
    if row.quality == "failed":
        return f"failed, {row.reason}"
    figures = {"ttft": row.ttft_s, "tpot": row.tpot_s, "": row.latency_s}
    times = ", ".join(
        f"{name} {1e3 * seconds:.4g} ms".strip() for name, seconds in figures.items() if seconds
    )
    return times if row.quality == "ok" else f"{times}, {row.quality}"


def marks_folder(store: Path) -> Path:
    """Folder of the marks of running points: beside the store, which holds Parquet alone."""
    whole = store.resolve()
    return whole.parent / f".{whole.name}.running"


@contextlib.contextmanager
def _marked(store: Path, point_id: str) -> Iterator[int]:
    """Leave a mark while a point runs; yield how many earlier runs died under theirs."""
    mark = marks_folder(store) / point_id
    deaths = 0
    with contextlib.suppress(OSError, ValueError):
        deaths = int(mark.read_text())
    with contextlib.suppress(OSError):  # a store that takes no marks still takes rows, or says so
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(str(deaths + 1))
    try:
        yield deaths
    finally:
        with contextlib.suppress(OSError):
            os.unlink(mark)
            os.rmdir(mark.parent)  # stays while another run has a mark in it
