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
    rows: FloatArray,
    columns: FloatArray,
    *,
    unit_count: FloatArray | float,
    groups: FloatArray | float = 1.0,
    uneven: bool = False,
) -> FloatArray:
    """Factor by which whole tiles and whole waves lengthen the compute time of GEMMs.

    Parameters
    ----------
    rows : ndarray, shape (n,)
        Rows of the outputs, of all groups together.
    columns : ndarray, shape (n,), (k, 1) or (k, n)
        Columns of the output of each. At least 1.
    unit_count : ndarray, shape (n,), or float
        Units that tiles are dealt to (SMs, compute units). At least 1.
    groups : ndarray, shape (n,), or float
        GEMMs that are launched together, among which the rows are shared out.
    uneven : bool
        Whether rows differ between groups (routed experts).

    Returns
    -------
    ndarray, shape (n,) or (k, n)
        At least 1. How much of the excess shows is for the caller to say: measured GEMM
        times carry 0.45 to 0.5 of it.

    Notes
    -----
    ``waves * units * tile area / (rows * columns)``, with
    ``waves = ceil(ceil(rows/t_r) * ceil(columns/t_c) / units)``, for the best of
    `TILE_SHAPES` [1]_. Up to one wave, split-K fills units that would idle, so that only
    the padding of tiles remains.

    References
    ----------
    .. [1] NVIDIA, "Matrix Multiplication Background User's Guide", sections on tile and
       wave quantization.
    """
    groups = np.maximum(groups, 1e-9)
    total = np.maximum(rows, 1e-9)
    each = total / groups
    best: FloatArray | None = None
    widths = {tile for _, tile in TILE_SHAPES}
    column_tiles = {width: np.ceil(columns * (1.0 / width)) for width in widths}
    for tile_rows, tile_columns in TILE_SHAPES:
        row_tiles = _row_tiles(each, tile_rows, uneven) * groups
        waves = row_tiles * column_tiles[tile_columns]
        waves /= unit_count
        whole = np.ceil(waves)
        np.copyto(waves, whole, where=whole > 1.0)
        waves *= float(tile_rows * tile_columns)
        best = waves if best is None else np.minimum(best, waves, out=best)
    assert best is not None  # TILE_SHAPES is not empty
    best *= unit_count / total
    best /= columns
    np.maximum(best, 1.0, out=best)
    return best


def _row_tiles(rows: FloatArray, tile_rows: int, uneven: bool) -> FloatArray:
    """Tiles that the rows of one GEMM fill.

    The rows of routed experts differ, so that their mean number fills ``x / t`` tiles and
    half a tile less half a row more, and at least one: the mean of the ceiling over
    evenly spread remainders.
    """
    if not uneven:
        return np.ceil(rows * (1.0 / tile_rows))
    return np.maximum(rows * (1.0 / tile_rows) + (0.5 - 0.5 / tile_rows), 1.0)


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
