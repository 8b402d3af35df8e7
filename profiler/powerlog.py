# SPDX-License-Identifier: Apache-2.0
"""What one device's power sensors said over time, and whether that can be believed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from profiler.device import Device
from profiler.windows import Series, counter_j, integral_j, longest_gap_s, update_period_s, within

#: A window holds this many seconds and updates of the sensor, or says nothing.
MIN_WINDOW_S = 2.0
MIN_UPDATES = 20
MIN_SAMPLES = 20
#: A sensor that updates so rarely that a window would have to be longer says nothing.
MAX_WINDOW_S = 30.0
#: No reading for this share of a window: the samples are not of the window.
MAX_GAP_FRAC = 0.25
#: Share of failed readings that a window may have.
MAX_FAILED_FRAC = 0.05
#: A mean power above the limit times this is the sensor's error.
MAX_OVER_LIMIT = 1.2
#: Counter and samples that differ by more than this are doubtful; by the factor, useless.
DOUBTFUL_FRAC = 0.10
USELESS_FACTOR = 2.0
#: An averaging sensor remembers the time before the window for this long.
AVERAGING_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnergy:
    """Mean power of one device in one window, by each way, and which one counts."""

    power_w: float | None
    method: str
    reason: str
    counter_w: float | None
    samples_w: float | None
    n_samples: int
    update_period_s: float | None

    def detail(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Figure:
    """Mean watts by one way, or why not.

    `missing`: there never was such a sensor. `held_w`: the one value that a sensor showed
    throughout; alone it proves nothing, and agreeing with a counter it is no fault.
    """

    power_w: float | None = None
    reason: str = ""
    missing: bool = False
    held_w: float | None = None


class DeviceLog:
    """Every reading of one device's energy counter and power sensor.

    The instant sensor is preferred; the averaging one is read where it is alone.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._counter: list[tuple[float, float]] = []
        self._samples: list[tuple[float, float]] = []
        self._failures: dict[str, list[tuple[float, str]]] = {"counter": [], "samples": []}
        self._moved_s = -math.inf
        instant, average = device.read("power_w"), device.read("average_power_w")
        self._averages = not instant.works and average.works
        self._power_field = "average_power_w" if self._averages else "power_w"
        self._has_counter = device.read("energy_j").reason != "unsupported"
        self._has_power = instant.reason != "unsupported" or self._averages
        self._limit_w = device.read("power_limit_w").value or _tdp_w(device)

    @property
    def needed_s(self) -> float:
        """Shortest window that says anything; a tenth more than the rules ask for.

        How often a sensor updates is seen while it is read, so that this may grow.
        """
        averaging_s = AVERAGING_S if self._averages and not self._has_counter else 0.0
        return 1.1 * max(MIN_WINDOW_S, MIN_UPDATES * self._seen_period_s()) + averaging_s

    def _seen_period_s(self) -> float:
        """Update period of the sensor that counts, so far; 0 if not seen, or beyond use."""
        series = list(self._counter if self._has_counter else self._samples)
        if not self._has_counter and all(value == round(value) for _, value in series):
            return 0.0  # whole watts stand still while the sensor does not
        period_s = update_period_s(series) or 0.0
        return period_s if MIN_UPDATES * period_s <= MAX_WINDOW_S else 0.0

    def read(self, now: Callable[[], float]) -> None:
        """Read both sensors; the time of a reading is the middle of its call."""
        if self._has_counter:
            self._keep("energy_j", "counter", self._counter, now)
        if self._has_power:
            self._keep(self._power_field, "samples", self._samples, now)

    def moved_since(self, moment_s: float) -> bool:
        """Whether the counter moved after `moment_s`, or there is none that does."""
        return not self._counter or self._moved_s > moment_s

    def energy(self, start_s: float, end_s: float) -> DeviceEnergy:
        """Return what can be said about the time from `start_s` to `end_s`."""
        counter, samples = list(self._counter), list(self._samples)  # the thread goes on
        by_counter = self._by_counter(counter, start_s, end_s)
        by_samples = self._by_samples(samples, start_s, end_s)
        power_w, method, reason = _choose(by_counter, by_samples)
        return DeviceEnergy(
            power_w=power_w,
            method=method,
            reason=reason,
            counter_w=by_counter.power_w,
            samples_w=by_samples.power_w,
            n_samples=len(within(samples, start_s, end_s)),
            update_period_s=update_period_s(counter if counter else samples),
        )

    def _keep(
        self, field: str, kind: str, series: list[tuple[float, float]], now: Callable[[], float]
    ) -> None:
        before_s = now()
        sensor = self._device.read(field)
        moment_s = (before_s + now()) / 2
        if sensor.value is None or not math.isfinite(sensor.value):
            self._failures[kind].append((moment_s, sensor.reason or "no data"))
            return
        if kind == "counter" and series and sensor.value != series[-1][1]:
            self._moved_s = before_s
        series.append((moment_s, sensor.value))

    def _by_counter(self, series: Series, start_s: float, end_s: float) -> _Figure:
        if not self._has_counter:
            return _Figure(reason="unsupported", missing=True)
        inside = within(series, start_s, end_s)
        trouble = self._trouble("counter", inside, start_s, end_s)
        if trouble:
            return _Figure(reason=trouble)
        values = [value for _, value in inside]
        if any(later < earlier for earlier, later in pairwise(values)):
            return _Figure(reason="counter ran backwards")
        if values[0] == values[-1]:
            return _Figure(reason="counter stuck")
        trouble = _too_few_updates(update_period_s(series), start_s, end_s)
        if trouble:
            return _Figure(reason=trouble)
        energy_j = counter_j(series, start_s, end_s)
        if energy_j is None:
            return _Figure(reason="counter has too few ticks")
        return self._plausible(energy_j / (end_s - start_s), "counter")

    def _by_samples(self, series: Series, start_s: float, end_s: float) -> _Figure:
        if not self._has_power:
            return _Figure(reason="unsupported", missing=True)
        if self._averages:
            start_s = min(end_s, start_s + AVERAGING_S)
        inside = within(series, start_s, end_s)
        trouble = self._trouble("samples", inside, start_s, end_s)
        if trouble:
            return _Figure(reason=trouble)
        values = [value for _, value in inside]
        if min(values) < 0:
            return _Figure(reason="sensor negative")
        if sum(value == 0 for value in values) > MAX_FAILED_FRAC * len(values):
            return _Figure(reason="sensor zero")
        coarse = all(value == round(value) for value in values)
        if len(set(values)) == 1 and not (coarse and len({value for _, value in series}) > 1):
            return _Figure(reason="sensor stuck", held_w=values[0])
        trouble = "" if coarse else _too_few_updates(update_period_s(series), start_s, end_s)
        if trouble:
            return _Figure(reason=trouble)
        energy_j = integral_j(series, start_s, end_s)
        if energy_j is None:
            return _Figure(reason="too few samples")
        return self._plausible(energy_j / (end_s - start_s), "sensor")

    def _trouble(self, kind: str, inside: Series, start_s: float, end_s: float) -> str:
        """Say why the readings of a window cannot be used, whatever their values; or ""."""
        failed = [why for moment_s, why in self._failures[kind] if start_s <= moment_s <= end_s]
        if len(failed) > MAX_FAILED_FRAC * (len(failed) + len(inside)):
            return Counter(failed).most_common(1)[0][0]
        if end_s - start_s < MIN_WINDOW_S:
            return f"window of {end_s - start_s:.2g} s is below {MIN_WINDOW_S:g} s"
        if len(inside) < MIN_SAMPLES:
            return "too few samples"
        if longest_gap_s(inside, start_s, end_s) > MAX_GAP_FRAC * (end_s - start_s):
            return "too few samples"
        return ""

    def _plausible(self, power_w: float, what: str) -> _Figure:
        if not power_w > 0:
            return _Figure(reason=f"{what} zero")
        if self._limit_w is not None and power_w > MAX_OVER_LIMIT * self._limit_w:
            return _Figure(
                reason=f"{what} absurd, {power_w:.4g} W with a limit of {self._limit_w:.4g} W"
            )
        return _Figure(power_w)


def _too_few_updates(period_s: float | None, start_s: float, end_s: float) -> str:
    if period_s is None:
        return "sensor does not update"
    needed_s = MIN_UPDATES * period_s
    if end_s - start_s < 0.95 * needed_s:  # the period itself is known to a few percent
        return f"window of {end_s - start_s:.2g} s is below {MIN_UPDATES} updates, {needed_s:.2g} s"
    return ""


def _choose(counter: _Figure, samples: _Figure) -> tuple[float | None, str, str]:
    """Return the figure, its method, and what is to be said about it."""
    if counter.power_w is not None and samples.power_w is not None:
        apart = samples.power_w / counter.power_w
        if max(apart, 1 / apart) > USELESS_FACTOR:
            return (
                None,
                "",
                f"samples and counter differ by a factor of {max(apart, 1 / apart):.2g}",
            )
        if abs(apart - 1) > DOUBTFUL_FRAC:
            return (
                counter.power_w,
                "counter",
                f"samples differ from the counter by {apart - 1:+.0%}",
            )
        return counter.power_w, "counter", ""
    if counter.power_w is not None:
        held_w = samples.held_w or 0.0
        agrees = abs(held_w - counter.power_w) <= DOUBTFUL_FRAC * counter.power_w
        reason = "" if samples.missing or agrees else f"{samples.reason}, counter unchecked"
        return counter.power_w, "counter", reason
    if samples.power_w is not None:
        reason = "" if counter.missing else f"{counter.reason}, samples used"
        return samples.power_w, "samples", reason
    return None, "", samples.reason if counter.missing else counter.reason


def _tdp_w(device: Device) -> float | None:
    """Return the catalogue's power limit of a device that does not tell its own."""
    from specs.catalogue import get_accelerator
    from specs.errors import RooflineError

    if not device.slug:
        return None
    try:
        return get_accelerator(device.slug).tdp_w
    except RooflineError:
        return None
