# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.windows import counter_j, integral_j, longest_gap_s, ticks, update_period_s, within


def sampled(power_w, period_s, end_s):
    """Power read every `period_s`; `power_w` is a function of time."""
    return [(i * period_s, power_w(i * period_s)) for i in range(round(end_s / period_s) + 1)]


def counted(energy_j, period_s, end_s, tick_s):
    """A counter that is renewed every `tick_s`, read every `period_s`."""
    return [
        (i * period_s, energy_j(math.floor(i * period_s / tick_s + 1e-9) * tick_s))
        for i in range(round(end_s / period_s) + 1)
    ]


def test_a_step_lies_between_two_readings():
    series = [(0.0, 5.0), (0.1, 5.0), (0.2, 9.0), (0.3, 9.0), (0.4, 12.0)]
    assert ticks(series) == [(pytest.approx(0.15), 9.0), (pytest.approx(0.35), 12.0)]
    assert update_period_s(series) == pytest.approx(0.2)
    assert update_period_s(series[:3]) is None


def test_trapezia_by_hand():
    # 100 W rising to 200 W over a second, then 200 W: 150 J, and 100 J in the next half.
    series = [(0.0, 100.0), (1.0, 200.0), (2.0, 200.0)]
    assert integral_j(series, 0.0, 1.5) == pytest.approx(250.0)
    # Edges inside: from 0.5 s (150 W) to 1 s (200 W) is 87.5 J, to 1.5 s another 100 J.
    assert integral_j(series, 0.5, 2.0) == pytest.approx(87.5 + 200.0)


def test_a_counter_between_its_ticks_by_hand():
    # 10 J per tick of 0.1 s is 100 W; from 0.25 s to 0.75 s is 50 J.
    series = counted(lambda t: 100 * t, 0.01, 2.0, 0.1)
    assert counter_j(series, 0.25, 0.75) == pytest.approx(50.0)


def test_what_the_readings_do_not_cover_is_not_guessed():
    series = counted(lambda t: 100 * t, 0.01, 2.0, 0.1)
    assert counter_j(series, 0.5, 5.0) is None
    assert counter_j(series[:5], 0.0, 0.04) is None  # never moved
    assert integral_j([(0.0, 1.0)], 0.0, 1.0) is None


def test_readings_inside_and_their_longest_gap():
    series = [(t, 1.0) for t in (0.0, 0.1, 0.2, 0.9, 1.0)]
    assert [t for t, _ in within(series, 0.1, 0.9)] == [0.1, 0.2, 0.9]
    assert longest_gap_s(series, 0.1, 0.9) == pytest.approx(0.7)
    assert longest_gap_s([], 0.0, 2.0) == 2.0


powers = st.floats(20.0, 2000.0)
starts = st.floats(0.5, 1.5)
lengths = st.floats(2.0, 5.0)


@given(power_w=powers, start_s=starts, length_s=lengths, tick_s=st.floats(0.03, 0.2))
def test_a_constant_power_by_counter_and_by_samples(power_w, start_s, length_s, tick_s):
    end_s = start_s + length_s
    by_counter = counter_j(counted(lambda t: power_w * t, 0.02, 8.0, tick_s), start_s, end_s)
    by_samples = integral_j(sampled(lambda t: power_w, 0.02, 8.0), start_s, end_s)
    assert by_samples == pytest.approx(power_w * length_s, rel=1e-9)
    # A tick's time is known to half a reading (10 ms) at each end; where ticks are hardly
    # slower than readings, the counter is taken as it is, and is up to 30 ms old.
    assert by_counter == pytest.approx(power_w * length_s, abs=0.0301 * power_w)


@given(low_w=powers, high_w=powers, start_s=starts, length_s=lengths)
def test_counter_and_integral_agree_on_a_step_of_load(low_w, high_w, start_s, length_s):
    # Load rises at 1 s and falls at 4 s.
    def power_w(t):
        return high_w if 1.0 <= t < 4.0 else low_w

    def energy_j(t):
        return low_w * t + (high_w - low_w) * (min(max(t, 1.0), 4.0) - 1.0)

    end_s = start_s + length_s
    by_counter = counter_j(counted(energy_j, 0.02, 8.0, 0.1), start_s, end_s)
    by_samples = integral_j(sampled(power_w, 0.02, 8.0), start_s, end_s)
    truth_j = energy_j(end_s) - energy_j(start_s)
    # An edge of the load is off by at most a reading (samples) or a tick (counter).
    assert by_samples == pytest.approx(truth_j, abs=0.04 * (high_w + low_w))
    assert by_counter == pytest.approx(truth_j, abs=0.25 * (high_w + low_w))


@given(power_w=powers, start_s=starts, middle=st.floats(0.2, 0.8), length_s=lengths)
def test_two_halves_make_the_whole(power_w, start_s, middle, length_s):
    counter = counted(lambda t: power_w * t, 0.02, 8.0, 0.1)
    samples = sampled(lambda t: power_w * (1 + 0.3 * math.sin(t)), 0.02, 8.0)
    cut_s, end_s = start_s + middle * length_s, start_s + length_s
    for series, joules in ((counter, counter_j), (samples, integral_j)):
        parts = joules(series, start_s, cut_s) + joules(series, cut_s, end_s)
        assert parts == pytest.approx(joules(series, start_s, end_s), rel=1e-9)
