# SPDX-License-Identifier: Apache-2.0
"""Config fields that change no size, count or shape of computation.

Everything else that a family does not read is named in a warning.
"""

from __future__ import annotations

import re

_NAMES = frozenset(
    ["_name_or_path", "_attn_implementation", "_commit_hash", "_attn_implementation_autoset", "_flash_attn_2_enabled", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache", "return_dict", "torchscript", "use_bfloat16", "tf_legacy_loss", "pruned_heads", "tokenizer_class", "prefix", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type", "task_specific_params", "is_decoder", "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder", "cross_attention_hidden_size", "chunk_size_feed_forward", "output_hidden_states", "output_attentions", "output_scores", "output_router_logits", "return_dict_in_generate", "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "remove_invalid_values", "ignore_index", "pretraining_tp", "ep_size", "gradient_checkpointing", "attention_dropout", "hidden_dropout", "initializer_range", "initializer_factor", "initializer_cutoff_factor", "init_method_std", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon", "layernorm_epsilon", "rope_theta", "rope_scaling", "rope_parameters", "rope_interleave", "rope_type", "rope_local_base_freq", "swa_rope_theta", "global_rope_theta", "original_max_position_embeddings", "initial_context_length", "max_seq_len", "seq_length", "model_max_length", "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef", "aux_loss_alpha", "seq_aux", "norm_topk_prob", "scoring_func", "score_func", "topk_method", "n_group", "topk_group", "routed_scaling_factor", "final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar", "swiglu_limit", "swiglu_alpha", "swiglu_limits", "moe_router_dtype", "quantization_config", "compression_config", "unsloth_version", "unsloth_fixed", "neuron", "scale_embedding", "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "use_mrope", "num_logits_to_keep", "rescale_prenorm_residual", "residual_in_fp32", "language_model_only", "logit_scale", "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling", "embedding_size_ratio", "is_causal", "clip_qkv", "qkv_clip", "attention_scale", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "attn_temperature_tuning", "floor_scale", "attn_scale", "use_bidirectional_attention", "image_placeholder", "video_placeholder", "use_unified_vision_chunk", "moe_norm_min", "scale_emb", "scale_depth", "bos_token", "eos_token", "pad_token", "tokenizer_name", "base_model_name_or_path", "ssm_cfg"]
)

_PATTERN = re.compile(
    r"(_token_ids?|_token_index|_index|_idx|dropout|dropout_p|dropout_rate|dropout_prob|_pdrop|_drop|drop_rate|_eps|"
    r"_epsilon|_init|init_range|_initializer_range|_loss_coef|_loss_weight|loss_alpha|"
    r"_init_std|_theta)$"
    r"|^(vision_|audio_|image_|video_|mm_|init_|time_step_|initializer_|mup_|dim_model_base)"
)


def is_harmless(key: str, value: object) -> bool:
    """Whether an unread field can be passed over in silence."""
    del value
    return key in _NAMES or _PATTERN.search(key) is not None
