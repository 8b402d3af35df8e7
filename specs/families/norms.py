# SPDX-License-Identifier: Apache-2.0
"""Decoders with LayerNorm, parallel layers or further norms: OLMo, Cohere, Phi, StableLM, Gemma."""

from __future__ import annotations

from ._experts import ExpertStyle
from .decoder import styled

gemma = styled(
    mlp_bias=False, tied=True,
    defaults={"head_dim": 256, "hidden_act": "gelu_pytorch_tanh"},
)  # fmt: skip

gemma2 = styled(
    mlp_bias=False, tied=True, residual_norms=4, window="pattern",
    defaults={
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
        "sliding_window_pattern": 2,
    },
)  # fmt: skip

gemma3 = styled(
    mlp_bias=False, tied=True, residual_norms=4, window="pattern", qk_norm="head",
    defaults={
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
        "sliding_window_pattern": 6, "vocab_size": 262_208, "num_attention_heads": 8,
        "num_key_value_heads": 4, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "max_position_embeddings": 131_072,
    },
)  # fmt: skip

cohere = styled(
    parallel=True, norm="layer_nobias", tied=True, mlp_bias=False,
    qk_norm="heads", qk_norm_flag="use_qk_norm", qk_norm_kind="layer_nobias",
)  # fmt: skip

cohere2 = styled(
    ignored=(
        "cache_implementation", "order_of_interleaved_layers", "position_embedding_type",
        "rotary_pct", "use_embedding_sharing", "use_gated_activation", "use_parallel_block",
        "use_parallel_embedding",
    ),
    parallel=True, norm="layer_nobias", tied=True, mlp_bias=False, window="pattern",
    defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
)  # fmt: skip

olmo = styled(norm="none", mlp_bias=False)

olmo2 = styled(qk_norm="full", mlp_bias=False)

olmo3 = styled(
    qk_norm="full", mlp_bias=False, window="pattern",
    defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
)  # fmt: skip

olmoe = styled(qk_norm="full", mlp_bias=False)

stablelm = styled(
    ignored=("rotary_scaling_factor",),
    qkv_bias="use_qkv_bias", o_bias=False, mlp_bias=False, norm="layer",
    parallel="use_parallel_residual", qk_norm="heads", qk_norm_flag="qk_layernorm",
    qk_norm_kind="layer_nobias", rotary_frac=0.25,
)  # fmt: skip

starcoder2 = styled(
    ignored=("mixed_precision", "norm_type", "mlp_type", "activation_function"),
    qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", gated=False, norm="layer",
    tied=True, plain_names=("mlp.c_fc", "mlp.c_proj"),
    defaults={"use_bias": True, "hidden_act": "gelu_pytorch_tanh"},
)  # fmt: skip

phi = styled(
    qkv_bias=True, o_bias=True, mlp_bias=True, head_bias=True, gated=False, norm="layer",
    parallel=True, qk_norm="head", qk_norm_flag="qk_layernorm", qk_norm_kind="layer",
    rotary_frac=0.5, plain_names=("mlp.fc1", "mlp.fc2"),
    attention_names=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                     "self_attn.dense"),
    defaults={"hidden_act": "gelu_new"},
)  # fmt: skip

persimmon = styled(
    qkv_bias=True, o_bias=True, mlp_bias=True, gated=False, norm="layer", qk_norm="head",
    qk_norm_flag="qk_layernorm", qk_norm_kind="layer", rotary_frac=0.5,
    plain_names=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    attention_names=("self_attn.query_key_value.q", "self_attn.query_key_value.k",
                     "self_attn.query_key_value.v", "self_attn.dense"),
    defaults={"hidden_act": "relu2", "qk_layernorm": True},
)  # fmt: skip

phimoe = styled(
    norm="layer", head_bias="lm_head_bias",
    experts=ExpertStyle(prefix="block_sparse_moe.", names=("w1", "w3", "w2")),
    defaults={"num_key_value_heads": 8},
)  # fmt: skip
