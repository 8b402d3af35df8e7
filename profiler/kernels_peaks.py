# SPDX-License-Identifier: Apache-2.0
"""What a device was measured to reach, as a device that predictions can be made for.

Two files go into the folder ``measured`` of the store: a gpu-file that `specs.gpufile`
reads (bandwidth and peaks as achieved, what cannot be measured from the catalogue or the
system), and ``rates`` beside it with what such a file has no field for: how far the
products of a decode step stay below the bandwidth of plain streams, and what a launch
costs. Predictions with ``--gpu measured`` use both.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from profiler.device import Device
from profiler.kernels import STREAMS, moved_bytes, stream_size_bytes, work_flops
from profiler.run_target import Target
from specs.errors import InvalidInputError
from specs.measurement import Measurement

FOLDER = "measured"
LEAST_GEMV_BYTES = 8 * 2**20
"""Smaller weight matrices measure the launch, not the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPeaks:
    """Achieved rates of one device.

    Parameters
    ----------
    mem_bytes_per_s : float
        Best of copy, read and triad over arrays beyond every cache.
    gemv_bytes_per_s : mapping of str to float
        Weights read per second by products with one row, by dtype: median over shapes.
    peak_flops_per_s : mapping of str to float
        Best product, by dtype.
    launch_s : float or None
        Host time of one call of nothing.
    floor_s : float or None
        Device time of one captured kernel of nothing; None where nothing is captured.
    """

    mem_bytes_per_s: float
    gemv_bytes_per_s: Mapping[str, float] = field(default_factory=dict)
    peak_flops_per_s: Mapping[str, float] = field(default_factory=dict)
    launch_s: float | None = None
    floor_s: float | None = None


def peaks_of(rows: Iterable[Measurement], *, beyond_cache_bytes: int) -> MeasuredPeaks:
    """Return what the kernels of `rows` have reached.

    Parameters
    ----------
    rows : iterable of Measurement
        Failed ones count for nothing; of repeats the last one counts.
    beyond_cache_bytes : int
        Least size of an array that no cache holds.

    Raises
    ------
    InvalidInputError
        No stream beyond the cache, or no product, was measured.
    """
    last = {row.point_id: row for row in rows if row.kind == "kernel" and row.latency_s}
    rated = [(row, row.to_dict(), row.latency_s) for row in last.values() if row.latency_s]
    streams = [
        moved_bytes(columns) / latency_s
        for row, columns, latency_s in rated
        if row.op in STREAMS and (row.size_bytes or 0) >= beyond_cache_bytes
    ]
    peaks: dict[str, float] = {}
    gemv: dict[str, list[float]] = {}
    for row, columns, latency_s in rated:
        if row.op != "gemm":
            continue
        peaks[row.dtype] = max(peaks.get(row.dtype, 0.0), work_flops(columns) / latency_s)
        if row.m == 1 and moved_bytes(columns) >= LEAST_GEMV_BYTES:
            gemv.setdefault(row.dtype, []).append(moved_bytes(columns) / latency_s)
    if not streams or not peaks:
        raise InvalidInputError(
            "no measured peaks: the large streams or all products failed; see the rows' reasons."
        )
    launches = [(row, latency_s) for row, _, latency_s in rated if row.op == "launch"]
    captured = [json.loads(row.environment or "{}").get("captured_s") for row, _ in launches]
    return MeasuredPeaks(
        mem_bytes_per_s=max(streams),
        gemv_bytes_per_s={dtype: median(rates) for dtype, rates in gemv.items()},
        peak_flops_per_s=peaks,
        launch_s=launches[-1][1] if launches else None,
        floor_s=captured[-1] if captured else None,
    )


def write_measured(
    rows: Sequence[Measurement], target: Target, sensors: Sequence[Device], store: Path
) -> Path:
    """Write the files of what `rows` reached; return the gpu-file.

    Raises
    ------
    InvalidInputError
        As `peaks_of`.
    """
    from profiler.kernels_device import device_of
    from specs.gpufile import to_gpu_file_toml

    peaks = peaks_of(rows, beyond_cache_bytes=stream_size_bytes(target))
    device = device_of(peaks, target, sensors)
    folder = store / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', device.name.lower()).strip('-')}.toml"
    dates = sorted(row.measured_at for row in rows)
    rates = {**asdict(peaks), "measured_at": dates[-1] if dates else ""}
    _replace(path.with_suffix(".rates.json"), json.dumps(rates, indent=1) + "\n")
    _replace(path, to_gpu_file_toml(device))
    return path


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def last_measured(store: Path) -> tuple[Path, dict[str, Any]]:
    """Return the gpu-file written last under `store`, and the rates beside it.

    Raises
    ------
    InvalidInputError
        There is none.
    """
    files = sorted((store / FOLDER).glob("*.toml"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise InvalidInputError(
            f"nothing has been measured in {store}; run roofline profile --kernels there first, "
            f"or set ROOFLINE_STORE to the store that you gave it."
        )
    try:
        rates = json.loads(files[-1].with_suffix(".rates.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InvalidInputError(
            f"{files[-1].with_suffix('.rates.json')} is missing or damaged; measure again with "
            f"roofline profile --kernels."
        ) from None
    return files[-1], rates
