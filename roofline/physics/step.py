# SPDX-License-Identifier: Apache-2.0
"""One pass of one rank over a plan: FLOPs, bytes, seconds of its operators, for many cases.

A case is a set of tokens, sequences and contexts on a device; a scalar is a case of one.
Operators are priced bundle by bundle: arrays have shape ``(rows, n)``, rows of the
bundle by cases. `operator_costs` lays them out for every operator; `phases` only sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.physics.kernel import TILE_SHAPES, FloatArray
from roofline.physics.mixers import context_swing_frac, mixer_costs
from roofline.physics.moe import distinct_experts
from roofline.physics.passes import Pass, Rates
from roofline.physics.plan import (
    ARITHMETIC_INDEX,
    COLLECTIVES,
    MATRIX,
    ROUTED,
    SEQUENCES,
    TOKENS,
    Amount,
    Bundle,
    Plan,
)
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCosts:
    """Per operator and case, of one layer; ``count`` layers have it.

    `flops`, `moved_bytes`, `sent_bytes`, `compute_s`, `memory_s`, `link_s`, `floor_s`
    have shape ``(n_ops, n)``; `count`, `arithmetic`, `launches` shape ``(n_ops,)``.
    `layers` is the number of layers of the plan. `swing_frac` is how far an operator's time
    goes up and down around its mean while the context of a decode phase grows.
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
    swing_frac: FloatArray

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
    awake = _experts_awake(plan, pooled, engine) if bundle.routed else 1.0
    positive = units > bundle.above * np.maximum(awake, 1.0)
    return Load(
        units=units,
        present=1.0 if positive.all() else positive.astype(float),
        awake=awake,
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
        row_tiles = _row_tiles(rows, tile_rows, bundle.routed) * groups
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


def _row_tiles(rows: FloatArray, tile_rows: int, routed: bool) -> FloatArray:
    """Tiles that the rows of one GEMM fill.

    The rows of routed experts differ, so that their mean number fills ``x / t`` tiles and
    half a tile less half a row more, and at least one: the mean of the ceiling over
    evenly spread remainders.
    """
    if not routed:
        return np.ceil(rows * (1.0 / tile_rows))
    return np.maximum(rows * (1.0 / tile_rows) + (0.5 - 0.5 / tile_rows), 1.0)


def link_rate_s(
    bundle: Bundle, load: Load, rates: Rates, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """Seconds per byte sent, and seconds of an empty collective; shape ``(n,)``."""
    link = rates.links[bundle.ranks]
    share = link.reduce_frac if bundle.kind == "all_reduce" else 1.0
    floor_s = np.zeros_like(load.units) if engine.overlaps else link.floor_s * load.present
    return share / (link.bytes_per_s * engine.link_frac), floor_s


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
    arrays = np.zeros((8, plan.size, step.tokens.shape[0]))
    for bundle in plan.bundles:
        _fill_bundle(arrays, plan, bundle, step, rates, engine)
    for row, op in enumerate(mixers, len(plan.operators)):
        cost = mixer_costs(op, step, rates, engine)
        arrays[0, row], arrays[1, row] = cost.flops, cost.moved_bytes
        arrays[3, row], arrays[4, row] = cost.compute_s, cost.memory_s
        arrays[6, row] = cost.floor_s
        if step.decode:
            arrays[7, row] = context_swing_frac(op, step)
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
        swing_frac=arrays[7],
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
