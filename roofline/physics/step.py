# SPDX-License-Identifier: Apache-2.0
"""One pass of one rank over a plan: FLOPs, bytes, seconds of its operators, for many cases.

A case is a set of tokens, sequences and contexts on a device; a scalar is a case of one.
Operators are priced bundle by bundle: arrays have shape ``(rows, n)``, rows of the
bundle by cases. `operator_costs` lays them out for every operator; `phases` only sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roofline.physics.attention import mean_context_tokens, resident_context_tokens
from roofline.physics.constants import EXP_PER_VECTOR_FLOP
from roofline.physics.kernel import TILE_SHAPES, FloatArray
from roofline.physics.moe import distinct_experts
from roofline.physics.plan import (
    ARITHMETIC_INDEX,
    COLLECTIVES,
    MATRIX,
    ROUTED,
    SEQUENCES,
    TOKENS,
    Amount,
    AttentionOperator,
    Bundle,
    Plan,
    RecurrentOperator,
)
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRates:
    """What a group of ranks communicates over; arrays of shape ``(n,)``.

    `floor_s` is the time of an empty collective, `reduce_frac` the bytes of an
    all-reduce as a share of the ring's where the switch adds.
    """

    bytes_per_s: FloatArray
    floor_s: FloatArray
    reduce_frac: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the device of each case can do; arrays of shape ``(n,)`` but for the peaks.

    Parameters
    ----------
    peak_flops_per_s : ndarray, shape (n_arithmetic, n)
        Rows as in ``plan.ARITHMETIC``; a precision the device lacks carries the rate of
        what runs instead.
    mem_bytes_per_s, cache_bytes, unit_count : ndarray
    links : mapping of int to LinkRates
        By number of ranks.
    """

    peak_flops_per_s: FloatArray
    mem_bytes_per_s: FloatArray
    cache_bytes: FloatArray
    unit_count: FloatArray
    links: Mapping[int, LinkRates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What goes through the layers in one pass, per replica; arrays of shape ``(n,)``.

    Parameters
    ----------
    tokens, sequences : ndarray
        Tokens processed by the pass; sequences whose last position is sampled.
    cached_tokens, new_tokens : ndarray
        Per sequence: tokens already cached, and tokens of this pass (1 in decode).
    span_cached, span_new : ndarray
        The stretch that the pass is the mean of: a whole prompt cut into chunks, or all
        steps of a decode phase. Queries see ``mean_context_tokens(span_cached, span_new)``.
    cross_tokens, cross_context : ndarray
        Encoder tokens first seen now, and encoder tokens per sequence.
    decode : bool
        One query per sequence; latent attention absorbs.
    """

    tokens: FloatArray
    sequences: FloatArray
    cached_tokens: FloatArray
    new_tokens: FloatArray
    span_cached: FloatArray
    span_new: FloatArray
    cross_tokens: FloatArray
    cross_context: FloatArray
    decode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCosts:
    """Per operator and case, of one layer; ``count`` layers have it.

    `flops`, `moved_bytes`, `sent_bytes`, `compute_s`, `memory_s`, `link_s`, `floor_s`
    have shape ``(n_ops, n)``; `count`, `arithmetic`, `launches` shape ``(n_ops,)``.
    `layers` is the number of layers of the plan.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    layers: Amount
    count: FloatArray
    arithmetic: FloatArray
    launches: FloatArray
    flops: FloatArray
    moved_bytes: FloatArray
    sent_bytes: FloatArray
    compute_s: FloatArray
    memory_s: FloatArray
    link_s: FloatArray
    floor_s: FloatArray

    @property
    def time_s(self) -> FloatArray:
        """Seconds of one layer's operator: the slower of its resources, plus its floor."""
        busy = np.maximum(np.maximum(self.compute_s, self.memory_s), self.link_s)
        return busy + self.floor_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a pass brings to a bundle; arrays of shape ``(n,)``.

    `units` of the bundle's driver; `present` is 1 where there are any; `awake` routed
    experts of this rank, 1 for what is not routed.
    """

    units: FloatArray
    present: FloatArray | float
    awake: FloatArray | float


def load_of(plan: Plan, bundle: Bundle, step: Pass, engine: Engine) -> Load:
    """Units of the bundle's driver in one pass, and the experts that they wake."""
    pooled = step.tokens * max(1, plan.pooled_replicas)
    if bundle.driver == TOKENS:
        units = step.tokens
    elif bundle.driver == SEQUENCES:
        units = step.sequences
    elif bundle.driver == ROUTED:
        units = pooled * (plan.topk / plan.expert_ranks)
    else:
        units = step.cross_tokens
    positive = units > bundle.above
    return Load(
        units=units,
        present=1.0 if positive.all() else positive.astype(float),
        awake=_experts_awake(plan, pooled, engine) if bundle.routed else 1.0,
    )


def _experts_awake(plan: Plan, pooled_tokens: FloatArray, engine: Engine) -> FloatArray:
    """Experts of this rank that at least one token is sent to."""
    experts, topk, skew = plan.num_experts, plan.topk, engine.routing_skew
    if isinstance(experts, int) and isinstance(topk, int):
        one = distinct_experts(pooled_tokens, num_experts=experts, topk=topk, skew=skew)
        return one / plan.expert_ranks
    experts, topk = np.asarray(experts), np.asarray(topk)
    awake = np.empty_like(pooled_tokens)
    for held, chosen in set(zip(experts.tolist(), topk.tolist(), strict=True)):
        rows = (experts == held) & (topk == chosen)
        awake[rows] = distinct_experts(
            pooled_tokens[rows], num_experts=held, topk=chosen, skew=skew
        )
    return awake / plan.expert_ranks


def moved_bytes(bundle: Bundle, load: Load, rates: Rates, engine: Engine) -> FloatArray:
    """Bytes of one layer, shape ``(rows, n)``.

    Weights once per pass (routed experts: as many as the tokens wake); activations as
    far as they exceed the last-level cache, and not at all where operators overlap.
    """
    if engine.overlaps and not bundle.always_spills:
        moved = np.zeros((len(bundle.flops), load.units.shape[0]))
    else:
        moved = bundle.act_bytes * load.units
        if not bundle.always_spills:
            moved -= rates.cache_bytes
            np.maximum(moved, 0.0, out=moved)
    if bundle.weighs:
        moved += bundle.weight_bytes * (load.present * load.awake)
    return moved


def compute_time_s(bundle: Bundle, load: Load, rates: Rates, engine: Engine) -> FloatArray:
    """Seconds of one layer's arithmetic, shape ``(rows, n)``, tiles and waves included."""
    matrix = bundle.kind in MATRIX
    rate = rates.peak_flops_per_s[bundle.arithmetic] * (engine.compute_frac if matrix else 1.0)
    compute_s: FloatArray = bundle.flops * (load.units / rate)
    if matrix and engine.tile_weight_frac:
        compute_s *= _inflation(bundle, load, rates, engine)
    return compute_s


def _inflation(bundle: Bundle, load: Load, rates: Rates, engine: Engine) -> FloatArray:
    """Tile and wave inflation of GEMMs; each awake expert is a GEMM of its own.

    `kernel.tile_inflation` for groups of equal GEMMs launched together.
    """
    groups = np.maximum(load.awake, 1e-9)
    total = np.maximum(load.units, 1e-9)
    rows = total / groups
    best: FloatArray | None = None
    widths = {tile for _, tile in TILE_SHAPES}
    column_tiles = {width: np.ceil(bundle.columns * (1.0 / width)) for width in widths}
    for tile_rows, tile_columns in TILE_SHAPES:
        row_tiles = np.ceil(rows * (1.0 / tile_rows)) * groups
        waves = row_tiles * column_tiles[tile_columns]
        waves /= rates.unit_count
        whole = np.ceil(waves)
        # One wave or less: split-K fills the device, only the padding of tiles remains.
        np.copyto(waves, whole, where=whole > 1.0)
        waves *= float(tile_rows * tile_columns)
        best = waves if best is None else np.minimum(best, waves, out=best)
    assert best is not None  # TILE_SHAPES is not empty
    best *= rates.unit_count / total
    best /= bundle.columns
    np.maximum(best, 1.0, out=best)
    best *= engine.tile_weight_frac
    best += 1.0 - engine.tile_weight_frac
    return best


def link_rate_s(
    bundle: Bundle, load: Load, rates: Rates, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """Seconds per byte sent, and seconds of an empty collective; shape ``(n,)``."""
    link = rates.links[bundle.ranks]
    share = link.reduce_frac if bundle.kind == "all_reduce" else 1.0
    floor_s = np.zeros_like(load.units) if engine.overlaps else link.floor_s * load.present
    return share / (link.bytes_per_s * engine.link_frac), floor_s


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
    if isinstance(op, AttentionOperator):
        flops, moved, compute_s = _attention(op, step, rates, engine)
    else:
        flops, moved, compute_s = _recurrence(op, step, rates, engine)
    return MixerCosts(
        flops=flops,
        moved_bytes=moved,
        compute_s=compute_s,
        memory_s=moved / (rates.mem_bytes_per_s * engine.memory_frac),
        floor_s=np.where(step.tokens > 0.0, engine.attention_floor_s, 0.0),
    )


_Work = tuple[FloatArray, FloatArray, FloatArray]


def _attention(op: AttentionOperator, step: Pass, rates: Rates, engine: Engine) -> _Work:
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
    if op.topk is not None:
        flops = flops + queries * whole * op.index_flops_per_pair
        moved = moved + sequences * whole * op.index_bytes_per_token
    if not engine.overlaps:
        moved = moved + np.maximum(queries * op.io_bytes_per_token - rates.cache_bytes, 0.0)
        if not engine.fuses_attention:
            moved = moved + np.maximum(pairs * op.score_bytes - rates.cache_bytes, 0.0)
    peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[op.arithmetic]]
    compute_s = flops / (peak * (engine.compute_frac if step.decode else engine.attention_frac))
    if not engine.overlaps:
        vector = rates.peak_flops_per_s[ARITHMETIC_INDEX["vector"]]
        compute_s = compute_s + pairs * op.num_heads / (vector * EXP_PER_VECTOR_FLOP)
    return flops, moved, compute_s


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
        moved = moved + np.maximum(queries * op.io_bytes_per_token - rates.cache_bytes, 0.0)
    peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[arithmetic]]
    return flops, moved, flops / (peak * engine.attention_frac)


def operator_costs(plan: Plan, step: Pass, rates: Rates, engine: Engine) -> OperatorCosts:
    """Price every operator of `plan` for every case of `step`.

    Notes
    -----
    Compute time is FLOPs over ``peak * compute_frac``, lengthened by tiles and waves;
    memory time is bytes over ``bandwidth * memory_frac``. Weights are read once per
    pass (routed experts: as many as the tokens wake), the KV cache once per pass,
    intermediates only as far as they exceed the last-level cache.
    """
    mixers = plan.mixers
    arrays = np.zeros((7, plan.size, step.tokens.shape[0]))
    for bundle in plan.bundles:
        _fill_bundle(arrays, plan, bundle, step, rates, engine)
    for row, op in enumerate(mixers, len(plan.operators)):
        cost = mixer_costs(op, step, rates, engine)
        arrays[0, row], arrays[1, row] = cost.flops, cost.moved_bytes
        arrays[3, row], arrays[4, row] = cost.compute_s, cost.memory_s
        arrays[6, row] = cost.floor_s
    return OperatorCosts(
        names=(*(op.name for op in plan.operators), *(op.name for op in mixers)),
        kinds=(
            *(op.kind for op in plan.operators),
            *("attention" for _ in plan.attention),
            *("recurrent" for _ in plan.recurrent),
        ),
        layers=plan.layers,
        count=np.concatenate([plan.count, [op.count for op in mixers]]),
        arithmetic=np.concatenate(
            [plan.arithmetic, [ARITHMETIC_INDEX[op.arithmetic] for op in mixers]]
        ).astype(np.intp),
        launches=np.concatenate([plan.launches, [1.0 for _ in mixers]]),
        flops=arrays[0],
        moved_bytes=arrays[1],
        sent_bytes=arrays[2],
        compute_s=arrays[3],
        memory_s=arrays[4],
        link_s=arrays[5],
        floor_s=arrays[6],
    )


def _fill_bundle(
    arrays: FloatArray, plan: Plan, bundle: Bundle, step: Pass, rates: Rates, engine: Engine
) -> None:
    """Write the costs of a bundle's operators, in the order of ``OperatorCosts``."""
    load = load_of(plan, bundle, step, engine)
    rows, members = list(bundle.row_of), list(bundle.members)
    moved = moved_bytes(bundle, load, rates, engine)
    arrays[0, members] = (bundle.flops * load.units)[rows]
    arrays[1, members] = moved[rows]
    arrays[2, members] = (bundle.sent_bytes * load.units)[rows]
    arrays[3, members] = compute_time_s(bundle, load, rates, engine)[rows]
    arrays[4, members] = (moved / (rates.mem_bytes_per_s * engine.memory_frac))[rows]
    floor_s = plan.launches[members, None] * engine.kernel_floor_s * load.present
    if bundle.kind in COLLECTIVES:
        each_s, empty_s = link_rate_s(bundle, load, rates, engine)
        arrays[5, members] = arrays[2, members] * each_s
        floor_s = floor_s + empty_s
    arrays[6, members] = floor_s
