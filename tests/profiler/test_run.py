# SPDX-License-Identifier: Apache-2.0
"""Runs: every finished point is stored at once, nothing is lost and nothing done twice.

The measuring itself is replaced by a counter; stores are real.
"""

import time

import pytest

from profiler import run
from profiler.models import OutOfMemoryError
from profiler.plan import Point
from profiler.run import Interrupted, marks_folder, reason_of, run_plan
from profiler.run_bench import Bench, PointError
from profiler.run_target import Target
from profiler.store import Store
from specs.measurement import Measurement

pytest.importorskip("pyarrow")

CPU = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)


def points(count):
    return [
        Point(
            columns={"kind": "kernel", "op": "gemm", "engine": "torch", "dtype": "fp32", "m": m},
            title=f"gemm {m}",
        )
        for m in range(1, count + 1)
    ]


class Measure:
    """Measures in no time, except where `fail` says what to raise instead."""

    def __init__(self, fail=None):
        self.calls, self.fail = [], fail or {}

    def __call__(self, point):
        m = point.columns["m"]
        self.calls.append(m)
        if m in self.fail:
            raise self.fail[m]
        return Measurement(**point.columns, latency_s=1e-3 * m)


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.setattr(Target, "release", lambda self: None)

    def run_with(measure, *, count=5, **options):
        monkeypatch.setattr(run, "measurer", lambda bench, weights: measure)
        bench = Bench(target=CPU, run_id="test", **options.pop("bench", {}))
        return run_plan(points(count), bench, Store(tmp_path / "store"), quiet=True, **options)

    return run_with


def stored(tmp_path):
    return [row.m for row in Store(tmp_path / "store").read()]


def test_every_point_is_stored_once(go, tmp_path):
    measure = Measure()
    result = go(measure)
    assert measure.calls == [1, 2, 3, 4, 5] == stored(tmp_path)
    assert (len(result.measured), result.skipped, result.left) == (5, 0, 0)
    assert not marks_folder(tmp_path / "store").exists()


def test_a_point_is_on_the_disk_before_the_next_begins(go, tmp_path):
    seen = []

    def measure(point):
        seen.append(len(stored(tmp_path)))
        return Measurement(**point.columns, latency_s=1e-3)

    go(measure)
    assert seen == [0, 1, 2, 3, 4]


def test_what_a_fit_came_to_makes_no_other_point_of_it(go, tmp_path):
    calls = []

    def measure(point):
        calls.append(point.columns["m"])
        return Measurement(**point.columns, latency_s=1e-3, n_nodes=100)

    go(measure)
    result = go(measure, resume=True)
    assert (calls, result.skipped) == ([1, 2, 3, 4, 5], 5)
    assert set(Store(tmp_path / "store").points()) == {point.point_id for point in points(5)}


def test_ctrl_c_keeps_what_was_finished_and_resuming_repeats_nothing(go, tmp_path):
    first = Measure({3: KeyboardInterrupt()})
    with pytest.raises(Interrupted) as stop:
        go(first)
    assert [row.m for row in stop.value.result.measured] == [1, 2] == stored(tmp_path)
    assert stop.value.result.left == 3
    second = Measure()
    result = go(second, resume=True)
    assert second.calls == [3, 4, 5]
    assert result.skipped == 2
    assert stored(tmp_path) == [1, 2, 3, 4, 5]
    third = Measure()
    assert go(third, resume=True).skipped == 5
    assert third.calls == []


def test_without_resume_everything_is_measured_again(go, tmp_path):
    go(Measure())
    go(Measure())
    assert stored(tmp_path) == [1, 2, 3, 4, 5] * 2


def test_out_of_memory_is_a_failed_point_and_the_sweep_goes_on(go, tmp_path):
    gone = RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    measure = Measure({2: gone, 4: OutOfMemoryError("gpt2 needs more.")})
    go(measure)
    assert measure.calls == [1, 2, 3, 4, 5]
    rows = {row.m: row for row in Store(tmp_path / "store").read()}
    assert {m: row.quality for m, row in rows.items()} == {
        1: "ok", 2: "failed", 3: "ok", 4: "failed", 5: "ok",
    }  # fmt: skip
    assert rows[2].reason == "memory: out of device memory"
    assert rows[4].reason == "memory: gpt2 needs more."
    assert rows[2].figures == {}
    # A failed point is done: it is not tried again by resuming.
    again = Measure()
    go(again, resume=True)
    assert again.calls == []


def test_memory_is_released_when_the_traceback_is_gone(go, monkeypatch):
    import gc
    import weakref

    class Tensor:
        pass

    alive = []

    def measure(point):
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        raise RuntimeError("CUDA out of memory")

    at_release = []
    gc.disable()  # the frame must be gone by itself
    try:
        monkeypatch.setattr(Target, "release", lambda self: at_release.append(alive[-1]()))
        go(measure, count=1)
    finally:
        gc.enable()
    assert at_release == [None]


def test_the_time_ends_the_run_between_points(go, tmp_path):
    measure = Measure()
    result = go(measure, bench={"deadline_s": time.perf_counter() - 1})
    assert measure.calls == [1]  # one at least
    assert result.left == 4


def test_a_point_that_would_last_beyond_the_time_is_not_begun(go):
    def measure(point):
        time.sleep(0.2)
        return Measurement(**point.columns, latency_s=1e-3)

    result = go(measure, bench={"deadline_s": time.perf_counter() + 0.3})
    assert len(result.measured) == 1
    assert result.left == 4


def test_a_point_that_kills_the_process_is_given_up_by_the_third_run(go, tmp_path):
    killer = points(3)[1].point_id
    mark = marks_folder(tmp_path / "store") / killer
    mark.parent.mkdir(parents=True)
    mark.write_text("1")
    once = Measure({3: KeyboardInterrupt()})
    with pytest.raises(Interrupted):
        go(once, count=3, resume=True)
    assert 2 in once.calls  # one death is bad luck
    for path in (tmp_path / "store").glob("*.parquet"):
        path.unlink()
    mark.parent.mkdir(exist_ok=True)
    mark.write_text("2")
    twice = Measure()
    go(twice, count=3, resume=True)
    assert twice.calls == [1, 3]
    row = next(row for row in Store(tmp_path / "store").read() if row.m == 2)
    assert row.quality == "failed"
    assert row.reason.startswith("killed: the process ended 2 times")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PointError("context: 1148 tokens"), "context: 1148 tokens"),
        (MemoryError(), "memory: out of host memory"),
        (OutOfMemoryError("too large."), "memory: too large."),
        (ValueError("bad\nshape"), "error: ValueError: bad shape"),
    ],
)
def test_reasons_begin_with_a_code_and_are_one_line(error, reason):
    assert reason_of(error) == reason
