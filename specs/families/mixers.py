# SPDX-License-Identifier: Apache-2.0
"""Decoders with a token mixer of their own: MiMo-V2, Step, LFM2, Llama 4, Laguna."""

from __future__ import annotations

from dataclasses import replace

from ..model import Linear, Mixer, Model, Recurrent
from ._experts import ExpertStyle
from ._layers import heads, rotary_dim
from ._parts import attention, qkvo
from ._reader import Config
from .decoder import LayerKind, Style, decoder, qk_norm_params


def _mimo_attention(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Windowed layers have heads of their own and sink logits."""
    del style
    own = kind.mixer == "sliding_attention"
    base = heads(cfg)
    if own:
        kv_heads = cfg.size("swa_num_key_value_heads", default=2 * base.kv_heads)
        shape = replace(
            base,
            heads=cfg.size("swa_num_attention_heads", default=base.heads),
            kv_heads=kv_heads,
            head_dim=cfg.size("swa_head_dim", default=base.head_dim),
            v_head_dim=cfg.size("swa_v_head_dim", default=cfg.size("v_head_dim")),
        )
    else:
        shape = replace(base, v_head_dim=cfg.size("v_head_dim"))
    bias = cfg.flag("attention_bias", default=False)
    return attention(
        shape, qkvo(shape, qkv_bias=bias), window=kind.window,
        rotary_dim=rotary_dim(cfg, shape.head_dim, 0.334),
        extra_params=shape.heads if own else 0,
    )  # fmt: skip


def mimo_v2(cfg: Config) -> Model:
    """MiMo-V2-Flash: one full layer in six, experts everywhere but in the first layer."""
    cfg.default(head_dim=192, v_head_dim=128, sliding_window=129, num_key_value_heads=4,
                n_routed_experts=256, num_experts_per_tok=8,
                moe_intermediate_size=2048)  # fmt: skip
    layers = cfg.layers()
    added: dict[str, object] = {}
    marks = cfg.sizes("hybrid_layer_pattern", layers)
    if cfg.raw("layer_types") is None:
        local = [mark == 1 for mark in marks] if marks else [
            i != 0 and (i + 1) % 6 != 0 for i in range(layers)
        ]  # fmt: skip
        added["layer_types"] = ["sliding_attention" if mark else "full_attention" for mark in local]
    if cfg.raw("mlp_layer_types") is None and cfg.raw("moe_layer_freq") is None:
        added["mlp_layer_types"] = ["dense"] + ["sparse"] * (layers - 1)
    cfg.data = {**cfg.data, **added}
    cfg.ignore("hybrid_layer_pattern", "attention_value_scale", "add_swa_attention_sink_bias",
               "sliding_window_size", "attention_chunk_size",
               "add_full_attention_sink_bias")  # fmt: skip
    mixers = dict.fromkeys(("sliding_attention", "full_attention"), _mimo_attention)
    return decoder(cfg, Style(mlp_bias=False, mixers=mixers))


def _step_attention(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Query/key norms and one output gate per head."""
    del style
    shape = heads(cfg)
    if kind.mixer == "sliding_attention":
        other = cfg.child("attention_other_setting")
        stated = other.optional_size("num_attention_heads") if other is not None else None
        count = cfg.optional_size("num_sliding_attention_heads") or stated
        shape = replace(shape, heads=count) if count else shape
    bias = cfg.flag("attention_bias", default=False)
    gate = Linear(name="self_attn.g_proj", in_features=shape.hidden, out_features=shape.heads,
                  shard="column")  # fmt: skip
    return attention(
        shape, (*qkvo(shape, qkv_bias=bias, o_bias=bias), gate), window=kind.window,
        rotary_dim=rotary_dim(cfg, shape.head_dim), norm_params=2 * shape.head_dim,
    )  # fmt: skip


def step(cfg: Config) -> Model:
    """Step-3.5 and 3.7: full and windowed layers, experts after a dense prefix."""
    groups = cfg.optional_size("num_attention_groups")
    cfg.default(
        num_key_value_heads=groups or 8, head_dim=128, share_expert_dim=1280,
        n_routed_experts=288, num_experts_per_tok=8, moe_intermediate_size=1280,
    )  # fmt: skip
    layers = cfg.layers()
    added: dict[str, object] = {}
    if cfg.raw("layer_types") is None:
        added["layer_types"] = ["full_attention"] * layers
    if cfg.raw("mlp_layer_types") is None and not cfg.has("first_k_dense_replace"):
        added["mlp_layer_types"] = _step_sparse(cfg, layers)
    for ours, theirs in (("n_routed_experts", "moe_num_experts"),
                         ("num_experts_per_tok", "moe_top_k"),
                         ("share_expert_dim", "share_expert_dims")):  # fmt: skip
        if cfg.raw(theirs) is not None and not cfg.has(ours):
            added[ours] = cfg.raw(theirs)
    cfg.data = {**cfg.data, **added}
    cfg.ignore(
        "moe_router_scaling_factor", "use_moe_router_bias", "moe_layers_enum", "need_fp32_gate",
        "use_moe", "use_head_wise_attn_gate", "partial_rotary_factors", "n_shared_experts",
        "swiglu_limits_shared", "num_attention_groups", "attention_other_setting",
        "mtp_layer_types", "mtp_mlp_layer_types", "use_qk_norm", "yarn_only_types",
        "moe_router_activation", "norm_expert_weight", "use_rope_layers", "att_impl_type",
        "use_mfa", "use_swiglu_limit", "zero_centered",
    )  # fmt: skip
    mixers = dict.fromkeys(("sliding_attention", "full_attention"), _step_attention)
    style = Style(mixers=mixers, experts=ExpertStyle())
    return decoder(cfg, style)


def _step_sparse(cfg: Config, layers: int) -> list[str]:
    """``moe_layers_enum`` lists the sparse layers; from the fourth on if silent."""
    listed = cfg.raw("moe_layers_enum")
    if listed is None:
        return ["sparse" if i >= 3 else "dense" for i in range(layers)]
    items = listed.split(",") if isinstance(listed, str) else listed
    try:
        chosen = {int(item) for item in items if str(item).strip()}
    except (TypeError, ValueError):
        raise cfg.error("'moe_layers_enum' must list layer numbers") from None
    return ["sparse" if i in chosen else "dense" for i in range(layers)]


def _gated_attention(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Query/key norms, and a gate on the output per head or per element."""
    shape = heads(cfg, kind.heads, kind.kv_heads)
    bias = cfg.flag("attention_bias", default=False)
    by_head = cfg.raw("gating") in (True, "per-head")
    width = shape.heads if by_head else shape.heads * shape.head_dim
    gate = Linear(name="self_attn.g_proj", in_features=shape.hidden, out_features=width,
                  shard="column")  # fmt: skip
    return attention(
        shape, (*qkvo(shape, qkv_bias=bias, o_bias=bias), gate), window=kind.window,
        rotary_dim=rotary_dim(cfg, shape.head_dim, windowed=kind.window is not None),
        norm_params=qk_norm_params(cfg, style, shape),
    )  # fmt: skip


_GATED = dict.fromkeys(("sliding_attention", "full_attention"), _gated_attention)


def laguna(cfg: Config) -> Model:
    """Laguna: heads counted per layer, gated attention, one dense layer in front."""
    cfg.default(gating=True, head_dim=128, num_key_value_heads=8, sliding_window=512)
    layers = cfg.layers()
    kinds = set(cfg.texts("gating_types", layers) or ())
    if kinds - {"per_head"}:
        raise cfg.error("'gating_types' other than per_head is not understood")
    cfg.ignore("moe_routed_scaling_factor", "moe_apply_router_weight_on_input",
               "moe_router_logit_softcapping")  # fmt: skip
    added: dict[str, object] = {}
    if cfg.raw("layer_types") is None:
        added["layer_types"] = ["full_attention"] * layers
    if cfg.raw("mlp_layer_types", "mlp_only_layers", "decoder_sparse_step") is None:
        added["mlp_layer_types"] = ["dense"] + ["sparse"] * (layers - 1)
    cfg.data = {**cfg.data, **added}
    style = Style(mlp_bias=False, qk_norm="head", mixers=_GATED,
                  experts=ExpertStyle(shared="shared_expert", bias_params=1))  # fmt: skip
    return decoder(cfg, style)


def afmoe(cfg: Config) -> Model:
    """Arcee's Trinity: four norms a layer, attention gated per element."""
    cfg.default(head_dim=128, sliding_window=1024, global_attn_every_n_layers=4,
                num_dense_layers=1, num_shared_experts=2)  # fmt: skip
    layers, step = cfg.layers(), cfg.size("global_attn_every_n_layers")
    added: dict[str, object] = {
        "first_k_dense_replace": cfg.size("num_dense_layers", minimum=0),
        "gating": "per-element",
    }
    if cfg.raw("layer_types") is None:
        added["layer_types"] = [
            "full_attention" if (i + 1) % step == 0 else "sliding_attention" for i in range(layers)
        ]
    cfg.data = {**cfg.data, **added}
    cfg.ignore("route_scale", "mup_enabled", "route_norm", "load_balance_coeff", "score_func",
               "n_group", "topk_group", "num_expert_groups", "num_limited_groups",
               "use_grouped_mm")  # fmt: skip
    style = Style(
        mlp_bias=False, qk_norm="head", residual_norms=4, mixers=_GATED,
        experts=ExpertStyle(router="router.gate", bias_params=1),
    )  # fmt: skip
    return decoder(cfg, style)


def _short_conv(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """A gated convolution over the last few tokens."""
    del style, kind
    hidden, kernel = cfg.size("hidden_size"), cfg.size("conv_L_cache", default=3)
    bias = cfg.flag("conv_bias", default=False)
    return Recurrent(
        kind="short_conv",
        num_heads=0,
        key_dim=0,
        value_dim=0,
        num_key_heads=0,
        conv_channels=hidden,
        conv_kernel=kernel,
        linears=(
            Linear(name="conv.in_proj", in_features=hidden, out_features=3 * hidden, bias=bias,
                   shard="column"),
            Linear(name="conv.out_proj", in_features=hidden, out_features=hidden, bias=bias,
                   shard="row"),
        ),
        extra_params=hidden * (kernel + (1 if bias else 0)),
    )  # fmt: skip


def lfm2(cfg: Config) -> Model:
    """Short convolutions with attention at listed layers; dense or experts."""
    layers = cfg.layers()
    cfg.default(num_key_value_heads=8)
    added: dict[str, object] = {}
    if cfg.raw("layer_types") is None:
        listed = cfg.sizes("full_attn_idxs")
        full = set(range(layers) if listed is None else listed)
        added["layer_types"] = ["full_attention" if i in full else "conv" for i in range(layers)]
    width = cfg.size("block_ff_dim", "intermediate_size")
    if not cfg.has("num_experts") and cfg.flag("block_auto_adjust_ff_dim", default=True):
        width = int(2 * width / 3)
        width = int(cfg.number("block_ffn_dim_multiplier", default=1.0) * width)
        step = cfg.size("block_multiple_of", default=256)
        width = -(-width // step) * step
    added["intermediate_size"] = width
    added["first_k_dense_replace"] = cfg.size("num_dense_layers", default=2, minimum=0)
    if cfg.has("tie_embedding"):
        added["tie_word_embeddings"] = cfg.flag("tie_embedding")
    cfg.data = {**cfg.data, **added}
    cfg.ignore(
        "full_attn_idxs", "block_ff_dim", "block_auto_adjust_ff_dim", "block_ffn_dim_multiplier",
        "block_multiple_of", "use_expert_bias", "first_k_dense_replace", "tie_embedding",
        "block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale",
        "block_use_swiglu", "block_use_xavier_init", "conv_dim", "conv_dim_out",
        "conv_use_xavier_init", "num_heads", "use_pos_enc", "conv_L_cache", "conv_bias",
    )  # fmt: skip
    names = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2")
    style = Style(
        qkv_bias=False, o_bias=False, mlp_bias=False, tied=True, qk_norm="head",
        mixers={"conv": _short_conv}, gated_names=names,
        attention_names=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                         "self_attn.out_proj"),
        experts=ExpertStyle(prefix="feed_forward.", names=("w1", "w3", "w2")),
    )  # fmt: skip
    return decoder(cfg, style)


def llama4(cfg: Config) -> Model:
    """Windows of fixed chunks where queries rotate, none where they do not; interleaved experts.

    A chunked layer sees at most one chunk; `window` carries that bound.
    """
    cfg.default(
        head_dim=128, num_local_experts=16, num_experts_per_tok=1, no_rope_layer_interval=4,
        interleave_moe_layer_step=1, attention_chunk_size=8192, num_key_value_heads=8,
        intermediate_size_mlp=16384,
    )  # fmt: skip
    layers = cfg.layers()
    step = cfg.size("interleave_moe_layer_step", minimum=0)
    listed = cfg.sizes("moe_layers")
    sparse = set(listed if listed is not None else range(step - 1, layers, step) if step else ())
    added: dict[str, object] = {
        "mlp_layer_types": ["sparse" if i in sparse else "dense" for i in range(layers)],
        "moe_intermediate_size": cfg.size("intermediate_size"),
        "intermediate_size": cfg.size("intermediate_size_mlp"),
        "n_shared_experts": 1,
    }
    if cfg.raw("layer_types") is None:
        stated = cfg.sizes("no_rope_layers") or [
            int((i + 1) % cfg.size("no_rope_layer_interval") != 0) for i in range(layers)
        ]
        added["layer_types"] = [
            "chunked_attention" if i < len(stated) and stated[i] else "full_attention"
            for i in range(layers)
        ]
    if not cfg.raw("no_rope_layers"):
        cfg.data = {k: v for k, v in cfg.data.items() if k != "no_rope_layers"}
    cfg.data = {**cfg.data, **added}
    cfg.ignore("use_qk_norm", "for_llm_compressor", *added)
    names = ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj")
    style = Style(
        mlp_bias=False, gated_names=names,
        experts=ExpertStyle(prefix="feed_forward.", router="router", shared="shared_expert"),
    )  # fmt: skip
    return decoder(cfg, style)
