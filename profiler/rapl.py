# SPDX-License-Identifier: Apache-2.0
"""Energy of the host's processors through Linux' power capping tree (RAPL; Intel and AMD).

Packages alone are summed: a zone ``psys`` holds the whole platform, and ``core`` or
``dram`` are parts. Counters are in microjoules and start again from zero after
``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst of the Linux kernel);
they must be read at least once per turn, minutes on a busy socket. Since 2020 only root
may read them (CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path

from profiler.device import RefusedError, SensorError, TableDevice

POWERCAP = Path("/sys/class/powercap")


class RaplZone:
    """One package's counter, made to run forward over its wrap-around."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns_uj = 0
        self._last_uj: int | None = None

    def energy_j(self) -> float:
        """Joules since some moment in the past."""
        now_uj = read_int(self._folder / "energy_uj")
        if self._last_uj is not None and now_uj < self._last_uj:
            self._turns_uj += read_int(self._folder / "max_energy_range_uj")
        self._last_uj = now_uj
        return (self._turns_uj + now_uj) * 1e-6

    def power_limit_w(self) -> float:
        """Highest of the limits that are averaged over a time; not the peak limit."""
        limits_uw = []
        for name in self._folder.glob("constraint_*_name"):
            if name.read_text().strip() in ("long_term", "short_term"):
                limit = name.with_name(name.name.replace("_name", "_power_limit_uw"))
                limits_uw.append(read_int(limit))
        if not limits_uw or max(limits_uw) <= 0:
            raise RefusedError("unsupported")
        return max(limits_uw) * 1e-6


class RaplDevice(TableDevice):
    """All processor packages of the host as one device. It has no reading in watts."""

    source = "rapl"

    def __init__(self, name: str, zones: list[RaplZone]) -> None:
        super().__init__(name, {})
        self._table = {
            "energy_j": lambda: sum(zone.energy_j() for zone in zones),
            "power_limit_w": lambda: sum(zone.power_limit_w() for zone in zones),
        }


def rapl_devices(root: Path = POWERCAP) -> list[RaplDevice]:
    """Open the packages below `root`; a counter that this user may not read stays empty.

    Raises
    ------
    SensorError
        There is no package counter, as is usual for virtual machines.
    """
    from profiler.processor import cpu_name

    zones = [
        RaplZone(folder) for folder in sorted(root.glob("intel-rapl:*")) if _is_package(folder)
    ]
    if not zones:
        raise SensorError("no sensor", "this machine shows no energy counter of its processors.")
    return [RaplDevice(cpu_name(), zones)]


def _is_package(folder: Path) -> bool:
    try:
        return (folder / "name").read_text().startswith("package")
    except OSError:
        return False


def read_int(file: Path) -> int:
    """Return the integer in `file`.

    Raises
    ------
    RefusedError
        Nobody may read it, it is not there, or it holds none.
    """
    try:
        return int(file.read_text())
    except PermissionError:
        raise RefusedError("permission") from None
    except FileNotFoundError:
        raise RefusedError("unsupported") from None
    except (OSError, ValueError):
        raise RefusedError("no data") from None
