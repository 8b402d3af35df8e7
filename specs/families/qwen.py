# SPDX-License-Identifier: Apache-2.0
"""Qwen 1.5 to 3: Llama's layout with biases (2) or query/key norms (3)."""

from __future__ import annotations

from ._experts import ExpertStyle
from .decoder import styled

qwen2 = styled(qkv_bias=True, o_bias=False, mlp_bias=False, window="qwen")

qwen3 = styled(qk_norm="head", mlp_bias=False, window="qwen")

qwen2_moe = styled(
    qkv_bias="qkv_bias",
    o_bias=False,
    mlp_bias=False,
    window="qwen",
    experts=ExpertStyle(shared="shared_expert", shared_gate="shared_expert_gate"),
    defaults={"qkv_bias": True},
)

qwen3_moe = styled(
    qk_norm="head", mlp_bias=False, window="qwen", experts=ExpertStyle(shared="shared_expert")
)
