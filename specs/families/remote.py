# SPDX-License-Identifier: Apache-2.0
"""Families whose code lives beside their checkpoints, read from their fields alone.

Nothing of it is run. Shapes follow the published configurations; parameter counts are
checked against the model cards.
"""

from __future__ import annotations

from ..model import Block, Model
from ._assemble import assemble
from ._experts import ExpertStyle
from ._parts import Heads, attention, fused_qkv, gated_mlp, moe, norm_params, qkvo
from ._reader import Config
from .decoder import Style, decoder


def qwen(cfg: Config) -> Model:
    """Qwen 1: ``intermediate_size`` counts both halves of the gated feed-forward."""
    inter = cfg.size("intermediate_size")
    if inter % 2:
        raise cfg.error("'intermediate_size' of Qwen 1 counts two halves and must be even")
    head_dim = cfg.size("kv_channels", default=128)
    if not cfg.flag("no_bias", default=True):
        raise cfg.error("'no_bias' false is not understood")
    cfg.ignore("seq_length", "use_dynamic_ntk", "use_logn_attn", "use_flash_attn", "bf16",
               "fp16", "fp32", "onnx_safe", "padded_vocab_size", "rotary_emb_base",
               "rotary_pct", "scale_attn_weights", "softmax_in_fp32", "use_cache_kernel",
               "use_cache_quantization")  # fmt: skip
    positions = cfg.raw("max_position_embeddings", "seq_length")
    cfg.data = {**cfg.data, "intermediate_size": inter // 2, "head_dim": head_dim}
    cfg.default(max_position_embeddings=positions, num_key_value_heads=None)
    cfg.ignore("intermediate_size")
    style = Style(
        qkv_bias=True, o_bias=False, mlp_bias=False,
        attention_names=fused_qkv("attn.c_attn", "attn.c_proj"),
        gated_names=("mlp.w2", "mlp.w1", "mlp.c_proj"),
    )  # fmt: skip
    return decoder(cfg, style)


def chatglm(cfg: Config) -> Model:
    """ChatGLM 2 and 3 and GLM-4 in their first form."""
    if cfg.raw("inner_hidden_size") is not None:
        raise cfg.error("the first ChatGLM-6B (inner_hidden_size) is not understood")
    hidden, count = cfg.size("hidden_size"), cfg.size("num_attention_heads")
    grouped = cfg.flag("multi_query_attention", default=False)
    kv_heads = cfg.size("multi_query_group_num", default=1) if grouped else count
    head_dim = cfg.size("kv_channels", default=hidden // count)
    shape = Heads(hidden=hidden, heads=count, kv_heads=kv_heads, head_dim=head_dim)
    bias = cfg.flag("add_bias_linear", default=False)
    qkv_bias = bias or cfg.flag("add_qkv_bias", default=False)
    norm = "rms" if cfg.flag("rmsnorm", default=True) else "layer"
    place = "self_attention"
    names = fused_qkv(f"{place}.query_key_value", f"{place}.dense")
    linears = qkvo(shape, names=names, qkv_bias=qkv_bias, o_bias=bias)
    block = Block(
        count=cfg.layers("num_layers", "num_hidden_layers"),
        mixer=attention(shape, linears, rotary_dim=head_dim // 2),
        ffn=gated_mlp(hidden, cfg.size("ffn_hidden_size"), bias=bias,
                      names=("mlp.dense_h_to_4h.gate", "mlp.dense_h_to_4h.up",
                             "mlp.dense_4h_to_h")),
        norm_sizes=(hidden, hidden),
        norm_params=norm_params(norm, hidden, hidden),
    )  # fmt: skip
    cfg.ignore("apply_query_key_layer_scaling", "apply_residual_connection_post_layernorm",
               "attention_softmax_in_fp32", "bias_dropout_fusion", "fp32_residual_connection",
               "original_rope", "post_layer_norm", "quantization_bit", "pre_seq_len",
               "prefix_projection", "rope_ratio", "num_hidden_layers", "interleaved_qkv",
               "multi_query_group_num", "use_cache")  # fmt: skip
    vocab = cfg.size("padded_vocab_size", "vocab_size")
    cfg.data = {**cfg.data, "vocab_size": vocab}
    cfg.default(max_position_embeddings=cfg.raw("seq_length"))
    return assemble(cfg, (block,), norm=norm, head_name="output_layer")


def dbrx(cfg: Config) -> Model:
    """DBRX: fine-grained experts, norms without a shift."""
    hidden, count = cfg.size("d_model"), cfg.size("n_heads")
    if hidden % count:
        raise cfg.error(f"'d_model' {hidden} does not divide by 'n_heads' {count}")
    inner, ffn = cfg.child("attn_config"), cfg.child("ffn_config")
    if inner is None or ffn is None:
        raise cfg.error("'attn_config' and 'ffn_config' are missing; add them to the config")
    kv_heads = inner.size("kv_n_heads", default=1)
    if count % kv_heads:
        raise cfg.error(f"'n_heads' {count} does not divide by 'kv_n_heads' {kv_heads}")
    shape = Heads(hidden=hidden, heads=count, kv_heads=kv_heads, head_dim=hidden // count)
    place = "norm_attn_norm.attn"
    expert = gated_mlp(
        hidden,
        ffn.size("ffn_hidden_size", default=3584),
        names=("ffn.experts.mlp.w1", "ffn.experts.mlp.v1", "ffn.experts.mlp.w2"),
    )
    experts = ffn.size("moe_num_experts", default=4)
    topk = ffn.size("moe_top_k", default=1, maximum=experts)
    block = Block(
        count=cfg.layers("n_layers"),
        mixer=attention(shape, qkvo(shape, names=fused_qkv(f"{place}.Wqkv", f"{place}.out_proj")),
                        rotary_dim=shape.head_dim),
        ffn=moe(hidden, experts, topk, expert, router="ffn.router.layer"),
        norm_sizes=(hidden, hidden),
        norm_params=2 * hidden,
        label="moe",
    )  # fmt: skip
    cfg.ignore("num_key_value_heads", "learned_pos_emb")
    cfg.default(hidden_size=hidden, max_position_embeddings=cfg.raw("max_seq_len"))
    return assemble(cfg, (block,), norm="layer_nobias")


def baichuan(cfg: Config) -> Model:
    """Baichuan 1 and 2; the 13B uses ALiBi and states no ``max_position_embeddings``."""
    cfg.ignore("model_max_length", "z_loss_weight")
    cfg.default(max_position_embeddings=cfg.raw("model_max_length"))
    if not cfg.has("max_position_embeddings"):
        cfg.default(partial_rotary_factor=0)
    style = Style(
        qkv_bias=False, o_bias=False, mlp_bias=False,
        attention_names=fused_qkv("self_attn.W_pack", "self_attn.o_proj"),
    )  # fmt: skip
    return decoder(cfg, style)


def exaone(cfg: Config) -> Model:
    """EXAONE 3: Llama under other names."""
    cfg.default(num_hidden_layers=cfg.raw("num_layers"))
    place = "attn.attention"
    style = Style(
        qkv_bias=False, o_bias=False, mlp_bias=False,
        attention_names=(f"{place}.q_proj", f"{place}.k_proj", f"{place}.v_proj",
                         f"{place}.out_proj"),
        gated_names=("mlp.c_fc_0", "mlp.c_fc_1", "mlp.c_proj"),
    )  # fmt: skip
    return decoder(cfg, style)


def bailing(cfg: Config) -> Model:
    """Ling and Ring of the Bailing series, first and second generation."""
    cfg.ignore("norm_head", "norm_softmax", "use_rmsnorm", "moe_router_enable_expert_bias",
               "moe_router_enable_routed_scaling", "router_dtype", "score_function",
               "embedding_norm", "multi_gate", "output_dropout", "use_qk_norm_fp32",
               "moe_router_topk_scaling_factor", "router_type", "group_norm_size",
               "moe_shared_expert_intermediate_size_", "mtp_loss_scaling_factor",
               "max_window_layers", "use_sliding_window", "sliding_window")  # fmt: skip
    style = Style(
        qkv_bias="use_qkv_bias", o_bias="use_bias", mlp_bias="use_bias",
        qk_norm="head", qk_norm_flag="use_qk_norm", window="qwen",
        attention_names=fused_qkv("attention.query_key_value", "attention.dense"),
        experts=ExpertStyle(),
    )  # fmt: skip
    return decoder(cfg, style)
