# SPDX-License-Identifier: Apache-2.0
"""Qwen 1 to 3.6: Llama's layout with biases (to 2.5), query/key norms (3), delta hybrids."""

from __future__ import annotations

from dataclasses import replace

from ..model import Mixer, Model
from ._delta import gated_delta
from ._experts import ExpertStyle
from ._reader import Config
from .decoder import LayerKind, Style, decoder, styled

_SHARED = ExpertStyle(shared="shared_expert", shared_gate="shared_expert_gate")

qwen2 = styled(qkv_bias=True, o_bias=False, mlp_bias=False, window="qwen")

qwen2_moe = styled(
    qkv_bias="qkv_bias", o_bias=False, mlp_bias=False, window="qwen", experts=_SHARED,
    defaults={"qkv_bias": True},
)  # fmt: skip

qwen3 = styled(qk_norm="head", mlp_bias=False, window="qwen")

_QWEN3_MOE = Style(
    qk_norm="head", mlp_bias=False, window="qwen", experts=ExpertStyle(shared="shared_expert")
)


def qwen3_moe(cfg: Config) -> Model:
    """Some configs carry Qwen2's fields along, switched off."""
    cfg.ignore("use_qk_norm", "qkv_bias", "shared_expert_intermediate_size")
    if cfg.raw("shared_expert_intermediate_size"):
        cfg.warn("shared_expert_intermediate_size is set, but Qwen3 MoE has no shared expert")
    cfg.data = {k: v for k, v in cfg.data.items() if k != "shared_expert_intermediate_size"}
    return decoder(cfg, _QWEN3_MOE)


def _next_delta(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    del style, kind
    return gated_delta(cfg, stored="grouped")


def _split_delta(cfg: Config, style: Style, kind: LayerKind) -> Mixer:
    del style, kind
    return gated_delta(cfg, stored="split")


_HYBRID = Style(
    output_gate=True, qk_norm="head", mlp_bias=False, rotary_frac=0.25, experts=_SHARED,
    mixers={"linear_attention": _next_delta},
    defaults={
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "head_dim": 256,
    },
)  # fmt: skip


def _interleave(cfg: Config) -> None:
    """Derive ``layer_types`` from ``full_attention_interval``, every fourth if silent."""
    step = cfg.size("full_attention_interval", default=4)
    if cfg.raw("layer_types") is None:
        types = [
            "full_attention" if (i + 1) % step == 0 else "linear_attention"
            for i in range(cfg.layers())
        ]
        cfg.data = {**cfg.data, "layer_types": types}
    cfg.ignore("mamba_ssm_dtype", "output_gate_type")
    if not cfg.flag("attn_output_gate", default=True):
        raise cfg.error("'attn_output_gate' false is not understood")


def qwen3_next(cfg: Config) -> Model:
    """Three gated delta layers, then one of gated attention; experts everywhere."""
    _interleave(cfg)
    return decoder(cfg, _HYBRID)


def qwen3_5(cfg: Config) -> Model:
    """As Qwen3-Next with the delta projections stored apart; dense or experts."""
    _interleave(cfg)
    return decoder(cfg, replace(_HYBRID, mixers={"linear_attention": _split_delta}))
