# SPDX-License-Identifier: Apache-2.0
"""MiniMax-01 (lightning attention) and MiniMax-M3 (blockwise sparse attention)."""

from __future__ import annotations

from dataclasses import replace

from ..model import Linear, Mixer, Model, Recurrent, SparseIndex
from ._experts import ExpertStyle
from ._layers import heads, rotary_dim
from ._parts import attention, fused_qkv, qkvo
from ._reader import Config
from .decoder import LayerKind, Style, decoder, qk_norm_params

_SPARSE_BLOCK = ExpertStyle(prefix="block_sparse_moe.", names=("w1", "w3", "w2"))


def _lightning(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """MiniMax-01's linear attention: a fixed decay per head, an output gate and norm."""
    del style, kind
    shape = heads(cfg)
    total = shape.heads * shape.head_dim
    full = replace(shape, kv_heads=shape.heads)
    names = fused_qkv("self_attn.qkv_proj", "self_attn.out_proj")
    gate = Linear(name="self_attn.output_gate", in_features=shape.hidden, out_features=total,
                  shard="column")  # fmt: skip
    return Recurrent(
        kind="linear",
        num_heads=shape.heads,
        key_dim=shape.head_dim,
        value_dim=shape.head_dim,
        num_key_heads=shape.heads,
        chunk_size=cfg.size("block_size", default=256),
        linears=(*qkvo(full, names=names), gate),
        norm_params=total,
    )


def minimax(cfg: Config) -> Model:
    """MiniMax-Text-01: seven lightning layers to one of softmax attention."""
    cfg.ignore("full_attn_alpha_factor", "full_attn_beta_factor", "linear_attn_alpha_factor",
               "linear_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor",
               "layernorm_full_attention_alpha", "layernorm_full_attention_beta",
               "layernorm_linear_attention_alpha", "layernorm_linear_attention_beta",
               "layernorm_mlp_alpha", "layernorm_mlp_beta", "postnorm", "block_size",
               "shared_intermediate_size", "shared_moe_mode", "rotary_dim")  # fmt: skip
    if cfg.raw("layer_types") is None:
        marks = cfg.sizes("attn_type_list", cfg.layers())
        full = [mark == 1 for mark in marks] if marks else [i % 2 == 0 for i in range(cfg.layers())]
        types = ["full_attention" if mark else "linear_attention" for mark in full]
        cfg.data = {**cfg.data, "layer_types": types}
    cfg.ignore("attn_type_list")
    style = Style(
        qkv_bias=False, o_bias=False, mixers={"linear_attention": _lightning},
        experts=_SPARSE_BLOCK,
    )  # fmt: skip
    return decoder(cfg, style)


def _m3_attention(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Attention to the best-scored blocks of the past and the newest one."""
    del kind
    shape = heads(cfg)
    count, width = cfg.size("index_n_heads"), cfg.size("index_head_dim")
    blocks = cfg.size("index_topk_blocks")
    index = SparseIndex(
        num_heads=count,
        head_dim=width,
        topk=blocks * cfg.size("index_block_size"),
        linears=(
            Linear(name="self_attn.indexer.q_proj", in_features=shape.hidden,
                   out_features=count * width),
            Linear(name="self_attn.indexer.k_proj", in_features=shape.hidden,
                   out_features=width),
        ),
        extra_params=2 * width,
    )  # fmt: skip
    return attention(
        shape, qkvo(shape), rotary_dim=rotary_dim(cfg, shape.head_dim, 0.5),
        norm_params=qk_norm_params(cfg, style, shape), sparse=index,
    )  # fmt: skip


_M3_NAMES = {
    "index_n_heads": ("sparse_num_index_heads", 4),
    "index_head_dim": ("sparse_index_dim", 128),
    "index_block_size": ("sparse_block_size", 128),
    "index_topk_blocks": ("sparse_topk_blocks", 16),
}


def minimax_m3(cfg: Config) -> Model:
    """Blockwise sparse attention and experts after a dense prefix."""
    inner = cfg.child("sparse_attention_config")
    layers = cfg.layers()
    added: dict[str, object] = {}
    for ours, (theirs, fallback) in _M3_NAMES.items():
        stated = inner.optional_size(theirs) if inner is not None else None
        added[ours] = stated or cfg.size(ours, default=fallback)
    if inner is not None and cfg.raw("layer_types") is None:
        marks = inner.sizes("sparse_attention_freq", layers) or [0] * layers
        added["layer_types"] = ["minimax_m3_sparse" if mark else "full_attention" for mark in marks]
    experts = cfg.size("moe_intermediate_size", "intermediate_size")
    dense = cfg.size("dense_intermediate_size", default=12288)
    cfg.ignore("index_local_blocks", "use_gemma_norm", "use_routing_bias", "use_qk_norm",
               "qk_norm_type", "rotary_dim", "n_shared_experts", "num_mtp_modules")  # fmt: skip
    # The config calls the experts' width `intermediate_size` and states the dense one apart.
    cfg.data = {**cfg.data, **added, "intermediate_size": dense, "moe_intermediate_size": experts}
    cfg.default(shared_intermediate_size=3072, num_key_value_heads=4, head_dim=128)
    if isinstance(cfg.raw("moe_layer_freq"), list):
        cfg.ignore("first_k_dense_replace")
    style = Style(
        qkv_bias=False, o_bias=False, mlp_bias=False, qk_norm="head", rotary_frac=0.5,
        mixers={"minimax_m3_sparse": _m3_attention},
        gated_names=("mlp.gate_up_proj.gate", "mlp.gate_up_proj.up", "mlp.down_proj"),
    )  # fmt: skip
    return decoder(cfg, style)
