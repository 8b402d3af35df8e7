# SPDX-License-Identifier: Apache-2.0
"""One pass of one rank over a plan: FLOPs, bytes, seconds of its operators, for many cases.

A case is a set of tokens, sequences and contexts on a device; a scalar is a case of one.
Operators are priced bundle by bundle: arrays have shape ``(rows, n)``, rows of the
bundle by cases. `operator_costs` lays them out for every operator; `phases` only sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.physics.bundle import Bundle
from roofline.physics.kernel import FloatArray, tile_inflation
from roofline.physics.lanes import on_lanes
from roofline.physics.mixers import context_swing_frac, mixer_costs
from roofline.physics.moe import distinct_experts
from roofline.physics.passes import LinkRates, Pass, Rates
from roofline.physics.plan import (
    ARITHMETIC_INDEX,
    COLLECTIVES,
    MATRIX,
    ROUTED,
    SEQUENCES,
    TOKENS,
    Amount,
    Plan,
)
from roofline.physics.shares import Shares, blended, by_class
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCosts:
    """Per operator and case, of one layer; ``count`` layers have it.

    `flops`, `moved_bytes`, `sent_bytes`, `unpack_ops`, `compute_s`, `memory_s`, `link_s`, `floor_s`
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
    unpack_ops: FloatArray
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

    `units` of the bundle's driver, `full_units` those of a full pass; `present` is 1 where
    there are any; `awake` routed experts of this rank, 1 for what is not routed.
    """

    units: FloatArray
    full_units: FloatArray
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
        full_units=units if isinstance(step.full_frac, float) else units / step.full_frac,
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


def bundle_shares(bundle: Bundle, rates: Rates, engine: Engine) -> FloatArray | None:
    """Learned shares of the rows of a bundle, None where there are none, and for collectives.

    Of products as ``shares.PRODUCT`` names them, else as ``shares.LOCAL``; shape
    ``(fields, rows or 1, n or 1)``.
    """
    shares = rates.shares_under(engine)
    if shares is None or bundle.kind in COLLECTIVES:
        return None
    if bundle.kind not in MATRIX:
        return by_class(shares.local, bundle.scheme)
    return by_class(shares.moe if bundle.kind == "moe_gemm" else shares.gemm, bundle.scheme)


def compute_time_s(
    bundle: Bundle, load: Load, rates: Rates, engine: Engine, at: FloatArray | None
) -> FloatArray:
    """Seconds of one layer's arithmetic, shape ``(rows, n)``, tiles and waves included.

    `at` are the bundle's shares (`bundle_shares`).
    """
    peak = rates.peak_flops_per_s[bundle.arithmetic]
    if bundle.kind not in MATRIX:
        at_peak_s: FloatArray = bundle.flops * (load.units / peak)
        return at_peak_s
    if at is not None:
        product_s = _product_time_s(bundle, load, rates, engine, at)
        return on_lanes(bundle, load, rates, engine, product_s)
    compute_s: FloatArray = bundle.flops * (load.units / (peak * engine.compute_frac))
    if engine.tile_weight_frac:
        inflation = _inflation(bundle, load, rates, engine)
        inflation *= engine.tile_weight_frac
        inflation += 1.0 - engine.tile_weight_frac
        compute_s *= inflation
    return on_lanes(bundle, load, rates, engine, compute_s)


def _product_time_s(
    bundle: Bundle, load: Load, rates: Rates, engine: Engine, at: FloatArray
) -> FloatArray:
    """Seconds of products at the shares of their weight formats.

    Each tile costs `fill` elements of K besides its own before its products start.
    """
    compute, _, _, tile, fill, _, _ = at
    inflation = _inflation(bundle, load, rates, engine)
    inflation -= 1.0
    inflation *= tile
    inflation += 1.0
    inflation *= 1.0 + fill * (2.0 * bundle.columns / np.maximum(bundle.flops, 1.0))
    inflation *= bundle.flops
    inflation *= load.units / rates.peak_flops_per_s[bundle.arithmetic]
    inflation /= compute
    return inflation


def memory_time_s(
    bundle: Bundle,
    load: Load,
    rates: Rates,
    engine: Engine,
    moved: FloatArray,
    at: FloatArray | None,
) -> FloatArray:
    """Seconds in which a bundle's operators move their bytes, shape ``(rows, n)``.

    With learned shares, what local operators keep in the last-level cache takes time too,
    and likewise where the engine states the rate of its passes (`Engine.pass_frac`).
    """
    if at is None and engine.pass_frac and bundle.kind not in MATRIX:
        if not bundle.always_spills:
            moved = np.maximum(moved, bundle.act_bytes * load.units)
        passes_s: FloatArray = moved / (rates.mem_bytes_per_s * engine.pass_frac)
        return passes_s
    if at is None:
        stated_s: FloatArray = moved / (rates.mem_bytes_per_s * engine.memory_frac)
        return stated_s
    if bundle.kind in MATRIX:
        weights_s: FloatArray = moved / (rates.mem_bytes_per_s * at[1])
        return weights_s
    memory, cached_frac, _ = at
    if not bundle.always_spills:
        cached = np.minimum(bundle.act_bytes * load.units, rates.cache_bytes)
        moved = moved + cached_frac * cached
    local_s: FloatArray = moved / (rates.mem_bytes_per_s * memory)
    return local_s


def paced(
    bundle: Bundle,
    compute_s: FloatArray,
    memory_s: FloatArray,
    rates: Rates,
    engine: Engine,
    at: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Compute and memory time, the longer one lengthened by what a product cannot overlap.

    Processors overlap as their shares say, which are of what large products reach.
    """
    if bundle.kind not in MATRIX or (at is None and not engine.overlap_loss_frac):
        return compute_s, memory_s
    loss = engine.overlap_loss_frac if at is None else at[2]
    return blended(compute_s, memory_s, loss * (1.0 - np.asarray(rates.is_host)))


def floors_s(
    plan: Plan, bundle: Bundle, rates: Rates, engine: Engine, at: FloatArray | None
) -> FloatArray | float:
    """Floor of one kernel of each row, ``(rows, n)`` or a number; not of collectives."""
    gap_s = rates.gap_s(engine)
    if at is None:
        if isinstance(gap_s, float):
            return engine.kernel_floor_s
        return engine.kernel_floor_s + gap_s[None]
    if bundle.kind not in MATRIX:
        local: FloatArray = at[2] + gap_s
        return local
    floor_s: FloatArray = at[5] + gap_s
    if bundle.routed:
        floor_s = floor_s + at[6] * (np.asarray(plan.num_experts, float) / plan.expert_ranks)
    return floor_s


def _inflation(bundle: Bundle, load: Load, rates: Rates, engine: Engine) -> FloatArray:
    """`tile_inflation` of a bundle; each awake expert is a GEMM of its own.

    Products of few rows that run on vector units fill no tiles.
    """
    inflation = tile_inflation(
        load.full_units,
        bundle.columns,
        groups=load.awake,
        unit_count=rates.unit_count,
        uneven=bundle.routed,
    )
    if engine.vector_rows:
        # A processor has no other units: what a product of few rows leaves unused is lost.
        beside = np.asarray(rates.is_host) == 0.0
        few = load.full_units <= engine.vector_rows * np.maximum(load.awake, 1.0)
        np.copyto(inflation, 1.0, where=few & beside)
    return inflation


def link_times_s(
    sent: FloatArray, bundle: Bundle, load: Load, rates: Rates, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """Seconds on the link, shape as `sent`, and seconds of an empty collective, ``(n,)``.

    `sent` are the bytes of one layer by a ring, shape ``(rows, n)``.
    """
    link, shares = rates.links[bundle.ranks], rates.shares_under(engine)
    reduces = bundle.kind == "all_reduce"
    if shares is not None and reduces:
        return _reduce_times_s(sent, load, link, shares, engine)
    share = link.reduce_frac if reduces else 1.0
    if engine.overlaps:
        floor_s = np.zeros_like(load.units)
    else:
        floor_s = (link.floor_s + _collective_kernel_s(engine, shares)) * load.present
    return sent * (share / (link.bytes_per_s * engine.link_frac)), floor_s


def _collective_kernel_s(engine: Engine, shares: Shares | None) -> FloatArray | float:
    return engine.kernel_floor_s if shares is None else shares.local[2, 0]


def _reduce_times_s(
    sent: FloatArray, load: Load, link: LinkRates, shares: Shares, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """All-reduces at learned shares: a ring, or everything to all where that is quicker.

    Of n ranks each sends n / 2 times the bytes of a ring then, but waits for none.
    """
    frac, oneshot, sync_s, floor_s, growth = shares.all_reduce
    rate = link.bytes_per_s * frac
    time_s = sent * (link.reduce_frac / rate) + sync_s * load.present
    at_once_s = sent * (0.5 * link.ranks / rate)
    time_s = np.where(oneshot > 0.0, np.minimum(time_s, at_once_s), time_s)
    own = link.floor_s + _collective_kernel_s(engine, shares)
    pairs_s = floor_s * (0.5 * link.ranks) ** growth
    return time_s, np.where(np.isnan(floor_s), own, pairs_s) * load.present


def operator_costs(plan: Plan, step: Pass, rates: Rates, engine: Engine) -> OperatorCosts:
    """Price every operator of `plan` for every case of `step`.

    Notes
    -----
    Compute time is FLOPs over ``peak * compute_frac``, lengthened by tiles and waves;
    memory time is bytes over ``bandwidth * memory_frac``. Weights are read once per
    pass (routed experts: as many as the tokens wake), the KV cache once per pass,
    intermediates only as far as they exceed the last-level cache.
    """
    mixers, rates = plan.mixers, rates.during(step)
    arrays = np.zeros((9, plan.size, step.tokens.shape[0]))
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
        unpack_ops=arrays[8],
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
    sent = bundle.sent_bytes * load.units
    arrays[2, members] = sent[rows]
    if bundle.kind in COLLECTIVES:
        link_s, floor_s = link_times_s(sent, bundle, load, rates, engine)
        arrays[4, members] = memory_time_s(bundle, load, rates, engine, moved, None)[rows]
        arrays[5, members] = link_s[rows]
        arrays[6, members] = plan.launches[members, None] * floor_s
        return
    if engine.unpack_frac and bundle.kind in MATRIX:
        arrays[8, members] = (bundle.unpack_ops * (load.present * load.awake))[rows]
    at = bundle_shares(bundle, rates, engine)
    compute_s = compute_time_s(bundle, load, rates, engine, at)
    memory_s = memory_time_s(bundle, load, rates, engine, moved, at)
    compute_s, memory_s = paced(bundle, compute_s, memory_s, rates, engine, at)
    arrays[3, members], arrays[4, members] = compute_s[rows], memory_s[rows]
    each_s = np.broadcast_to(floors_s(plan, bundle, rates, engine, at), compute_s.shape)
    arrays[6, members] = plan.launches[members, None] * each_s[rows] * load.present
