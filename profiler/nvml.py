# SPDX-License-Identifier: Apache-2.0
"""NVIDIA devices through NVML (package ``nvidia-ml-py``, module ``pynvml``).

What the figures are, by NVIDIA's NVML API reference: the energy counter counts from the
load of the driver, from Volta on; field 186 is power at an instant and field 185 its
average; ``nvmlDeviceGetPowerUsage`` is an average over one second from Ampere on except
GA100, and an instant before and there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from profiler.device import RefusedError, SensorError, TableDevice

#: Bits of the reasons for lower clocks that no normal run has. Idling (0x1), clocks that
#: somebody set (0x2), the software power limit (0x4) and a sync group (0x10) are normal.
_HELD_BACK_WORDS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
#: Last compute capability on which ``nvmlDeviceGetPowerUsage`` is an instant (GA100).
_LAST_INSTANT_CAPABILITY = (8, 0)


class NvmlDevice(TableDevice):
    """One NVIDIA board. Fields are asked for at every reading: support can go away."""

    source = "nvml"

    def __init__(self, pynvml: Any, handle: Any, versions: Mapping[str, str]) -> None:
        self._nvml = pynvml
        self._handle = handle
        super().__init__(_call(pynvml, lambda: pynvml.nvmlDeviceGetName(handle)), versions)
        self._mig = self._has_mig()
        self._table = {
            "memory_bytes": lambda: self._ask("MemoryInfo").total,
            "clock_hz": lambda: self._ask("ClockInfo", pynvml.NVML_CLOCK_SM) * 1e6,
            "mem_clock_hz": lambda: self._ask("ClockInfo", pynvml.NVML_CLOCK_MEM) * 1e6,
            "temperature_c": self._temperature_c,
            "power_limit_w": lambda: self._ask("EnforcedPowerLimit") * 1e-3,
            "energy_j": lambda: self._power("TotalEnergyConsumption"),
            "power_w": self._power_w,
            "average_power_w": self._average_power_w,
        }

    def throttle_words(self) -> str:
        """Say which slowdowns beyond the power limit are active now."""
        try:
            bits = int(self._ask("CurrentClocksEventReasons"))
        except RefusedError:
            try:  # drivers before 535 have the older name alone
                bits = int(self._ask("CurrentClocksThrottleReasons"))
            except RefusedError:
                return ""
        return ", ".join(word for bit, word in _HELD_BACK_WORDS.items() if bits & bit)

    @property
    def uuid(self) -> str:
        """Identifier of the board; to match it with another library's, never stored."""
        return str(self._ask("UUID"))

    def _ask(self, what: str, *arguments: Any) -> Any:
        function = getattr(self._nvml, f"nvmlDeviceGet{what}", None)
        if function is None:
            raise RefusedError("unsupported")
        return _call(self._nvml, lambda: function(self._handle, *arguments))

    def _power(self, what: str) -> float:
        if self._mig:
            raise RefusedError("mig")
        return float(self._ask(what)) * 1e-3  # mW, mJ

    def _temperature_c(self) -> float:
        try:
            return float(self._ask("TemperatureV", self._nvml.NVML_TEMPERATURE_GPU))
        except RefusedError as refused:
            if refused.reason != "unsupported":
                raise
        return float(self._ask("Temperature", self._nvml.NVML_TEMPERATURE_GPU))

    def _power_w(self) -> float:
        try:
            return self._power_field_w(self._nvml.NVML_FI_DEV_POWER_INSTANT)
        except RefusedError as refused:
            if refused.reason != "unsupported" or not self._usage_is_instant():
                raise
        return self._power("PowerUsage")

    def _average_power_w(self) -> float:
        try:
            return self._power_field_w(self._nvml.NVML_FI_DEV_POWER_AVERAGE)
        except RefusedError as refused:
            if refused.reason != "unsupported" or self._usage_is_instant():
                raise
        return self._power("PowerUsage")

    def _power_field_w(self, field: int) -> float:
        if self._mig:
            raise RefusedError("mig")
        asked = [(field, self._nvml.NVML_POWER_SCOPE_GPU)]
        answer = self._ask("FieldValues", asked)[0]
        if answer.nvmlReturn != self._nvml.NVML_SUCCESS:
            raise RefusedError(_reason(self._nvml, answer.nvmlReturn))
        return float(answer.value.uiVal) * 1e-3  # mW

    def _usage_is_instant(self) -> bool:
        capability: tuple[int, int] = tuple(self._ask("CudaComputeCapability"))
        return capability <= _LAST_INSTANT_CAPABILITY

    def _has_mig(self) -> bool:
        try:
            return bool(self._ask("MigMode")[0])
        except RefusedError:
            return False


def nvml_devices(visible: str | None = None) -> list[NvmlDevice]:
    """Open the NVIDIA boards that CUDA may use here.

    Parameters
    ----------
    visible : str, optional
        As ``CUDA_VISIBLE_DEVICES``, which is the default: indices in the order of the PCI
        bus, or identifiers.

    Raises
    ------
    SensorError
        No package, library or driver, or no permission.
    """
    try:
        import pynvml
    except ImportError:
        raise SensorError(
            "no package", "cannot read NVIDIA devices: install nvidia-ml-py."
        ) from None
    try:
        _call(pynvml, pynvml.nvmlInit)
        count = int(_call(pynvml, pynvml.nvmlDeviceGetCount))
        versions = _versions(pynvml)
        by_index = pynvml.nvmlDeviceGetHandleByIndex
        handles = [_call(pynvml, partial(by_index, index)) for index in range(count)]
        boards = [NvmlDevice(pynvml, handle, versions) for handle in handles]
    except RefusedError as refused:
        raise SensorError(
            refused.reason, f"NVIDIA's management library gives nothing: {refused.reason}."
        ) from None
    return _visible(boards, os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible)


def _visible(boards: list[NvmlDevice], visible: str | None) -> list[NvmlDevice]:
    """Keep the boards that `visible` names; CUDA stops at the first name it cannot use."""
    if visible is None:
        return boards
    kept: list[NvmlDevice] = []
    for word in (part.strip() for part in visible.split(",")):
        if word.isdigit():
            found = [boards[int(word)]] if int(word) < len(boards) else []
        else:
            found = [board for board in boards if word and board.uuid.startswith(word)]
        if len(found) != 1:
            break
        kept += found
    return kept


def _versions(pynvml: Any) -> dict[str, str]:
    versions: dict[str, str] = {}
    for name, function in (
        ("driver", "nvmlSystemGetDriverVersion"),
        ("nvml", "nvmlSystemGetNVMLVersion"),
        ("cuda_driver", "nvmlSystemGetCudaDriverVersion"),
    ):
        try:
            answer = _call(pynvml, getattr(pynvml, function))
        except RefusedError:
            continue
        if name == "cuda_driver":
            answer = f"{answer // 1000}.{answer % 1000 // 10}"
        versions[name] = str(answer)
    return versions


def _call(pynvml: Any, function: Callable[[], Any]) -> Any:
    """Return what `function` returns; NVML's errors become reasons."""
    try:
        return function()
    except pynvml.NVMLError as error:
        raise RefusedError(_reason(pynvml, error.value)) from None


def _reason(pynvml: Any, code: int) -> str:
    reasons = {
        "NOT_SUPPORTED": "unsupported",
        "FUNCTION_NOT_FOUND": "unsupported",
        "INVALID_ARGUMENT": "unsupported",
        "ARGUMENT_VERSION_MISMATCH": "unsupported",
        "NO_PERMISSION": "permission",
        "GPU_IS_LOST": "lost",
        "RESET_REQUIRED": "lost",
        "GPU_NOT_FOUND": "lost",
        "NO_DATA": "no data",
        "NOT_READY": "no data",
        "TIMEOUT": "no data",
        "LIBRARY_NOT_FOUND": "no library",
        "DRIVER_NOT_LOADED": "no driver",
        "LIB_RM_VERSION_MISMATCH": "no driver",
    }
    by_code = {getattr(pynvml, f"NVML_ERROR_{name}", None): why for name, why in reasons.items()}
    return by_code.get(code, "error")
