# SPDX-License-Identifier: Apache-2.0
"""From a model and its layout to a plan: the operators that one rank runs, as arrays.

A plan holds what does not depend on batch, lengths or hardware: per operator the FLOPs
and bytes per token (or sequence), the weights it reads, its GEMM width, its precision.
`roofline.physics.step` multiplies it out for any number of steps at once, bundle by
bundle: operators whose work grows with the same thing and runs at the same rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul

import numpy as np
from numpy.typing import NDArray

from roofline.physics.bundle import Bundle
from roofline.physics.kernel import FloatArray
from roofline.physics.schemes import SCHEME_INDEX
from specs.accelerator import COMPUTE_PRECISIONS

ARITHMETIC = (*COMPUTE_PRECISIONS, "fp16_acc16", "int8_block", "any8", "any4", "vector")
"""Rates that an operator can run at: the matrix precisions, 16-bit products that
accumulate in 16 bits, 8-bit integer products of blocks that each carry a scale, whatever is
fastest of 8 bits or more (of 4 or more), and the ordinary vector units."""

ARITHMETIC_INDEX = {name: index for index, name in enumerate(ARITHMETIC)}

Amount = float | FloatArray
"""One number, or one per case, shape ``(n,)``."""

Whole = int | NDArray[np.int64]
"""A whole number, or one per case."""

TOKENS, SEQUENCES, ROUTED, CROSS = range(4)
"""What an operator's work grows with: tokens of the step, sequences of the step,
(token, expert) pairs that land on this rank, encoder tokens newly seen."""

KINDS = (
    "gemm",
    "moe_gemm",
    "attention",
    "recurrent",
    "norm",
    "elementwise",
    "embedding",
    "quantise",
    "dequantise",
    "sampling",
    "all_reduce",
    "all_gather",
    "all_to_all",
    "send",
)
MATRIX = ("gemm", "moe_gemm")
COLLECTIVES = ("all_reduce", "all_gather", "all_to_all", "send")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of a layer on one rank; `count` layers have it.

    Parameters
    ----------
    flops : float
        Per unit of `driver`.
    weight_bytes : float
        Read once per step; for routed experts, of one expert.
    act_bytes : float
        Activations read and written per unit of `driver`, if nothing stays in cache.
    sent_bytes : float
        Bytes that the rank sends per unit of `driver`.
    columns : float
        Output width of the GEMM; 0 for anything else.
    unpack_ops : float
        Lane instructions that unpack the weights, as often as they are read.
    experts : int
        Experts held by this rank, for routed GEMMs; 0 otherwise.
    launches : float
        Kernels launched per layer.
    always_spills : bool
        Traffic that no cache can hold: table look-ups, the KV written.
    above : float
        The operator runs where there are more units than this.
    ranks : int
        Members of the collective.
    scheme : str
        Of ``schemes.SCHEMES``: of a product, or of the product whose input is quantised.
    """

    name: str
    kind: str
    count: float
    driver: int = TOKENS
    flops: float = 0.0
    weight_bytes: float = 0.0
    act_bytes: float = 0.0
    sent_bytes: float = 0.0
    columns: float = 0.0
    unpack_ops: float = 0.0
    experts: int = 0
    arithmetic: str = "vector"
    launches: float = 1.0
    always_spills: bool = False
    above: float = 0.0
    ranks: int = 1
    scheme: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOperator:
    """Softmax attention of `count` layers on one rank.

    Prefill multiplies per head in ``head_dim`` and ``v_head_dim``; decode in
    ``decode_head_dim`` and ``decode_v_head_dim``, which differ for latent attention
    (absorbed into the latent width). ``kv_bytes_per_token`` are read per key seen. With
    `compression` above 1 the whole past is seen too, at one key per so many tokens, of
    which a sparse index picks `topk`. `variant` indexes ``schemes.ATTENTION_VARIANTS``.
    """

    name: str
    count: Amount
    num_heads: Amount
    head_dim: Amount
    v_head_dim: Amount
    decode_head_dim: Amount
    decode_v_head_dim: Amount
    kv_heads: Amount
    kv_bytes_per_token: Amount
    window: int | None
    causal: bool
    cross: bool
    topk: int | None
    io_bytes_per_token: Amount
    arithmetic: str
    score_bytes: Amount
    index_flops_per_pair: Amount = 0.0
    index_bytes_per_token: Amount = 0.0
    compression: int = 1
    variant: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentOperator:
    """A fixed-size state of `count` layers on one rank.

    `matrix_flops_per_token` is the chunk-parallel form of prefill,
    `state_flops_per_token` the step form of decode.
    """

    name: str
    count: Amount
    state_bytes: Amount
    matrix_flops_per_token: Amount
    state_flops_per_token: Amount
    io_bytes_per_token: Amount
    arithmetic: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Operators of one stack of layers on one rank, and their columns as arrays.

    Parameters
    ----------
    bundles : tuple of Bundle
        The operators, as arrays that are priced together.
    layers : float
        Layers with a token mixer: attention or recurrence.
    main_arithmetic : int
        Index into `ARITHMETIC` of the operator with the most FLOPs per unit.
    num_experts, topk, expert_ranks, pooled_replicas : int
        Experts, those chosen per token, ranks that share them, replicas whose tokens
        meet at them.
    """

    operators: tuple[Operator, ...]
    attention: tuple[AttentionOperator, ...]
    recurrent: tuple[RecurrentOperator, ...]
    bundles: tuple[Bundle, ...]
    layers: Amount
    main_arithmetic: int
    num_experts: Whole
    topk: Whole
    expert_ranks: int
    pooled_replicas: int

    @property
    def size(self) -> int:
        """Number of operators, attention and recurrences included."""
        return len(self.operators) + len(self.mixers)

    @property
    def mixers(self) -> tuple[AttentionOperator | RecurrentOperator, ...]:
        """Attention and recurrences: what is priced beside `operators`."""
        return (*self.attention, *self.recurrent)

    def _column(self, field: str) -> NDArray[np.float64]:
        return np.array([getattr(op, field) for op in self.operators], dtype=float)

    @cached_property
    def count(self) -> NDArray[np.float64]:
        """Layers that have each operator."""
        return self._column("count")

    @cached_property
    def launches(self) -> NDArray[np.float64]:
        """Kernels of each operator per layer."""
        return self._column("launches")

    @cached_property
    def arithmetic(self) -> NDArray[np.intp]:
        """Index into `ARITHMETIC` of each operator."""
        return np.array([ARITHMETIC_INDEX[op.arithmetic] for op in self.operators], dtype=np.intp)

    @property
    def stack_key(self) -> tuple[object, ...]:
        """Equal for plans whose columns can stand side by side."""
        return (
            self.main_arithmetic,
            bool(self.num_experts),
            self.expert_ranks,
            self.pooled_replicas,
        )


def _bundles(operators: Sequence[Operator]) -> tuple[Bundle, ...]:
    groups: dict[tuple[object, ...], list[Operator]] = {}
    members: dict[tuple[object, ...], list[int]] = {}
    for index, op in enumerate(operators):
        kind = op.kind if op.kind in (*MATRIX, *COLLECTIVES) else "local"
        routed = op.experts > 0
        key = (kind, op.driver, op.arithmetic, op.always_spills, op.above, routed, op.ranks)
        groups.setdefault(key, []).append(op)
        members.setdefault(key, []).append(index)
    return tuple(_bundle(str(key[0]), groups[key], members[key]) for key in groups)


def _bundle(kind: str, operators: Sequence[Operator], members: Sequence[int]) -> Bundle:
    """Merge operators that cost the same into one row."""
    rows: dict[tuple[float, ...], int] = {}
    counts: list[float] = []
    launches: list[float] = []
    row_of = []
    for op in operators:
        scheme = SCHEME_INDEX[op.scheme]
        amounts = (op.flops, op.weight_bytes, op.act_bytes, op.sent_bytes)
        each = (*amounts, op.columns, scheme, op.unpack_ops)
        row = rows.setdefault(each, len(rows))
        if row == len(counts):
            counts.append(0.0)
            launches.append(0.0)
        counts[row] += op.count
        launches[row] += op.launches * op.count
        row_of.append(row)
    sums = [sum(map(mul, counts, column)) for column in zip(*rows, strict=True)]
    first = operators[0]
    return Bundle(
        kind=kind,
        driver=first.driver,
        arithmetic=ARITHMETIC_INDEX[first.arithmetic],
        always_spills=first.always_spills,
        above=first.above,
        routed=first.experts > 0,
        works=sums[0] > 0.0,
        weighs=sums[1] > 0.0,
        ranks=first.ranks,
        members=tuple(members),
        row_of=tuple(row_of),
        table=np.array([counts, *zip(*rows, strict=True), launches], dtype=float)[:, :, None],
        totals=np.array([sum(counts), sum(launches), *sums[:4]], dtype=float)[:, None],
    )


def _main_arithmetic(operators: Sequence[Operator]) -> int:
    most = max(operators, key=lambda op: op.flops * op.count, default=None)
    return 0 if most is None else ARITHMETIC_INDEX[most.arithmetic]


def make_plan(
    operators: list[Operator],
    attention: list[AttentionOperator],
    recurrent: list[RecurrentOperator],
    *,
    num_experts: int = 0,
    topk: int = 0,
    expert_ranks: int = 1,
    pooled_replicas: int = 1,
) -> Plan:
    """Lay operators out as a plan."""
    return Plan(
        operators=tuple(operators),
        attention=tuple(attention),
        recurrent=tuple(recurrent),
        bundles=_bundles(operators),
        layers=sum(op.count for op in attention) + sum(op.count for op in recurrent),
        main_arithmetic=_main_arithmetic(operators),
        num_experts=num_experts,
        topk=topk,
        expert_ranks=expert_ranks,
        pooled_replicas=pooled_replicas,
    )
