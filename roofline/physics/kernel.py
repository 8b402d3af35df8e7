# SPDX-License-Identifier: Apache-2.0
"""How long one kernel takes: the roofline, tiles and waves, launch floors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

TILE_SHAPES = ((256, 128), (128, 128), (64, 128), (64, 64), (16, 64))
"""Output tiles (rows, columns) that GEMM libraries choose among; 16 rows is one matrix
instruction, the least that a small batch can fill."""


def kernel_time_s(
    work_flops: ArrayLike,
    moved_bytes: ArrayLike,
    *,
    peak_flops_per_s: ArrayLike,
    mem_bytes_per_s: ArrayLike,
) -> FloatArray:
    """Shortest time in which a kernel can run, by the roofline bound.

    Parameters
    ----------
    work_flops : array_like, shape (...)
        Operations done; a multiply-add counts as two.
    moved_bytes : array_like, shape (...)
        Bytes crossing device memory, each counted once.
    peak_flops_per_s, mem_bytes_per_s : array_like
        Dense peak at this precision; memory bandwidth. Positive.

    Returns
    -------
    ndarray, shape (...)
        Seconds. A bound, not a forecast.

    Notes
    -----
    ``max(F / P, B / W)``, the attainable rate of [1]_ rewritten as a time. Assumes
    that compute and traffic overlap fully; with none, they add.

    References
    ----------
    .. [1] Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
       doi:10.1145/1498765.1498785
    """
    compute_s = np.asarray(work_flops) / peak_flops_per_s
    memory_s = np.asarray(moved_bytes) / mem_bytes_per_s
    return np.maximum(compute_s, memory_s)


def tile_inflation(
    rows: ArrayLike, columns: ArrayLike, *, unit_count: ArrayLike, weight_frac: float
) -> FloatArray:
    """Factor by which whole tiles and whole waves lengthen a GEMM's compute time.

    Parameters
    ----------
    rows, columns : array_like, shape (...)
        Output shape of the product. At least 1.
    unit_count : array_like
        Units that tiles are dealt to (SMs, compute units). At least 1.
    weight_frac : float
        Share of the effect that shows, 0 to 1: 0 is a perfectly divisible GEMM.

    Returns
    -------
    ndarray, shape (...)
        At least 1.

    Notes
    -----
    ``waves * units * tile area / (rows * columns)``, with
    ``waves = ceil(ceil(rows/t_r) * ceil(columns/t_c) / units)``, for the best of
    `TILE_SHAPES` [1]_. Split-K, which fills idle units when the output is small, is why
    only a part shows: measured GEMM times carry 0.45 to 0.5 of it. A wave that is not
    full is charged no more than a tile row that is, so that work split over K is free.

    References
    ----------
    .. [1] NVIDIA, "Matrix Multiplication Background User's Guide", sections on tile and
       wave quantization.
    """
    rows, columns = np.asarray(rows, float), np.asarray(columns, float)
    units = np.asarray(unit_count, float)
    if weight_frac == 0.0:
        return np.ones(np.broadcast_shapes(rows.shape, columns.shape, units.shape))
    best: FloatArray | None = None
    for tile_rows, tile_columns in TILE_SHAPES:
        tiles = np.ceil(rows / tile_rows) * np.ceil(columns / tile_columns)
        waves = tiles / units
        # One wave or less: split-K fills the device, only the padding of tiles remains.
        spread = np.where(waves <= 1.0, waves, np.ceil(waves))
        area = spread * units * (tile_rows * tile_columns)
        best = area if best is None else np.minimum(best, area)
    assert best is not None  # TILE_SHAPES is not empty
    inflation: FloatArray = np.maximum(best / (rows * columns), 1.0)
    return 1.0 + weight_frac * (inflation - 1.0)


def spilled_bytes(footprint_bytes: ArrayLike, cache_bytes: ArrayLike) -> FloatArray:
    """Bytes of an intermediate that do not stay in the last-level cache.

    Parameters
    ----------
    footprint_bytes : array_like, shape (...)
        Bytes that one kernel writes and the next reads back.
    cache_bytes : array_like
        Last-level cache; 0 if unknown, and then everything spills.

    Notes
    -----
    ``max(0, footprint - cache)``: continuous, growing, and zero where reuse is provable
    because producer and consumer run back to back.
    """
    return np.maximum(np.asarray(footprint_bytes, float) - cache_bytes, 0.0)


def mean_excess(middle: ArrayLike, swing: ArrayLike) -> FloatArray:
    """Mean of ``max(0, middle + swing * u)`` for u spread evenly over [-1, 1].

    Parameters
    ----------
    middle, swing : array_like, shape (...)
        Mean of a linear course, and how far it goes up and down around it.

    Notes
    -----
    ``(middle + |swing|)^2 / (4 |swing|)`` where the course changes sign, ``max(0,
    middle)`` where it does not. With it the mean over a phase of the slower of two
    resources that both grow linearly is exact: ``mean max(a, b) = b + excess of a - b``.
    """
    middle, swing = np.asarray(middle, float), np.abs(np.asarray(swing, float))
    crossing = swing > np.abs(middle)
    safe = np.where(crossing, swing, 1.0)
    return np.where(crossing, (middle + safe) ** 2 / (4.0 * safe), np.maximum(middle, 0.0))
