# SPDX-License-Identifier: Apache-2.0
"""A measured device as an `Accelerator`: rates measured, the rest from where it is known.

Memory, clock, cores and cache come from the driver or the system. What neither states
(power limit, links, process) comes from the catalogue if the device stands there; for a
processor that does not, power is the median per core of the catalogue's server
processors, and a note says so.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from profiler.device import Device, slug_of
from profiler.environment import memory_bytes
from profiler.run_target import Target, cache_bytes
from specs.accelerator import COMPUTE_PRECISIONS, Accelerator
from specs.errors import InvalidInputError
from specs.gpufile import SOURCE_KEY

if TYPE_CHECKING:
    from profiler.kernels_peaks import MeasuredPeaks


def device_of(peaks: MeasuredPeaks, target: Target, sensors: Sequence[Device]) -> Accelerator:
    """Return the device of `target` with the rates that were measured on it.

    Raises
    ------
    InvalidInputError
        A device that neither the catalogue nor its sensors know the power limit of.
    """
    rates: dict[str, Any] = {
        "mem_bytes_per_s": peaks.mem_bytes_per_s,
        "peak_flops_per_s": {
            name: rate
            for name, rate in peaks.peak_flops_per_s.items()
            if name in COMPUTE_PRECISIONS
        },
    }
    plural = "" if target.threads == 1 else "s"
    threads = f" on {target.threads} thread{plural}" if target.kind == "cpu" else ""
    note = f"bandwidth and peaks as measured by kernels{threads}, not of the data sheet"
    known = slug_of(target.name)
    if known and target.kind != "cpu":
        from specs.catalogue import get_accelerator

        entry = get_accelerator(known)
        measured = dict(entry.sources) | dict.fromkeys(rates, SOURCE_KEY)
        return replace(
            entry,
            **rates,
            name=f"measured-{entry.name}",
            title=f"{entry.title}, measured",
            sources=_sources(measured, rates["peak_flops_per_s"]),
            notes=(*entry.notes, note),
        )
    rates["vector_flops_per_s"] = _vector(peaks)
    facts = _cpu_facts(target) if target.kind == "cpu" else _gpu_facts(target, sensors)
    notes = (note, *facts.pop("notes", ()))
    fields = {**facts, **rates}
    return Accelerator(
        name=f"measured-{_slug(target.name)}",
        title=f"{target.name or 'this machine'}, measured",
        **fields,
        sources=_sources(dict.fromkeys(fields, SOURCE_KEY), rates["peak_flops_per_s"]),
        notes=notes,
    )


def _sources(by_field: dict[str, str], peaks: dict[str, float]) -> dict[str, str]:
    """Sources by field; each peak has its own."""
    kept = {name: key for name, key in by_field.items() if not name.startswith("peak_flops")}
    return {**kept, **{f"peak_flops_per_s.{name}": SOURCE_KEY for name in peaks}}


def _vector(peaks: MeasuredPeaks) -> float:
    """Rate of ordinary fp32 units: that of fp32 products, which run on them."""
    if "fp32" not in peaks.peak_flops_per_s:
        raise InvalidInputError(
            "no gpu-file of the measured peaks: it needs the fp32 rate; measure fp32 too."
        )
    return peaks.peak_flops_per_s["fp32"]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "machine"


def _cpu_facts(target: Target) -> dict[str, Any]:
    """Facts of the part of this machine's processors that a run may use."""
    tdp_w, note = _cpu_power_w(target)
    memory = memory_bytes()
    if not memory:
        raise _unknown("memory")
    return {
        "vendor": _vendor(target.name),
        "kind": "cpu",
        "architecture": "other",
        "mem_bytes": float(memory),
        "unit_count": target.threads,
        "clock_hz": _cpu_clock_hz(),
        "cache_bytes": float(cache_bytes(target)),
        "tdp_w": tdp_w,
        "notes": (note,),
    }


def _cpu_power_w(target: Target) -> tuple[float, str]:
    """Power limit of as many cores as the run used, and where it comes from."""
    from specs.catalogue import get_accelerator, list_accelerators

    if slug := slug_of(target.name):
        entry = get_accelerator(slug)
        watts = entry.tdp_w / entry.unit_count * target.threads
        return watts, f"power is the share of {target.threads} cores in the {entry.title}'s TDP"
    servers = [
        entry.tdp_w / entry.unit_count
        for row in list_accelerators(kind="cpu")
        if re.search(r"EPYC|Xeon", (entry := get_accelerator(row.name)).title)
    ]
    watts = median(servers)
    return watts * target.threads, (
        f"the power of this processor is not known: {watts:.1f} W per core is the median of "
        f"{len(servers)} server processors in the catalogue"
    )


def _cpu_clock_hz(proc: Path = Path("/proc")) -> float:
    """Clock as the system states it now; nothing in a prediction for this file rests on it."""
    with contextlib.suppress(OSError):
        found = re.findall(r"cpu MHz\s*:\s*([\d.]+)", (proc / "cpuinfo").read_text())
        if found:
            return max(map(float, found)) * 1e6
    with contextlib.suppress(OSError, ValueError):
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
        return float(path.read_text()) * 1e3
    raise _unknown("clock")


def _vendor(name: str) -> str:
    words = name.lower()
    return next((v for v in ("amd", "intel", "apple", "ampere") if v in words), "other")


def _gpu_facts(target: Target, sensors: Sequence[Device]) -> dict[str, Any]:
    """Facts that the driver states of a device that the catalogue does not know."""
    import torch

    if target.kind != "cuda":
        raise _unknown("power limit")
    properties = torch.cuda.get_device_properties(target.devices[0])
    limit_w = sensors[0].read("power_limit_w").value if sensors else None
    clock_hz = float(getattr(properties, "clock_rate", 0)) * 1e3
    if not limit_w or not clock_hz:
        raise _unknown("clock" if limit_w else "power limit")
    return {
        "vendor": "nvidia" if torch.version.hip is None else "amd",
        "kind": "gpu",
        "architecture": "other",
        "mem_bytes": float(properties.total_memory),
        "unit_count": int(properties.multi_processor_count),
        "clock_hz": clock_hz,
        "cache_bytes": float(cache_bytes(target)),
        "tdp_w": limit_w,
    }


def _unknown(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"no gpu-file of the measured peaks: the {what} of this device is not known here. Print "
        f"one with roofline specs gpu-file, and fill in the peaks that were stored."
    )
