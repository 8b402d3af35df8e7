# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of sensor readings over a stretch of time: joules, ticks, update periods.

A series is a sequence of ``(seconds, value)`` in order of time. A counter moves in ticks
(about every 100 ms on NVIDIA boards), so its reading is up to one tick old; `counter_j`
interpolates between ticks instead of subtracting two readings, which is off by up to a tick
at either end: at 500 W, half of a window of 50 ms.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

Series = Sequence[tuple[float, float]]

#: A series that moves at nearly every reading is taken to be as old as its reading.
_SMOOTH = 1.5


def ticks(series: Series) -> list[tuple[float, float]]:
    """Return when a stepwise series moved, and to what.

    A step lies between two readings and is given the middle of them; the first reading
    is of unknown age and no tick.
    """
    return [
        ((before_s + now_s) / 2, value)
        for (before_s, last), (now_s, value) in pairwise(series)
        if value != last
    ]


def update_period_s(series: Series) -> float | None:
    """Return the median time between two ticks; None with fewer than two."""
    moments_s = [moment_s for moment_s, _ in ticks(series)]
    if len(moments_s) < 2:
        return None
    return median(b - a for a, b in pairwise(moments_s))


def counter_j(series: Series, start_s: float, end_s: float) -> float | None:
    """Return the joules that a counter gained from `start_s` to `end_s`.

    Between two ticks the counter is taken to grow evenly. Outside the first and the last
    tick it goes on at the rate of the nearest two, for one update period at most.

    Returns
    -------
    float or None
        None if the ticks do not cover the window.
    """
    period_s = update_period_s(series)
    if period_s is None or end_s <= start_s:
        return None
    reading_period_s = median(b[0] - a[0] for a, b in pairwise(series))
    knots = ticks(series) if period_s > _SMOOTH * reading_period_s else list(series)
    first, last = knots[0], knots[-1]
    if start_s < first[0] - period_s or end_s > last[0] + period_s:
        return None
    return _at(knots, end_s) - _at(knots, start_s)


def integral_j(series: Series, start_s: float, end_s: float) -> float | None:
    """Return the time integral of a series of watts, by trapezia.

    The value at an edge is interpolated where there are readings on both sides, else it is
    the nearest reading inside.

    Returns
    -------
    float or None
        None with fewer than two readings inside the window.
    """
    inside = within(series, start_s, end_s)
    if len(inside) < 2:
        return None
    covered = series[0][0] <= start_s, end_s <= series[-1][0]
    left = (start_s, _at(series, start_s) if covered[0] else inside[0][1])
    right = (end_s, _at(series, end_s) if covered[1] else inside[-1][1])
    points = [left, *inside, right]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def within(series: Series, start_s: float, end_s: float) -> Series:
    """Return the readings from `start_s` to `end_s`, both included."""
    first = bisect_left(series, start_s, key=lambda point: point[0])
    return series[first : bisect_right(series, end_s, key=lambda point: point[0])]


def longest_gap_s(series: Series, start_s: float, end_s: float) -> float:
    """Return the longest time inside the window without a reading."""
    moments_s = [start_s, *(moment_s for moment_s, _ in within(series, start_s, end_s)), end_s]
    return max(b - a for a, b in pairwise(moments_s))


def _at(knots: Series, moment_s: float) -> float:
    """Interpolate; beyond the ends, go on at the rate of the nearest two knots."""
    right = bisect_right(knots, moment_s, key=lambda knot: knot[0])
    right = min(max(right, 1), len(knots) - 1)
    (a_s, a), (b_s, b) = knots[right - 1], knots[right]
    return a + (b - a) * (moment_s - a_s) / (b_s - a_s)
