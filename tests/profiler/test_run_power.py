# SPDX-License-Identifier: Apache-2.0
"""Energy of a generation, put together from the windows of its two calls."""

import time

import pytest

from profiler.device import TableDevice
from profiler.energy import WindowEnergy
from profiler.run_bench import Bench, Timed, worst
from profiler.run_power import call_columns, generation_columns
from profiler.run_target import Target
from profiler.steady import Samples


def window(name, *, power_w, energy_j, devices=1, reason=""):
    return WindowEnergy(
        name=name,
        duration_s=2.5,
        power_w=power_w,
        energy_j=energy_j,
        method="counter" if power_w else "",
        reason=reason,
        devices=(None,) * devices,
    )


def test_energy_of_a_generation_by_hand():
    # Two devices. 1000 J over 10 prefills are 100 J each, 400 J over 200 steps 2 J each.
    # 100 J and 31 steps of 2 J: 162 J; over 0.9 s and two devices 90 W each.
    found = {
        "prefill": window("prefill", power_w=200.0, energy_j=1000.0, devices=2),
        "decode": window("decode", power_w=80.0, energy_j=400.0, devices=2),
    }
    columns, why = generation_columns(
        found, {"prefill": 10, "decode": 200}, e2e_s=0.9, steps=31, output_tokens=8 * 32
    )
    assert columns == pytest.approx(
        {
            "prefill_power_w": 200.0,
            "decode_power_w": 80.0,
            "energy_j": 162.0,
            "energy_per_output_token_j": 162.0 / 256,
            "power_w": 90.0,
        }
    )
    assert why == ""


def test_a_window_without_a_figure_leaves_the_whole_without_one():
    found = {
        "prefill": window("prefill", power_w=200.0, energy_j=1000.0),
        "decode": window("decode", power_w=None, energy_j=None, reason="power: sensor stuck"),
    }
    columns, why = generation_columns(
        found, {"prefill": 10, "decode": 200}, e2e_s=0.9, steps=31, output_tokens=32
    )
    assert columns == {"prefill_power_w": 200.0}
    assert why == "power: sensor stuck"


def test_energy_of_one_call():
    assert call_columns(window("whole", power_w=50.0, energy_j=125.0), 500) == (
        {"power_w": 50.0, "energy_j": 0.25},
        "",
    )
    stuck = window("whole", power_w=None, energy_j=None, reason="power: sensor stuck")
    assert call_columns(stuck, 500) == ({}, "power: sensor stuck")


def samples(quality, reason=""):
    return Samples(
        samples_s=(1.0,),
        median_s=1.0,
        spread_frac=0.0,
        quality=quality,
        reason=reason,
        run_delay_frac=None,
        clock="wall",
        calls_per_sample=1,
        attempts=1,
        readings=(),
    )


def test_without_sensors_the_cells_are_empty_and_the_reason_says_so():
    target = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    bench = Bench(target=target, run_id="test", no_sensor="permission")
    timed = Timed(call=lambda: None, samples=samples("ok"))
    assert bench.call_power(timed) == ({}, "power: permission")
    assert bench.llm_power(timed, timed, batch=1, output_tokens=2) == ({}, "power: permission")
    assert bench.idle_columns == {}


def test_a_point_is_as_good_as_its_worst_call():
    phases = {"prefill": samples("noisy", "spread: 3%"), "decode": samples("ok")}
    assert worst(phases) == ("noisy", "prefill: spread: 3%")
    phases["decode"] = samples("throttled", "throttle: power brake")
    assert worst(phases)[0] == "throttled"
    assert worst({"whole": samples("noisy", "spread: 3%")}) == ("noisy", "spread: 3%")


class FiftyWatts(TableDevice):
    source = "test"

    def __init__(self):
        super().__init__("a device", {"driver": "1.0"})
        self._table = {
            "energy_j": lambda: 50.0 * time.perf_counter(),
            # Never twice the same, as no sensor that works is.
            "power_w": lambda: 50.0 + time.perf_counter() % 0.1,
            "power_limit_w": lambda: 100.0,
        }


@pytest.mark.slow
def test_power_of_a_call_from_sensors():
    target = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    bench = Bench(target=target, run_id="test", sensors=[FiftyWatts()])
    assert bench.device_columns["power_limit_w"] == 100.0
    assert bench.origin()["driver"] == "1.0"
    timed = Timed(call=lambda: time.sleep(0.01), samples=samples("ok"))
    columns, why = bench.call_power(timed)
    assert why == ""
    assert columns["power_w"] == pytest.approx(50.0, rel=0.02)
    assert columns["idle_power_w"] == pytest.approx(50.0, rel=0.02)
    # 10 ms at 50 W, and what the loop around it takes on a busy machine
    assert 0.5 <= columns["energy_j"] < 1.5


class SlowSensor(TableDevice):
    """A counter that moves every 160 ms: 20 updates take 3.2 s, longer than 2 s."""

    source = "test"
    period_s = 0.16

    def __init__(self):
        super().__init__("a device", {})
        self._table = {"energy_j": self._energy_j}

    def _energy_j(self):
        return 50.0 * (time.perf_counter() // self.period_s) * self.period_s


class AveragingSensor(TableDevice):
    """Nothing but a mean over the last second, so that the first second of a window is lost."""

    source = "test"

    def __init__(self):
        super().__init__("a device", {})
        self._table = {"average_power_w": lambda: 50.0 + time.perf_counter() % 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("sensor", [SlowSensor, AveragingSensor])
def test_a_window_lasts_as_long_as_its_sensor_needs(sensor):
    target = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    bench = Bench(target=target, run_id="test", sensors=[sensor()])
    timed = Timed(call=lambda: time.sleep(0.01), samples=samples("ok"))
    columns, why = bench.call_power(timed)
    assert why == ""
    assert columns["power_w"] == pytest.approx(50.0, rel=0.03)
    assert columns["idle_power_w"] == pytest.approx(50.0, rel=0.03)
