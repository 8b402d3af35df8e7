# SPDX-License-Identifier: Apache-2.0
"""GPT-2: learned positions, one matrix for query, key and value."""

from __future__ import annotations

from ..model import Block, Model
from ._assemble import assemble
from ._parts import Heads, attention, fused_qkv, norm_params, plain_mlp, qkvo
from ._reader import Config


def gpt2(cfg: Config) -> Model:
    """Layers of ``attn.c_attn`` / ``attn.c_proj`` and ``mlp.c_fc`` / ``mlp.c_proj``."""
    cfg.default(n_positions=1024, vocab_size=50257, activation_function="gelu_new")
    hidden = cfg.size("n_embd", "hidden_size")
    heads = cfg.size("n_head", "num_attention_heads")
    if hidden % heads:
        raise cfg.error(f"'n_embd' {hidden} does not divide by 'n_head' {heads}")
    positions = cfg.size("n_positions", "n_ctx", "max_position_embeddings")
    shape = Heads(hidden=hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads)
    names = fused_qkv("attn.c_attn", "attn.c_proj")
    block = Block(
        count=cfg.layers("n_layer", "num_hidden_layers"),
        mixer=attention(shape, qkvo(shape, names=names, qkv_bias=True, o_bias=True)),
        ffn=plain_mlp(
            hidden,
            cfg.size("n_inner", default=4 * hidden),
            activation=cfg.text("activation_function"),
            bias=True,
            names=("mlp.c_fc", "mlp.c_proj"),
        ),
        norm_sizes=(hidden, hidden),
        norm_params=norm_params("layer", hidden, hidden),
    )
    cfg.default(hidden_size=hidden, max_position_embeddings=positions)
    return assemble(cfg, (block,), norm="layer", tied=True, positions=positions)
