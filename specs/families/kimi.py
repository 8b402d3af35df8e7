# SPDX-License-Identifier: Apache-2.0
"""Kimi Linear, Kimi K3 and Ling's hybrids: delta attention beside latent attention."""

from __future__ import annotations

from dataclasses import replace

from ..model import Mixer, Model
from ._delta import kimi_delta
from ._experts import ExpertStyle
from ._layers import latent_shape
from ._parts import latent_attention
from ._reader import Config
from .decoder import LayerKind, Style, decoder


def _delta(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    del style, kind
    return kimi_delta(
        cfg.size("hidden_size"),
        cfg.size("linear_num_heads"),
        cfg.size("linear_head_dim"),
        cfg.size("linear_conv_kernel_dim"),
        full_gate=cfg.flag("use_full_rank_gate", default=False),
    )


def _latent(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Latent attention without rotation; K3 gates its output."""
    del style
    shape = latent_shape(cfg)
    gated = cfg.flag("mla_use_output_gate", default=False)
    return latent_attention(
        shape, window=kind.window, bias=cfg.flag("attention_bias", default=False),
        gate_features=shape.heads * shape.value if gated else 0,
    )  # fmt: skip


_STYLE = Style(
    o_bias=False, mlp_bias=False, experts=ExpertStyle(),
    mixers={"linear_attention": _delta, "full_attention": _latent},
    defaults={
        "linear_head_dim": 128, "linear_num_heads": 32, "linear_conv_kernel_dim": 4,
        "first_k_dense_replace": 1,
    },
)  # fmt: skip


def kimi_linear(cfg: Config) -> Model:
    """Layer kinds come from ``linear_attn_config``, whose lists count from one."""
    cfg.ignore("model_max_length", "num_expert_group", "moe_renormalize", "use_grouped_topk",
               "moe_router_activation_func", "head_dim", "mla_use_nope",
               "num_key_value_heads", "qk_head_dim", "activation_situ_beta",
               "activation_situ_linear_beta")  # fmt: skip
    inner = cfg.child("linear_attn_config")
    added: dict[str, object] = {}
    if inner is not None:
        added = {
            "linear_head_dim": inner.size("head_dim", default=128),
            "linear_num_heads": inner.size("num_heads", default=32),
            "linear_conv_kernel_dim": inner.size("short_conv_kernel_size", default=4),
            "use_full_rank_gate": inner.flag("use_full_rank_gate", default=False),
        }
        full = inner.sizes("full_attn_layers", minimum=1)
        if full is not None:
            added["layer_types"] = [
                "full_attention" if i + 1 in full else "linear_attention"
                for i in range(cfg.layers())
            ]
    elif cfg.raw("layer_types") is None:
        added["layer_types"] = [
            "full_attention" if i and i % 4 == 0 else "linear_attention"
            for i in range(cfg.layers())
        ]
    cfg.data = {**cfg.data, **added}
    cfg.ignore(*added)
    if cfg.raw("max_position_embeddings") is None:
        cfg.default(max_position_embeddings=cfg.raw("model_max_length"))
    return _attention_residuals(cfg, decoder(cfg, _STYLE))


def _attention_residuals(cfg: Config, model: Model) -> Model:
    """K3's residual stream: each half of a layer weighs the earlier blocks anew.

    Every half has a query vector and a norm over the stream's width (Kimi K3 report,
    section 2.2), and so has the output.
    """
    if cfg.optional_size("attn_res_block_size") is None:
        return model
    hidden = model.hidden_size
    blocks = tuple(
        replace(block, extra_params=block.extra_params + 4 * hidden) for block in model.blocks
    )
    cfg.warn("attention residuals (attn_res_block_size): parameters counted, traffic left out")
    return replace(model, blocks=blocks, final_params=model.final_params + 2 * hidden)


def _ling_delta(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    del style, kind
    return kimi_delta(
        cfg.size("hidden_size"),
        cfg.size("linear_num_heads", "num_attention_heads"),
        cfg.size("linear_head_dim", "head_dim"),
        cfg.size("short_conv_kernel_size", default=4),
        full_gate=True,
        full_decay=True,
    )


def _ling_latent(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    """Latent attention with one gate per head."""
    del style
    shape = latent_shape(cfg)
    return latent_attention(
        shape, window=kind.window, bias=cfg.flag("attention_bias", default=False),
        gate_features=shape.heads,
    )  # fmt: skip


def bailing_hybrid(cfg: Config) -> Model:
    """Ling's hybrid: five delta layers to one of latent attention."""
    cfg.default(head_dim=128, layer_group_size=6, first_k_dense_replace=2, n_shared_experts=1,
                num_experts=512, num_experts_per_tok=8, moe_intermediate_size=768)  # fmt: skip
    step = cfg.size("layer_group_size")
    if cfg.raw("layer_types") is None:
        types = [
            "full_attention" if (i + 1) % step == 0 else "linear_attention"
            for i in range(cfg.layers())
        ]
        cfg.data = {**cfg.data, "layer_types": types}
    if cfg.raw("q_lora_rank") is not None:
        raise cfg.error("'q_lora_rank' is not understood in this family")
    cfg.ignore("kda_safe_gate", "kda_lower_bound", "mtp_loss_scaling_factor", "qk_head_dim",
               "num_key_value_heads", "linear_conv_kernel_dim", "num_expert_group",
               "moe_renormalize", "model_max_length")  # fmt: skip
    mixers = {"linear_attention": _ling_delta, "full_attention": _ling_latent}
    return decoder(cfg, Style(o_bias=False, mlp_bias=False, mixers=mixers))
