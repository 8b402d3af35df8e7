# SPDX-License-Identifier: Apache-2.0
"""The real pynvml over a stand-in library."""

import pytest

from profiler.device import FIELDS, SensorError, state
from profiler.nvml import nvml_devices

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 4, 9, 15


def test_every_field_of_a_board_in_si_units(nvml):
    board = nvml_devices()[0]
    assert board.name == "NVIDIA H100 80GB HBM3"
    assert board.slug == "h100-sxm5-80gb"
    assert board.versions == {"driver": "570.00", "nvml": "12.570.00", "cuda_driver": "12.8"}
    values = {field: board.read(field).value for field in FIELDS}
    assert values["memory_bytes"] == 85_520_809_984
    assert values["clock_hz"] == 1.98e9  # the library says 1980 MHz
    assert values["mem_clock_hz"] == 2.619e9
    assert values["temperature_c"] == 55
    assert values["power_limit_w"] == 700  # the library says 700,000 mW
    # 80 W for 100 s and 420 W more since 0 s: 50 kJ; the sensor ripples by 3 W.
    assert values["energy_j"] == pytest.approx(50_000)
    assert values["power_w"] == pytest.approx(500, abs=3)
    assert values["average_power_w"] == pytest.approx(500, abs=3)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["GPU-0001-aaaa", "GPU-0002-aaaa"]),
        ("1", ["GPU-0002-aaaa"]),
        ("1,0", ["GPU-0002-aaaa", "GPU-0001-aaaa"]),
        ("GPU-0002", ["GPU-0002-aaaa"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["GPU-0001-aaaa"]),  # CUDA stops at the first that is not there
    ],
)
def test_only_boards_that_cuda_may_use(nvml, monkeypatch, visible, uuids):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [board.uuid for board in nvml_devices()] == uuids


@pytest.mark.parametrize(
    ("function", "code", "field", "reason"),
    [
        ("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED, "energy_j", "unsupported"),
        ("nvmlDeviceGetTotalEnergyConsumption", NO_PERMISSION, "energy_j", "permission"),
        ("nvmlDeviceGetFieldValues", GPU_IS_LOST, "power_w", "lost"),
        ("nvmlDeviceGetClockInfo", 999, "clock_hz", "error"),
        ("nvmlDeviceGetEnforcedPowerLimit", NO_PERMISSION, "power_limit_w", "permission"),
    ],
)
def test_a_field_that_fails_says_why(nvml, function, code, field, reason):
    board = nvml_devices()[0]
    nvml.fail(function, code)
    sensor = board.read(field)
    assert (sensor.value, sensor.reason) == (None, reason)
    assert board.read("memory_bytes").works


def test_a_lost_board_has_no_field_and_no_crash(nvml):
    board = nvml_devices()[0]
    nvml.fail("", GPU_IS_LOST)
    assert {board.read(field).reason for field in FIELDS} == {"lost"}
    assert board.throttle_words() == ""


@pytest.mark.parametrize(
    ("capability", "instant", "average"),
    [(70, True, False), (80, True, False), (86, False, True), (90, False, True)],
)
def test_an_old_driver_gives_what_its_one_reading_means(nvml, capability, instant, average):
    # nvmlDeviceGetPowerUsage: average over a second from Ampere on, except GA100 (8.0).
    nvml.set(new_api=0, capability=capability)
    board = nvml_devices()[0]
    assert board.read("power_w").works is instant
    assert board.read("average_power_w").works is average


def test_a_board_cut_into_slices_has_no_power_of_its_own(nvml):
    nvml.set(mig=1)
    board = nvml_devices()[0]
    for field in ("energy_j", "power_w", "average_power_w"):
        assert board.read(field).reason == "mig"


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ""),
        (0x5, ""),  # idle and the power limit: normal
        (0x20, "software thermal slowdown"),
        (0xC4, "hardware thermal slowdown, power brake"),
    ],
)
def test_throttling_beyond_the_power_limit_is_told(nvml, bits, words):
    nvml.set(reasons=bits)
    board = nvml_devices()[0]
    assert board.throttle_words() == words
    nvml.fail("nvmlDeviceGetCurrentClocksEventReasons", NOT_SUPPORTED)  # before driver 535
    assert board.throttle_words() == words


@pytest.mark.parametrize(
    ("code", "reason"), [(DRIVER_NOT_LOADED, "no driver"), (NO_PERMISSION, "permission")]
)
def test_a_library_that_does_not_start_says_why(nvml, code, reason):
    nvml.fail("nvmlInitWithFlags", code)
    with pytest.raises(SensorError) as error:
        nvml_devices()
    assert error.value.reason == reason


def test_without_the_library(monkeypatch):
    pynvml = pytest.importorskip("pynvml")

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(pynvml, "CDLL", missing)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    with pytest.raises(SensorError) as error:
        nvml_devices()
    assert error.value.reason == "no library"


def test_the_state_for_the_environment_names_what_is_missing(nvml):
    board = nvml_devices()[0]
    nvml.fail("nvmlDeviceGetClockInfo", NOT_SUPPORTED)
    answer = state(board)
    assert answer["power_limit_w"] == 700
    assert answer["clock_hz"] == "none: unsupported"
    assert "GPU-" not in str(answer)  # no serial numbers


def test_an_unknown_field_is_a_bug(nvml):
    with pytest.raises(ValueError, match="no field"):
        nvml_devices()[0].read("watts")
