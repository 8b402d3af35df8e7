# SPDX-License-Identifier: Apache-2.0
"""Llama 3.2 Vision, the text side: some layers attend to image tokens and to nothing else."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Model
from ._assemble import assemble
from ._layers import heads, rotary_dim
from ._parts import attention, collect, gated_mlp, qkvo
from ._reader import Config

_CROSS = ("cross_attn.q_proj", "cross_attn.k_proj", "cross_attn.v_proj", "cross_attn.o_proj")


def mllama(cfg: Config) -> Model:
    """Layers of ``cross_attention_layers`` have gated cross attention instead of their own."""
    layers = cfg.layers()
    listed = cfg.sizes("cross_attention_layers")
    crossing = set(listed if listed is not None else range(3, layers, 5))
    cfg.default(num_key_value_heads=8)
    shape = heads(cfg)
    hidden, act = shape.hidden, cfg.text("hidden_act", default="silu")
    inter = cfg.size("intermediate_size")
    cfg.warn("cross-attention layers are counted; text without images skips them")

    def build(cross: bool) -> Block:
        block = Block(
            count=1,
            mixer=None,
            ffn=gated_mlp(hidden, inter, activation=act),
            norm_sizes=(hidden, hidden),
            norm_params=2 * hidden,
            extra_params=2 if cross else 0,  # the two gates
            label="cross" if cross else "self",
        )
        if cross:
            linears = qkvo(shape, names=_CROSS, kv_in=hidden)
            mixer = attention(shape, linears, causal=False, cross=True,
                              norm_params=2 * shape.head_dim)  # fmt: skip
            return replace(block, cross=mixer)
        rotary = rotary_dim(cfg, shape.head_dim)
        return replace(block, mixer=attention(shape, qkvo(shape), rotary_dim=rotary))

    reserved = 8 * hidden  # rows of the embedding for image tokens
    blocks = collect([i in crossing for i in range(layers)], build)
    return assemble(cfg, blocks, extra_embedding=reserved)
