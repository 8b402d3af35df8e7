# SPDX-License-Identifier: Apache-2.0
"""Windows over the real pynvml and a stand-in library; its clock is moved by hand."""

import time

import pytest

from profiler.device import Sensor
from profiler.energy import PowerMeter, cool_down, measurement_fields
from profiler.nvml import nvml_devices
from profiler.powerlog import DeviceLog
from specs.errors import InvalidInputError
from specs.measurement import COLUMNS

NOT_SUPPORTED, NO_PERMISSION, GPU_IS_LOST = 3, 4, 15


def watch(nvml, log, seconds, *, step_s=0.02):
    """Read `log` for `seconds` of the library's time; return start and end."""
    start_s = nvml.now_s
    for _ in range(round(seconds / step_s)):
        nvml.advance(step_s)
        log.read(lambda: nvml.now_s)
    return start_s, nvml.now_s


def energy(nvml, log, seconds):
    """Energy of `seconds` with half a second of readings before and after."""
    watch(nvml, log, 0.5)
    start_s, end_s = watch(nvml, log, seconds)
    watch(nvml, log, 0.5)
    return log.energy(start_s, end_s)


def test_counter_and_samples_of_a_steady_load(nvml):
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 3.0)
    assert answer.method == "counter"
    assert answer.reason == ""
    assert answer.power_w == pytest.approx(500, rel=0.01)  # what the library is told to draw
    assert answer.samples_w == pytest.approx(500, rel=0.01)
    assert answer.n_samples == pytest.approx(150, abs=1)
    assert answer.update_period_s == pytest.approx(0.1, rel=0.05)


def test_idle_and_load_are_told_apart_at_their_edge(nvml):
    log = DeviceLog(nvml_devices()[0])
    nvml.set(on_s=nvml.now_s + 3.0)
    watch(nvml, log, 0.3)
    idle = watch(nvml, log, 2.4)
    watch(nvml, log, 0.5)
    load = watch(nvml, log, 2.4)
    watch(nvml, log, 0.3)
    assert log.energy(*idle).power_w == pytest.approx(80, rel=0.02)
    assert log.energy(*load).power_w == pytest.approx(500, rel=0.02)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        # Neither way is left: the cell is empty, never 0 W.
        ({"counter_stops_s": 0, "sensor_stuck_w": 431.5}, "counter stuck"),
        ({"counter_factor": 9, "sensor_factor": 9}, "counter absurd, 4500 W with a limit of 700 W"),
        ({"counter_factor": 0, "sensor_stuck_w": 0}, "counter stuck"),
        ({"counter_factor": 3, "limit_w": 2000}, "samples and counter differ by a factor of 3"),
        ({"tick_s": 0.5, "sensor_stuck_w": 431.5}, "window of 3 s is below 20 updates, 10 s"),
    ],
)
def test_what_cannot_be_believed_stays_empty(nvml, numbers, reason):
    nvml.set(**numbers)
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 3.0)
    assert answer.power_w is None
    assert answer.method == ""
    assert answer.reason == reason


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"sensor_stuck_w": 431.5}, "sensor stuck, counter unchecked"),
        ({"sensor_stuck_w": 0}, "sensor zero, counter unchecked"),
        (
            {"sensor_factor": 9},
            "sensor absurd, 4500 W with a limit of 700 W, counter unchecked",
        ),
        ({"sensor_factor": 1.3}, "samples differ from the counter by +30%"),
    ],
)
def test_a_bad_sensor_leaves_the_counter_and_a_reason(nvml, numbers, reason):
    nvml.set(**numbers)
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 3.0)
    assert answer.power_w == pytest.approx(500, rel=0.01)
    assert answer.method == "counter"
    assert answer.reason == reason


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"counter_stops_s": 50}, "counter stuck, samples used"),
        ({"counter_stops_s": 102}, "counter has too few ticks, samples used"),
        ({"counter_factor": 9}, "counter absurd, 4500 W with a limit of 700 W, samples used"),
    ],
)
def test_a_bad_counter_leaves_the_samples_and_a_reason(nvml, numbers, reason):
    nvml.set(**numbers)
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 3.0)
    assert answer.power_w == pytest.approx(500, rel=0.01)
    assert answer.method == "samples"
    assert answer.reason == reason


def test_without_an_energy_counter_the_samples_count_and_nothing_is_wrong(nvml):
    nvml.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 3.0)
    assert (answer.method, answer.reason) == ("samples", "")
    assert answer.power_w == pytest.approx(500, rel=0.01)


def test_an_averaging_sensor_forgets_the_time_before_the_window(nvml):
    nvml.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    nvml.set(new_api=0)  # compute capability 9.0: the old reading is a mean over a second
    log = DeviceLog(nvml_devices()[0])
    assert energy(nvml, log, 2.5).reason == "window of 1.5 s is below 2 s"
    assert energy(nvml, log, 3.5).power_w == pytest.approx(500, rel=0.01)


def test_a_window_shorter_than_two_seconds_has_no_figure(nvml):
    answer = energy(nvml, DeviceLog(nvml_devices()[0]), 1.0)
    assert answer.power_w is None
    assert answer.reason == "window of 1 s is below 2 s"


@pytest.mark.parametrize(("code", "reason"), [(GPU_IS_LOST, "lost"), (NO_PERMISSION, "permission")])
def test_a_board_that_fails_inside_the_window(nvml, code, reason):
    log = DeviceLog(nvml_devices()[0])
    start_s, _ = watch(nvml, log, 1.5)
    nvml.fail("", code)
    _, end_s = watch(nvml, log, 1.5)
    answer = log.energy(start_s, end_s)
    assert answer.power_w is None
    assert answer.reason == reason


def test_readings_that_stall_are_not_stretched_over_the_window(nvml):
    nvml.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    log = DeviceLog(nvml_devices()[0])
    start_s, _ = watch(nvml, log, 1.5)
    nvml.advance(1.5)
    assert log.energy(start_s, nvml.now_s).reason == "too few samples"


class Fixed:
    """A device whose fields are functions of its own clock."""

    source, name, slug, versions = "test", "test", "", {}

    def __init__(self, **fields):
        self.fields, self.now_s = fields, 0.0

    def read(self, field):
        if field not in self.fields:
            return Sensor(None, "unsupported")
        value = self.fields[field]
        return Sensor(float(value(self.now_s) if callable(value) else value))

    def throttle_words(self):
        return ""

    def run(self, log, seconds):
        start_s = self.now_s
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            log.read(lambda: self.now_s)
        return log.energy(start_s, self.now_s)


def test_a_sensor_in_whole_watts_may_stand_still_if_it_moved_before():
    device = Fixed(power_w=lambda t: 90 if t < 3.01 else 300)
    log = DeviceLog(device)
    assert device.run(log, 3.0).reason == "sensor stuck"  # nothing yet shows that it is alive
    assert device.run(log, 3.0).power_w == pytest.approx(300, rel=0.02)


def test_a_sensor_that_stands_where_the_counter_says_is_not_stuck():
    device = Fixed(power_w=140, energy_j=lambda t: 141 * t)
    answer = device.run(DeviceLog(device), 3.0)
    assert (answer.method, answer.reason) == ("counter", "")
    assert answer.power_w == pytest.approx(141)
    device = Fixed(power_w=140, energy_j=lambda t: 300 * t)
    answer = device.run(DeviceLog(device), 3.0)
    assert answer.reason == "sensor stuck, counter unchecked"


def test_an_averaging_sensor_needs_a_longer_window():
    assert PowerMeter([Fixed(average_power_w=90)]).needed_s == pytest.approx(3.2)  # 1.1 * 2 + 1
    assert PowerMeter([Fixed(power_w=90, average_power_w=90)]).needed_s == pytest.approx(2.2)
    assert PowerMeter([]).needed_s == 0.0


def test_a_negative_sensor():
    device = Fixed(power_w=lambda t: 100 * (t % 1) - 5)
    answer = device.run(DeviceLog(device), 3.0)
    assert (answer.power_w, answer.reason) == (None, "sensor negative")


def test_the_catalogue_limits_a_device_that_does_not_tell_its_own():
    device = Fixed(energy_j=lambda t: 900 * t)
    device.slug = "t4"  # 70 W
    answer = device.run(DeviceLog(device), 3.0)
    assert answer.reason == "counter absurd, 900 W with a limit of 70 W"


def test_a_counter_that_runs_backwards():
    device = Fixed(energy_j=lambda t: 1000 - 50 * t)
    answer = device.run(DeviceLog(device), 3.0)
    assert (answer.power_w, answer.reason) == (None, "counter ran backwards")


def test_no_device_at_all_has_a_reason_and_no_watts():
    with PowerMeter([], absent="no library") as meter, meter.window("decode"):
        pass
    decode = meter.result("decode")
    assert (decode.power_w, decode.energy_j) == (None, None)
    assert decode.reason == "power: no library"


def test_a_window_that_was_not_measured_is_an_error():
    with PowerMeter([]) as meter, pytest.raises(InvalidInputError, match="there are none"):
        meter.result("decode")


def test_an_error_in_a_window_stops_the_thread_and_passes():
    device = Fixed(power_w=100)
    with pytest.raises(KeyboardInterrupt), PowerMeter([device]) as meter, meter.window("whole"):
        raise KeyboardInterrupt
    assert meter._thread is None
    assert meter.results() == {}


def test_cooling_down_ends_in_time():
    assert cool_down(Fixed(temperature_c=52), 50)
    assert not cool_down(Fixed(temperature_c=80), 50, timeout_s=0)
    assert cool_down(Fixed(), 50)  # no thermometer, nothing to wait for


@pytest.mark.slow
def test_two_boards_on_the_machines_own_clock(nvml):
    start_s = time.monotonic()
    nvml.set(time_s=-1, on_s=start_s + 2.8, off_s=start_s + 30)
    with PowerMeter(nvml_devices()) as meter:
        meter.idle()
        time.sleep(1.0)
        with meter.window("decode"):
            time.sleep(2.5)
    results = meter.results()
    idle, decode = results["idle"], results["decode"]
    # The thread shares its processor with others' tests: a tick may be read late.
    assert idle.power_w == pytest.approx(80, rel=0.1)
    assert decode.power_w == pytest.approx(500, rel=0.1)
    assert decode.energy_j == pytest.approx(2 * decode.power_w * decode.duration_s)
    fields = measurement_fields(results)
    assert set(fields) <= set(COLUMNS)
    assert fields["decode_power_w"] == decode.power_w
    assert fields["idle_power_w"] == idle.power_w
