# SPDX-License-Identifier: Apache-2.0
"""One pass of one rank over a plan: FLOPs, bytes, seconds of every operator, for many cases.

Arrays have shape ``(n_ops, n)``: operators of the plan by cases. A case is a set of
tokens, sequences and contexts on a device; a scalar is a case of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roofline.physics.attention import mean_context_tokens, resident_context_tokens
from roofline.physics.kernel import TILE_SHAPES, FloatArray
from roofline.physics.moe import distinct_experts
from roofline.physics.plan import (
    ARITHMETIC_INDEX,
    COLLECTIVES,
    CROSS,
    KIND_INDEX,
    ROUTED,
    AttentionOperator,
    Plan,
    RecurrentOperator,
)
from specs.engine import Engine

_MATRIX_KINDS = (KIND_INDEX["gemm"], KIND_INDEX["moe_gemm"])
_COLLECTIVE_KINDS = tuple(KIND_INDEX[name] for name in COLLECTIVES)


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
    layers: float
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


def operator_costs(plan: Plan, step: Pass, rates: Rates, engine: Engine) -> OperatorCosts:
    """Price every operator of `plan` for every case of `step`.

    Notes
    -----
    Compute time is FLOPs over ``peak * compute_frac``, lengthened by tiles and waves;
    memory time is bytes over ``bandwidth * memory_frac``. Weights are read once per
    pass (routed experts: as many as the tokens wake), the KV cache once per pass,
    intermediates only as far as they exceed the last-level cache.
    """
    parts = [_linear_rows(plan, step, rates, engine)]
    parts += [_attention_row(op, step, rates, engine) for op in plan.attention]
    parts += [_recurrent_row(op, step, rates, engine) for op in plan.recurrent]
    flops, moved, sent, compute_s, memory_s, link_s, floor_s = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    specials: tuple[AttentionOperator | RecurrentOperator, ...]
    specials = (*plan.attention, *plan.recurrent)
    return OperatorCosts(
        names=(*(op.name for op in plan.operators), *(op.name for op in specials)),
        kinds=(
            *(op.kind for op in plan.operators),
            *("attention" for _ in plan.attention),
            *("recurrent" for _ in plan.recurrent),
        ),
        layers=sum(op.count for op in specials),
        count=np.concatenate([plan.count, [op.count for op in specials]]),
        arithmetic=np.concatenate(
            [plan.arithmetic, [ARITHMETIC_INDEX[op.arithmetic] for op in specials]]
        ).astype(np.intp),
        launches=np.concatenate([plan.launches, [1.0 for _ in specials]]),
        flops=flops,
        moved_bytes=moved,
        sent_bytes=sent,
        compute_s=compute_s,
        memory_s=memory_s,
        link_s=link_s,
        floor_s=floor_s,
    )


_Columns = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]


def _linear_rows(plan: Plan, step: Pass, rates: Rates, engine: Engine) -> _Columns:
    """Everything whose work is proportional to tokens, sequences or routed pairs."""
    n = step.tokens.shape[0]
    pooled = step.tokens * max(1, plan.pooled_replicas)
    drivers = np.empty((4, n))
    drivers[0], drivers[1], drivers[CROSS] = step.tokens, step.sequences, step.cross_tokens
    drivers[ROUTED] = pooled * (plan.topk / plan.expert_ranks)
    units = drivers[plan.driver]
    flops = plan.flops[:, None] * units
    moved = plan.act_bytes[:, None] * units
    kept = np.where(plan.always_spills[:, None], 0.0, rates.cache_bytes)
    np.maximum(moved - kept, 0.0, out=moved)
    if engine.overlaps:
        moved *= plan.always_spills[:, None]
    weights = plan.weight_bytes[:, None] * (units > 0.0)
    routed = plan.experts > 0
    awake = np.ones(n)
    if routed.any():
        awake = _experts_awake(plan, pooled, engine)
        weights[routed] *= awake
    moved += weights
    compute_s = flops / rates.peak_flops_per_s[plan.arithmetic]
    matrix = np.isin(plan.kind, _MATRIX_KINDS)
    compute_s /= np.where(matrix, engine.compute_frac, 1.0)[:, None]
    if engine.tile_weight_frac:
        compute_s[matrix] *= _inflation(plan, matrix, units, awake, rates, engine)
    memory_s = moved / (rates.mem_bytes_per_s * engine.memory_frac)
    sent = plan.sent_bytes[:, None] * units
    link_s, floor_s = _link_rows(plan, sent, rates, engine)
    floor_s += (plan.launches * engine.kernel_floor_s)[:, None] * (units > 0.0)
    return flops, moved, sent, compute_s, memory_s, link_s, floor_s


def _experts_awake(plan: Plan, pooled_tokens: FloatArray, engine: Engine) -> FloatArray:
    """Experts of this rank that at least one token is sent to."""
    awake = distinct_experts(
        pooled_tokens, num_experts=plan.num_experts, topk=plan.topk, skew=engine.routing_skew
    )
    return awake / plan.expert_ranks


def _inflation(
    plan: Plan,
    matrix: np.ndarray,
    units: FloatArray,
    awake: FloatArray,
    rates: Rates,
    engine: Engine,
) -> FloatArray:
    """Tile and wave inflation of the GEMM rows; each awake expert is a GEMM of its own.

    `kernel.tile_inflation` for groups of equal GEMMs launched together.
    """
    columns = plan.columns[matrix][:, None]
    groups = np.where(plan.experts[matrix][:, None] > 0, np.maximum(awake, 1e-9), 1.0)
    total = np.maximum(units[matrix], 1e-9)
    rows = total / groups
    best = np.full(rows.shape, np.inf)
    for tile_rows, tile_columns in TILE_SHAPES:
        tiles = np.ceil(rows * (1.0 / tile_rows))
        tiles *= np.ceil(columns * (1.0 / tile_columns))
        tiles *= groups
        waves = tiles / rates.unit_count
        spread = np.where(waves <= 1.0, waves, np.ceil(waves))
        spread *= rates.unit_count * float(tile_rows * tile_columns)
        np.minimum(best, spread, out=best)
    best /= total * columns
    return 1.0 + engine.tile_weight_frac * (np.maximum(best, 1.0) - 1.0)


def _link_rows(
    plan: Plan, sent: FloatArray, rates: Rates, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """Seconds on the link and the latency of collectives; zero for all other rows."""
    link_s, floor_s = np.zeros(sent.shape), np.zeros(sent.shape)
    for index in np.flatnonzero(np.isin(plan.kind, _COLLECTIVE_KINDS)):
        link = rates.links[int(plan.ranks[index])]
        share = link.reduce_frac if plan.operators[index].kind == "all_reduce" else 1.0
        link_s[index] = sent[index] * share / (link.bytes_per_s * engine.link_frac)
        if not engine.overlaps:
            floor_s[index] = link.floor_s * (sent[index] > 0.0)
    return link_s, floor_s


def _attention_row(op: AttentionOperator, step: Pass, rates: Rates, engine: Engine) -> _Columns:
    """Softmax attention: pairs of queries and keys, and the cache read once."""
    context, resident, whole = _contexts(op, step)
    queries = step.tokens
    pairs = queries * context
    if step.decode:
        flops = 2.0 * pairs * op.num_heads * (op.decode_head_dim + op.decode_v_head_dim)
    else:
        flops = 2.0 * pairs * op.num_heads * (op.head_dim + op.v_head_dim)
    flops = flops + queries * whole * op.index_flops_per_pair
    sequences = queries / step.new_tokens
    moved = sequences * resident * op.kv_bytes_per_token
    moved = moved + sequences * whole * op.index_bytes_per_token
    if not engine.overlaps:
        moved = moved + np.maximum(queries * op.io_bytes_per_token - rates.cache_bytes, 0.0)
        moved = moved + np.maximum(pairs * op.score_bytes - rates.cache_bytes, 0.0)
    peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[op.arithmetic]]
    frac = engine.compute_frac if step.decode else engine.attention_frac
    compute_s = flops / (peak * frac)
    memory_s = moved / (rates.mem_bytes_per_s * engine.memory_frac)
    floor_s = np.where(queries > 0.0, engine.attention_floor_s, 0.0)
    return _row(flops, moved, compute_s, memory_s, floor_s)


def _contexts(op: AttentionOperator, step: Pass) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Keys per query, keys read per sequence, keys scored by a sparse index per query."""
    if op.cross:
        return step.cross_context, step.cross_context, step.cross_context
    if not op.causal:
        everything = step.cached_tokens + step.new_tokens
        return everything, everything, everything
    window = op.window
    if op.topk is not None:
        window = op.topk if window is None else min(window, op.topk)
    context = mean_context_tokens(step.span_cached, step.span_new, window=window)
    whole = mean_context_tokens(step.span_cached, step.span_new, window=op.window)
    if step.decode:
        return context, context, whole
    resident = resident_context_tokens(step.cached_tokens, step.new_tokens, window=op.window)
    return context, resident, whole


def _recurrent_row(op: RecurrentOperator, step: Pass, rates: Rates, engine: Engine) -> _Columns:
    """A state read and written once per sequence, and its update."""
    queries = step.tokens
    sequences = queries / step.new_tokens
    if step.decode:
        flops = queries * op.state_flops_per_token
        peak = rates.peak_flops_per_s[ARITHMETIC_INDEX["vector"]]
    else:
        flops = queries * op.matrix_flops_per_token
        peak = rates.peak_flops_per_s[ARITHMETIC_INDEX[op.arithmetic]]
    moved = 2.0 * sequences * op.state_bytes
    if not engine.overlaps:
        moved = moved + np.maximum(queries * op.io_bytes_per_token - rates.cache_bytes, 0.0)
    compute_s = flops / (peak * engine.attention_frac)
    memory_s = moved / (rates.mem_bytes_per_s * engine.memory_frac)
    floor_s = np.where(queries > 0.0, engine.attention_floor_s, 0.0)
    return _row(flops, moved, compute_s, memory_s, floor_s)


def _row(
    flops: FloatArray,
    moved: FloatArray,
    compute_s: FloatArray,
    memory_s: FloatArray,
    floor_s: FloatArray,
) -> _Columns:
    zero = np.zeros((1, flops.shape[0]))
    return (
        flops[None],
        moved[None],
        zero,
        compute_s[None],
        memory_s[None],
        zero,
        floor_s[None],
    )
