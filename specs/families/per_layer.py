# SPDX-License-Identifier: Apache-2.0
"""Decoders whose head counts are listed layer by layer: Laguna and DeciLM."""

from __future__ import annotations

from collections.abc import Callable

from ..model import Attention, Linear, Model
from ._experts import ExpertStyle
from ._layers import LOCAL, heads
from ._parts import attention, qkvo
from ._reader import Config
from .decoder import LayerKind, Style, decoder

MixerOf = Callable[[Config, Style, LayerKind], Attention]


def _listed(cfg: Config, key: str, make: Callable[[int, str], MixerOf], **style: object) -> Model:
    """A decoder where each pair of head count and layer type is a mixer of its own.

    `make` returns the mixer for a count of `key` and an entry of ``layer_types``.
    """
    layers = cfg.layers()
    counts = cfg.sizes(key, layers, minimum=1)
    if counts is None:
        counts = [cfg.size("num_attention_heads")] * layers
    types = cfg.texts("layer_types", layers) or ["full_attention"] * layers
    labels = [f"{kind}:{count}" for kind, count in zip(types, counts, strict=True)]
    mixers = {
        label: make(count, kind) for label, kind, count in zip(labels, types, counts, strict=True)
    }
    cfg.data = {**cfg.data, "layer_types": labels}
    return decoder(cfg, Style(mixers=mixers, **style))  # type: ignore[arg-type]


def _rotated(cfg: Config, kind: str, head_dim: int) -> int:
    """Rotated width of this type of layer; all of the head where the config is silent."""
    by_type = cfg.raw("rope_parameters")
    own = by_type.get(kind) if isinstance(by_type, dict) else None
    fraction = own.get("partial_rotary_factor") if isinstance(own, dict) else None
    if fraction is None:
        return head_dim
    number = not isinstance(fraction, bool) and isinstance(fraction, int | float)
    if not number or not 0 <= fraction <= 1:
        raise cfg.error("'partial_rotary_factor' must be a number between 0 and 1")
    return int(head_dim * fraction)


def _laguna_mixer(count: int, kind: str) -> MixerOf:
    def mixer(cfg: Config, style: Style, layer: LayerKind) -> Attention:
        del style, layer
        shape = heads(cfg)
        if count % shape.kv_heads:
            raise cfg.error(f"{count} query heads do not divide by {shape.kv_heads} KV heads")
        shape = heads(cfg, heads=count)
        bias = cfg.flag("attention_bias", default=False)
        per_head = cfg.raw("gating") in (None, True, "per-head", "per_head")
        gate = Linear(
            name="self_attn.g_proj",
            in_features=shape.hidden,
            out_features=count * (1 if per_head else shape.head_dim),
            shard="column",
        )
        return attention(
            shape,
            (*qkvo(shape, qkv_bias=bias, o_bias=bias), gate),
            window=cfg.optional_size("sliding_window") if kind in LOCAL else None,
            rotary_dim=_rotated(cfg, kind, shape.head_dim),
            norm_params=2 * shape.head_dim,
        )

    return mixer


def laguna(cfg: Config) -> Model:
    """Laguna: more query heads in windowed layers, a gate on the output, shared expert."""
    cfg.default(head_dim=128, num_experts=256, num_experts_per_tok=8, moe_intermediate_size=512,
                shared_expert_intermediate_size=512, sliding_window=512)  # fmt: skip
    layers = cfg.layers()
    if cfg.raw("mlp_layer_types") is None:
        cfg.data = {**cfg.data, "mlp_layer_types": ["dense"] + ["sparse"] * (layers - 1)}
    cfg.ignore("gating_types", "moe_routed_scaling_factor", "moe_apply_router_weight_on_input",
               "moe_router_logit_softcapping", "partial_rotary_factor", "mlp_only_layers",
               "decoder_sparse_step", "swa_rope_parameters")  # fmt: skip
    # The router's correction bias is a parameter, one per expert.
    experts = ExpertStyle(shared="shared_expert", bias_params=1)
    return _listed(
        cfg, "num_attention_heads_per_layer", _laguna_mixer, mlp_bias=False, experts=experts
    )


def _deci_mixer(count: int, kind: str) -> MixerOf:
    del kind

    def mixer(cfg: Config, style: Style, layer: LayerKind) -> Attention:
        del style, layer
        shape = heads(cfg)
        if shape.heads % count:
            raise cfg.error(f"{shape.heads} query heads do not divide by {count} KV heads")
        shape = heads(cfg, kv_heads=count)
        bias = cfg.flag("attention_bias", default=False)
        return attention(shape, qkvo(shape, qkv_bias=bias, o_bias=bias), rotary_dim=shape.head_dim)

    return mixer


def deci(cfg: Config) -> Model:
    """DeciLM 6B and 7B: Llama with a count of KV heads per layer."""
    cfg.ignore("num_key_value_heads")
    return _listed(cfg, "num_key_value_heads_per_layer", _deci_mixer)
