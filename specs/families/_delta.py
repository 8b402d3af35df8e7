# SPDX-License-Identifier: Apache-2.0
"""Gated delta networks: linear attention with a matrix state per head.

Qwen3-Next's form decays per head (Yang et al., "Gated Delta Networks", 2024);
Kimi's per channel ("Kimi Linear", 2025).
"""

from __future__ import annotations

from ..model import Linear, Recurrent
from ._reader import Config


def gated_delta(cfg: Config, *, stored: str, prefix: str = "linear_attn.") -> Recurrent:
    """Qwen's gated delta layer.

    `stored` is ``"grouped"`` where query, key, value and gate are one matrix
    (Qwen3-Next) and ``"split"`` where the gate is its own (Qwen3.5).
    """
    hidden = cfg.size("hidden_size")
    key_heads, heads = cfg.size("linear_num_key_heads"), cfg.size("linear_num_value_heads")
    key_dim, value_dim = cfg.size("linear_key_head_dim"), cfg.size("linear_value_head_dim")
    kernel = cfg.size("linear_conv_kernel_dim")
    keys, values = key_heads * key_dim, heads * value_dim
    if stored == "grouped":
        widths = {"in_proj_qkvz": (2 * keys + 2 * values, ""), "in_proj_ba": (2 * heads, "")}
    else:
        widths = {
            "in_proj_qkv": (2 * keys + values, "in_proj_qkvz"),
            "in_proj_z": (values, "in_proj_qkvz"),
            "in_proj_b": (heads, "in_proj_ba"),
            "in_proj_a": (heads, "in_proj_ba"),
        }
    channels = 2 * keys + values
    return Recurrent(
        kind="gated_delta",
        num_heads=heads,
        key_dim=key_dim,
        value_dim=value_dim,
        num_key_heads=key_heads,
        conv_channels=channels,
        conv_kernel=kernel,
        linears=(
            *(
                Linear(name=prefix + name, in_features=hidden, out_features=width,
                       shard="column", fuse=tag)
                for name, (width, tag) in widths.items()
            ),
            Linear(name=f"{prefix}out_proj", in_features=values, out_features=hidden,
                   shard="row"),
        ),
        norm_params=value_dim,
        extra_params=channels * kernel + 2 * heads,  # convolution, dt_bias, A_log
    )  # fmt: skip


def kimi_delta(
    hidden: int, heads: int, width: int, kernel: int, *, full_gate: bool = False,
    full_decay: bool = False,
) -> Recurrent:  # fmt: skip
    """Kimi delta attention: decay per channel.

    Output gate and decay come through low-rank projections unless they are full.
    """
    total = heads * width
    prefix = "self_attn."

    def column(name: str, rows: int, columns: int, tag: str = "") -> Linear:
        return Linear(name=prefix + name, in_features=rows, out_features=columns,
                      shard="column", fuse=tag)  # fmt: skip

    def small(name: str) -> Linear:
        return Linear(name=prefix + name, in_features=hidden, out_features=width, fuse="low_rank")

    gate = (
        (column("g_proj", hidden, total),)
        if full_gate
        else (small("g_a_proj"), column("g_b_proj", width, total))
    )
    decay = (
        (column("f_proj", hidden, total),)
        if full_decay
        else (small("f_a_proj"), column("f_b_proj", width, total))
    )
    return Recurrent(
        kind="kimi_delta",
        num_heads=heads,
        key_dim=width,
        value_dim=width,
        num_key_heads=heads,
        conv_channels=3 * total,
        conv_kernel=kernel,
        linears=(
            *(column(f"{part}_proj", hidden, total, "qkv") for part in "qkv"),
            *decay,
            column("b_proj", hidden, heads),
            *gate,
            Linear(name=f"{prefix}o_proj", in_features=total, out_features=hidden, shard="row"),
        ),
        norm_params=width,
        extra_params=3 * total * kernel + total + heads,  # convolutions, dt_bias, A_log
    )
