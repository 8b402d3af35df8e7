# SPDX-License-Identifier: Apache-2.0
"""Progress: lines where there is no terminal, and a time left that knows long points."""

from profiler import run_progress
from profiler.run_progress import Progress


def test_time_left_is_that_of_the_points_to_come(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(run_progress.time, "perf_counter", lambda: now[0])
    with Progress([1, 1, 10]) as progress:
        now[0] += 3
        progress.finish("a", "ok")  # 3 s for one unit; eleven are to come
        now[0] += 1
        progress.finish("b", "ok")  # 4 s for two units; ten are to come
        progress.finish("c", "failed, memory: x")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[1/3] a: ok (33 s left)",
        "[2/3] b: ok (20 s left)",
        "[3/3] c: failed, memory: x",
    ]


def test_long_times_are_in_minutes_and_hours(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(run_progress.time, "perf_counter", lambda: now[0])
    with Progress([1] * 100) as progress:
        now[0] = 6.0
        progress.finish("a", "ok")  # 99 * 6 s
        now[0] = 400.0
        progress.finish("b", "ok")  # 98 * 200 s
    err = capsys.readouterr().err
    assert "(10 min left)" in err
    assert "(5.4 h left)" in err


def test_quiet_says_nothing(capsys):
    with Progress([1], quiet=True) as progress:
        progress.start("a")
        progress.finish("a", "ok")
    assert capsys.readouterr().err == ""
