# SPDX-License-Identifier: Apache-2.0
"""Parameter counts against the models that transformers itself builds, without memory.

Each architecture is built on torch's meta device from a small config whose sizes are
odd and all different, so that a swapped pair of dimensions shows. Both forms of the
config are read: complete, and with everything that equals the class's default left
out, as it is on the Hub.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from specs.config import model_from_config
from specs.model_records import find_record, load_record

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

pytestmark = [
    pytest.mark.slow,
    # Third parties warn about their own deprecations and about our odd small sizes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(torch|transformers|huggingface_hub)"),
]

BASE: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 12,
    "num_key_value_heads": 3,
    "intermediate_size": 136,
    "vocab_size": 1031,
    "max_position_embeddings": 509,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

MLA: dict[str, Any] = {
    "q_lora_rank": 40,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 14,
    "qk_rope_head_dim": 6,
    "v_head_dim": 10,
}

MOE: dict[str, Any] = {"num_experts_per_tok": 3, "moe_intermediate_size": 52}

DELTA: dict[str, Any] = {
    "linear_conv_kernel_dim": 3,
    "linear_key_head_dim": 14,
    "linear_value_head_dim": 22,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
}

NEMOTRON_H: dict[str, Any] = {
    **{k: v for k, v in BASE.items() if k != "num_hidden_layers"},
    "mamba_num_heads": 12, "mamba_head_dim": 10, "ssm_state_size": 22, "n_groups": 3,
    "head_dim": 18, "use_bias": True,
}  # fmt: skip

T5: dict[str, Any] = {
    "d_model": 96, "d_kv": 10, "d_ff": 136, "num_layers": 3, "num_heads": 6, "vocab_size": 1031,
    "relative_attention_num_buckets": 14, "pad_token_id": 0,
}  # fmt: skip

BART: dict[str, Any] = {
    "d_model": 96, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 6,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 200, "decoder_ffn_dim": 136,
    "vocab_size": 1031,
}  # fmt: skip

BERT: dict[str, Any] = {
    "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6,
    "intermediate_size": 200, "vocab_size": 1031, "max_position_embeddings": 77,
}  # fmt: skip

GPT: dict[str, Any] = {
    "n_embd": 96, "n_layer": 3, "n_head": 6, "n_positions": 77, "vocab_size": 1031,
}  # fmt: skip

FALCON: dict[str, Any] = {
    "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 1031,
}  # fmt: skip

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**BASE}),
    "llama-biases": ("llama", {**BASE, "attention_bias": True, "mlp_bias": True, "head_dim": 10}),
    "llama-tied": ("llama", {**BASE, "tie_word_embeddings": True}),
    "mistral": ("mistral", {**BASE, "head_dim": 20}),
    "mixtral": ("mixtral", {**BASE, "num_local_experts": 7, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", {**BASE}),
    "qwen2_moe": (
        "qwen2_moe",
        {**BASE, **MOE, "num_experts": 7, "shared_expert_intermediate_size": 44,
         "decoder_sparse_step": 2, "mlp_only_layers": [3]},
    ),
    "qwen3": ("qwen3", {**BASE, "head_dim": 20}),
    "qwen3_moe": ("qwen3_moe", {**BASE, **MOE, "head_dim": 20, "num_experts": 7}),
    "gpt2": (
        "gpt2",
        {"n_embd": 96, "n_layer": 3, "n_head": 6, "n_positions": 77, "vocab_size": 1031},
    ),
    "gpt_oss": (
        "gpt_oss",
        {**BASE, "head_dim": 20, "num_local_experts": 7, "num_experts_per_tok": 2},
    ),
    "deepseek_v2": (
        "deepseek_v2",
        {**BASE, **MLA, **MOE, "n_routed_experts": 7, "n_shared_experts": 2,
         "first_k_dense_replace": 2, "num_key_value_heads": 12},
    ),
    "deepseek_v2-lite": (
        "deepseek_v2",
        {**BASE, **MLA, **MOE, "q_lora_rank": None, "n_routed_experts": 7,
         "n_shared_experts": 2, "first_k_dense_replace": 2, "num_key_value_heads": 12},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {**BASE, **MLA, **MOE, "n_routed_experts": 8, "n_shared_experts": 2, "n_group": 2,
         "topk_group": 1, "first_k_dense_replace": 2, "num_key_value_heads": 12},
    ),
    "deepseek_v32": (
        "deepseek_v32",
        {**BASE, **MLA, **MOE, "n_routed_experts": 8, "n_shared_experts": 1, "n_group": 2,
         "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 12,
         "index_n_heads": 4, "index_head_dim": 18, "index_topk": 32},
    ),
    "glm_moe_dsa": (
        "glm_moe_dsa",
        {**BASE, **MLA, **MOE, "n_routed_experts": 8, "n_shared_experts": 1, "n_group": 1,
         "topk_group": 1, "num_key_value_heads": 12, "index_n_heads": 4,
         "index_head_dim": 18, "index_topk": 32},
    ),
    "qwen3_next": (
        "qwen3_next",
        {**BASE, **MOE, **DELTA, "num_experts": 7, "shared_expert_intermediate_size": 44},
    ),
    "qwen3_5_text": ("qwen3_5_text", {**BASE, **DELTA, "head_dim": 20}),
    "qwen3_5_moe_text": (
        "qwen3_5_moe_text",
        {**{k: v for k, v in BASE.items() if k != "intermediate_size"}, **MOE, **DELTA,
         "num_experts": 7, "shared_expert_intermediate_size": 44},
    ),
    "kimi_linear": (
        "kimi_linear",
        {**BASE, **MLA, "q_lora_rank": None, "num_key_value_heads": 12, "num_experts": 8,
         "num_experts_per_tok": 2, "moe_intermediate_size": 52, "n_shared_experts": 2,
         "linear_head_dim": 14, "linear_num_heads": 4},
    ),
    "mamba": ("mamba", {"hidden_size": 96, "num_hidden_layers": 3, "vocab_size": 1031}),
    "falcon_mamba": (
        "falcon_mamba",
        {"hidden_size": 96, "num_hidden_layers": 3, "vocab_size": 1031, "state_size": 12},
    ),
    "mamba2": (
        "mamba2",
        {"hidden_size": 96, "num_hidden_layers": 3, "vocab_size": 1031, "num_heads": 12,
         "head_dim": 16, "n_groups": 3, "state_size": 22},
    ),
    "jamba": ("jamba", {**BASE, "num_hidden_layers": 9, "num_experts": 4, "mamba_d_state": 6}),
    "bamba": (
        "bamba",
        {**BASE, "attn_layer_indices": [2], "mamba_n_heads": 12, "mamba_d_state": 22},
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        {**BASE, "mamba_n_heads": 12, "mamba_d_state": 22, "num_local_experts": 6,
         "num_experts_per_tok": 2, "shared_intermediate_size": 72,
         "layer_types": ["mamba", "attention", "mamba", "mamba", "attention"]},
    ),
    "granitemoehybrid-dense": (
        "granitemoehybrid",
        {**BASE, "mamba_n_heads": 12, "mamba_d_state": 22, "num_local_experts": 0,
         "shared_intermediate_size": 72, "position_embedding_type": "rope",
         "layer_types": ["mamba", "attention", "mamba", "mamba", "attention"]},
    ),
    "nemotron_h": (
        "nemotron_h",
        {**NEMOTRON_H, "layers_block_type": ["mamba", "attention", "mlp", "mamba"]},
    ),
    "nemotron_h-moe": (
        "nemotron_h",
        {**NEMOTRON_H, "layers_block_type": ["mamba", "moe", "attention", "moe"],
         "n_routed_experts": 6, "moe_intermediate_size": 52,
         "moe_shared_expert_intermediate_size": 44},
    ),
    "nemotron_h-latent": (
        "nemotron_h",
        {**NEMOTRON_H, "layers_block_type": ["mamba", "moe", "attention", "moe"],
         "n_routed_experts": 6, "moe_intermediate_size": 52, "moe_latent_size": 30,
         "moe_shared_expert_intermediate_size": 44},
    ),
    "minimax": (
        "minimax", {**BASE, "head_dim": 20, "num_local_experts": 6, "num_experts_per_tok": 2},
    ),
    "minimax_m3_vl_text": (
        "minimax_m3_vl_text",
        {**BASE, "head_dim": 20, "num_local_experts": 6, "num_experts_per_tok": 2,
         "dense_intermediate_size": 144, "shared_intermediate_size": 44, "index_n_heads": 2,
         "index_head_dim": 14,
         "layer_types": ["full_attention", *["minimax_m3_sparse"] * 4],
         "mlp_layer_types": ["dense", *["sparse"] * 4]},
    ),
    "mimo_v2_flash": (
        "mimo_v2_flash",
        {**BASE, **MOE, "num_hidden_layers": 7, "head_dim": 18, "v_head_dim": 14,
         "n_routed_experts": 6},
    ),
    "step3p5": (
        "step3p5",
        {**BASE, **MOE, "pad_token_id": 0, "head_dim": 20, "n_routed_experts": 6,
         "share_expert_dim": 44,
         "sliding_window": 32,
         "layer_types": ["full_attention", *["sliding_attention"] * 4]},
    ),
    "lfm2": (
        "lfm2",
        {**BASE, "full_attn_idxs": [1, 3]},
    ),
    "lfm2_moe": (
        "lfm2_moe",
        {**BASE, **MOE, "num_experts": 6,
         "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"]},
    ),
    "llama4_text": (
        "llama4_text",
        {**BASE, "head_dim": 20, "intermediate_size_mlp": 152, "num_local_experts": 6,
         "interleave_moe_layer_step": 2, "attention_bias": True},
    ),
    "deepseek_v4": (
        "deepseek_v4",
        {**{k: v for k, v in BASE.items() if k != "intermediate_size"}, **MOE,
         "num_key_value_heads": 1, "head_dim": 20, "q_lora_rank": 28, "n_routed_experts": 6,
         "o_groups": 4, "o_lora_rank": 14, "index_n_heads": 3, "index_head_dim": 10,
         "partial_rotary_factor": 0.4,
         "layer_types": ["sliding_attention", "heavily_compressed_attention",
                         "compressed_sparse_attention", "heavily_compressed_attention",
                         "compressed_sparse_attention"]},
    ),
    "gemma3n_text": (
        "gemma3n_text",
        {**BASE, "pad_token_id": 0, "num_hidden_layers": 10, "head_dim": 20,
         "num_kv_shared_layers": 4, "laurel_rank": 14, "hidden_size_per_layer_input": 22,
         "vocab_size_per_layer_input": 1009, "altup_num_inputs": 3},
    ),
    "t5": ("t5", {**T5}),
    "t5-gated": ("t5", {**T5, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 5}),
    "mt5": ("mt5", {**T5}),
    "umt5": ("umt5", {**T5}),
    "bart": ("bart", {**BART, "max_position_embeddings": 77}),
    "whisper": (
        "whisper",
        {**BART, "num_mel_bins": 14, "max_source_positions": 61, "max_target_positions": 43,
         "pad_token_id": 0},
    ),
    "bert": ("bert", {**BERT}),
    "roberta": ("roberta", {**BERT}),
    "xlm-roberta": ("xlm-roberta", {**BERT}),
    "distilbert": (
        "distilbert",
        {"dim": 96, "hidden_dim": 200, "n_layers": 3, "n_heads": 6, "vocab_size": 1031,
         "max_position_embeddings": 77},
    ),
    "modernbert": (
        "modernbert",
        {**BERT, "num_hidden_layers": 7, "attention_bias": True, "pad_token_id": 0},
    ),
    "dbrx": (
        "dbrx",
        {"d_model": 96, "n_heads": 6, "n_layers": 3, "vocab_size": 1031, "max_seq_len": 77,
         "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
         "ffn_config": {"ffn_hidden_size": 52, "moe_num_experts": 5, "moe_top_k": 2}},
    ),
    "gpt_neo": (
        "gpt_neo",
        {"hidden_size": 96, "num_layers": 4, "num_heads": 6, "vocab_size": 1031,
         "attention_types": [[["global", "local"], 2]], "max_position_embeddings": 77},
    ),
    "mistral4": (
        "mistral4",
        {**BASE, **MLA, **MOE, "num_key_value_heads": 12, "n_routed_experts": 6},
    ),
    "laguna": (
        "laguna",
        {**BASE, **MOE, "head_dim": 20, "num_experts": 6, "shared_expert_intermediate_size": 44,
         "num_attention_heads_per_layer": [12, 15, 15, 12, 15]},
    ),
    "afmoe": (
        "afmoe",
        {**BASE, **MOE, "head_dim": 20, "num_experts": 6, "num_shared_experts": 2},
    ),
    "exaone_moe": ("exaone_moe", {**BASE, **MOE, "num_experts": 6, "num_shared_experts": 2}),
    "hy_v3": ("hy_v3", {**BASE, **MOE, "head_dim": 20, "num_experts": 6}),
    "codegen": ("codegen", {**GPT, "n_head": 8, "rotary_dim": 8}),
    "bailing_hybrid": (
        "bailing_hybrid",
        {**BASE, **{k: v for k, v in MLA.items() if k != "q_lora_rank"}, **MOE,
         "num_key_value_heads": 12, "head_dim": 20, "num_hidden_layers": 7, "num_experts": 6,
         "n_shared_experts": 2, "layer_group_size": 3, "n_group": 1, "topk_group": 1},
    ),
    "mllama_text_model": (
        "mllama_text_model", {**BASE, "pad_token_id": 0, "cross_attention_layers": [1, 3]},
    ),
    "bitnet": ("bitnet", {**BASE}),
    "gptj": ("gptj", {**GPT, "rotary_dim": 8}),
    "gpt_neox": (
        "gpt_neox",
        {k: v for k, v in BASE.items() if "key_value" not in k},
    ),
    "gpt_neox-tied": (
        "gpt_neox",
        {**{k: v for k, v in BASE.items() if "key_value" not in k}, "attention_bias": False,
         "tie_word_embeddings": True, "use_parallel_residual": False},
    ),
    "gpt_bigcode": ("gpt_bigcode", {**GPT}),
    "gpt_bigcode-heads": ("gpt_bigcode", {**GPT, "multi_query": False}),
    "opt": (
        "opt",
        {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "ffn_dim": 200,
         "max_position_embeddings": 77, "vocab_size": 1031},
    ),
    "opt-projected": (
        "opt",
        {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "ffn_dim": 200,
         "max_position_embeddings": 77, "vocab_size": 1031, "word_embed_proj_dim": 40,
         "do_layer_norm_before": False},
    ),
    "bloom": ("bloom", {"hidden_size": 96, "n_layer": 3, "n_head": 6, "vocab_size": 1031}),
    "falcon-7b": ("falcon", {**FALCON}),
    "falcon-40b": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-11b": (
        "falcon",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 210,
         "num_ln_in_parallel_attn": 1},
    ),
    "falcon-rw": (
        "falcon",
        {**FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "mpt": ("mpt", {"d_model": 96, "n_layers": 3, "n_heads": 6, "vocab_size": 1031}),
    "cohere": ("cohere", {**BASE}),
    "cohere-norms": ("cohere", {**BASE, "use_qk_norm": True, "tie_word_embeddings": False}),
    "cohere2": ("cohere2", {**BASE, "layer_norm_eps": 1e-6}),
    "arcee": ("arcee", {**BASE, "mlp_bias": True}),
    "apertus": ("apertus", {**BASE}),
    "dots1": (
        "dots1",
        {**BASE, **MOE, "n_routed_experts": 7, "n_shared_experts": 2, "first_k_dense_replace": 1},
    ),
    "ernie4_5": ("ernie4_5", {**BASE, "use_bias": True}),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        {**BASE, "moe_num_experts": 7, "moe_k": 2, "moe_num_shared_experts": 3,
         "moe_intermediate_size": 52, "moe_layer_interval": 2},
    ),
    "exaone4": ("exaone4", {**BASE}),
    "gemma": ("gemma", {**BASE, "head_dim": 20}),
    "gemma2": ("gemma2", {**BASE, "head_dim": 20}),
    "gemma3_text": ("gemma3_text", {**BASE, "head_dim": 20}),
    "glm": ("glm", {**BASE, "head_dim": 20}),
    "glm4": ("glm4", {**BASE, "head_dim": 20}),
    "glm4_moe": (
        "glm4_moe",
        {**BASE, **MOE, "n_routed_experts": 7, "n_shared_experts": 2, "use_qk_norm": True,
         "attention_bias": True, "head_dim": 20},
    ),
    "glm4_moe_lite": (
        "glm4_moe_lite",
        {**BASE, **MLA, **MOE, "n_routed_experts": 7, "n_shared_experts": 2, "n_group": 1,
         "topk_group": 1, "num_key_value_heads": 12},
    ),
    "granite": ("granite", {**BASE, "attention_bias": True}),
    "granitemoe": ("granitemoe", {**BASE, "num_local_experts": 7, "num_experts_per_tok": 3}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {**BASE, "head_dim": 10}),
    "hunyuan_v1_moe": ("hunyuan_v1_moe", {**BASE, "head_dim": 10, "num_experts": 7, "moe_topk": 2}),
    "minicpm3": ("minicpm3", {**BASE, **MLA, "num_key_value_heads": 12}),
    "minimax_m2": (
        "minimax_m2",
        {**BASE, "head_dim": 20, "num_local_experts": 7, "num_experts_per_tok": 2},
    ),
    "ministral": ("ministral", {**BASE, "head_dim": 20}),
    "ministral3": ("ministral3", {**BASE, "head_dim": 20}),
    "nemotron": ("nemotron", {**BASE, "mlp_bias": True}),
    "olmo": ("olmo", {**BASE}),
    "olmo2": ("olmo2", {**BASE}),
    "olmo3": ("olmo3", {**BASE}),
    "olmoe": ("olmoe", {**BASE, "num_experts": 7, "num_experts_per_tok": 2}),
    "persimmon": ("persimmon", {**{k: v for k, v in BASE.items() if "key_value" not in k}}),
    "phi": ("phi", {**BASE, "qk_layernorm": True}),
    "phi3": ("phi3", {**BASE}),
    "phimoe": (
        "phimoe",
        {**BASE, "num_local_experts": 7, "num_experts_per_tok": 2, "lm_head_bias": True,
         "attention_bias": True},
    ),
    "seed_oss": ("seed_oss", {**BASE, "head_dim": 20, "attention_out_bias": True}),
    "smollm3": ("smollm3", {**BASE}),
    "solar_open": (
        "solar_open",
        {**BASE, **MOE, "head_dim": 20, "n_routed_experts": 7, "n_shared_experts": 1},
    ),
    "stablelm": ("stablelm", {**BASE, "use_qkv_bias": True}),
    "stablelm-parallel": (
        "stablelm", {**BASE, "use_parallel_residual": True, "qk_layernorm": True},
    ),
    "starcoder2": ("starcoder2", {**BASE}),
}  # fmt: skip


FULL_SIZE = """
adept/persimmon-8b-base
ai21labs/AI21-Jamba-1.5-Large
ai21labs/Jamba-v0.1
allenai/OLMo-1B-hf
allenai/OLMo-2-0325-32B
allenai/OLMo-2-0425-1B
allenai/Olmo-3-1125-32B
allenai/Olmo-3-7B-Instruct
allenai/OLMo-7B-hf
allenai/OLMoE-1B-7B-0924
baidu/ERNIE-4.5-0.3B-PT
baidu/ERNIE-4.5-21B-A3B-PT
bigcode/starcoder
bigcode/starcoder2-15b
bigcode/starcoder2-3b
bigscience/bloom
bigscience/bloom-560m
ByteDance-Seed/Seed-OSS-36B-Instruct
CohereLabs/aya-expanse-8b
CohereLabs/c4ai-command-a-03-2025
CohereLabs/c4ai-command-r-plus
CohereLabs/c4ai-command-r7b-12-2024
databricks/dbrx-base
deepseek-ai/DeepSeek-R1
deepseek-ai/DeepSeek-V2
deepseek-ai/DeepSeek-V2-Lite
distilbert/distilbert-base-cased
distilbert/distilbert-base-uncased
distilbert/distilgpt2
EleutherAI/gpt-j-6b
EleutherAI/gpt-neox-20b
EleutherAI/pythia-70m
facebook/opt-125m
facebook/opt-175b
FacebookAI/roberta-base
FacebookAI/roberta-large
FacebookAI/xlm-roberta-base
FacebookAI/xlm-roberta-large
google-bert/bert-large-uncased
google-t5/t5-small
google/flan-ul2
google/gemma-2-27b
google/gemma-2-2b
google/gemma-2b
google/gemma-3-270m
google/gemma-3-27b-it
google/gemma-3n-E2B-it
google/gemma-3n-E4B-it
google/gemma-4-12B-it
google/gemma-4-26B-A4B
google/gemma-4-E2B
google/gemma-7b
google/mt5-small
google/mt5-xxl
HuggingFaceTB/SmolLM2-135M
HuggingFaceTB/SmolLM3-3B
ibm-granite/granite-3.0-1b-a400m-instruct
ibm-granite/granite-3.0-3b-a800m-instruct
ibm-granite/granite-3.1-2b-instruct
ibm-granite/granite-3.1-8b-instruct
ibm-granite/granite-4.0-h-micro
ibm-granite/granite-4.0-h-small
internlm/internlm3-8b-instruct
LGAI-EXAONE/EXAONE-4.0-32B
meta-llama/Llama-3.1-405B
meta-llama/Llama-3.1-70B
meta-llama/Llama-3.1-8B
meta-llama/Llama-4-Maverick-17B-128E-Instruct
meta-llama/Llama-4-Scout-17B-16E-Instruct
microsoft/phi-1_5
microsoft/phi-2
microsoft/Phi-3-mini-4k-instruct
microsoft/Phi-3.5-MoE-instruct
microsoft/phi-4
MiniMaxAI/MiniMax-Text-01-hf
mistralai/Mamba-Codestral-7B-v0.1
mistralai/Ministral-3-14B-Instruct-2512
mistralai/Ministral-3-3B-Instruct-2512
mistralai/Mistral-7B-v0.1
mistralai/Mistral-Large-Instruct-2407
mistralai/Mistral-Small-4-119B-2603
mistralai/Mixtral-8x22B-v0.1
mistralai/Mixtral-8x7B-v0.1
moonshotai/Kimi-Linear-48B-A3B-Instruct
mosaicml/mpt-30b
mosaicml/mpt-7b
nvidia/DeepSeek-V3.1-NVFP4
nvidia/DeepSeek-V3.2-NVFP4
nvidia/DeepSeek-V4-Flash-NVFP4
nvidia/DeepSeek-V4-Pro-NVFP4
nvidia/Gemma-4-31B-IT-NVFP4
nvidia/Kimi-K2.7-Code-NVFP4
nvidia/MiniMax-M2.7-NVFP4
nvidia/Minitron-4B-Base
nvidia/Nemotron-4-340B-Instruct
nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4
nvidia/NVIDIA-Nemotron-Nano-9B-v2
nvidia/Qwen3-32B-NVFP4
nvidia/Qwen3.5-397B-A17B-NVFP4
nvidia/Qwen3.6-27B-NVFP4
nvidia/Qwen3.6-35B-A3B-NVFP4
openai-community/gpt2-xl
openai/gpt-oss-120b
openai/gpt-oss-20b
openai/whisper-large-v3
openai/whisper-tiny
openbmb/MiniCPM3-4B
poolside/Laguna-S-2.1
poolside/Laguna-XS.2
Qwen/Qwen1.5-0.5B
Qwen/Qwen1.5-110B
Qwen/Qwen1.5-MoE-A2.7B
Qwen/Qwen2-57B-A14B
Qwen/Qwen2.5-VL-72B-Instruct
Qwen/Qwen3-0.6B
Qwen/Qwen3-235B-A22B
Qwen/Qwen3-30B-A3B
Qwen/Qwen3-Coder-480B-A35B-Instruct
Qwen/Qwen3-Next-80B-A3B-Instruct
Qwen/Qwen3-Omni-30B-A3B-Instruct
Qwen/Qwen3-VL-235B-A22B-Instruct
Qwen/Qwen3-VL-2B-Instruct
Qwen/Qwen3.5-0.8B
rednote-hilab/dots.llm1.inst
sentence-transformers/all-MiniLM-L6-v2
stabilityai/stablelm-2-12b
stabilityai/stablelm-3b-4e1t
state-spaces/mamba-130m-hf
state-spaces/mamba-2.8b-hf
swiss-ai/Apertus-70B-Instruct-2509
swiss-ai/Apertus-8B-Instruct-2509
tencent/Hunyuan-A13B-Instruct
tiiuae/falcon-180B
tiiuae/falcon-mamba-7b
tiiuae/falcon-rw-1b
upstage/Solar-Open-100B
XiaomiMiMo/MiMo-V2-Flash
zai-org/GLM-4-32B-0414
zai-org/GLM-4-9B-0414
zai-org/glm-4-9b-chat-hf
zai-org/GLM-4.5
zai-org/GLM-4.5-Air
zai-org/GLM-4.7-Flash
zai-org/GLM-5
zai-org/GLM-5.3
"""
"""Shipped records built at their full size: the smallest and largest of each type."""


def count(model: Any) -> int:
    """Parameters of a torch model, tied ones once."""
    unique = {id(parameter): parameter.numel() for parameter in model.parameters()}
    return sum(unique.values())


def build(config: Any) -> Any:
    """The model transformers makes of a config, without memory for its weights."""
    for name in (
        "AutoModelForCausalLM",
        "AutoModelForSpeechSeq2Seq",
        "AutoModelForSeq2SeqLM",
        "AutoModel",
    ):
        auto = getattr(transformers, name)
        if name == "AutoModel" and not is_encoder(config):
            continue
        if name == "AutoModelForCausalLM" and is_encoder(config):
            continue
        if type(config) in auto._model_mapping:
            with torch.device("meta"):
                model = auto.from_config(config)
            model.tie_weights()
            return model
    if config.model_type in HEADLESS:
        return headless(config)
    raise AssertionError(f"transformers builds nothing of {type(config).__name__}")


HEADLESS = {
    "step3p5": "step3p7.modeling_step3p7:Step3p7TextModel",
    "mistral4": "mistral4.modeling_mistral4:Mistral4Model",
    "mllama_text_model": "mllama.modeling_mllama:MllamaTextModel",
    "qwen2_5_vl_text": "qwen2_5_vl.modeling_qwen2_5_vl:Qwen2_5_VLTextModel",
    "qwen3_vl_text": "qwen3_vl.modeling_qwen3_vl:Qwen3VLTextModel",
    "qwen3_vl_moe_text": "qwen3_vl_moe.modeling_qwen3_vl_moe:Qwen3VLMoeTextModel",
    "qwen3_omni_moe_text": "qwen3_omni_moe.modeling_qwen3_omni_moe:Qwen3OmniMoeThinkerTextModel",
}
"""Text models that transformers' automatic classes only know beneath a vision tower."""


def headless(config: Any) -> Any:
    """A text model and a head of its own, unless it is tied."""
    module, _, name = HEADLESS[config.model_type].partition(":")
    found = importlib.import_module(f"transformers.models.{module}")
    with torch.device("meta"):
        head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        model = getattr(found, name)(config)
    return torch.nn.ModuleList([model] if config.tie_word_embeddings else [model, head])


def is_encoder(config: Any) -> bool:
    """Whether transformers also maps it to a decoder, which we do not mean."""
    return config.model_type in {
        "bart", "bert", "distilbert", "modernbert", "roberta", "t5", "whisper", "xlm-roberta",
    }  # fmt: skip


def small_config(model_type: str, fields: dict[str, Any]) -> Any:
    try:
        return transformers.AutoConfig.for_model(model_type, **fields)
    except ValueError as error:
        if "should contain" in str(error) or "Unrecognized" in str(error):
            pytest.skip(f"this transformers has no {model_type}")
        raise


@pytest.mark.parametrize("case", SMALL)
def test_small_models_count_as_transformers_builds_them(case: str) -> None:
    model_type, fields = SMALL[case]
    config = small_config(model_type, fields)
    expected = count(build(config))
    for complete in (True, False):
        data = json.loads(config.to_json_string(use_diff=not complete))
        data.setdefault("model_type", model_type)
        model = model_from_config(data, name=case, source="test")
        assert model.params == expected, f"complete={complete}"
        assert not [text for text in model.warnings if "not understood" in text]


def text_config(data: dict[str, Any]) -> dict[str, Any]:
    """The language model's own fields."""
    for key in ("text_config", "thinker_config"):
        if isinstance(data.get(key), dict):
            tied = {k: data[k] for k in ("tie_word_embeddings",) if k in data}
            return text_config({**data[key], **tied})
    towers = ("vision_config", "audio_config", "quantization_config")
    return {key: value for key, value in data.items() if key not in towers}


@pytest.mark.parametrize("name", FULL_SIZE.split())
def test_shipped_models_count_as_transformers_builds_them(name: str) -> None:
    found = find_record(name)
    assert found is not None
    data = load_record(found[1]).config
    model = model_from_config(data, name=name, source="test")
    fields = text_config(data)
    fields.pop("model_type", None)
    expected = count(build(small_config(model.model_type, fields)))
    if model.model_type in {"t5", "mt5"} and not model.tie_word_embeddings:
        # This library ties the head of T5 1.1 whatever the config says; the checkpoints
        # hold both matrices, and so do we.
        expected += model.vocab_size * model.hidden_size
    assert model.params == expected
