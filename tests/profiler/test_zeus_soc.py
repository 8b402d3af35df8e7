# SPDX-License-Identifier: Apache-2.0
"""Systems on a chip over a stand-in for Zeus."""

import importlib.metadata
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from profiler import zeus_soc
from profiler.device import SensorError


class AppleSilicon:
    def get_total_energy_consumption(self):
        return SimpleNamespace(cpu_total_mj=1000, gpu_mj=4000, dram_mj=500, ane_mj=None)


class Jetson:
    def __init__(self, total_energy_mj=2500.0):
        self.total_energy_mj = total_energy_mj

    def get_total_energy_consumption(self):
        if self.total_energy_mj == "timeout":
            raise TimeoutError
        return SimpleNamespace(total_energy_mj=self.total_energy_mj, cpu_energy_mj=9.0)


class ZeusSoCInitError(Exception):
    pass


def no_chip():
    raise ZeusSoCInitError


@pytest.fixture
def zeus(monkeypatch):
    def install(get_soc):
        package = ModuleType("zeus")
        package.__spec__ = ModuleSpec("zeus", None)
        monkeypatch.setitem(sys.modules, "zeus", package)
        monkeypatch.setitem(sys.modules, "zeus.device.soc", SimpleNamespace(get_soc=get_soc))
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.16.0")
        return zeus_soc.zeus_devices

    return install


def test_an_apple_chip_is_the_sum_of_its_parts(zeus):
    (device,) = zeus(AppleSilicon)()
    assert device.read("energy_j").value == pytest.approx(5.5)  # 1000 + 4000 + 500 mJ
    assert device.read("power_w").reason == "unsupported"


@pytest.mark.parametrize(
    ("total_mj", "value", "reason"),
    [(2500.0, 2.5, ""), (None, None, "unsupported"), ("timeout", None, "no data")],
)
def test_a_jetson_is_its_total_rail(zeus, total_mj, value, reason):
    (device,) = zeus(lambda: Jetson(total_mj))()
    sensor = device.read("energy_j")
    assert (sensor.value, sensor.reason) == (value, reason)


@pytest.mark.parametrize(("get_soc", "reason"), [(no_chip, "no sensor"), (object, "no sensor")])
def test_another_machine(zeus, get_soc, reason):
    with pytest.raises(SensorError) as error:
        zeus(get_soc)()
    assert error.value.reason == reason


def test_without_zeus(monkeypatch):
    monkeypatch.setattr(zeus_soc.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SensorError) as error:
        zeus_soc.zeus_devices()
    assert error.value.reason == "no package"
