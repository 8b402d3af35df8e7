# SPDX-License-Identifier: Apache-2.0
"""Llama and Mistral, and the dense families that follow their layout closely."""

from __future__ import annotations

from dataclasses import replace

from ..model import Model
from ._parts import fused_qkv
from ._reader import Config
from .decoder import Style, decoder, styled

FUSED_QKV = fused_qkv("self_attn.qkv_proj", "self_attn.o_proj")
FUSED_GATED = ("mlp.gate_up_proj.gate", "mlp.gate_up_proj.up", "mlp.down_proj")

llama = styled()

mistral = styled(qkv_bias=False, o_bias=False, mlp_bias=False)

mimo = styled(o_bias=False, window="qwen", defaults={"attention_bias": True})

phi3 = styled(
    ignored=("full_attn_mod", "interpolate_factor", "lm_head_bias"),
    qkv_bias=False, o_bias=False, attention_names=FUSED_QKV, gated_names=FUSED_GATED
)  # fmt: skip

glm = styled(
    o_bias=False, gated_names=FUSED_GATED, rotary_frac=0.5,
    defaults={"attention_bias": True, "head_dim": 128},
)  # fmt: skip

glm4 = styled(
    o_bias=False, gated_names=FUSED_GATED, rotary_frac=0.5, residual_norms=4,
    defaults={"attention_bias": True, "head_dim": 128},
)  # fmt: skip

smollm3 = styled(window="qwen", tied=True, defaults={"no_rope_layer_interval": 4})

exaone4 = styled(
    qkv_bias=False, o_bias=False, qk_norm="head", window="pattern",
    defaults={"sliding_window_pattern": 4},
)  # fmt: skip

seed_oss = styled(o_bias="attention_out_bias", defaults={"attention_bias": True, "head_dim": 128})

apertus = styled(
    ignored=("post_norm", "qk_norm"),
    gated=False,
    mlp_bias=False,
    qk_norm="head",
    mlp_extra=2,
    defaults={"hidden_act": "xielu"},
)

arcee = styled(gated=False, defaults={"hidden_act": "relu2"})

nemotron = styled(gated=False, norm="layer", rotary_frac=0.5, defaults={"hidden_act": "relu2"})

ernie4_5 = styled(
    qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", tied=True,
    defaults={"head_dim": 128},
)  # fmt: skip

hunyuan_dense = styled(qk_norm="head", mlp_bias=False)

minicpm = styled(tied=True)

minicpm3 = styled(tied=True)

internlm3 = styled(
    qkv_bias=("attention_bias", "qkv_bias"), o_bias=("attention_bias", "qkv_bias"),
    mlp_bias=("mlp_bias", "bias"), defaults={"head_dim": 128, "num_key_value_heads": 2},
)  # fmt: skip

internlm2 = styled(
    qkv_bias="bias", o_bias="bias", mlp_bias=False,
    attention_names=fused_qkv("attention.wqkv", "attention.wo"),
    gated_names=("feed_forward.w1", "feed_forward.w3", "feed_forward.w2"),
)  # fmt: skip


def bitnet(cfg: Config) -> Model:
    """BitNet b1.58: a further norm inside attention and inside the feed-forward."""
    model = decoder(cfg, Style(mlp_bias=False, defaults={"hidden_act": "relu2"}))
    inner = cfg.size("hidden_size") + cfg.size("intermediate_size")
    blocks = tuple(replace(block, extra_params=inner) for block in model.blocks)
    return replace(model, blocks=blocks)
