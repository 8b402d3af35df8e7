# SPDX-License-Identifier: Apache-2.0
"""From a model and its layout to a plan: the operators that one rank runs, as arrays.

A plan holds what does not depend on batch, lengths or hardware: per operator the FLOPs
and bytes per token (or sequence), the weights it reads, its GEMM width, its precision.
`roofline.physics.step` multiplies it out for any number of steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specs.accelerator import COMPUTE_PRECISIONS

ARITHMETIC = (*COMPUTE_PRECISIONS, "fp16_acc16", "int8_block", "vector")
"""Rates that an operator can run at: the matrix precisions, 16-bit products that
accumulate in 16 bits, 8-bit integer products of blocks that each carry a scale, and the
ordinary vector units."""

ARITHMETIC_INDEX = {name: index for index, name in enumerate(ARITHMETIC)}

TOKENS, SEQUENCES, ROUTED, CROSS = range(4)
"""What an operator's work grows with: tokens of the step, sequences of the step,
(token, expert) pairs that land on this rank, encoder tokens newly seen."""

DRIVER_NAMES = ("tokens", "sequences", "routed", "cross")

KINDS = (
    "gemm",
    "moe_gemm",
    "attention",
    "recurrent",
    "norm",
    "elementwise",
    "embedding",
    "quantise",
    "sampling",
    "all_reduce",
    "all_gather",
    "all_to_all",
    "send",
)
KIND_INDEX = {name: index for index, name in enumerate(KINDS)}
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
    experts : int
        Experts held by this rank, for routed GEMMs; 0 otherwise.
    launches : float
        Kernels launched per layer.
    always_spills : bool
        Traffic that no cache can hold: table look-ups, the KV written.
    ranks : int
        Members of the collective.
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
    experts: int = 0
    arithmetic: str = "vector"
    launches: float = 1.0
    always_spills: bool = False
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOperator:
    """Softmax attention of `count` layers on one rank.

    Prefill multiplies per head in ``head_dim`` and ``v_head_dim``; decode in
    ``decode_head_dim`` and ``decode_v_head_dim``, which differ for latent attention
    (absorbed into the latent width). ``kv_bytes_per_token`` are read per key seen and
    ``extra_prefill_kv_bytes`` is the expanded copy that latent attention materialises.
    """

    name: str
    count: float
    num_heads: float
    head_dim: float
    v_head_dim: float
    decode_head_dim: float
    decode_v_head_dim: float
    kv_heads: float
    kv_bytes_per_token: float
    window: int | None
    causal: bool
    cross: bool
    topk: int | None
    io_bytes_per_token: float
    arithmetic: str
    score_bytes: float
    index_flops_per_pair: float = 0.0
    index_bytes_per_token: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentOperator:
    """A fixed-size state of `count` layers on one rank.

    `matrix_flops_per_token` is the chunk-parallel form of prefill,
    `state_flops_per_token` the step form of decode.
    """

    name: str
    count: float
    state_bytes: float
    matrix_flops_per_token: float
    state_flops_per_token: float
    io_bytes_per_token: float
    arithmetic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Operators of one stack of layers on one rank, and their columns as arrays.

    Arrays have shape ``(n_ops,)`` over `operators`.
    """

    operators: tuple[Operator, ...]
    attention: tuple[AttentionOperator, ...]
    recurrent: tuple[RecurrentOperator, ...]
    num_experts: int
    topk: int
    expert_ranks: int
    pooled_replicas: int
    count: NDArray[np.float64]
    driver: NDArray[np.intp]
    flops: NDArray[np.float64]
    weight_bytes: NDArray[np.float64]
    act_bytes: NDArray[np.float64]
    sent_bytes: NDArray[np.float64]
    columns: NDArray[np.float64]
    experts: NDArray[np.float64]
    arithmetic: NDArray[np.intp]
    launches: NDArray[np.float64]
    always_spills: NDArray[np.bool_]
    ranks: NDArray[np.float64]
    kind: NDArray[np.intp]

    @property
    def size(self) -> int:
        """Number of operators, attention and recurrences included."""
        return len(self.operators) + len(self.attention) + len(self.recurrent)


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
    """Lay operators out as arrays."""

    def column(field: str) -> NDArray[np.float64]:
        return np.array([float(getattr(op, field)) for op in operators])

    return Plan(
        operators=tuple(operators),
        attention=tuple(attention),
        recurrent=tuple(recurrent),
        num_experts=num_experts,
        topk=topk,
        expert_ranks=expert_ranks,
        pooled_replicas=pooled_replicas,
        count=column("count"),
        driver=np.array([op.driver for op in operators], dtype=np.intp),
        flops=column("flops"),
        weight_bytes=column("weight_bytes"),
        act_bytes=column("act_bytes"),
        sent_bytes=column("sent_bytes"),
        columns=column("columns"),
        experts=column("experts"),
        arithmetic=np.array([ARITHMETIC_INDEX[op.arithmetic] for op in operators], dtype=np.intp),
        launches=column("launches"),
        always_spills=np.array([op.always_spills for op in operators], dtype=bool),
        ranks=column("ranks"),
        kind=np.array([KIND_INDEX[op.kind] for op in operators], dtype=np.intp),
    )
