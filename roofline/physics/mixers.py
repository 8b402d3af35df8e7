# SPDX-License-Identifier: Apache-2.0
"""Token mixers of one pass: attention over a context, recurrences over a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.physics.attention import mean_context_tokens, resident_context_tokens
from roofline.physics.constants import EXP_PER_VECTOR_FLOP
from roofline.physics.kernel import FloatArray, spilled_bytes
from roofline.physics.passes import Pass, Rates
from roofline.physics.plan import ARITHMETIC_INDEX, AttentionOperator, RecurrentOperator
from roofline.physics.shares import DIAGONAL_KEYS, GROUP_ROWS, ITEM_KEYS, Shares, blended, by_class
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class MixerCosts:
    """One layer of an attention or a recurrence; arrays of shape ``(n,)``."""

    flops: FloatArray
    moved_bytes: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    floor_s: FloatArray


def mixer_costs(
    op: AttentionOperator | RecurrentOperator, step: Pass, rates: Rates, engine: Engine
) -> MixerCosts:
    """Price one layer of a token mixer."""
    memory_frac, gap_s = engine.memory_frac, rates.gap_s(engine)
    if isinstance(op, RecurrentOperator):
        flops, moved, compute_s = _recurrence(op, step, rates, engine)
    else:
        work = _attention(op, step, rates, engine)
        shares = rates.shares_under(engine)
        if shares is not None:
            return _attention_costs(op, step, rates, work, shares, gap_s)
        frac = engine.compute_frac if step.decode else engine.attention_frac
        memory_frac = engine.cache_frac or memory_frac if step.decode else memory_frac
        flops, moved = work.flops, work.moved_bytes
        compute_s = work.at_peak_s / frac + work.special_s
        if engine.cache_ops and step.decode:
            lanes = rates.integer_ops_per_s * engine.unpack_frac
            each = 0.5 * work.flops * rates.by_api(engine.cache_ops)  # multiply-adds
            compute_s = np.maximum(compute_s, each / lanes)
    return MixerCosts(
        flops=flops,
        moved_bytes=moved,
        compute_s=compute_s,
        memory_s=moved / (rates.mem_bytes_per_s * memory_frac),
        floor_s=np.where(step.tokens > 0.0, engine.attention_floor_s + gap_s, 0.0),
    )


def _attention_costs(
    op: AttentionOperator,
    step: Pass,
    rates: Rates,
    work: _Attention,
    shares: Shares,
    gap_s: FloatArray | float,
) -> MixerCosts:
    """Softmax attention at learned shares of its kind.

    Queries of a prompt multiply whole tiles of keys, some beyond the diagonal, in whole
    waves; what they read and write takes time in the cache too. In decode few items of
    work do not fill the memory, and where sequences are short, their number times the KV
    heads sets the pace instead of bytes.
    """
    found = by_class(shares.decode if step.decode else shares.prefill, op.variant)
    compute, memory, loss, special, padding, wave, cached, fill, item_s, floor_s = found
    compute_s, moved = work.at_peak_s / compute + special * work.special_s, work.moved_bytes
    if step.decode:
        kv_heads = np.maximum(op.kv_heads, 1e-9)
        group = np.maximum(op.num_heads / kv_heads, 1e-9)
        padded = np.ceil(group / GROUP_ROWS) * GROUP_ROWS / group
        compute_s = compute_s * (1.0 + padding * (padded - 1.0))
        item_bytes = np.minimum(work.context, ITEM_KEYS) * (op.kv_bytes_per_token / kv_heads)
        moved = moved + fill * rates.unit_count * item_bytes * (step.tokens > 0.0)
    else:
        beyond = DIAGONAL_KEYS / np.maximum(work.context, 1.0) if op.causal else 0.0
        full = step.tokens / step.full_frac
        tiles = full * op.num_heads / (2.0 * DIAGONAL_KEYS * rates.unit_count)
        waves = np.maximum(tiles, 1e-9)
        compute_s = compute_s * (1.0 + padding * beyond)
        near = np.minimum(step.tokens * op.io_bytes_per_token, rates.cache_bytes)
        moved = moved + cached * near
        compute_s = compute_s * (1.0 + wave * (np.ceil(waves) / waves - 1.0))
    memory_s = moved / (rates.mem_bytes_per_s * memory)
    compute_s, memory_s = blended(compute_s, memory_s, loss)
    items_s = step.sequences * op.kv_heads * (item_s / rates.unit_count)
    idle_s = np.maximum(items_s - np.maximum(compute_s, memory_s), 0.0)
    return MixerCosts(
        flops=work.flops,
        moved_bytes=work.moved_bytes,
        compute_s=compute_s,
        memory_s=memory_s,
        floor_s=np.where(step.tokens > 0.0, floor_s + gap_s + idle_s, 0.0),
    )


def context_swing_frac(op: AttentionOperator | RecurrentOperator, step: Pass) -> FloatArray:
    """Half the range of a decode phase's context over its mean, where time follows it.

    Zero for recurrences, and for attention that sees only part of a long past.
    """
    if not isinstance(op, AttentionOperator) or op.cross or not op.causal:
        return np.zeros_like(step.span_new)
    if op.window is not None or op.topk is not None or op.compression > 1:
        return np.zeros_like(step.span_new)
    half = (step.span_new - 1.0) / 2.0
    return half / (step.span_cached + 1.0 + half)


_Work = tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attention:
    """What attention does: keys per query, and its matrix and special functions at peak."""

    flops: FloatArray
    moved_bytes: FloatArray
    context: FloatArray
    at_peak_s: FloatArray
    special_s: FloatArray | float


def _attention(op: AttentionOperator, step: Pass, rates: Rates, engine: Engine) -> _Attention:
    """FLOPs, bytes, seconds of softmax attention: pairs of queries and keys, the cache once.

    Where operators do not overlap, the exponentials of the scores take time of their own
    on the special-function units: one per pair and head, `EXP_PER_VECTOR_FLOP`.
    """
    context, resident, whole = _contexts(op, step)
    queries = step.tokens
    pairs = queries * context
    widths = op.head_dim + op.v_head_dim
    if step.decode:
        widths = op.decode_head_dim + op.decode_v_head_dim
    flops = pairs * (2.0 * op.num_heads * widths)
    sequences = queries / step.new_tokens
    moved = sequences * resident * op.kv_bytes_per_token
    if step.decode and engine.copies_cache and not op.cross:
        moved = 3.0 * moved  # read and written for the copy, then read
    if op.topk is not None:
        flops = flops + queries * whole * op.index_flops_per_pair
        moved = moved + sequences * whole * op.index_bytes_per_token
    if not engine.overlaps:
        moved = moved + spilled_bytes(queries * op.io_bytes_per_token, rates.cache_bytes)
        if not engine.fuses_attention:
            moved = moved + spilled_bytes(pairs * op.score_bytes, rates.cache_bytes)
    peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[op.arithmetic]]
    special_s: FloatArray | float = 0.0
    if not engine.overlaps:
        vector = rates.peak_flops_per_s[ARITHMETIC_INDEX["vector"]]
        special_s = pairs * op.num_heads / (vector * EXP_PER_VECTOR_FLOP)
    return _Attention(
        flops=flops, moved_bytes=moved, context=context, at_peak_s=flops / peak, special_s=special_s
    )


def _contexts(op: AttentionOperator, step: Pass) -> _Work:
    """Keys per query, keys read per sequence, keys scored by a sparse index per query."""
    if op.cross:
        return step.cross_context, step.cross_context, step.cross_context
    if not op.causal:
        everything = step.cached_tokens + step.new_tokens
        return everything, everything, everything
    whole = mean_context_tokens(step.span_cached, step.span_new, window=op.window)
    context = whole
    if op.compression > 1:
        return _compressed_contexts(op, step, whole)
    if op.topk is not None:
        window = op.topk if op.window is None else min(op.window, op.topk)
        context = mean_context_tokens(step.span_cached, step.span_new, window=window)
    if step.decode:
        return context, context, whole
    resident = resident_context_tokens(step.cached_tokens, step.new_tokens, window=op.window)
    return context, resident, whole


def _compressed_contexts(op: AttentionOperator, step: Pass, near: FloatArray) -> _Work:
    """`_contexts` of layers that see a window, and the whole past in compressed entries."""
    entries = mean_context_tokens(step.span_cached, step.span_new) / op.compression
    seen = entries
    if op.topk is not None:
        reach = op.topk * op.compression
        seen = mean_context_tokens(step.span_cached, step.span_new, window=reach) / op.compression
    context = near + seen
    if step.decode:
        return context, context, entries
    resident = resident_context_tokens(step.cached_tokens, step.new_tokens, window=op.window)
    past = resident_context_tokens(step.cached_tokens, step.new_tokens) / op.compression
    return context, resident + past, entries


def _recurrence(op: RecurrentOperator, step: Pass, rates: Rates, engine: Engine) -> _Work:
    """FLOPs, bytes, seconds of a state read and written once per sequence, and its update."""
    queries = step.tokens
    if step.decode:
        flops, arithmetic = queries * op.state_flops_per_token, "vector"
    else:
        flops, arithmetic = queries * op.matrix_flops_per_token, op.arithmetic
    moved = queries / step.new_tokens * (2.0 * op.state_bytes)
    if not engine.overlaps:
        moved = moved + spilled_bytes(queries * op.io_bytes_per_token, rates.cache_bytes)
    peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[arithmetic]]
    return flops, moved, flops / (peak * engine.attention_frac)
