# SPDX-License-Identifier: Apache-2.0
"""Physical terms of the operator laws: times at peak, and dimensionless ratios.

Shapes of operators come in as arrays of shape ``(n,)``; the device is one `DeviceFacts`.
Everything returned is broadcastable to ``(n,)``, but for the products of experts, which have
a leading axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.operators.facts import DeviceFacts
from calibration.operators.laws import FloatArray
from roofline.physics.kernel import tile_inflation
from roofline.physics.shares import DIAGONAL_KEYS, GROUP_ROWS, ITEM_KEYS

LOCAL_MEMORY_FRAC, LOCAL_CACHED_FRAC = 0.8, 0.6
"""Of the element-wise parts of measured MoE layers (permuting, activation, combining): share
of the bandwidth, and of the cached traffic that takes time; near what `quantise` and the
element-wise tables give, so that the constants of experts hold products alone."""


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


def product_terms(
    rows: FloatArray,
    columns: FloatArray,
    depth: FloatArray,
    *,
    arithmetic: str,
    facts: DeviceFacts,
    groups: FloatArray | float = 1.0,
    uneven: bool = False,
) -> dict[str, FloatArray]:
    """Terms of `groups` products that share `rows` rows, as the step prices them."""
    ideal_s = 2.0 * rows * columns * depth / facts.peak(arithmetic)
    inflation = tile_inflation(
        rows, columns[None], groups=groups, unit_count=facts.unit_count, uneven=uneven
    )[0]
    return {"ideal_s": ideal_s, "tiled_s": ideal_s * inflation, "per_k": 1.0 / depth}


def gemm_terms(
    m: ArrayLike, n: ArrayLike, k: ArrayLike, *, scheme: Scheme, facts: DeviceFacts
) -> dict[str, FloatArray]:
    """Terms of ``(m, k) x (k, n)``; weights from memory, activations as far as they spill."""
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, float)) for x in (m, n, k)))
    rows, columns, depth = (np.array(x) for x in arrays)
    wide = 4.0 if scheme.arithmetic == "fp32" else 2.0
    moved = columns * depth * scheme.weight_bytes + spilled(rows * (depth + columns) * wide, facts)
    bandwidth = facts.mem_bytes_per_s
    return {
        **product_terms(rows, columns, depth, arithmetic=scheme.arithmetic, facts=facts),
        "memory_s": moved / bandwidth,
        "resident": np.zeros(rows.size),
        "quantise_s": rows * depth * (2.0 + scheme.quantised_bytes) / bandwidth,
    }


def causal_pairs(q: FloatArray, kv: FloatArray, window: FloatArray) -> FloatArray:
    """(query, key) pairs of a causal pass; `window` 0 means none."""
    reach = np.where(window > 0, np.minimum(window, kv), kv)
    before = kv - q
    growing = np.clip(reach - before, 0.0, q)
    pairs: FloatArray = growing * before + growing * (growing + 1.0) / 2.0 + (q - growing) * reach
    return pairs


def prefill_terms(
    *,
    batch: ArrayLike,
    q: ArrayLike,
    kv: ArrayLike,
    heads: ArrayLike,
    head_dim: ArrayLike,
    v_head_dim: ArrayLike,
    kv_bytes_per_token: ArrayLike,
    window: ArrayLike,
    arithmetic: str,
    facts: DeviceFacts,
) -> dict[str, FloatArray]:
    """Terms of fused causal attention over a prompt."""
    arrays = (np.atleast_1d(np.asarray(x, float)) for x in (batch, q, kv, heads))
    b, q_len, kv_len, h = arrays
    widths = np.asarray(head_dim, float) + np.asarray(v_head_dim, float)
    pairs = causal_pairs(q_len, kv_len, np.asarray(window, float))
    scale = b * h
    waves = scale * q_len / (2.0 * DIAGONAL_KEYS * facts.unit_count)
    moved = b * kv_len * np.asarray(kv_bytes_per_token, float)
    moved = moved + b * q_len * h * widths * 2.0
    return {
        "pairs_s": 2.0 * widths * scale * pairs / facts.peak(arithmetic),
        "special_s": scale * pairs / facts.special_per_s,
        "diagonal": DIAGONAL_KEYS * q_len / pairs,
        "waves": np.ceil(waves) / waves,
        "memory_s": moved / facts.mem_bytes_per_s,
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
    flops = 2.0 * b * h * length * (np.asarray(qk_dim, float) + np.asarray(v_dim, float))
    group = h / h_kv
    flops = flops * (np.ceil(group / GROUP_ROWS) * GROUP_ROWS / group)
    bytes_each = np.asarray(kv_bytes_per_token_head, float)
    moved = b * h_kv * length * bytes_each
    item = facts.unit_count * np.minimum(length, ITEM_KEYS) * bytes_each
    cache = max(facts.cache_bytes, 1.0)
    return {
        "compute_s": flops / facts.peak(arithmetic),
        "memory_s": moved / facts.mem_bytes_per_s,
        "item_memory_s": item / facts.mem_bytes_per_s,
        "resident": 1.0 / (1.0 + (moved / cache) ** 2),
        "sequences": b * h_kv / facts.unit_count,
    }


def moe_terms(
    *,
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
    pairs : array_like, shape (n,)
        (token, expert) pairs that the rank computes.
    awake, local_experts : array_like
        Experts of the rank with any token, and all of them.
    hidden, inter, matrices : array_like
        Width, local inner width, and projections per expert (3 gated, 2 plain).
    skew : array_like
        Exponent of the routing's power law, 0 for balanced.
    """
    routed, on, local, d, f, number = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(x, float))
            for x in (pairs, awake, local_experts, hidden, inter, matrices)
        )
    )
    both = [
        product_terms(
            routed,
            columns,
            depth,
            arithmetic=scheme.arithmetic,
            facts=facts,
            groups=on,
            uneven=True,
        )
        for columns, depth in (((number - 1.0) * f, d), (d, f))
    ]
    moved = np.array([number - 1.0, np.ones_like(number)]) * (on * d * f * scheme.weight_bytes)
    local_bytes = [4.0 * d * routed, 2.0 * number * f * routed, 4.0 * d * routed]
    return {
        **{name: np.array([each[name] for each in both]) for name in both[0]},
        "memory_s": moved / facts.mem_bytes_per_s,
        "local_s": sum((_local_s(each, facts) for each in local_bytes), np.zeros(routed.size)),
        "resident": 1.0 / (1.0 + (moved.sum(axis=0) / max(facts.cache_bytes, 1.0)) ** 2),
        "skew": np.array(np.broadcast_to(np.asarray(skew, float), routed.shape)),
        "experts": np.array(local),
    }


def _local_s(moved_bytes: FloatArray, facts: DeviceFacts) -> FloatArray:
    """Seconds of element-wise traffic at typical shares."""
    terms = stream_terms(moved_bytes, facts=facts)
    return (terms["spilled_s"] + LOCAL_CACHED_FRAC * terms["cached_s"]) / LOCAL_MEMORY_FRAC


def stream_terms(moved_bytes: ArrayLike, *, facts: DeviceFacts) -> dict[str, FloatArray]:
    """Terms of element-wise work, norms and quantisation."""
    moved = np.atleast_1d(np.asarray(moved_bytes, float))
    beyond = spilled(moved, facts)
    return {
        "spilled_s": beyond / facts.mem_bytes_per_s,
        "cached_s": (moved - beyond) / facts.mem_bytes_per_s,
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
