# SPDX-License-Identifier: Apache-2.0
"""AMD devices over a stand-in of the amdsmi module, with the errors of the real one."""

import sys
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import pytest

from profiler import amdsmi as reader
from profiler.device import FIELDS, SensorError

NOT_SUPPORTED, NO_PERM, DRIVER_NOT_LOADED = 2, 10, 34


def standin(**answers):
    """A module whose getters answer with `answers`, or fail with a code if it is an int."""
    module = ModuleType("amdsmi")

    class AmdSmiException(Exception):  # noqa: N818 (the library's own name)
        pass

    class AmdSmiLibraryException(AmdSmiException):
        def __init__(self, code):
            super().__init__(code)
            self.code = code

        def get_error_code(self):
            return self.code

    def getter(name):
        def function(handle, *arguments):
            answer = answers[name](handle) if callable(answers[name]) else answers[name]
            if isinstance(answer, int) and name != "temp_metric":
                raise AmdSmiLibraryException(answer)
            return answer

        return function

    module.AmdSmiException, module.AmdSmiLibraryException = AmdSmiException, AmdSmiLibraryException
    module.AmdSmiInitFlags = SimpleNamespace(INIT_AMD_GPUS=2)
    module.AmdSmiClkType = IntEnum("AmdSmiClkType", {"GFX": 1, "MEM": 2})
    module.AmdSmiTemperatureType = IntEnum("AmdSmiTemperatureType", {"HOTSPOT": 1})
    module.AmdSmiTemperatureMetric = IntEnum("AmdSmiTemperatureMetric", {"CURRENT": 1})
    module.amdsmi_wrapper = SimpleNamespace(
        AMDSMI_STATUS_NOT_SUPPORTED=NOT_SUPPORTED,
        AMDSMI_STATUS_NO_PERM=NO_PERM,
        AMDSMI_STATUS_DRIVER_NOT_LOADED=DRIVER_NOT_LOADED,
    )

    def init(flags):
        if "init" in answers:
            raise AmdSmiLibraryException(answers["init"])

    module.amdsmi_init = init
    module.amdsmi_get_processor_handles = lambda: answers.get("handles", ["first"])
    for name in answers:
        setattr(module, f"amdsmi_get_{name}", getter(name))
    return module


MI300X = {
    "gpu_asic_info": {"market_name": "AMD Instinct MI300X"},
    "gpu_driver_info": {"driver_version": "6.12.12"},
    "gpu_enumeration_info": {"hip_id": 0},
    "gpu_vram_usage": {"vram_total": 196_592, "vram_used": 284},
    "clock_info": {"clk": 2100},
    "temp_metric": 61,
    "power_cap_info": {"power_cap": 750_000_000},
    "energy_count": {"energy_accumulator": 2_000_000, "counter_resolution": 15.259},
    "power_info": {
        "current_socket_power": 412,
        "average_socket_power": "N/A",
        "socket_power": 412,
        "power_limit": 750,
    },
}


@pytest.fixture
def amd(monkeypatch, tmp_path):
    monkeypatch.setattr(reader, "ROCM_COPY", tmp_path / "none")
    for name in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def open_with(**changes):
        monkeypatch.setitem(sys.modules, "amdsmi", standin(**(MI300X | changes)))
        return reader.amd_devices()

    return open_with


def test_every_field_of_a_board_in_si_units(amd):
    (device,) = amd()
    assert (device.name, device.slug) == ("AMD Instinct MI300X", "mi300x")
    assert device.versions == {"driver": "6.12.12"}
    values = {field: device.read(field) for field in FIELDS}
    assert values["memory_bytes"].value == 196_592 * 2**20
    assert values["clock_hz"].value == 2.1e9
    assert values["temperature_c"].value == 61
    assert values["power_limit_w"].value == 750  # 750,000,000 microwatts
    assert values["energy_j"].value == pytest.approx(2_000_000 * 15.259e-6)
    assert values["power_w"].value == 412
    assert values["average_power_w"].reason == "unsupported"


def test_a_board_with_an_average_alone(amd):
    info = {"current_socket_power": "N/A", "average_socket_power": 300, "socket_power": 0xFFFF}
    (device,) = amd(power_info=info)
    assert device.read("power_w").reason == "unsupported"
    assert device.read("average_power_w").value == 300


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"energy_count": NOT_SUPPORTED}, "energy_j", "unsupported"),  # a virtual machine
        ({"energy_count": NO_PERM}, "energy_j", "permission"),
        (
            {"energy_count": {"power": 0, "counter_resolution": 15.3}},
            "energy_j",
            "unsupported",
        ),
        ({"power_info": {"current_socket_power": 0}}, "power_w", "unsupported"),
        ({"clock_info": {"clk": "N/A"}}, "clock_hz", "unsupported"),
        ({"power_cap_info": 999}, "power_limit_w", "error"),
        ({"power_cap_info": {"cap": 1}}, "power_limit_w", "unsupported"),  # a key renamed
    ],
)
def test_a_field_that_fails_says_why(amd, changes, field, reason):
    (device,) = amd(**changes)
    assert (device.read(field).value, device.read(field).reason) == (None, reason)


def test_devices_stand_in_hips_order(amd, monkeypatch):
    ids = {"first": 1, "second": 0}
    name = {"first": "AMD Instinct MI210", "second": "AMD Instinct MI300X"}
    changes = {
        "handles": ["first", "second"],
        "gpu_enumeration_info": lambda handle: {"hip_id": ids[handle]},
        "gpu_asic_info": lambda handle: {"market_name": name[handle]},
    }
    assert [device.name for device in amd(**changes)] == [name["second"], name["first"]]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert [device.name for device in amd(**changes)] == [name["first"]]


def test_thermal_limits_are_told(amd):
    (device,) = amd(violation_status={"active_hbm_thrm": True, "active_socket_thrm": False})
    assert device.throttle_words() == "memory thermal"
    assert amd()[0].throttle_words() == ""  # older libraries do not tell


def test_a_driver_that_is_not_loaded(amd):
    with pytest.raises(SensorError) as error:
        amd(init=DRIVER_NOT_LOADED)
    assert error.value.reason == "no driver"


def test_a_package_without_its_library_prints_nothing(monkeypatch, tmp_path, capsys):
    # As amdsmi 7.0.2 does: it prints, and raises KeyError instead of ImportError.
    package = tmp_path / "amdsmi.py"
    package.write_text("print('no library')\nraise KeyError('libamd_smi.so')\n")
    monkeypatch.setattr(reader, "ROCM_COPY", tmp_path / "none")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    with pytest.raises(SensorError) as error:
        reader.amd_devices()
    assert error.value.reason == "no library"
    assert capsys.readouterr().out == ""
