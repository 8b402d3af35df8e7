# SPDX-License-Identifier: Apache-2.0
"""Ends of intervals as an artifact keeps them: numpy-free lookup for predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calibration.staged import KINDS
from roofline.residual import QUANTITIES, STANDINGS

METRICS = ("ttft_s", "tpot_s", "e2e_s", "throughput", "power_w", "energy_per_output_token_j")

METRIC_OF = dict(zip(QUANTITIES, METRICS, strict=True))
"""Measured metric that stands for each quantity with an interval."""

WIDER = 1.25
"""Factor on the half width where the case leaves the range of the data, over that of devices
left out: no data can say it, which is the point; stated, not fitted."""


def group_of(engine: str, mode: str) -> str:
    """Group of cases that share an interval."""
    kind = KINDS.get(engine, "other")
    return f"{kind} {mode}" if kind == "served" else kind


def ends_of(
    intervals: Mapping[str, Any], *, standing: int, group: str, quantity: str
) -> tuple[float, float]:
    """Ends of the interval of one of ``QUANTITIES``, in logs.

    `intervals` has a table for each of the first two of `STANDINGS`; the third widens the
    second by `WIDER`.
    """
    name, metric = STANDINGS[min(standing, 1)], METRIC_OF[quantity]
    chosen = intervals[name]
    ends = chosen.get(group, {}).get(metric) or chosen["all"].get(metric)
    if ends is None:
        # Never measured in enough places: as unsure as the end-to-end time, or as anything is.
        widest = max(chosen["all"].values(), key=lambda pair: pair[1] - pair[0])
        ends = chosen["all"].get("e2e_s", widest)
    widen = WIDER if standing == 2 else 1.0
    return ends[0] * widen, ends[1] * widen
