# SPDX-License-Identifier: Apache-2.0
"""The bench that points are measured on: device, sensors, budgets, and who measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from profiler.device import Device, slug_of
from profiler.environment import describe
from profiler.processor import cpu_name
from profiler.reference import Reference, judged
from profiler.run_power import call_columns, generation_columns, idle_power, windows
from profiler.run_target import Target
from profiler.steady import QUALITIES, Samples, measure
from profiler.timers import Timer
from specs.errors import RooflineError
from specs.measurement import now_utc

TOOL = "roofline profile"
SOURCE = "first-party"
LEAST_BUDGET_S = 0.05
"""What a point gets at least, also where the run's time is up while it is measured."""


class PointError(RooflineError):
    """One point cannot be measured; the message is its reason, a short code first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A call and its samples; the call can be repeated under a power window."""

    call: Callable[[], Any]
    samples: Samples

    reference_s: tuple[Mapping[str, float], ...] = ()
    """Fixed calls before and after, where the work runs on this processor."""

    def detail(self) -> dict[str, Any]:
        """What does not fit a table's columns, ready for JSON."""
        told = {"reference_s": list(self.reference_s)} if self.reference_s else {}
        return {"median_s": self.samples.median_s, **self.samples.detail(), **told}


@dataclass(kw_only=True)
class Bench:
    """Where and how long points are measured.

    Parameters
    ----------
    target : Target
    sensors : list of Device
        Sensors of the target's devices, in their order; empty where there are none.
    no_sensor : str
        Why there are none.
    run_id : str
    budget_s : float
        Seconds for a model's prefill or step to settle in.
    deadline_s : float
        Moment of ``perf_counter`` by which the run should have ended.
    """

    target: Target
    run_id: str
    sensors: list[Device] = field(default_factory=list)
    no_sensor: str = "no sensor"
    budget_s: float = 5.0
    deadline_s: float = float("inf")

    def time(
        self, call: Callable[[], Any], *, timer: Timer | None = None, share: float = 1.0
    ) -> Timed:
        """Time `call` until it settles or its share of the budget ends."""
        left_s = self.deadline_s - time.perf_counter()
        before = self.reference.read() if self._on_host else None
        samples = measure(
            call,
            sync=self._sync,
            budget_s=min(share * self.budget_s, max(left_s / 2, LEAST_BUDGET_S)),
            threads=self.target.threads,
            timer=timer,
            throttle=self._throttle if self.sensors else None,
        )
        if before is None:
            return Timed(call=call, samples=samples)
        beside = before, self.reference.read()
        quality, reason = judged(samples, self.reference.slowed_frac(*beside))
        samples = replace(samples, quality=quality, reason=reason)
        return Timed(call=call, samples=samples, reference_s=beside)

    def llm_power(
        self, prefill: Timed, decode: Timed | None, *, batch: int, output_tokens: int
    ) -> tuple[dict[str, Any], str]:
        """Return power and energy columns of a generation, and why some are missing."""
        phases = {"prefill": prefill, **({"decode": decode} if decode else {})}
        if not self.sensors:
            return {}, f"power: {self.no_sensor}"
        if self._time_is_up():
            return {}, "power: no time left"
        calls = {name: timed.call for name, timed in phases.items()}
        found, counts = windows(self.sensors, calls, self._sync)
        steps = output_tokens - 1
        e2e_s = prefill.samples.median_s + steps * (decode.samples.median_s if decode else 0.0)
        columns, why = generation_columns(
            found, counts, e2e_s=e2e_s, steps=steps, output_tokens=batch * output_tokens
        )
        return {**self.idle_columns, **columns}, why

    def call_power(self, timed: Timed) -> tuple[dict[str, Any], str]:
        """Return power and energy columns of one kernel or call, and why they are missing."""
        if not self.sensors:
            return {}, f"power: {self.no_sensor}"
        if self._time_is_up():
            return {}, "power: no time left"
        found, counts = windows(self.sensors, {"whole": timed.call}, self._sync)
        columns, why = call_columns(found["whole"], counts["whole"])
        return {**self.idle_columns, **columns}, why

    @cached_property
    def idle_columns(self) -> dict[str, Any]:
        """Idle power; read it before anything has been run."""
        idle_w = idle_power(self.sensors)[0] if self.sensors else None
        return {} if idle_w is None else {"idle_power_w": idle_w}

    @cached_property
    def reference(self) -> Reference:
        """How fast this processor is from moment to moment."""
        return Reference()

    @property
    def slowed_frac(self) -> float | None:
        """By how much this processor was slowed at most; None where nothing ran on it."""
        return self.reference.most_frac if self._on_host and self.reference.best_s else None

    @property
    def _on_host(self) -> bool:
        return self.target.kind == "cpu"

    @property
    def _sync(self) -> Callable[[], object] | None:
        return None if self._on_host else self.target.sync

    def _time_is_up(self) -> bool:
        return time.perf_counter() > self.deadline_s

    def _throttle(self) -> str:
        return "; ".join(dict.fromkeys(filter(None, (s.throttle_words() for s in self.sensors))))

    @cached_property
    def device_columns(self) -> dict[str, Any]:
        """Columns that name the device; part of what is asked."""
        count = len(self.target.devices)
        limit = self.sensors[0].read("power_limit_w").value if self.sensors else None
        return {
            "gpu": self.sensors[0].slug if self.sensors else slug_of(self.target.name),
            "gpu_raw": self.target.name,
            "num_gpus": count,
            "tp": 1 if count > 1 else None,
            "pp": count if count > 1 else None,
            "power_limit_w": limit,
        }

    def origin(self) -> dict[str, Any]:
        """Columns that say who measured, when and with what; not part of what is asked."""
        versions = self.sensors[0].versions if self.sensors else {}
        driver = "driver" if "driver" in versions else next(iter(versions), "")
        return {
            "run_id": self.run_id,
            "measured_at": now_utc(),
            "source": SOURCE,
            "tool": TOOL,
            "tool_version": _version("roofline"),
            "host_cpu": cpu_name(),
            "driver": versions.get(driver, ""),
        }

    def environment(self) -> dict[str, Any]:
        """Everything else that a timing depends on, as it is now."""
        import sys

        return describe(self.sensors, torch=sys.modules.get("torch"))


def failed_columns(reason: str) -> dict[str, Any]:
    """Columns of a point that gave no figure."""
    return {"quality": "failed", "reason": reason, "n_samples": 0}


def worst(phases: Mapping[str, Samples]) -> tuple[str, str]:
    """Return the worst quality of several calls, and each call's own reason."""
    quality = max((samples.quality for samples in phases.values()), key=QUALITIES.index)
    reasons = [
        f"{name}: {samples.reason}" if len(phases) > 1 else samples.reason
        for name, samples in phases.items()
        if samples.reason
    ]
    return quality, "; ".join(reasons)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def engine_version(engine: str) -> str:
    """Version of the library that runs a point; xgboost comes under two names."""
    names = {"xgboost": ("xgboost", "xgboost-cpu")}.get(engine, (engine,))
    return next(filter(None, map(_version, names)), "")
