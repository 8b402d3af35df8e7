# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts in Llama's layout."""

from __future__ import annotations

from ..model import Model
from ._experts import ExpertStyle
from ._reader import Config
from .decoder import Style, decoder, styled

_SPARSE_BLOCK = ExpertStyle(prefix="block_sparse_moe.", names=("w1", "w3", "w2"))

mixtral = styled(qkv_bias=False, o_bias=False, experts=_SPARSE_BLOCK)

glm4_moe = styled(
    o_bias=False, qk_norm="head", qk_norm_flag="use_qk_norm", rotary_frac=0.5,
)  # fmt: skip

dots1 = styled(mlp_bias=False, qk_norm="head", defaults={"max_window_layers": 62})

granitemoe = styled(
    mlp_bias=False,
    experts=ExpertStyle(prefix="block_sparse_moe.", router="router.layer"),
)

_HUNYUAN = Style(
    qk_norm="head", mlp_bias=False,
    experts=ExpertStyle(router="gate.wg", shared="shared_mlp"),
)  # fmt: skip


def hunyuan_moe(cfg: Config) -> Model:
    """Hunyuan writes some counts as one entry per layer, all alike."""
    fixed = dict(cfg.data)
    for key in ("num_experts", "moe_topk", "num_shared_expert", "moe_intermediate_size"):
        value = fixed.get(key)
        if isinstance(value, list) and value:
            if any(entry != value[0] for entry in value):
                raise cfg.error(f"{key!r} differs between layers, which is not understood")
            fixed[key] = value[0]
    if cfg.flag("use_mla", default=False):
        raise cfg.error("'use_mla' is not understood in this family")
    latent = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    cfg.data = {key: value for key, value in fixed.items() if key not in latent}
    cfg.default(num_shared_expert=1)
    cfg.ignore("use_mixed_mlp_moe", "use_qk_norm", "use_cla", "cla_share_factor", "norm_type",
               "moe_layer_num_skipped", "num_local_experts", "moe_drop_tokens",
               "moe_random_routing_dropped_token", "position_embedding_xdrope", "unpad_fn",
               "pool_type", "anyres_pooling_size", "im_newline_id")  # fmt: skip
    if cfg.raw("use_cla"):
        cfg.warn("use_cla (KV shared between layers) is not understood: KV cache overstated")
    return decoder(cfg, _HUNYUAN)


_ERNIE = Style(
    qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", head_bias="use_bias", tied=True,
    experts=ExpertStyle(bias_params=1),
)  # fmt: skip


def ernie_moe(cfg: Config) -> Model:
    """Ernie 4.5 states its sparse layers by first, last and step."""
    cfg.default(moe_layer_start_index=1, moe_layer_end_index=-1, moe_layer_interval=1,
                moe_num_experts=64, moe_k=6, moe_num_shared_experts=2)  # fmt: skip
    cfg.ignore("moe_capacity", "moe_gate", "moe_use_aux_free", "rope_is_neox_style",
               "moe_gate_act", "moe_multimodal_dispatch_use_allgather")  # fmt: skip
    layers = cfg.layers()
    first = cfg.size("moe_layer_start_index", minimum=0)
    last = cfg.size("moe_layer_end_index", minimum=-1)
    step = cfg.size("moe_layer_interval")
    last = layers - 1 if last == -1 else last
    types = [
        "sparse" if (i + 1) % step == 0 and first <= i <= last else "dense" for i in range(layers)
    ]
    cfg.data = {**cfg.data, "mlp_layer_types": types}
    return decoder(cfg, _ERNIE)


_MINIMAX_M2 = Style(
    qkv_bias=False, o_bias=False, qk_norm="full", experts=_SPARSE_BLOCK,
    defaults={"head_dim": 128},
)  # fmt: skip


def minimax_m2(cfg: Config) -> Model:
    """MiniMax-M2 carries fields of its predecessor, whose lightning layers it dropped."""
    marks = cfg.sizes("attn_type_list")
    if marks and set(marks) != {1}:
        raise cfg.error("'attn_type_list' has layers that are not softmax attention")
    if not cfg.flag("use_qk_norm", default=True) or (
        cfg.text("qk_norm_type", default="per_layer") != "per_layer"
    ):
        raise cfg.error("'qk_norm_type' other than per_layer is not understood")
    cfg.ignore("rotary_dim", "use_routing_bias")
    return decoder(cfg, _MINIMAX_M2)


solar_open = styled(qkv_bias=False, o_bias=False)

exaone_moe = styled(
    qkv_bias=False, o_bias=False, mlp_bias=False, qk_norm="head", window="pattern",
    defaults={"sliding_window_pattern": 4, "sliding_window": 4096, "first_k_dense_replace": 1},
)  # fmt: skip

_HY_V3 = Style(qk_norm="head", defaults={"head_dim": 128, "num_shared_experts": 1})


def hy_v3(cfg: Config) -> Model:
    """Hunyuan's third generation: one dense layer, then experts with a shared one."""
    cfg.ignore("router_scaling_factor", "enable_moe_fp32_combine")
    cfg.default(first_k_dense_replace=1)
    return decoder(cfg, _HY_V3)
