# SPDX-License-Identifier: Apache-2.0
"""Energy counters of processors over a made-up tree of files."""

import os

import pytest

from profiler.device import SensorError
from profiler.powerlog import DeviceLog
from profiler.rapl import rapl_devices


def zone(root, number, name, energy_uj=0, *, range_uj=1_000_000, limits=()):
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    for index, (kind, limit_uw) in enumerate(limits):
        (folder / f"constraint_{index}_name").write_text(f"{kind}\n")
        (folder / f"constraint_{index}_power_limit_uw").write_text(f"{limit_uw}\n")
    return folder


def test_packages_are_summed_and_nothing_else(tmp_path):
    zone(tmp_path, "0", "package-0", 2_000_000)
    zone(tmp_path, "1", "package-1", 3_000_000)
    zone(tmp_path, "2", "psys", 9_000_000)  # the platform: holds the packages
    zone(tmp_path, "0:0", "core", 1_000_000)
    zone(tmp_path, "0:1", "dram", 1_000_000)
    (device,) = rapl_devices(tmp_path)
    assert device.read("energy_j").value == pytest.approx(5.0)
    assert device.read("power_w").reason == "unsupported"


def test_the_counter_runs_on_over_its_wrap_around(tmp_path):
    first = zone(tmp_path, "0", "package-0", 999_000, range_uj=1_000_000)
    zone(tmp_path, "1", "package-1", 0)
    (device,) = rapl_devices(tmp_path)
    start_j = device.read("energy_j").value
    # 1000 uJ to the end of the range and 500 uJ after it, then the same again in full turns.
    (first / "energy_uj").write_text("500\n")
    assert device.read("energy_j").value - start_j == pytest.approx(0.0015)
    (first / "energy_uj").write_text("900000\n")
    device.read("energy_j")
    (first / "energy_uj").write_text("400\n")
    assert device.read("energy_j").value - start_j == pytest.approx(1.0014)


def test_watts_over_wrap_arounds(tmp_path):
    folder = zone(tmp_path, "0", "package-0", range_uj=10_000_000)
    (device,) = rapl_devices(tmp_path)
    log, now_s = DeviceLog(device), 0.0
    for step in range(201):  # 30 W for 4 s is 120 J: twelve turns of 10 J
        now_s = 0.02 * step
        (folder / "energy_uj").write_text(str(round(30e6 * now_s) % 10_000_000))
        log.read(lambda at_s=now_s: at_s)
    answer = log.energy(0.5, 3.5)
    assert answer.power_w == pytest.approx(30, rel=1e-3)
    assert (answer.method, answer.reason) == ("counter", "")


def test_the_limit_is_the_highest_that_is_averaged(tmp_path):
    limits = [("long_term", 150_000_000), ("short_term", 180_000_000), ("peak_power", 400_000_000)]
    zone(tmp_path, "0", "package-0", limits=limits)
    (device,) = rapl_devices(tmp_path)
    assert device.read("power_limit_w").value == 180.0


def test_no_limit_is_no_zero(tmp_path):
    zone(tmp_path, "0", "package-0")
    assert rapl_devices(tmp_path)[0].read("power_limit_w").reason == "unsupported"


def test_a_counter_for_root_alone(tmp_path, monkeypatch):
    folder = zone(tmp_path, "0", "package-0", 5)
    (folder / "energy_uj").chmod(0)
    (device,) = rapl_devices(tmp_path)
    if os.geteuid() == 0:  # root reads it anyway; refuse as the kernel would

        def refuse(*_, **__):
            raise PermissionError

        monkeypatch.setattr("pathlib.Path.read_text", refuse)
    assert device.read("energy_j").reason == "permission"


def test_a_counter_that_holds_no_number(tmp_path):
    folder = zone(tmp_path, "0", "package-0")
    (device,) = rapl_devices(tmp_path)
    (folder / "energy_uj").write_text("")
    assert device.read("energy_j").reason == "no data"


@pytest.mark.parametrize("make", [lambda root: None, lambda root: zone(root, "0", "psys")])
def test_a_machine_without_counters(tmp_path, make):
    make(tmp_path)
    with pytest.raises(SensorError) as error:
        rapl_devices(tmp_path / "nowhere" if not any(tmp_path.iterdir()) else tmp_path)
    assert error.value.reason == "no sensor"
