# SPDX-License-Identifier: Apache-2.0
"""Power and energy of the calls of a point, window by window, as columns.

Each call is repeated for a window of its own after it has been timed. What a generation
takes is put together from the two: one prefill and ``output - 1`` decode steps. Its mean
power is that energy over the time of the same sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profiler.device import Device
from profiler.energy import PowerMeter, WindowEnergy
from profiler.steady import repeat_for

Sync = Callable[[], object] | None


def idle_power(sensors: Sequence[Device]) -> tuple[float | None, str]:
    """Return mean idle watts per device now, and why there is no figure."""
    with PowerMeter(sensors) as meter:
        meter.idle()
        idle = meter.result("idle")
    return idle.power_w, idle.reason


def windows(
    sensors: Sequence[Device], calls: Mapping[str, Callable[[], Any]], sync: Sync
) -> tuple[dict[str, WindowEnergy], dict[str, int]]:
    """Repeat each call for as long as the sensors need; return windows and calls in each."""
    counts: dict[str, int] = {}
    with PowerMeter(sensors) as meter:
        for name, call in calls.items():
            with meter.window(name):
                start_s, counts[name] = time.perf_counter(), 0
                # A slow sensor shows only while it is read how much longer that is.
                while (left_s := start_s + meter.needed_s - time.perf_counter()) > 0:
                    counts[name] += repeat_for(call, sync=sync, seconds=left_s)
        return meter.results(), counts


def call_columns(window: WindowEnergy, count: int) -> tuple[dict[str, Any], str]:
    """Return ``power_w`` and ``energy_j`` of one call, and the reason of what is missing."""
    if window.power_w is None or window.energy_j is None:
        return {}, window.reason
    return {"power_w": window.power_w, "energy_j": window.energy_j / count}, window.reason


def generation_columns(
    found: Mapping[str, WindowEnergy],
    counts: Mapping[str, int],
    *,
    e2e_s: float,
    steps: int,
    output_tokens: int,
) -> tuple[dict[str, Any], str]:
    """Return the power columns of a generation of a whole batch.

    Parameters
    ----------
    found, counts : mapping
        Windows ``"prefill"`` and, where there are steps, ``"decode"``; calls in each.
    e2e_s : float
        Time of one prefill and all steps.
    steps : int
        Decode steps: output tokens per sequence less one.
    output_tokens : int
        Of the whole batch.
    """
    columns = {
        f"{name}_power_w": window.power_w
        for name, window in found.items()
        if window.power_w is not None
    }
    parts = [
        window.energy_j / counts[name] * (steps if name == "decode" else 1)
        for name, window in found.items()
        if window.energy_j is not None
    ]
    if len(parts) == len(found):
        devices = len(found["prefill"].devices)
        columns["energy_j"] = sum(parts)
        columns["energy_per_output_token_j"] = sum(parts) / output_tokens
        columns["power_w"] = sum(parts) / e2e_s / devices
    reasons = dict.fromkeys(window.reason for window in found.values() if window.reason)
    return columns, "; ".join(reasons)
