# SPDX-License-Identifier: Apache-2.0
"""Parts that most families are put together from: projections, mixers, feed-forwards, norms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from ..model import Attention, Block, Dense, LatentAttention, Linear, MoE, SparseIndex

Norm = Literal["rms", "layer", "layer_nobias", "none"]

_PER_ELEMENT: dict[str, int] = {"rms": 1, "layer": 2, "layer_nobias": 1, "none": 0}

QKVO = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")

Kind = TypeVar("Kind", bound=Hashable)


def norm_params(norm: str, *sizes: int) -> int:
    """Parameters of norms of these widths: weight and, for LayerNorm, bias."""
    return _PER_ELEMENT[norm] * sum(sizes)


def fused(name: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Names of the parts of one stored matrix, as ``"attn.c_attn.q"``."""
    return tuple(f"{name}.{part}" for part in parts)


def fused_qkv(name: str, output: str) -> tuple[str, str, str, str]:
    """Names where one stored matrix makes query, key and value."""
    return (f"{name}.q", f"{name}.k", f"{name}.v", output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The head counts and widths of one attention layer."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int = 0

    @property
    def value_dim(self) -> int:
        """Width of a value head."""
        return self.v_head_dim or self.head_dim


def qkvo(
    shape: Heads,
    *,
    names: tuple[str, str, str, str] = QKVO,
    qkv_bias: bool | tuple[bool, bool, bool] = False,
    o_bias: bool = False,
    output_gate: bool = False,
    kv_in: int = 0,
    out_features: int = 0,
    with_kv: bool = True,
    with_v: bool = True,
) -> tuple[Linear, ...]:
    """Query, key, value and output projections of softmax attention.

    `output_gate` doubles the query projection (a gate per output element). `kv_in` is
    the width that keys and values are made from in cross attention; they are then a
    GEMM of their own. Without `with_kv` the layer reads another layer's cache; without
    `with_v` the keys serve as values.
    """
    query, key, value, output = names
    bias = qkv_bias if isinstance(qkv_bias, tuple) else (qkv_bias,) * 3
    q_out = shape.heads * shape.head_dim * (2 if output_gate else 1)
    k_out, v_out = shape.kv_heads * shape.head_dim, shape.kv_heads * shape.value_dim
    q_tag, kv_tag = ("", "kv") if kv_in else ("qkv" if with_kv else "", "qkv")
    source = kv_in or shape.hidden
    made = [
        Linear(name=query, in_features=shape.hidden, out_features=q_out, bias=bias[0],
               shard="column", fuse=q_tag)
    ]  # fmt: skip
    if with_kv:
        for name, out, has_bias in ((key, k_out, bias[1]), (value, v_out, bias[2])):
            if name == value and not with_v:
                continue
            made.append(
                Linear(name=name, in_features=source, out_features=out, bias=has_bias,
                       shard="column", fuse=kv_tag, kv_heads=shape.kv_heads)
            )  # fmt: skip
    made.append(
        Linear(
            name=output,
            in_features=shape.heads * shape.value_dim,
            out_features=out_features or shape.hidden,
            bias=o_bias,
            shard="row",
        )
    )
    return tuple(made)


def attention(
    shape: Heads, linears: tuple[Linear, ...], *, window: int | None = None, causal: bool = True,
    cross: bool = False, shares_kv: bool = False, rotary_dim: int = 0, norm_params: int = 0,
    extra_params: int = 0, sparse: SparseIndex | None = None,
) -> Attention:  # fmt: skip
    """Softmax attention of this shape around its projections."""
    return Attention(
        num_heads=shape.heads, num_kv_heads=shape.kv_heads, head_dim=shape.head_dim,
        v_head_dim=shape.value_dim, window=window, causal=causal, cross=cross,
        shares_kv=shares_kv, rotary_dim=rotary_dim, linears=linears, norm_params=norm_params,
        extra_params=extra_params, sparse=sparse,
    )  # fmt: skip


def gated_mlp(
    hidden: int, inter: int, *, activation: str = "silu", bias: bool = False,
    names: tuple[str, str, str] = GATED, extra_params: int = 0, out_features: int = 0,
) -> Dense:  # fmt: skip
    """``down(act(gate(x)) * up(x))``."""
    return Dense(
        inter=inter, gated=True, activation=activation, extra_params=extra_params,
        linears=(
            *(
                Linear(name=name, in_features=hidden, out_features=inter, bias=bias,
                       shard="column", fuse="gate_up")
                for name in names[:2]
            ),
            Linear(name=names[2], in_features=inter, out_features=out_features or hidden,
                   bias=bias, shard="row"),
        ),
    )  # fmt: skip


def plain_mlp(
    hidden: int, inter: int, *, activation: str, bias: bool = False,
    names: tuple[str, str] = ("mlp.fc1", "mlp.fc2"), extra_params: int = 0,
) -> Dense:  # fmt: skip
    """``down(act(up(x)))``."""
    return Dense(
        inter=inter, gated=False, activation=activation, extra_params=extra_params,
        linears=(
            Linear(name=names[0], in_features=hidden, out_features=inter, bias=bias,
                   shard="column"),
            Linear(name=names[1], in_features=inter, out_features=hidden, bias=bias, shard="row"),
        ),
    )  # fmt: skip


def renamed(part: Dense, prefix: str) -> Dense:
    """The same feed-forward with its linears' names moved from ``mlp.`` to `prefix`."""
    linears = tuple(replace(x, name=prefix + x.name.removeprefix("mlp.")) for x in part.linears)
    return replace(part, linears=linears)


def moe(
    hidden: int, num_experts: int, topk: int, expert: Dense, *, router: str = "mlp.gate",
    router_bias: bool = False, shared: Dense | None = None, shared_gate: str = "",
    extra_params: int = 0, latent: tuple[Linear, ...] = (),
) -> MoE:  # fmt: skip
    """A mixture of experts; `shared_gate` names the one-column gate on the shared expert."""
    if shared is not None and shared_gate:
        gate = Linear(name=shared_gate, in_features=hidden, out_features=1)
        shared = replace(shared, linears=(*shared.linears, gate))
    return MoE(
        num_experts=num_experts, topk=topk, expert=expert, shared=shared, latent=latent,
        router=Linear(name=router, in_features=hidden, out_features=num_experts,
                      bias=router_bias),
        extra_params=extra_params,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentShape:
    """Ranks and head widths of multi-head latent attention."""

    hidden: int
    heads: int
    q_rank: int | None
    kv_rank: int
    nope: int
    rope: int
    value: int


def latent_attention(
    shape: LatentShape, *, bias: bool = False, o_bias: bool | None = None,
    window: int | None = None, sparse: SparseIndex | None = None, prefix: str = "self_attn.",
    extra_params: int = 0, gate_features: int = 0,
) -> LatentAttention:  # fmt: skip
    """Multi-head latent attention with DeepSeek's module names.

    `gate_features` is the width of a gate on the output, 0 without.
    """
    head = shape.nope + shape.rope
    made: list[Linear] = []
    norm = shape.kv_rank
    if shape.q_rank is None:
        made.append(Linear(name=f"{prefix}q_proj", in_features=shape.hidden,
                           out_features=shape.heads * head, shard="column"))  # fmt: skip
    else:
        norm += shape.q_rank
        made.append(Linear(name=f"{prefix}q_a_proj", in_features=shape.hidden,
                           out_features=shape.q_rank, bias=bias, fuse="qkv_a"))  # fmt: skip
        made.append(Linear(name=f"{prefix}q_b_proj", in_features=shape.q_rank,
                           out_features=shape.heads * head, shard="column"))  # fmt: skip
    made.append(Linear(name=f"{prefix}kv_a_proj_with_mqa", in_features=shape.hidden,
                       out_features=shape.kv_rank + shape.rope, bias=bias,
                       fuse="qkv_a" if shape.q_rank else ""))  # fmt: skip
    made.append(Linear(name=f"{prefix}kv_b_proj", in_features=shape.kv_rank,
                       out_features=shape.heads * (shape.nope + shape.value),
                       shard="column"))  # fmt: skip
    if gate_features:
        made.append(Linear(name=f"{prefix}g_proj", in_features=shape.hidden,
                           out_features=gate_features, shard="column"))  # fmt: skip
    made.append(Linear(name=f"{prefix}o_proj", in_features=shape.heads * shape.value,
                       out_features=shape.hidden, bias=bias if o_bias is None else o_bias,
                       shard="row"))  # fmt: skip
    return LatentAttention(
        num_heads=shape.heads, q_lora_rank=shape.q_rank, kv_lora_rank=shape.kv_rank,
        qk_nope_head_dim=shape.nope, qk_rope_head_dim=shape.rope, v_head_dim=shape.value,
        window=window, linears=tuple(made), norm_params=norm, sparse=sparse,
        extra_params=extra_params,
    )  # fmt: skip


def collect(kinds: Iterable[Kind], build: Callable[[Kind], Block]) -> tuple[Block, ...]:
    """One block per distinct kind of layer, in order of first appearance, with its count."""
    counts: dict[Kind, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(replace(build(kind), count=count) for kind, count in counts.items())
