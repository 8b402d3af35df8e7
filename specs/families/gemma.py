# SPDX-License-Identifier: Apache-2.0
"""Gemma 3n and 4: layers that share a cache, per-layer embeddings, dense beside experts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model import Attention, Block, Dense, Linear, Model
from ._assemble import assemble
from ._layers import FULL, heads
from ._parts import attention, collect, gated_mlp, moe, qkvo, renamed
from ._reader import Config


@dataclass(frozen=True, slots=True)
class _Kind:
    local: bool
    shares: bool
    inter: int


def _kinds(cfg: Config, step: int) -> list[_Kind]:
    """Kind of each layer: windowed or full, reading its own cache or an earlier one."""
    layers = cfg.layers()
    types = cfg.texts("layer_types", layers)
    if types is None:
        types = [
            "full_attention" if (i + 1) % step == 0 else "sliding_attention" for i in range(layers)
        ]
    for kind in types:
        if kind not in FULL and kind != "sliding_attention":
            raise cfg.error(f"'layer_types' holds {kind[:40]!r}, which is not understood")
    shared = layers - cfg.size("num_kv_shared_layers", minimum=0, maximum=layers)
    double = cfg.flag("use_double_wide_mlp", default=False)
    if isinstance(cfg.raw("intermediate_size"), list):
        widths = cfg.sizes("intermediate_size", layers, minimum=1) or []
    else:
        widths = [cfg.size("intermediate_size")] * layers
    return [
        _Kind(kind not in FULL, i >= shared, width * (2 if double and i >= shared else 1))
        for i, (kind, width) in enumerate(zip(types, widths, strict=True))
    ]


def _attention(cfg: Config, kind: _Kind) -> Attention:
    """Full layers may have wider heads, fewer KV heads, and values made from the keys."""
    base = heads(cfg)
    values = True
    if not kind.local:
        base = replace(base, head_dim=cfg.size("global_head_dim", default=base.head_dim))
        if cfg.flag("attention_k_eq_v", default=False):
            values = False
            kv_heads = cfg.size("num_global_key_value_heads", default=base.kv_heads)
            base = replace(base, kv_heads=kv_heads)
    bias = cfg.flag("attention_bias", default=False)
    return attention(
        base,
        qkvo(base, qkv_bias=bias, o_bias=bias, with_kv=not kind.shares, with_v=values),
        window=cfg.size("sliding_window") if kind.local else None,
        shares_kv=kind.shares,
        rotary_dim=base.head_dim if kind.local else base.head_dim // 4,
        norm_params=base.head_dim * (1 if kind.shares else 2),
    )


def _per_layer_input(cfg: Config) -> tuple[tuple[Linear, ...], int]:
    """Projections of a layer's own embedding, and its width (0 without).

    The model-wide projection into all layers at once is counted layer by layer.
    """
    hidden = cfg.size("hidden_size")
    width = cfg.size("hidden_size_per_layer_input", minimum=0)
    if not width:
        return (), 0
    pairs = (("per_layer_model_projection", hidden, width), ("per_layer_input_gate", hidden, width),
             ("per_layer_projection", width, hidden))  # fmt: skip
    return tuple(Linear(name=n, in_features=i, out_features=o) for n, i, o in pairs), width


def _per_layer_table(cfg: Config, width: int) -> int:
    rows = cfg.size("vocab_size_per_layer_input")
    return rows * cfg.layers() * width


def gemma4(cfg: Config) -> Model:
    """Gemma 4, dense or with experts beside the dense feed-forward."""
    if cfg.model_type == "gemma4_unified_text":
        cfg.default(hidden_size_per_layer_input=0)
    cfg.default(
        head_dim=256, hidden_activation="gelu_pytorch_tanh", sliding_window=512,
        num_kv_shared_layers=0, hidden_size_per_layer_input=256,
        vocab_size_per_layer_input=262_144, global_head_dim=512, num_attention_heads=8,
        num_key_value_heads=4, vocab_size=262_144,
    )  # fmt: skip
    hidden, act = cfg.size("hidden_size"), cfg.text("hidden_activation")
    linears, width = _per_layer_input(cfg)
    table = _per_layer_table(cfg, width) if width else 0
    experts = cfg.flag("enable_moe_block", default=False)
    cfg.ignore("expert_intermediate_size", "attention_k_eq_v", "num_global_key_value_heads",
               "global_head_dim", "num_experts", "top_k_experts", "moe_intermediate_size",
               "vocab_size_per_layer_input")  # fmt: skip

    def build(kind: _Kind) -> Block:
        dense = gated_mlp(hidden, kind.inter, activation=act)
        norms = (hidden,) * (4 + (3 if experts else 0) + (1 if width else 0))
        ffn = dense if not experts else moe(
            hidden, cfg.size("num_experts"), cfg.size("top_k_experts"),
            renamed(gated_mlp(hidden, cfg.size("moe_intermediate_size"), activation=act),
                    "experts."),
            router="router.proj", shared=dense,
            extra_params=hidden + cfg.size("num_experts"),  # router scales
        )  # fmt: skip
        return Block(
            count=1, mixer=_attention(cfg, kind), ffn=ffn, norm_sizes=norms,
            norm_params=sum(norms), extra_linears=linears,
            label="sliding" if kind.local else "full",
        )  # fmt: skip

    return assemble(cfg, collect(_kinds(cfg, 6), build), tied=True, extra_embedding=table,
                    extra=width)  # fmt: skip


def gemma3n(cfg: Config) -> Model:
    """Gemma 3n: four alternating residual streams and a low-rank side path per layer."""
    cfg.default(
        head_dim=256, hidden_activation="gelu_pytorch_tanh", sliding_window=512,
        num_kv_shared_layers=15, hidden_size_per_layer_input=256, laurel_rank=64,
        vocab_size_per_layer_input=262_144, altup_num_inputs=4, num_attention_heads=8,
        num_key_value_heads=2, vocab_size=262_400, hidden_size=2048, num_hidden_layers=35,
        intermediate_size=16_384,
    )  # fmt: skip
    hidden, act = cfg.size("hidden_size"), cfg.text("hidden_activation")
    rank, streams = cfg.size("laurel_rank"), cfg.size("altup_num_inputs")
    cfg.ignore("altup_active_idx", "altup_coef_clip", "altup_correct_scale",
               "activation_sparsity_pattern")  # fmt: skip
    per_layer, width = _per_layer_input(cfg)
    side = (
        Linear(name="laurel.linear_left", in_features=hidden, out_features=rank),
        Linear(name="laurel.linear_right", in_features=rank, out_features=hidden),
        Linear(name="altup.modality_router", in_features=hidden, out_features=streams),
    )
    coefficients = streams * streams + streams**3 + hidden

    def build(kind: _Kind) -> Block:
        norms = (hidden,) * 7
        mixer = _attention(cfg, kind)
        ffn: Dense = gated_mlp(hidden, kind.inter, activation=act)
        return Block(
            count=1, mixer=replace(mixer, rotary_dim=mixer.head_dim), ffn=ffn,
            norm_sizes=norms, norm_params=sum(norms), extra_linears=(*per_layer, *side),
            extra_params=coefficients, label="sliding" if kind.local else "full",
        )  # fmt: skip

    blocks = collect(_kinds(cfg, 5), build)
    outer = Linear(name="altup_projections", in_features=hidden, out_features=hidden,
                   copies=2 * (streams - 1))  # fmt: skip
    first = replace(blocks[0], count=1, extra_linears=(*blocks[0].extra_linears, outer))
    rest = (replace(blocks[0], count=blocks[0].count - 1),) if blocks[0].count > 1 else ()
    return assemble(
        cfg, (first, *rest, *blocks[1:]), tied=True,
        extra_embedding=_per_layer_table(cfg, width), extra=width,
    )  # fmt: skip
