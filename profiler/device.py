# SPDX-License-Identifier: Apache-2.0
"""What a sensor of this machine says, or the short reason why it says nothing.

`profiler.sensors.find_devices` opens what can be read here; `Device` is what all of it has in
common. A value is never guessed: where a field is missing, `Sensor.reason` has one of the
codes of `REASONS`, and the cell stays empty.

=================== =====================================================================
field               value
=================== =====================================================================
memory_bytes        memory of the device
clock_hz            clock of its processors now
mem_clock_hz        clock of its memory now
temperature_c       degrees Celsius now
power_limit_w       limit that the device enforces now
energy_j            joules since some moment in the past; only differences mean anything
power_w             power at this instant
average_power_w     power over about the last second
=================== =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from specs.errors import RooflineError

FIELDS = (
    "memory_bytes",
    "clock_hz",
    "mem_clock_hz",
    "temperature_c",
    "power_limit_w",
    "energy_j",
    "power_w",
    "average_power_w",
)

#: Why a field is empty, and what can be done about it.
REASONS = {
    "unsupported": "this device or driver does not have it",
    "permission": "not readable as this user; on Linux root may read it",
    "lost": "the device fell off the bus or needs a reset",
    "mig": "the board is cut into MIG slices, and its power is that of all of them",
    "no data": "the driver had no value at this moment",
    "no driver": "the driver's library is there and does not answer",
    "no library": "the driver's library is not installed",
    "no package": "the Python package that reads it is not installed",
    "no sensor": "this machine shows no such sensor, as is usual for virtual machines",
    "error": "the driver failed in a way that has no code here",
}


class RefusedError(Exception):
    """A vendor's library did not give a value; carries a code of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SensorError(RooflineError):
    """A kind of sensor that cannot be opened here at all; `reason` is of `REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Sensor:
    """One reading: a value in the unit of its field, or None and why."""

    value: float | None
    reason: str = ""

    @property
    def works(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


class Device(Protocol):
    """One accelerator, or the processors of the host, as its sensors show it."""

    @property
    def source(self) -> str:
        """What reads it: "nvml", "amdsmi", "rapl", "zeus"; a replay says what it replays."""

    @property
    def name(self) -> str:
        """Name as the driver gives it."""

    @property
    def slug(self) -> str:
        """Name in the catalogue of accelerators; "" where that is not certain."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of driver and libraries, by name."""

    def read(self, field: str) -> Sensor:
        """Read one of `FIELDS` now."""

    def throttle_words(self) -> str:
        """Say what holds the clocks back beyond the power limit; "" if nothing, or untold."""


class TableDevice:
    """A `Device` whose fields are a table of functions; the base of the real ones.

    A function returns a value in the unit of its field or raises `RefusedError`; a field that
    has none is "unsupported".
    """

    source = ""

    def __init__(self, name: str, versions: Mapping[str, str]) -> None:
        self._name = name
        self._versions = dict(versions)
        self._slug: str | None = None
        self._table: dict[str, Callable[[], float]] = {}

    @property
    def name(self) -> str:
        """Name as the driver gives it."""
        return self._name

    @property
    def slug(self) -> str:
        """Name in the catalogue; "" where none or several carry the driver's name."""
        if self._slug is None:
            self._slug = slug_of(self._name)
        return self._slug

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of driver and libraries, by name."""
        return self._versions

    def read(self, field: str) -> Sensor:
        """Read one of `FIELDS` now."""
        known_field(field)
        function = self._table.get(field)
        if function is None:
            return Sensor(None, "unsupported")
        try:
            return Sensor(float(function()))
        except RefusedError as refused:
            return Sensor(None, refused.reason)
        except KeyError:  # vendors' libraries rename the keys of their answers
            return Sensor(None, "unsupported")

    def throttle_words(self) -> str:
        """Nothing is known of throttling."""
        return ""


def known_field(field: str) -> str:
    """Return `field`, which must be one of `FIELDS`.

    Raises
    ------
    ValueError
        It is not: a bug of the caller.
    """
    if field not in FIELDS:
        raise ValueError(f"no field {field!r}; a device has {', '.join(FIELDS)}.")
    return field


def slug_of(name: str) -> str:
    """Return the catalogue's name of the device that a driver calls `name`, or ""."""
    from specs.catalogue import get_accelerator

    try:
        return get_accelerator(name).name
    except RooflineError:
        return ""


def state(device: Device) -> dict[str, float | str]:
    """Return every field of `device` that is no power or energy, with reasons, for JSON."""
    answer: dict[str, float | str] = {}
    for field in FIELDS:
        if field in ("energy_j", "power_w", "average_power_w"):
            continue
        sensor = device.read(field)
        answer[field] = sensor.value if sensor.value is not None else f"none: {sensor.reason}"
    answer["throttle"] = device.throttle_words()
    return answer
