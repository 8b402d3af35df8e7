# SPDX-License-Identifier: Apache-2.0
"""What kernels reach of what a device can do, by class of operator: shares, floors, overlap.

The plain roofline takes one share for all products, one for all traffic, one floor for
all kernels, from the engine's profile (`engine_shares` writes them in this form). A
correction gives shares by device, engine and class of operator, as arrays. `step` and
`mixers` evaluate both in the same formula,

    t = max(c, m) + b * min(c, m)**2 / max(c, m) + t_0

with a compute time c and a memory time m at their shares, b in [0, 1] for how badly the
two overlap (`blended`) and a floor t_0: never below the roofline, and never falling as c
or m grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from roofline.physics.kernel import FloatArray
from roofline.physics.schemes import ATTENTION_VARIANTS, SCHEMES
from specs.engine import Engine

PRODUCT = ("compute_frac", "memory_frac", "overlap_loss", "tile_frac", "fill", "floor_s", "each_s")
"""Of a product: shares of peak and bandwidth; b; share of tiles and waves that shows; elements
of K that a tile costs before it starts; floor of a kernel, and its growth per local expert."""

LOCAL = ("memory_frac", "cached_frac", "floor_s")
"""Of norms, activations, quantisation: share of the bandwidth; share of the traffic within
the last-level cache that takes time all the same; floor of a kernel."""

ATTENTION = (
    "compute_frac",
    "memory_frac",
    "overlap_loss",
    "special_frac",
    "padding_frac",
    "wave_frac",
    "cached_frac",
    "fill_items",
    "item_s",
    "floor_s",
)
"""Of fused attention: shares; b; share of the exponentials that is not hidden; share of what
whole tiles hold for nothing (masked halves on the diagonal, rows in decode); share of the
last, partly filled wave of tiles that shows; share of queries and outputs within the
last-level cache that takes time all the same. In decode, items of work per unit that fill
half the bandwidth, and time per wave of (sequence, KV head) pairs. Floor."""

COLLECTIVE = ("link_frac", "oneshot", "sync_s", "floor_s", "growth")
"""Of an all-reduce: share of the link; 1 where small buffers may go to all ranks at once;
synchronisation of a ring; floor of two ranks, NaN for what the link and the kernel state;
power of half the number of ranks that the floor grows with."""

ITEM_KEYS = 256.0
"""Keys of one item of work that decode attention is split into."""

GROUP_ROWS = 16.0
"""Rows of one matrix instruction, which the query heads of a KV head share in decode."""

DIAGONAL_KEYS = 64.0
"""Half a tile of scores: keys beyond the diagonal that whole tiles of 128 multiply, per query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares by class of operator; the last axis is the device or case.

    Parameters
    ----------
    gemm, moe : ndarray, shape (len(PRODUCT), n_schemes, n)
        By weight format, as ``schemes.SCHEMES``.
    local : ndarray, shape (len(LOCAL), n_schemes, n)
        Scheme ``"plain"`` for all but the quantisation of inputs to products of others.
    prefill, decode : ndarray, shape (len(ATTENTION), n_variants, n)
        By kind of attention, as ``schemes.ATTENTION_VARIANTS``.
    all_reduce : ndarray, shape (len(COLLECTIVE), n)
    """

    gemm: FloatArray
    moe: FloatArray
    local: FloatArray
    prefill: FloatArray
    decode: FloatArray
    all_reduce: FloatArray

    def take(self, index: NDArray[np.intp]) -> Shares:
        """Spread devices over cases; one device stays one column, which broadcasts."""
        if self.all_reduce.shape[-1] == 1:
            return self
        spread = {f.name: getattr(self, f.name)[..., index] for f in fields(self)}
        return Shares(**spread)


def stacked(each: Sequence[Shares]) -> Shares:
    """Shares of several devices side by side; one column where all are the same."""
    if all(shares is each[0] for shares in each):
        return each[0]
    return Shares(
        **{
            f.name: np.concatenate([getattr(shares, f.name) for shares in each], axis=-1)
            for f in fields(Shares)
        }
    )


def engine_shares(engine: Engine) -> Shares:
    """What an engine's profile states, as shares of one device."""
    kernel_s, memory = engine.kernel_floor_s, engine.memory_frac
    loss, tile = engine.overlap_loss_frac, engine.tile_weight_frac
    product = [engine.compute_frac, memory, loss, tile, 0.0, kernel_s, 0.0]
    prefill = [engine.attention_frac, memory, 0.0, 1.0, *[0.0] * 5, engine.attention_floor_s]
    decode = [engine.compute_frac, engine.cache_frac or memory, *prefill[2:]]

    def table(values: list[float], classes: int) -> FloatArray:
        return np.tile(np.array(values)[:, None, None], (1, classes, 1))

    schemes, variants = len(SCHEMES), len(ATTENTION_VARIANTS)
    return Shares(
        gemm=table(product, schemes),
        moe=table(product, schemes),
        local=table([engine.pass_frac or memory, float(engine.pass_frac > 0.0), kernel_s], schemes),
        prefill=table(prefill, variants),
        decode=table(decode, variants),
        all_reduce=np.array([engine.link_frac, 0.0, 0.0, np.nan, 0.0])[:, None],
    )


def by_class(table: FloatArray, classes: FloatArray | float) -> FloatArray:
    """Shares of the class of each row and case.

    Parameters
    ----------
    table : ndarray, shape (n_fields, n_classes, n or 1)
    classes : ndarray, shape (rows, n or 1) or (n,), or float
        Index of the class.

    Returns
    -------
    ndarray, shape (n_fields, ..., n or 1)
        Broadcasts with `classes`.
    """
    known = np.asarray(classes)
    first = int(known.flat[0])
    if known.size == 1 or (known == first).all():
        one: FloatArray = table[:, first]
        return one[:, None] if known.ndim == 2 else one
    index = known.astype(np.intp)
    if table.shape[-1] == 1:
        return table[:, index, 0]
    # By place in the flattened table: faster than by two arrays of indices.
    width = table.shape[-1]
    found: FloatArray = table.reshape(len(table), -1).take(index * width + np.arange(width), axis=1)
    return found


def blended(
    compute_s: FloatArray, memory_s: FloatArray, overlap_loss: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Compute and memory time, the longer one lengthened by what does not overlap.

    ``max + b min^2 / max``, for b in [0, 1] between the larger and the sum, and rising in
    both; near a p-norm of the two with ``p = 1 / log2(1 + b)``.
    """
    high = np.maximum(compute_s, memory_s)
    excess = np.minimum(compute_s, memory_s)
    slower = memory_s >= high
    excess *= excess
    excess *= overlap_loss
    excess /= np.maximum(high, 1e-30, out=high)
    late = excess * slower
    excess -= late
    excess += compute_s
    late += memory_s
    return excess, late
