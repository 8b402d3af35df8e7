# SPDX-License-Identifier: Apache-2.0
"""What a device was measured to reach, as a device that predictions can be made for.

Two files go into a folder beside the store (which holds Parquet and nothing else): a
gpu-file that `specs.gpufile`
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
from profiler.kernels_step import host_times_s
from profiler.run_target import Target
from specs.errors import InvalidInputError
from specs.measurement import Measurement

SUFFIX = ".measured"
LEAST_GEMV_BYTES = 8 * 2**20
"""Smaller weight matrices measure the launch, not the memory,"""

LEAST_LAUNCHES = 50.0
"""unless they take that many launches all the same, as on a processor."""

PREFILL_ROWS = 128
PASS_ROWS = 128
"""Passes over fewer rows measure the launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPeaks:
    """Achieved rates of one device.

    Parameters
    ----------
    mem_bytes_per_s : float
        Best of copy, read and triad over arrays beyond every cache, and of products with
        one row, which are streams of weights.
    gemv_bytes_per_s : mapping of str to float
        Weights read per second by products with one row, by dtype: median over shapes.
    peak_flops_per_s : mapping of str to float
        Best product, by dtype.
    gemm_frac : mapping of str to float
        Share of that peak that products of prefill reach, by dtype: median over shapes of
        at least `PREFILL_ROWS` rows with cold weights.
    products : mapping of str to tuple of triples
        By dtype, for each number of rows that products with cold weights were measured at:
        rows, bytes per second, FLOP/s; medians over shapes. Libraries run products of a few
        rows far below both bounds.
    attention_frac : mapping of str to float
        Share of that peak that the longest causal attention reaches, by dtype.
    attention : mapping of str to tuple of pairs
        By dtype, for each length that causal attention was measured at: tokens, FLOP/s.
    pass_bytes_per_s : mapping of str to float
        Bytes per second of norms and activations over `PASS_ROWS` rows or more, by dtype:
        all their traffic over all their time.
    host_s : mapping of str to mapping
        By engine and dtype: host seconds per layer, and per step beside its layers.
    launch_s : float or None
        Host time of one call of nothing.
    floor_s : float or None
        Device time of one captured kernel of nothing; None where nothing is captured.
    """

    mem_bytes_per_s: float
    gemv_bytes_per_s: Mapping[str, float] = field(default_factory=dict)
    peak_flops_per_s: Mapping[str, float] = field(default_factory=dict)
    gemm_frac: Mapping[str, float] = field(default_factory=dict)
    products: Mapping[str, tuple[tuple[int, float, float], ...]] = field(default_factory=dict)
    attention_frac: Mapping[str, float] = field(default_factory=dict)
    attention: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    pass_bytes_per_s: Mapping[str, float] = field(default_factory=dict)
    host_s: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
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
    rated = [Rated.of(row, row.latency_s) for row in last.values() if row.latency_s]
    streams = [
        each.bytes_per_s
        for each in rated
        if each.row.op in STREAMS and (each.row.size_bytes or 0) >= beyond_cache_bytes
    ]
    products = [each for each in rated if each.row.op == "gemm"]
    if not streams or not products:
        raise InvalidInputError(
            "no measured peaks: the large streams or all products failed; see the rows' reasons."
        )
    peaks = {dtype: max(rates) for dtype, rates in _by_dtype(products, "flops_per_s").items()}
    launches = [each for each in rated if each.row.op == "launch"]
    launch_s = launches[-1].row.latency_s if launches else None
    weighty = [each for each in products if each.is_weighty(launch_s)]
    gemv = _by_dtype([each for each in weighty if each.row.m == 1], "bytes_per_s")
    prefill = _by_dtype([each for each in products if each.is_prefill], "flops_per_s")
    prefills = [each for each in rated if each.row.op == "attention_prefill"]
    attention = _by_dtype(prefills, "flops_per_s")
    captured = [json.loads(each.row.environment or "{}").get("captured_s") for each in launches]
    return MeasuredPeaks(
        mem_bytes_per_s=max([*streams, *(rate for rates in gemv.values() for rate in rates)]),
        gemv_bytes_per_s={dtype: median(rates) for dtype, rates in gemv.items()},
        peak_flops_per_s=peaks,
        gemm_frac={dtype: median(rates) / peaks[dtype] for dtype, rates in prefill.items()},
        products=_by_rows(weighty),
        attention_frac={
            dtype: min(1.0, max(rates) / peaks[dtype])
            for dtype, rates in attention.items()
            if dtype in peaks
        },
        attention=_by_length(prefills),
        pass_bytes_per_s=_pass_rates(rated),
        host_s=host_times_s(last.values()),
        launch_s=launch_s,
        floor_s=captured[-1] if captured else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One kernel's row and its rates."""

    row: Measurement
    latency_s: float
    flops_per_s: float
    bytes_per_s: float
    moved_bytes: float

    @classmethod
    def of(cls, row: Measurement, latency_s: float) -> Rated:
        """Return the rates of `row`."""
        columns = row.to_dict()
        moved = moved_bytes(columns)
        return cls(
            row=row,
            latency_s=latency_s,
            flops_per_s=work_flops(columns) / latency_s,
            bytes_per_s=moved / latency_s,
            moved_bytes=moved,
        )

    def is_weighty(self, launch_s: float | None) -> bool:
        """Whether its weight matrix is large enough to tell more than a launch."""
        large = self.moved_bytes >= LEAST_GEMV_BYTES
        lasts = launch_s is not None and self.latency_s >= LEAST_LAUNCHES * launch_s
        return large or lasts

    @property
    def is_prefill(self) -> bool:
        """Whether it is a product of prefill; square ones are there for the peak."""
        row = self.row
        return (row.m or 0) >= PREFILL_ROWS and not row.m == row.n == row.k


def _by_rows(products: Sequence[Rated]) -> dict[str, tuple[tuple[int, float, float], ...]]:
    found: dict[str, dict[int, list[Rated]]] = {}
    for each in products:
        rows = each.row.m or 0
        if not rows == each.row.n == each.row.k:
            found.setdefault(each.row.dtype, {}).setdefault(rows, []).append(each)
    return {
        dtype: tuple(
            (
                rows,
                median(each.bytes_per_s for each in mine),
                median(each.flops_per_s for each in mine),
            )
            for rows, mine in sorted(by_rows.items())
        )
        for dtype, by_rows in found.items()
    }


def _by_length(prefills: Sequence[Rated]) -> dict[str, tuple[tuple[int, float], ...]]:
    found: dict[str, dict[int, list[float]]] = {}
    for each in prefills:
        found.setdefault(each.row.dtype, {}).setdefault(each.row.q_len or 0, []).append(
            each.flops_per_s
        )
    return {
        dtype: tuple((length, median(rates)) for length, rates in sorted(by_length.items()))
        for dtype, by_length in found.items()
    }


def _pass_rates(rated: Sequence[Rated]) -> dict[str, float]:
    moved: dict[str, float] = {}
    spent_s: dict[str, float] = {}
    for each in rated:
        if each.row.op in ("norm", "elementwise") and (each.row.m or 0) >= PASS_ROWS:
            dtype = each.row.dtype
            moved[dtype] = moved.get(dtype, 0.0) + each.moved_bytes
            spent_s[dtype] = spent_s.get(dtype, 0.0) + each.moved_bytes / each.bytes_per_s
    return {dtype: moved[dtype] / spent_s[dtype] for dtype in moved}


def _by_dtype(rated: Iterable[Rated], rate: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for each in rated:
        found.setdefault(each.row.dtype, []).append(getattr(each, rate))
    return found


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
    folder = measured_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', device.name.lower()).strip('-')}.toml"
    dates = sorted(row.measured_at for row in rows)
    rates = {**asdict(peaks), "measured_at": dates[-1] if dates else ""}
    _replace(path.with_suffix(".rates.json"), json.dumps(rates, indent=1) + "\n")
    _replace(path, to_gpu_file_toml(device))
    return path


def measured_folder(store: Path) -> Path:
    """Return the folder of measured devices that belongs to the store."""
    whole = store.resolve()
    return whole.parent / f"{whole.name}{SUFFIX}"


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
    files = sorted(measured_folder(store).glob("*.toml"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise _no_device(store)
    try:
        rates = json.loads(files[-1].with_suffix(".rates.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InvalidInputError(
            f"{files[-1].with_suffix('.rates.json')} is missing or damaged; measure again with "
            f"roofline profile --kernels."
        ) from None
    return files[-1], rates


def _no_device(store: Path) -> InvalidInputError:
    """Say what is to be done for a store that no measured device belongs to."""
    from profiler.store import Store

    kernels = sum(row.kind == "kernel" for row in Store(store).read())
    if kernels:
        return InvalidInputError(
            f"{kernels} kernels are measured in {store}, but no peaks come of them yet; go on "
            f"where the run stopped: the same roofline profile --kernels with --resume."
        )
    return InvalidInputError(
        f"nothing has been measured in {store}; run roofline profile --kernels there first, "
        f"or set ROOFLINE_STORE to the store that you gave it."
    )
