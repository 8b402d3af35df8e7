# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V4: one shared key-value vector per token, compressed beyond a short window.

Keys and values are the same vector of ``head_dim``, read by all heads, so the layer is
latent attention without an expansion: latent width ``head_dim``, no separate rotary
part. Layers see the last ``sliding_window`` tokens and, but for the plain ones, the
past at one entry per 4 tokens (picked by an indexer) or per 128 (all of them).
"""

from __future__ import annotations

from ..model import Block, LatentAttention, Linear, Model, SparseIndex
from ._assemble import assemble, next_token_layer
from ._experts import ExpertStyle, read_moe
from ._parts import collect
from ._reader import Config

_BY_RATIO = {
    0: "sliding_attention",
    4: "compressed_sparse_attention",
    128: "heavily_compressed_attention",
}
_RATES = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
_PREFIX = "self_attn."


def _types(cfg: Config) -> list[str]:
    """Kind of each layer: listed, by compression ratio, or two heavy ones and alternation."""
    layers = cfg.layers()
    types = cfg.texts("layer_types", layers)
    ratios = cfg.sizes("compress_ratios", layers)
    if types is None and ratios is not None:
        if not set(ratios) <= set(_BY_RATIO):
            raise cfg.error("'compress_ratios' may hold 0, 4 and 128 only")
        types = [_BY_RATIO[ratio] for ratio in ratios]
    if types is None:
        types = [
            "heavily_compressed_attention" if i < 2 or i % 2 == 0 else "compressed_sparse_attention"
            for i in range(layers)
        ]
    for kind in types:
        if kind not in _BY_RATIO.values():
            raise cfg.error(f"'layer_types' holds {kind[:40]!r}, which is not understood")
    return types


def _rate(cfg: Config, kind: str) -> int:
    """Tokens per compressed entry; 1 in plain layers."""
    if kind not in _RATES:
        return 1
    rates = cfg.child("compress_rates")
    legacy = {"compressed_sparse_attention": "compress_rate_csa"}
    key = legacy.get(kind, "compress_rate_hca")
    stated = rates.optional_size(kind) if rates is not None else None
    return cfg.size(key, default=stated or _RATES[kind])


def _compressor(cfg: Config, kind: str, name: str, width: int) -> tuple[tuple[Linear, ...], int]:
    """Projections and other parameters of one compressor.

    The sparse form makes two overlapping series per token, hence the double width.
    """
    if kind not in _RATES:
        return (), 0
    hidden = cfg.size("hidden_size")
    wide = width * (2 if kind == "compressed_sparse_attention" else 1)
    linears = tuple(
        Linear(name=f"{_PREFIX}{name}.{part}", in_features=hidden, out_features=wide,
               fuse=name)
        for part in ("kv_proj", "gate_proj")
    )  # fmt: skip
    return linears, _rate(cfg, kind) * wide + width


def _indexer(cfg: Config) -> SparseIndex:
    heads, width = cfg.size("index_n_heads"), cfg.size("index_head_dim")
    linears, extra = _compressor(cfg, "compressed_sparse_attention", "compressor.indexer", width)
    name = f"{_PREFIX}compressor.indexer."
    query = Linear(name=f"{name}q_b_proj", in_features=cfg.size("q_lora_rank"),
                   out_features=heads * width)  # fmt: skip
    weights = Linear(name=f"{name}scorer.weights_proj", in_features=cfg.size("hidden_size"),
                     out_features=heads)  # fmt: skip
    return SparseIndex(
        num_heads=heads, head_dim=width, topk=cfg.size("index_topk"),
        linears=(*linears, query, weights), extra_params=extra,
    )  # fmt: skip


def _attention(cfg: Config, kind: str) -> LatentAttention:
    hidden, rank = cfg.size("hidden_size"), cfg.size("q_lora_rank")
    heads, width = cfg.size("num_attention_heads"), cfg.size("head_dim")
    groups, low = cfg.size("o_groups"), cfg.size("o_lora_rank")
    if heads * width % groups:
        raise cfg.error("'o_groups' does not divide 'num_attention_heads' times 'head_dim'")
    compressor, extra = _compressor(cfg, kind, "compressor", width)
    return LatentAttention(
        num_heads=heads,
        q_lora_rank=rank,
        kv_lora_rank=width,
        qk_nope_head_dim=width,
        qk_rope_head_dim=0,
        v_head_dim=width,
        window=cfg.size("sliding_window"),
        linears=(
            Linear(name=f"{_PREFIX}q_a_proj", in_features=hidden, out_features=rank,
                   fuse="qkv_a"),
            Linear(name=f"{_PREFIX}kv_proj", in_features=hidden, out_features=width,
                   fuse="qkv_a"),
            Linear(name=f"{_PREFIX}q_b_proj", in_features=rank, out_features=heads * width,
                   shard="column"),
            Linear(name=f"{_PREFIX}o_a_proj", in_features=heads * width // groups,
                   out_features=low, copies=groups, shard="column"),
            Linear(name=f"{_PREFIX}o_b_proj", in_features=groups * low, out_features=hidden,
                   shard="row"),
            *compressor,
        ),
        norm_params=rank + width,
        extra_params=heads + extra,  # sinks; the compressor's position bias and norm
        sparse=_indexer(cfg) if kind == "compressed_sparse_attention" else None,
        compression=_rate(cfg, kind),
    )  # fmt: skip


def _layer(cfg: Config, kind: str) -> Block:
    hidden, streams = cfg.size("hidden_size"), cfg.size("hc_mult")
    weights = (2 + streams) * streams
    act = cfg.text("hidden_act", default="silu")
    return Block(
        count=1,
        mixer=_attention(cfg, kind),
        ffn=read_moe(cfg, act, ExpertStyle()),
        norm_sizes=(hidden, hidden),
        norm_params=2 * hidden,
        extra_linears=tuple(
            Linear(name=f"{half}_hc.fn", in_features=streams * hidden, out_features=weights)
            for half in ("attn", "ffn")
        ),
        extra_params=2 * (weights + 3),
        label=kind,
    )


def deepseek_v4(cfg: Config) -> Model:
    """Compressed attention, experts in every layer, hyper-connected residual streams."""
    cfg.default(
        q_lora_rank=1024, head_dim=512, o_groups=8, o_lora_rank=1024, sliding_window=128,
        hc_mult=4, index_n_heads=64, index_head_dim=128, index_topk=512, n_routed_experts=256,
        num_experts_per_tok=6, n_shared_experts=1, moe_intermediate_size=2048,
    )  # fmt: skip
    types = _types(cfg)
    cfg.ignore("num_key_value_heads", "num_hash_layers", "mlp_layer_types", "hc_sinkhorn_iters",
               "compress_ratios", "layer_types", "expert_dtype", "qk_rope_head_dim",
               "partial_rotary_factor", "compress_rates", "intermediate_size",
               "attention_bias", "mlp_bias")  # fmt: skip
    cfg.data = {k: v for k, v in cfg.data.items() if k != "intermediate_size"}
    hidden, streams = cfg.size("hidden_size"), cfg.size("hc_mult")
    blocks = collect(types, lambda kind: _layer(cfg, kind))
    count = cfg.size("num_nextn_predict_layers", default=0, minimum=0, maximum=1000)
    mtp = (next_token_layer(hidden, count, _layer(cfg, "sliding_attention")),) if count else ()
    cfg.warn("hyper-connections (hc_mult): products counted, the wider residual stream left out")
    head = streams * streams * hidden + streams + 1
    return assemble(cfg, blocks, mtp=mtp, extra=head)
