# SPDX-License-Identifier: Apache-2.0
"""Selective state-space layers: Mamba (Gu & Dao, 2023) and Mamba-2 (Dao & Gu, 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..model import Linear, Recurrent
from ._reader import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2Shape:
    """Sizes of a Mamba-2 layer; `groups` share B and C among heads."""

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    conv_bias: bool = True
    bias: bool = False
    chunk: int = 256


def mamba2(shape: Mamba2Shape, prefix: str) -> Recurrent:
    """One matrix in (gate, input, B, C, step), convolution, scan, gated norm, one out."""
    inner = shape.heads * shape.head_dim
    channels = inner + 2 * shape.groups * shape.state
    convolution = channels * (shape.kernel + (1 if shape.conv_bias else 0))
    return Recurrent(
        kind="mamba2",
        num_heads=shape.heads,
        key_dim=shape.state,
        value_dim=shape.head_dim,
        num_key_heads=shape.groups,
        conv_channels=channels,
        conv_kernel=shape.kernel,
        chunk_size=shape.chunk,
        linears=(
            Linear(name=f"{prefix}in_proj", in_features=shape.hidden,
                   out_features=inner + channels + shape.heads, bias=shape.bias,
                   shard="column"),
            Linear(name=f"{prefix}out_proj", in_features=inner, out_features=shape.hidden,
                   bias=shape.bias, shard="row"),
        ),
        norm_params=inner,
        extra_params=convolution + 3 * shape.heads,  # dt_bias, A_log, D
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba1Shape:
    """Sizes of a Mamba layer; `normed` has norms on step, B and C (Jamba)."""

    hidden: int
    inner: int
    state: int
    rank: int
    kernel: int
    conv_bias: bool = True
    bias: bool = False
    normed: bool = False


def mamba1(shape: Mamba1Shape, prefix: str) -> Recurrent:
    """Every channel has a state of its own; B, C and step come from the input."""
    inner, state = shape.inner, shape.state
    convolution = inner * (shape.kernel + (1 if shape.conv_bias else 0))
    return Recurrent(
        kind="mamba1",
        num_heads=inner,
        key_dim=state,
        value_dim=1,
        num_key_heads=1,
        conv_channels=inner,
        conv_kernel=shape.kernel,
        linears=(
            Linear(name=f"{prefix}in_proj", in_features=shape.hidden, out_features=2 * inner,
                   bias=shape.bias, shard="column"),
            Linear(name=f"{prefix}x_proj", in_features=inner,
                   out_features=shape.rank + 2 * state, shard="row"),
            Linear(name=f"{prefix}dt_proj", in_features=shape.rank, out_features=inner,
                   bias=True, shard="column"),
            Linear(name=f"{prefix}out_proj", in_features=inner, out_features=shape.hidden,
                   bias=shape.bias, shard="row"),
        ),
        norm_params=shape.rank + 2 * state if shape.normed else 0,
        extra_params=convolution + inner * state + inner,  # A_log, D
    )  # fmt: skip


def step_rank(cfg: Config, key: str, hidden: int) -> int:
    """Rank of the step projection; ``"auto"`` is a sixteenth of the width, rounded up."""
    if cfg.raw(key) in ("auto", None):
        return math.ceil(hidden / 16)
    return cfg.size(key)
