# SPDX-License-Identifier: Apache-2.0
"""AMD devices through AMD SMI (package ``amdsmi``, which belongs to ROCm).

Units by the AMD SMI reference: power in W, the power cap in microwatts, the energy
accumulator times its resolution in microjoules. Virtual machines have no energy counter,
and some boards a wrong one, so it is cross-checked wherever it is used. Of an MI250 only
the even dies report, for both. The order of handles is that of the bus, not of HIP.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from profiler.device import RefusedError, SensorError, TableDevice

#: Where ROCm installs the copy that fits its driver; preferred over a package of pip's.
ROCM_COPY = Path("/opt/rocm/share/amd_smi")
#: No board is limited to less than a milliwatt or more than this many watts, so a larger
#: number is in microwatts: host and guest interfaces differ.
_MOST_W = 1e5
#: The violation status takes the driver a tenth of a second; it is kept for this long.
_THROTTLE_AGE_S = 1.0
_VIOLATIONS = {
    "active_prochot_thrm": "processor hot",
    "active_socket_thrm": "socket thermal",
    "active_vr_thrm": "voltage regulator thermal",
    "active_hbm_thrm": "memory thermal",
}


class AmdDevice(TableDevice):
    """One AMD board or die, as AMD SMI counts them."""

    source = "amdsmi"

    def __init__(self, library: Any, handle: Any, versions: Mapping[str, str]) -> None:
        self._smi = library
        self._handle = handle
        self._throttle = (-_THROTTLE_AGE_S, "")
        name = str(self._ask("gpu_asic_info")["market_name"])
        super().__init__(name, versions)
        clock, heat = library.AmdSmiClkType, library.AmdSmiTemperatureType
        self._table = {
            "memory_bytes": lambda: number(self._ask("gpu_vram_usage")["vram_total"]) * 2**20,
            "clock_hz": lambda: number(self._ask("clock_info", clock.GFX)["clk"]) * 1e6,
            "mem_clock_hz": lambda: number(self._ask("clock_info", clock.MEM)["clk"]) * 1e6,
            "temperature_c": lambda: number(
                self._ask("temp_metric", heat.HOTSPOT, library.AmdSmiTemperatureMetric.CURRENT)
            ),
            "power_limit_w": lambda: _watts(self._ask("power_cap_info")["power_cap"]),
            "energy_j": self._energy_j,
            "power_w": lambda: self._socket_w("current_socket_power", "socket_power"),
            "average_power_w": lambda: self._socket_w("average_socket_power"),
        }

    @property
    def hip_index(self) -> int:
        """Index of the device in HIP, and so in torch."""
        return int(number(self._ask("gpu_enumeration_info")["hip_id"]))

    def throttle_words(self) -> str:
        """Say which thermal limits are active; "" on boards that do not tell."""
        read_s, words = self._throttle
        if time.perf_counter() - read_s >= _THROTTLE_AGE_S:
            try:
                status = self._ask("violation_status")
            except RefusedError:
                status = {}
            words = ", ".join(word for key, word in _VIOLATIONS.items() if status.get(key) is True)
            self._throttle = (time.perf_counter(), words)
        return words

    def _ask(self, what: str, *arguments: Any) -> Any:
        function = getattr(self._smi, f"amdsmi_get_{what}", None)
        if function is None:
            raise RefusedError("unsupported")
        return _call(self._smi, lambda: function(self._handle, *arguments))

    def _energy_j(self) -> float:
        count = self._ask("energy_count")
        ticks = count.get("energy_accumulator", count.get("power"))  # renamed in 6.2.1
        energy_uj = number(ticks) * number(count["counter_resolution"])
        if energy_uj <= 0:
            raise RefusedError("unsupported")
        return energy_uj * 1e-6

    def _socket_w(self, *keys: str) -> float:
        info = self._ask("power_info")
        for key in keys:
            with contextlib.suppress(RefusedError):
                power_w = _watts(info.get(key))
                if power_w > 0:  # 0 stands for absent on boards that have the other one
                    return power_w
        raise RefusedError("unsupported")


def amd_devices(visible: str | None = None) -> list[AmdDevice]:
    """Open the AMD devices that HIP may use here, in HIP's order.

    Parameters
    ----------
    visible : str, optional
        As ``HIP_VISIBLE_DEVICES``, the default, or ``CUDA_VISIBLE_DEVICES``: indices.

    Raises
    ------
    SensorError
        No package, library or driver, or no permission.
    """
    library = _import()
    try:
        _call(library, lambda: library.amdsmi_init(library.AmdSmiInitFlags.INIT_AMD_GPUS))
        handles = _call(library, library.amdsmi_get_processor_handles)
        devices = [AmdDevice(library, handle, _versions(library, handle)) for handle in handles]
        with contextlib.suppress(RefusedError):  # older libraries cannot tell; the bus order stays
            devices.sort(key=lambda device: device.hip_index)
    except RefusedError as refused:
        raise SensorError(
            refused.reason, f"AMD's management library gives nothing: {refused.reason}."
        ) from None
    by_cuda = os.environ.get("CUDA_VISIBLE_DEVICES")  # HIP reads it too
    shown = os.environ.get("HIP_VISIBLE_DEVICES", by_cuda) if visible is None else visible
    if shown is None:
        return devices
    indices = [int(word) for word in shown.split(",") if word.strip().isdigit()]
    return [devices[index] for index in indices if index < len(devices)]


def number(value: Any) -> float:
    """Return `value` as a number; AMD SMI says "N/A" and all-ones where there is none.

    Raises
    ------
    RefusedError
        It is no number.
    """
    missing = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, bool) or not isinstance(value, int | float) or value in missing:
        raise RefusedError("unsupported")
    return float(value)


def _watts(value: Any) -> float:
    power = number(value)
    return power * 1e-6 if power > _MOST_W else power


def _import() -> Any:
    """Import amdsmi, which prints, and raises ``KeyError`` where its library is absent."""
    if ROCM_COPY.is_dir() and str(ROCM_COPY) not in sys.path:
        sys.path.insert(0, str(ROCM_COPY))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import amdsmi
    except ModuleNotFoundError:
        raise SensorError("no package", "cannot read AMD devices: install amdsmi.") from None
    except Exception as error:
        raise SensorError(
            "no library", f"amdsmi finds no AMD library here ({type(error).__name__})."
        ) from None
    return amdsmi


def _versions(library: Any, handle: Any) -> dict[str, str]:
    with contextlib.suppress(RefusedError):
        info = _call(library, lambda: library.amdsmi_get_gpu_driver_info(handle))
        return {"driver": str(info["driver_version"])}
    return {}


def _call(library: Any, function: Callable[[], Any]) -> Any:
    """Return what `function` returns; AMD SMI's errors become reasons."""
    try:
        return function()
    except library.AmdSmiLibraryException as error:
        raise RefusedError(_reason(library, error)) from None
    except library.AmdSmiException:
        raise RefusedError("error") from None


def _reason(library: Any, error: Any) -> str:
    names = {
        "AMDSMI_STATUS_NOT_SUPPORTED": "unsupported",
        "AMDSMI_STATUS_NOT_YET_IMPLEMENTED": "unsupported",
        "AMDSMI_STATUS_NO_PERM": "permission",
        "AMDSMI_STATUS_NO_DATA": "no data",
        "AMDSMI_STATUS_BUSY": "no data",
        "AMDSMI_STATUS_DRIVER_NOT_LOADED": "no driver",
        "AMDSMI_STATUS_DRM_ERROR": "no driver",
        "AMDSMI_STATUS_NOT_FOUND": "lost",
    }
    wrapper = getattr(library, "amdsmi_wrapper", library)
    by_code = {getattr(wrapper, name, None): reason for name, reason in names.items()}
    return by_code.get(error.get_error_code(), "error")
