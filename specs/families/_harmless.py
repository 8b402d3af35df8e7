# SPDX-License-Identifier: Apache-2.0
"""Config fields that change no size, count or shape of computation.

Everything else that a family does not read is named in a warning.
"""

from __future__ import annotations

import re

_TEXT = """
_attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
_flash_attn_2_enabled _name_or_path add_cross_attention architectures attention_dropout
attention_multiplier attention_probs_dropout_prob attention_scale attn_implementation
attn_logit_softcapping attn_scale attn_temperature_tuning auto_map aux_loss_alpha bad_words_ids
base_model_name_or_path begin_suppress_tokens bf16 bos_token cache_implementation
chunk_size_feed_forward clip_qkv compression_config cross_attention_hidden_size
diversity_penalty do_sample dtype early_stopping embedding_multiplier embedding_size_ratio
encoder_no_repeat_ngram_size eos_token eos_token_ids ep_size exponential_decay_length_penalty
final_logit_softcapping finetuning_task floor_scale fp16 freq_base global_rope_theta
gradient_checkpointing hidden_dropout hidden_dropout_prob id2label ignore_index
image_placeholder init_method_std initial_context_length initializer_cutoff_factor
initializer_factor initializer_range input_jitter_noise is_causal is_decoder is_encoder_decoder
label2id language_model_only layer_norm_bias_ layer_norm_eps layer_norm_epsilon
layernorm_epsilon length_penalty logit_scale logits_scaling max_length max_seq_len min_length
mixed_precision model_max_length model_type moe_norm_min moe_router_dtype mrope_section n_group
neuron no_repeat_ngram_size norm_eps norm_epsilon norm_topk_prob num_beam_groups num_beams
num_labels num_logits_to_keep num_return_sequences original_max_position_embeddings
output_attentions output_hidden_states output_router_logits output_scores pad_token
partial_rotary_type prefix pretraining_tp problem_type pruned_heads qkv_clip
quantization_config query_pre_attn_scalar remove_invalid_values reorder_and_upcast_attn
repetition_penalty rescale_prenorm_residual residual_in_fp32 residual_multiplier return_dict
return_dict_in_generate rms_norm_eps rope_interleave rope_local_base_freq rope_parameters
rope_scaling rope_theta rope_theta_base rope_type rotary_emb_base routed_scaling_factor
router_aux_loss_coef router_jitter_noise router_z_loss_coef scale_attn_by_inverse_layer_idx
scale_attn_weights scale_depth scale_emb scale_embedding score_func scoring_func seq_aux
seq_length ssm_cfg summary_activation summary_first_dropout summary_proj_to_labels summary_type
summary_use_proj suppress_tokens swa_rope_theta swiglu_alpha swiglu_limit swiglu_limits
task_specific_params temperature tf_legacy_loss tie_encoder_decoder tokenizer_class
tokenizer_name top_k top_p topk_group topk_method torch_compile torch_dtype torchscript
transformers_version transformers_weights typical_p unk_token_id unsloth_fixed unsloth_version
use_bfloat16 use_bidirectional_attention use_cache use_fast use_flash_attn use_mrope
use_unified_vision_chunk video_placeholder
"""

_NAMES = frozenset(_TEXT.split())

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
