# SPDX-License-Identifier: Apache-2.0
"""Timing under made-up noise, on a clock that only the calls move."""

import random
import time
from statistics import median

import pytest

from profiler.steady import measure, repeat_for, spread_of
from profiler.timers import HostTimer, Reading, longest_delay_s, run_delays_s
from specs.errors import InvalidInputError


class MadeUp:
    """A timer whose calls last `call_s(i)` and wait `delay_s(i)` for a processor."""

    clock = "wall"

    def __init__(self, call_s, delay_s=None, *, cpu=True):
        self.call_s, self.delay_s, self.cpu = call_s, delay_s, cpu
        self.count, self.at_s = 0, 0.0

    def now(self):
        return self.at_s

    def time(self, call, n_calls):
        work_s = wait_s = 0.0
        for _ in range(n_calls):
            call()
            work_s += self.call_s(self.count)
            wait_s += self.delay_s(self.count) if self.delay_s else 0.0
            self.count += 1
        self.at_s += work_s + wait_s
        known = self.delay_s is not None
        return Reading(
            n_calls=n_calls,
            elapsed_s=work_s + wait_s,
            cpu_s=work_s if known and self.cpu else (0.1 * work_s if known else None),
            run_delay_s=wait_s if known else None,
            switches=int(wait_s > 0) if known else None,
        )


def noise(seed, spread):
    source = random.Random(seed)
    values = [source.gauss(1.0, spread) for _ in range(100_000)]
    return lambda i: values[i % len(values)]


def run(timer, **options):
    return measure(lambda: None, sync=None, timer=timer, **options)


def test_a_quiet_call_settles_early():
    jitter = noise(1, 0.003)
    samples = run(MadeUp(lambda i: 0.1 * jitter(i)), budget_s=60.0)
    assert samples.median_s == pytest.approx(0.1, rel=0.005)
    assert (samples.quality, samples.reason) == ("ok", "")
    assert len(samples.samples_s) == 5
    assert samples.attempts == 1
    assert samples.median_s == median(samples.samples_s)


def test_warm_up_goes_by_time_and_is_left_out():
    # The first second of calls is ten times slower.
    samples = run(MadeUp(lambda i: 0.1 if i < 10 else 0.01 + 1e-6 * i), budget_s=60.0)
    assert samples.median_s == pytest.approx(0.01, rel=0.01)
    assert max(samples.samples_s) < 0.02


def test_short_calls_are_grouped():
    timer = MadeUp(lambda i: 10e-6 * (1 + 1e-4 * (i % 3)))
    samples = run(timer, budget_s=1.0, min_sample_s=1e-3)
    assert samples.calls_per_sample == pytest.approx(100, abs=1)
    assert samples.median_s == pytest.approx(10e-6, rel=1e-3)


def test_a_noisy_call_uses_its_budget_twice_and_says_so():
    jitter = noise(2, 0.2)
    timer = MadeUp(lambda i: 0.1 * abs(jitter(i)))
    samples = run(timer, budget_s=10.0, max_samples=1000)
    assert samples.quality == "noisy"
    assert samples.reason.startswith("spread: ")
    assert samples.attempts == 2
    assert 19.0 < timer.at_s < 20.5
    assert samples.median_s == pytest.approx(0.1, rel=0.1)


def test_a_point_that_is_quiet_when_repeated_is_ok():
    jitter = noise(3, 0.3)
    timer = MadeUp(lambda i: 0.1 * abs(jitter(i)) if i < 110 else 0.1)
    samples = run(timer, budget_s=10.0)
    assert (samples.quality, samples.attempts) == ("ok", 2)
    assert samples.median_s == pytest.approx(0.1)


def test_a_budget_that_ends_early_keeps_what_there_is():
    samples = run(MadeUp(lambda i: 30.0), budget_s=10.0)
    assert samples.quality == "partial"
    assert samples.reason == "budget: 1 of 5 samples"
    assert samples.median_s == 30.0


def test_throttling_is_repeated_once_and_told():
    seen = []

    def throttle():
        seen.append(1)
        return "hardware thermal slowdown" if len(seen) == 3 else ""

    samples = run(MadeUp(lambda i: 0.1), budget_s=10.0, throttle=throttle)
    assert (samples.quality, samples.attempts) == ("ok", 2)
    hot = run(MadeUp(lambda i: 0.1), budget_s=10.0, throttle=lambda: "power brake")
    assert (hot.quality, hot.reason) == ("throttled", "throttle: power brake")


def contended(share, *, cpu=True):
    """Calls of 10 ms, of which a share waits 3 to 23 ms for a processor."""
    source = random.Random(4)
    waits_s = [
        source.uniform(0.003, 0.023) if source.random() < share else 0.0 for _ in range(9999)
    ]
    jitter = noise(5, 0.004)
    return MadeUp(lambda i: 0.010 * jitter(i), lambda i: waits_s[i % 9999], cpu=cpu)


def test_on_a_shared_processor_the_samples_left_alone_count():
    samples = run(contended(0.4), budget_s=5.0)
    assert (samples.quality, samples.reason, samples.clock) == ("ok", "", "wall")
    assert samples.median_s == pytest.approx(0.010, rel=0.01)
    assert samples.run_delay_frac > 0.2
    assert len(samples.samples_s) < len(samples.readings)  # and every one taken is kept
    assert len(samples.detail()["wall_s"]) == len(samples.readings)


def test_where_none_is_left_alone_processor_time_counts_and_is_marked():
    samples = run(contended(1.0), budget_s=5.0)
    assert samples.clock == "cpu"
    assert samples.median_s == pytest.approx(0.010, rel=0.01)
    assert samples.quality == "noisy"
    assert samples.reason.startswith("cpu: contended, ")
    assert len(samples.samples_s) == len(samples.readings)


def test_processor_time_does_not_stand_for_a_call_that_waits_otherwise():
    # A tenth of the work time is processor time; the rest is neither work nor queueing.
    samples = run(contended(1.0, cpu=False), budget_s=5.0)
    assert samples.clock == "wall"
    assert samples.median_s > 0.012
    assert "wall time kept" in samples.reason


def test_a_little_waiting_does_not_matter():
    samples = run(MadeUp(lambda i: 0.1, lambda i: 0.0005), budget_s=10.0)
    assert (samples.quality, samples.clock) == ("ok", "wall")
    assert samples.median_s == pytest.approx(0.1005)
    assert samples.run_delay_frac == pytest.approx(0.005, rel=0.01)


def test_device_time_stays_device_time():
    timer = MadeUp(lambda i: 0.1)
    timer.clock = "device"
    samples = run(timer, budget_s=10.0)
    assert samples.clock == "device"
    assert samples.run_delay_frac is None
    assert samples.detail()["device_s"] == [pytest.approx(0.1)] * 5


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_errors_of_the_call_pass_through(error):
    def call():
        raise error

    with pytest.raises(error):
        measure(call, sync=None, budget_s=1.0)


@pytest.mark.parametrize(
    "options", [{"budget_s": 0}, {"min_samples": 0}, {"max_samples": 4}, {"target_spread_frac": 0}]
)
def test_what_cannot_be_measured_is_refused(options):
    with pytest.raises(InvalidInputError):
        run(MadeUp(lambda i: 0.1), **options)


def test_spread_by_hand():
    # Quartiles of 1..5 are 2 and 4, the median 3.
    assert spread_of([5, 1, 4, 2, 3]) == pytest.approx(2 / 3)
    assert spread_of([7.0]) == 0.0


def test_the_hosts_own_clock_on_real_work():
    def work():
        sum(i * i for i in range(20_000))

    reading = HostTimer().time(work, 3)
    assert reading.n_calls == 3
    assert reading.elapsed_s > 0
    assert reading.cpu_s <= 1.01 * reading.elapsed_s + 1e-3
    synced = []
    reading = HostTimer(lambda: synced.append(1)).time(work, 2)
    assert len(synced) == 2  # before and after
    assert reading.run_delay_s is None


def test_sleep_is_neither_work_nor_waiting_for_a_processor():
    reading = HostTimer().time(lambda: time.sleep(0.05), 1)
    assert reading.elapsed_s >= 0.05
    assert reading.cpu_s < 0.02


def test_run_delay_is_the_second_field_in_nanoseconds(tmp_path):
    thread = tmp_path / "thread-self"
    thread.mkdir()
    (thread / "schedstat").write_text("123456789 2500000000 42\n")
    assert list(run_delays_s(1, proc=tmp_path).values()) == [2.5]
    (thread / "schedstat").write_text("")
    assert run_delays_s(1, proc=tmp_path) is None
    for task, waited in (("11", 10**9), ("12", 4 * 10**9)):
        folder = tmp_path / "self" / "task" / task
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"0 {waited} 1\n")
    before = run_delays_s(2, proc=tmp_path)
    (tmp_path / "self" / "task" / "12" / "schedstat").write_text("0 4300000000 1\n")
    after = run_delays_s(2, proc=tmp_path)
    assert longest_delay_s(before, after) == pytest.approx(0.3)  # a barrier waits for the last
    assert run_delays_s(1, proc=tmp_path / "none") is None


def test_repeating_for_a_time_counts_its_calls():
    calls = []
    start_s = time.perf_counter()
    count = repeat_for(lambda: (calls.append(1), time.sleep(0.002)), sync=None, seconds=0.1)
    assert count == len(calls)
    assert 0.1 <= time.perf_counter() - start_s < 2.0
