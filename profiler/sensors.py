# SPDX-License-Identifier: Apache-2.0
"""Opens whatever devices of this machine can be read, and says why others cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from profiler.amdsmi import amd_devices
from profiler.device import Device, SensorError
from profiler.nvml import nvml_devices
from profiler.rapl import rapl_devices
from profiler.zeus_soc import zeus_devices

#: Tried in this order; the first that shows a device is used.
FINDERS: Mapping[str, Callable[[], Sequence[Device]]] = {
    "nvml": nvml_devices,
    "amdsmi": amd_devices,
    "zeus": zeus_devices,
    "rapl": rapl_devices,
}


def find_devices(sources: Sequence[str] = tuple(FINDERS)) -> tuple[list[Device], dict[str, str]]:
    """Open the accelerators of this machine, or the host's energy counters without them.

    Parameters
    ----------
    sources : sequence of str
        Keys of `FINDERS`, in order of preference; ``("rapl",)`` for work on the host.

    Returns
    -------
    devices : list of Device
        All of one source. Empty where nothing can be read.
    reasons : dict
        Why each source that was tried before gave nothing: codes of `REASONS`.
    """
    reasons: dict[str, str] = {}
    for source in sources:
        try:
            devices = list(FINDERS[source]())
        except SensorError as error:
            reasons[source] = error.reason
            continue
        if devices:
            return devices, reasons
        reasons[source] = "no sensor"
    return [], reasons
