# SPDX-License-Identifier: Apache-2.0
"""A machine that is slowed in the middle of a run is told by calls that never change."""

import pytest

from profiler.reference import Reference, judged
from profiler.run_bench import Bench
from profiler.run_target import Target
from profiler.steady import Samples


def reference(**series):
    """Each call returns the next of its seconds."""
    return Reference(calls={name: iter(found).__next__ for name, found in series.items()})


def samples(quality="ok", reason=""):
    return Samples(
        samples_s=(1.0,), median_s=1.0, spread_frac=0.0, quality=quality, reason=reason,
        run_delay_frac=None, clock="wall", calls_per_sample=1, attempts=1, readings=(),
    )  # fmt: skip


def test_the_slowest_call_counts_against_the_best_of_the_run():
    # Medians of three: 1.0 and 2.0 s, then 1.2 and 2.0, then 1.1 and 1.6.
    found = reference(
        core=[0.9, 1.0, 9.0, 1.2, 1.2, 1.2, 1.1, 1.1, 1.1], memory=[2.0] * 6 + [1.6] * 3
    )
    first, second = found.read(), found.read()
    assert (first, second) == ({"core": 1.0, "memory": 2.0}, {"core": 1.2, "memory": 2.0})
    assert found.slowed_frac(first, second) == pytest.approx(0.2)  # 1.2 / 1.0
    third = found.read()
    # 1.6 s is now the best of the memory: the second reading was 25% above it.
    assert found.slowed_frac(second, third) == pytest.approx(0.25)
    assert found.most_frac == pytest.approx(0.25)


def test_a_slowed_point_is_noisy_and_says_so():
    assert judged(samples(), 0.1) == ("ok", "")
    quality, reason = judged(samples(), 0.4)
    assert (quality, reason.partition(":")[0]) == ("noisy", "cpu")
    assert "40%" in reason
    quality, reason = judged(samples("throttled", "throttle: power brake"), 0.4)
    assert quality == "throttled"
    assert reason.startswith("throttle: power brake; cpu: slowed")


def test_points_on_this_processor_carry_their_references():
    target = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    bench = Bench(target=target, run_id="test", budget_s=0.01)
    assert bench.slowed_frac is None
    bench.reference = reference(core=[1.0] * 3 + [1.5] * 3)
    timed = bench.time(lambda: None)
    assert timed.detail()["reference_s"] == [{"core": 1.0}, {"core": 1.5}]
    assert "cpu: slowed by neighbours" in timed.samples.reason
    assert bench.slowed_frac == pytest.approx(0.5)


def test_the_calls_take_time_and_are_two():
    found = Reference().read()
    assert set(found) == {"core", "memory"}
    assert 1e-5 < found["core"] < 1.0  # processors of 10 G to 0.002 G multiplications a second
    assert found["memory"] > 1e-4  # 64 MiB at less than 670 GB/s
