# SPDX-License-Identifier: Apache-2.0
"""Physical terms of the operator laws: times at peak, and dimensionless ratios.

Shapes of operators come in as arrays of shape ``(n,)``; the device is one `DeviceFacts`.
Everything returned is broadcastable to ``(n,)``, tiles to ``(n_tiles, n)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.operators.facts import DeviceFacts
from calibration.operators.laws import FloatArray

TILE_SHAPES = ((256.0, 128.0), (128.0, 128.0), (64.0, 128.0), (64.0, 64.0), (16.0, 64.0))
"""Output tiles (rows, columns) of GEMM kernels."""

ATTENTION_TILE = 128.0
"""Rows and columns of one tile of scores in fused attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How the products of one weight format run.

    `weight_bytes` per element, block scales included; activations enter in 16 bits and
    are quantised to `quantised_bytes` first (0: not at all).
    """

    arithmetic: str
    weight_bytes: float
    quantised_bytes: float = 0.0


SCHEMES = {
    "fp32": Scheme(arithmetic="fp32", weight_bytes=4.0),
    "bf16": Scheme(arithmetic="bf16", weight_bytes=2.0),
    "fp8": Scheme(arithmetic="fp8", weight_bytes=1.0, quantised_bytes=1.0),
    "fp8_block": Scheme(arithmetic="fp8", weight_bytes=1.0 + 4 / 128**2, quantised_bytes=1.03),
    "nvfp4": Scheme(arithmetic="fp4", weight_bytes=0.5625, quantised_bytes=0.5625),
    "int8_sq": Scheme(arithmetic="int8", weight_bytes=1.0, quantised_bytes=1.0),
    "int8_wo": Scheme(arithmetic="bf16", weight_bytes=1.0),
    "int4_wo": Scheme(arithmetic="bf16", weight_bytes=0.53),
    "w4a16_mxfp4": Scheme(arithmetic="bf16", weight_bytes=0.53125),
    "w4a8_mxfp4_mxfp8": Scheme(arithmetic="fp8", weight_bytes=0.53125, quantised_bytes=1.03125),
}
"""Weight formats. Block scales: fp8_block one fp32 per 128 x 128 weights and per 128
activations; nvfp4 one byte per 16; mxfp4 one byte per 32; int4 one 16-bit per 64."""


def spilled(size_bytes: ArrayLike, facts: DeviceFacts) -> FloatArray:
    """Bytes beyond the last-level cache."""
    result: FloatArray = np.maximum(np.asarray(size_bytes, float) - facts.cache_bytes, 0.0)
    return result


def gemm_terms(
    m: ArrayLike, n: ArrayLike, k: ArrayLike, *, scheme: Scheme, facts: DeviceFacts
) -> dict[str, FloatArray]:
    """Terms of ``(m, k) x (k, n)``; weights from memory, activations as far as they spill."""
    rows, columns, depth = (np.atleast_1d(np.asarray(x, float)) for x in (m, n, k))
    peak, bandwidth = facts.peak(scheme.arithmetic), facts.mem_bytes_per_s
    unit_flops_per_s = peak / facts.unit_count
    part_s, whole_s, cost = [], [], []
    for tile_rows, tile_columns in TILE_SHAPES:
        tiles = np.ceil(rows / tile_rows) * np.ceil(columns / tile_columns)
        each_s = 2.0 * tile_rows * tile_columns * depth / unit_flops_per_s
        waves = tiles / facts.unit_count
        part_s.append(waves * each_s)
        whole_s.append(np.ceil(waves) * each_s)
        cost.append(np.log2(128.0 * (1.0 / tile_rows + 1.0 / tile_columns) / 1.5))
    wide = 4.0 if scheme.arithmetic == "fp32" else 2.0
    moved = columns * depth * scheme.weight_bytes
    moved = moved + spilled(rows * depth * wide, facts) + spilled(rows * columns * wide, facts)
    return {
        "tiles_s": np.array(part_s),
        "waves_s": np.array(whole_s),
        "tile_cost": np.array(cost)[:, None],
        "per_k": 1.0 / depth,
        "ideal_s": 2.0 * rows * columns * depth / peak,
        "memory_s": moved / bandwidth,
        "resident": np.zeros(rows.size),
        "quantise_s": rows * depth * (2.0 + scheme.quantised_bytes) / bandwidth,
    }


def causal_pairs(
    q: FloatArray, kv: FloatArray, window: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(query, key) pairs that a causal pass needs, and those of the whole tiles it does.

    `window` 0 means none. Tiles are `ATTENTION_TILE` square; the last row of tiles is as
    high as the queries that are left, rounded to 16.
    """
    reach = np.where(window > 0, np.minimum(window, kv), kv)
    before = kv - q
    growing = np.clip(reach - before, 0.0, q)
    pairs = growing * before + growing * (growing + 1.0) / 2.0 + (q - growing) * reach
    tile = ATTENTION_TILE
    rows = np.where(q >= tile, np.ceil(q / tile) * tile, np.ceil(q / 16.0) * 16.0)
    mean_keys = pairs / q
    # A tile row reaches half a tile beyond the diagonal, and before the window's edge.
    edges = np.where(reach < kv, 1.0, 0.5) * np.minimum(tile, rows)
    keys = np.minimum(mean_keys + edges, np.ceil(kv / 16.0) * 16.0)
    return pairs, np.maximum(rows * keys, pairs)


def prefill_terms(
    *,
    batch: ArrayLike,
    q: ArrayLike,
    kv: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    v_head_dim: ArrayLike,
    window: ArrayLike,
    causal: ArrayLike,
    kv_element_bytes: float,
    arithmetic: str,
    facts: DeviceFacts,
) -> dict[str, FloatArray]:
    """Terms of fused attention over a prompt."""
    arrays = (np.atleast_1d(np.asarray(x, float)) for x in (batch, q, kv, heads, kv_heads))
    b, q_len, kv_len, h, h_kv = arrays
    d_qk, d_v = np.asarray(head_dim, float), np.asarray(v_head_dim, float)
    pairs, tiled = causal_pairs(q_len, kv_len, np.asarray(window, float))
    pairs = np.where(causal, pairs, q_len * kv_len)
    tiled = np.where(causal, tiled, q_len * kv_len)
    scale = b * h
    flops = 2.0 * (d_qk + d_v) * scale
    peak, special = facts.peak(arithmetic), facts.special_per_s
    waves = scale * np.ceil(q_len / ATTENTION_TILE) / facts.unit_count
    io = b * q_len * h * (d_qk + d_v) * 2.0 + b * kv_len * h_kv * (d_qk + d_v) * kv_element_bytes
    return {
        "pairs_s": flops * pairs / peak,
        "tiled_pairs_s": flops * tiled / peak,
        "special_s": scale * pairs / special,
        "tiled_special_s": scale * tiled / special,
        "waves": np.ceil(waves) / waves,
        "tiles": waves,
        "memory_s": io / facts.mem_bytes_per_s,
    }


def decode_terms(
    *,
    batch: ArrayLike,
    kv: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    qk_dim: ArrayLike,
    v_dim: ArrayLike,
    kv_bytes_per_token_head: ArrayLike,
    window: ArrayLike,
    arithmetic: str,
    facts: DeviceFacts,
) -> dict[str, FloatArray]:
    """Terms of attention of one query per sequence over its cache.

    Latent attention (absorbed) has one KV head, ``qk_dim`` 576, ``v_dim`` 512.
    """
    b, length, h, h_kv = (np.atleast_1d(np.asarray(x, float)) for x in (batch, kv, heads, kv_heads))
    span = np.asarray(window, float)
    length = np.where(span > 0, np.minimum(span, length), length)
    group = np.ceil(h / h_kv / 16.0) * 16.0  # one matrix instruction has 16 rows
    flops = 2.0 * b * h_kv * group * length * (np.asarray(qk_dim, float) + np.asarray(v_dim, float))
    moved = b * h_kv * length * np.asarray(kv_bytes_per_token_head, float)
    splits = np.ceil(length / 256.0)
    cache = max(facts.cache_bytes, 1.0)
    return {
        "compute_s": flops / facts.peak(arithmetic),
        "memory_s": moved / facts.mem_bytes_per_s,
        "resident": 1.0 / (1.0 + (moved / cache) ** 2),
        "sequences": b * h_kv / facts.unit_count,
        "splits": splits,
    }


def moe_terms(
    *,
    tokens: ArrayLike,
    pairs: ArrayLike,
    awake: ArrayLike,
    local_experts: ArrayLike,
    hidden: ArrayLike,
    inter: ArrayLike,
    matrices: ArrayLike,
    skew: ArrayLike,
    scheme: Scheme,
    facts: DeviceFacts,
) -> dict[str, FloatArray]:
    """Terms of one rank's routed experts.

    Parameters
    ----------
    tokens, pairs : array_like, shape (n,)
        Tokens that reach the rank's layer; (token, expert) pairs that it computes.
    awake, local_experts : array_like
        Experts of the rank with any token, and all of them.
    hidden, inter, matrices : array_like
        Width, local inner width, and projections per expert (3 gated, 2 plain).
    skew : array_like
        Exponent of the routing's power law, 0 for balanced.
    """
    t, routed, on, local, d, f = (
        np.atleast_1d(np.asarray(x, float))
        for x in (tokens, pairs, awake, local_experts, hidden, inter)
    )
    rows = routed / on
    padded = np.min([np.ceil(rows / size) * size for size in (16.0, 64.0, 128.0)], axis=0)
    number = np.asarray(matrices, float)
    flops_per_row = 2.0 * number * d * f
    peak, bandwidth = facts.peak(scheme.arithmetic), facts.mem_bytes_per_s
    moved = on * number * d * f * scheme.weight_bytes
    return {
        "compute_s": routed * flops_per_row / peak,
        "tiled_s": np.maximum(on * padded, routed) * flops_per_row / peak,
        "memory_s": moved / bandwidth,
        "activation_s": (t * d * 4.0 + routed * (4.0 * d + 2.0 * number * f)) / bandwidth,
        "resident": 1.0 / (1.0 + (moved / max(facts.cache_bytes, 1.0)) ** 2),
        "skew": np.broadcast_to(np.asarray(skew, float), routed.shape),
        "experts": local,
    }


def stream_terms(moved_bytes: ArrayLike, *, facts: DeviceFacts) -> dict[str, FloatArray]:
    """Terms of element-wise work, norms and quantisation."""
    moved = np.atleast_1d(np.asarray(moved_bytes, float))
    cache = max(facts.cache_bytes, 1.0)
    return {
        "memory_s": moved / facts.mem_bytes_per_s,
        "resident": 1.0 / (1.0 + (moved / cache) ** 2),
    }


def collective_terms(
    buffer_bytes: ArrayLike, ranks: ArrayLike, *, kind: str, facts: DeviceFacts
) -> dict[str, FloatArray]:
    """Terms of an ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.

    `buffer_bytes` is the large buffer on one rank. An all-reduce may also send the whole
    buffer to every other rank at once, which is quicker while it is small.
    """
    size = np.atleast_1d(np.asarray(buffer_bytes, float))
    count = np.broadcast_to(np.asarray(ranks, int), size.shape)
    rate = np.array([facts.links[int(r)].bytes_per_s for r in count])
    share = np.array([facts.links[int(r)].reduce_frac for r in count])
    part = (count - 1.0) / count
    reduces = kind == "all_reduce"
    ring_s = size * part * (2.0 * share if reduces else 1.0) / rate
    oneshot_s = size * (count - 1.0) / rate if reduces else ring_s
    return {"ring_s": ring_s, "oneshot_s": oneshot_s, "ranks": count / 2.0}
