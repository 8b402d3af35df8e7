# SPDX-License-Identifier: Apache-2.0
"""Joules and mean watts of named windows of time, or the reason why there are none.

::

    devices, reasons = find_devices()
    with PowerMeter(devices) as meter:
        meter.idle()                                  # baseline, 2 s
        with meter.window("decode"):                  # after the warm-up
            n_calls = repeat_for(step, sync=sync, seconds=meter.needed_s)
    decode = meter.result("decode")
    decode.power_w                     # mean per device; None: see decode.reason
    decode.energy_j / n_calls          # all devices, one call
    measurement_fields(meter.results())               # columns of Measurement

A thread reads every device's energy counter and power some fifty times a second. Where
there is a counter it gives the figure, interpolated between its ticks, and the samples
check it; else the samples do. A window must last two seconds and twenty updates of the
sensor: boards sample their power a quarter of the time, so that short or periodic windows
say nothing [1]_. What cannot be believed stays empty, with a reason that begins "power:".

References
----------
.. [1] Yang, Adamek, Armour, "Part-time Power Measurements: nvidia-smi's Lack of Attention",
   SC 2024. arXiv:2312.02741.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Any

from profiler.device import Device
from profiler.powerlog import DeviceEnergy, DeviceLog
from specs.errors import InvalidInputError

#: Seconds between two readings.
PERIOD_S = 0.02
#: Counters are waited for this long after a window, to see the tick that ends it.
TICK_WAIT_S = 0.5
#: Window name -> column of Measurement.
COLUMNS = {
    "whole": "power_w",
    "prefill": "prefill_power_w",
    "decode": "decode_power_w",
    "idle": "idle_power_w",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEnergy:
    """Energy of one window. ``power_w`` is the mean of the devices, ``energy_j`` their sum.

    ``method`` is "counter", "samples" or, where devices differ, both. A reason beside a
    figure says what is doubtful about it; without a figure, why it is missing.
    """

    name: str
    duration_s: float
    power_w: float | None
    energy_j: float | None
    method: str
    reason: str
    devices: tuple[DeviceEnergy, ...]

    def detail(self) -> dict[str, Any]:
        """Return how it came about, for JSON."""
        return {
            "duration_s": self.duration_s,
            "method": self.method,
            "reason": self.reason,
            "devices": [device.detail() for device in self.devices],
        }


class PowerMeter:
    """Reads devices from entering to leaving, and accounts for named windows.

    Parameters
    ----------
    devices : sequence of Device
        Those that work on the measured task. None at all is allowed: every figure is then
        empty, with `absent` as its reason.
    period_s : float
        Seconds between two readings of all devices.
    absent : str
        Why there are no devices, a code of `profiler.device.REASONS`.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        *,
        period_s: float = PERIOD_S,
        absent: str = "no sensor",
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._logs = [DeviceLog(device) for device in devices]
        self._period_s = period_s
        self._absent = absent
        self._now = now
        self._stop = Event()
        self._thread: Thread | None = None
        self._windows: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> PowerMeter:
        """Start reading."""
        if self._logs:
            self._read()
            self._thread = Thread(target=self._run, name="power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading, after the tick that ends the last window."""
        if kind is None:
            self._await_ticks(max((end_s for _, end_s in self._windows.values()), default=0.0))
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Account for the block as `name`; a name used again means the later block.

        The device must have finished by the end of the block: synchronise inside it.
        """
        start_s = self._now()
        yield
        self._windows[name] = (start_s, self._now())

    @property
    def needed_s(self) -> float:
        """Shortest window that these devices' sensors can say anything about."""
        return max((log.needed_s for log in self._logs), default=0.0)

    def idle(self, seconds: float | None = None) -> None:
        """Wait for `seconds`, by default as long as needed, and call them "idle"."""
        with self.window("idle"):
            start_s = self._now()
            while True:
                wanted_s = self.needed_s if seconds is None else seconds
                if (left_s := start_s + wanted_s - self._now()) <= 0 or self._stop.wait(left_s):
                    return

    def result(self, name: str) -> WindowEnergy:
        """Return the energy of the window called `name`.

        Raises
        ------
        InvalidInputError
            No such window was closed.
        """
        try:
            start_s, end_s = self._windows[name]
        except KeyError:
            raise InvalidInputError(
                f"no window {name!r} was measured; there are {', '.join(self._windows) or 'none'}."
            ) from None
        self._await_ticks(end_s)
        energies = tuple(log.energy(start_s, end_s) for log in self._logs)
        return _total(name, end_s - start_s, energies, self._absent)

    def results(self) -> dict[str, WindowEnergy]:
        """Return every window, by name."""
        return {name: self.result(name) for name in self._windows}

    def _run(self) -> None:
        due_s = self._now()
        while not self._stop.is_set():
            self._read()
            due_s = max(due_s + self._period_s, self._now())  # do not catch up after a stall
            self._stop.wait(max(0.0, due_s - self._now()))

    def _read(self) -> None:
        for log in self._logs:
            log.read(self._now)

    def _await_ticks(self, end_s: float) -> None:
        """Wait until every counter has moved since `end_s`, or for `TICK_WAIT_S`."""
        give_up_s = self._now() + TICK_WAIT_S
        while self._thread is not None and self._now() < give_up_s:
            if all(log.moved_since(end_s) for log in self._logs):
                return
            self._stop.wait(self._period_s)


def measurement_fields(results: Mapping[str, WindowEnergy]) -> dict[str, Any]:
    """Return the power columns of a Measurement, and ``reason`` where there is one.

    Joules are not among them: they belong to one call or batch, and only the caller
    knows how many a window held.
    """
    fields: dict[str, Any] = {
        column: results[name].power_w for name, column in COLUMNS.items() if name in results
    }
    reasons = [result.reason for result in results.values() if result.reason]
    fields["reason"] = "; ".join(dict.fromkeys(reasons))
    return fields


def cool_down(
    device: Device, to_c: float, *, within_c: float = 3.0, timeout_s: float = 60.0
) -> bool:
    """Wait until `device` is at most `within_c` above `to_c`; False if it is not in time.

    A warmer chip leaks more, so repeats that follow one another read higher.
    """
    end_s = time.perf_counter() + timeout_s
    while (now_c := device.read("temperature_c").value) is not None and now_c > to_c + within_c:
        if time.perf_counter() >= end_s:
            return False
        time.sleep(0.5)
    return True


def _total(
    name: str, duration_s: float, energies: tuple[DeviceEnergy, ...], absent: str
) -> WindowEnergy:
    """Sum the devices; one that has no figure leaves the whole without one."""
    powers_w = [energy.power_w for energy in energies if energy.power_w is not None]
    complete = bool(energies) and len(powers_w) == len(energies)
    reasons = [energy.reason for energy in energies if energy.reason] or (
        [] if energies else [absent]
    )
    methods = [energy.method for energy in energies if energy.method]
    return WindowEnergy(
        name=name,
        duration_s=duration_s,
        power_w=sum(powers_w) / len(powers_w) if complete else None,
        energy_j=sum(powers_w) * duration_s if complete else None,
        method=" and ".join(dict.fromkeys(methods)) if complete else "",
        reason="; ".join(f"power: {reason}" for reason in dict.fromkeys(reasons)),
        devices=energies,
    )
