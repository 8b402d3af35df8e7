# SPDX-License-Identifier: Apache-2.0
"""Which function reads which ``model_type``: ``"module:function"`` in this package.

Modules are imported only when their family is asked for.
"""

from __future__ import annotations

from importlib import import_module

from ..model import Model
from ._reader import Config

FAMILIES: dict[str, str] = {
    **dict.fromkeys(("llama", "minicpm"), "llama:llama"),
    **dict.fromkeys(("mistral", "ministral", "ministral3"), "llama:mistral"),
    **dict.fromkeys(("mamba", "falcon_mamba"), "ssm:mamba"),
    "mamba2": "ssm:mamba_2",
    "jamba": "ssm:jamba",
    "granitemoehybrid": "ssm:granite_hybrid",
    "bamba": "ssm:bamba",
    "nemotron_h": "nemotron:nemotron_h",
    **dict.fromkeys(("nemotron-nas", "decilm"), "nemotron:nemotron_nas"),
    **dict.fromkeys(("minimax", "minimax_text_01"), "minimax:minimax"),
    **dict.fromkeys(("minimax_m3", "minimax_m3_vl", "minimax_m3_vl_text"), "minimax:minimax_m3"),
    "mimo_v2_flash": "mixers:mimo_v2",
    **dict.fromkeys(("step3p5", "step3p7"), "mixers:step"),
    **dict.fromkeys(("lfm2", "lfm2_moe"), "mixers:lfm2"),
    **dict.fromkeys(("llama4_text", "llama4"), "mixers:llama4"),
    "kimi_linear": "kimi:kimi_linear",
    "qwen3_next": "qwen:qwen3_next",
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), "qwen:qwen3_5"),
    **dict.fromkeys(("deepseek_v4", "deepseek_ref"), "deepseek_v4:deepseek_v4"),
    "baichuan": "remote:baichuan",
    "exaone": "remote:exaone",
    "codegen": "gpt:codegen",
    "bailing_hybrid": "kimi:bailing_hybrid",
    "mllama_text_model": "mllama:mllama",
    "bitnet": "llama:bitnet",
    "mistral4": "deepseek:deepseek_v3",
    "deci": "llama:llama",
    "internlm2": "llama:internlm2",
    "internlm3": "llama:internlm3",
    "gpt_neo": "gpt:gpt_neo",
    "laguna": "mixers:laguna",
    "afmoe": "mixers:afmoe",
    "exaone_moe": "mixtures:exaone_moe",
    "hy_v3": "mixtures:hy_v3",
    "gemma3n_text": "gemma:gemma3n",
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), "gemma:gemma4"),
    **dict.fromkeys(("t5", "mt5"), "encdec:t5"),
    "umt5": "encdec:umt5",
    "bart": "encdec:bart",
    "whisper": "encdec:whisper",
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), "encoders:bert"),
    "distilbert": "encoders:distilbert",
    "modernbert": "encoders:modernbert",
    "qwen": "remote:qwen",
    "chatglm": "remote:chatglm",
    "dbrx": "remote:dbrx",
    **dict.fromkeys(("bailing_moe", "bailing_moe_v2"), "remote:bailing"),
    "apertus": "llama:apertus",
    "arcee": "llama:arcee",
    "cohere": "norms:cohere",
    "cohere2": "norms:cohere2",
    **dict.fromkeys(
        ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "glm4_moe_lite"),
        "deepseek:deepseek_v3",
    ),
    "deepseek_v2": "deepseek:deepseek_v2",
    "dots1": "mixtures:dots1",
    "ernie4_5": "llama:ernie4_5",
    "ernie4_5_moe": "mixtures:ernie_moe",
    "exaone4": "llama:exaone4",
    "gemma": "norms:gemma",
    "gemma2": "norms:gemma2",
    "gemma3_text": "norms:gemma3",
    "glm": "llama:glm",
    "glm4": "llama:glm4",
    "glm4_moe": "mixtures:glm4_moe",
    "bloom": "gpt:bloom",
    **dict.fromkeys(("falcon", "RefinedWeb", "RefinedWebModel"), "gpt:falcon"),
    "gpt2": "gpt:gpt2",
    "gpt_bigcode": "gpt:gpt_bigcode",
    "gpt_neox": "gpt:gpt_neox",
    "gptj": "gpt:gptj",
    "mpt": "gpt:mpt",
    "opt": "gpt:opt",
    "gpt_oss": "gpt_oss:gpt_oss",
    "granite": "llama:llama",
    "granitemoe": "mixtures:granitemoe",
    "hunyuan_v1_dense": "llama:hunyuan_dense",
    **dict.fromkeys(("hunyuan_v1_moe", "hunyuan"), "mixtures:hunyuan_moe"),
    "mimo": "llama:mimo",
    "minicpm3": "llama:minicpm3",
    "minimax_m2": "mixtures:minimax_m2",
    "mixtral": "mixtures:mixtral",
    "nemotron": "llama:nemotron",
    "olmo": "norms:olmo",
    "olmo2": "norms:olmo2",
    "olmo3": "norms:olmo3",
    "olmoe": "norms:olmoe",
    "persimmon": "norms:persimmon",
    "phi": "norms:phi",
    "phi3": "llama:phi3",
    "phimoe": "norms:phimoe",
    **dict.fromkeys(
        ("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"), "qwen:qwen2"
    ),
    "qwen2_moe": "qwen:qwen2_moe",
    **dict.fromkeys(("qwen3", "qwen3_vl_text"), "qwen:qwen3"),
    **dict.fromkeys(("qwen3_moe", "qwen3_vl_moe_text", "qwen3_omni_moe_text"), "qwen:qwen3_moe"),
    "seed_oss": "llama:seed_oss",
    "smollm3": "llama:smollm3",
    "solar_open": "mixtures:solar_open",
    "stablelm": "norms:stablelm",
    "starcoder2": "norms:starcoder2",
}


TEXT_TYPES: dict[str, str] = {
    "mistral3": "mistral",
    "kimi_k25": "deepseek_v3",
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "llama4": "llama4_text",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "mllama": "mllama_text_model",
    "llava": "llama",
    "llava_next": "llama",
    "kimi_k3": "kimi_linear",
    "step3p7": "step3p5",
}
"""Type of the text part where a multimodal config leaves it out."""

ARCHITECTURES: dict[str, str] = {
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "DeepseekV32ForCausalLM": "deepseek_v32",
    "DeepseekV4ForCausalLM": "deepseek_v4",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
}
"""Type of a config whose own type is unknown but whose architecture is stated."""


def _family(cfg: Config) -> str:
    if cfg.model_type in FAMILIES:
        return FAMILIES[cfg.model_type]
    named = cfg.raw("architectures")
    for name in named if isinstance(named, list) else ():
        known = ARCHITECTURES.get(name) if isinstance(name, str) else None
        if known is not None:
            cfg.warn(f"model_type {cfg.model_type[:60]!r} is not known; read as {known}, the "
                     "type of its architecture")  # fmt: skip
            return FAMILIES[known]
    return "decoder:structural"


def build(cfg: Config) -> Model:
    """Read a config with its family, or by structure where the family is unknown."""
    target = _family(cfg)
    module, _, function = target.partition(":")
    family = getattr(import_module(f"{__package__}.{module}"), function)
    model: Model = family(cfg)
    return model
