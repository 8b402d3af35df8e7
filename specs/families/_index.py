# SPDX-License-Identifier: Apache-2.0
"""Which function reads which ``model_type``: ``"module:function"`` in this package.

Modules are imported only when their family is asked for.
"""

from __future__ import annotations

from importlib import import_module

from ..model import Model
from ._reader import Config

FAMILIES: dict[str, str] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "ministral3", "mimo"), "llama:llama"),
    "qwen2": "qwen:qwen2",
    "qwen3": "qwen:qwen3",
    "qwen2_moe": "qwen:qwen2_moe",
    "qwen3_moe": "qwen:qwen3_moe",
    "qwen3_vl_text": "qwen:qwen3",
    "qwen3_vl_moe_text": "qwen:qwen3_moe",
    "mixtral": "llama:mixtral",
    "gpt2": "gpt2:gpt2",
    "gpt_oss": "gpt_oss:gpt_oss",
    **dict.fromkeys(
        ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "glm4_moe_lite"),
        "deepseek:deepseek_v3",
    ),
    "deepseek_v2": "deepseek:deepseek_v2",
}

TEXT_TYPES: dict[str, str] = {
    "mistral3": "mistral",
    "kimi_k25": "deepseek_v3",
}
"""Type of the text part where a multimodal config leaves it out."""


def build(cfg: Config) -> Model:
    """Read a config with its family, or by structure where the family is unknown."""
    target = FAMILIES.get(cfg.model_type, "decoder:structural")
    module, _, function = target.partition(":")
    family = getattr(import_module(f"{__package__}.{module}"), function)
    model: Model = family(cfg)
    return model
