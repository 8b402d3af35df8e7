# SPDX-License-Identifier: Apache-2.0
"""Systems on a chip (Apple silicon, NVIDIA Jetson) through Zeus, where it is installed.

Zeus gives energy in millijoules per part; the device here is the whole chip. It is not a
dependency: it brings several hundred megabytes, and other devices do without it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from profiler.device import RefusedError, SensorError, TableDevice

#: Parts of an Apple chip that do not contain one another.
_APPLE_PARTS = ("cpu_total_mj", "dram_mj", "gpu_mj", "gpu_sram_mj", "ane_mj")


class ZeusSocDevice(TableDevice):
    """The chip as a counter of joules."""

    source = "zeus"

    def __init__(self, chip: Any, name: str, version: str) -> None:
        super().__init__(name, {"zeus": version})
        self._chip = chip
        self._table = {"energy_j": self._energy_j}

    def _energy_j(self) -> float:
        try:
            counted = self._chip.get_total_energy_consumption()
        except Exception:  # a helper process of Zeus' that ended, or did not answer
            raise RefusedError("no data") from None
        if hasattr(counted, "total_energy_mj"):
            parts = [counted.total_energy_mj]
        else:
            parts = [getattr(counted, part, None) for part in _APPLE_PARTS]
        known = [part for part in parts if part is not None]
        if not known:
            raise RefusedError("unsupported")
        return float(sum(known)) * 1e-3


def zeus_devices() -> list[ZeusSocDevice]:
    """Open the chip of this machine.

    Raises
    ------
    SensorError
        Zeus is not installed, or knows no such chip here.
    """
    if importlib.util.find_spec("zeus") is None:
        raise SensorError("no package", "cannot read Apple or Jetson chips: install zeus.")
    from importlib.metadata import version

    from profiler.processor import cpu_name

    try:
        chip = importlib.import_module("zeus.device.soc").get_soc()
        if type(chip).__name__ not in ("Jetson", "AppleSilicon"):
            raise SensorError("no sensor", "Zeus knows no energy counter of this chip.")
        name = cpu_name() if type(chip).__name__ == "AppleSilicon" else _jetson_name()
        return [ZeusSocDevice(chip, name, version("zeus"))]
    except SensorError:
        raise
    except Exception as error:
        name = type(error).__name__
        reason = "no sensor" if name == "ZeusSoCInitError" else "error"
        raise SensorError(reason, f"Zeus opens no chip here ({name}).") from None


def _jetson_name() -> str:
    from pathlib import Path

    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ")
    except OSError:
        return "NVIDIA Jetson"
