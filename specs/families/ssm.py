# SPDX-License-Identifier: Apache-2.0
"""Mamba, Mamba-2 and the hybrids that mix them with attention: Jamba, Granite 4, Bamba."""

from __future__ import annotations

from ..model import Block, Mixer, Model
from ._assemble import assemble
from ._experts import ExpertStyle, num_experts, read_moe
from ._layers import heads, rotary_dim
from ._parts import attention, collect, gated_mlp, moe, qkvo
from ._reader import Config
from ._ssm import Mamba1Shape, Mamba2Shape, mamba1, mamba2, step_rank


def mamba(cfg: Config) -> Model:
    """Nothing but Mamba layers."""
    hidden = cfg.size("hidden_size", "d_model")
    cfg.default(hidden_size=hidden, state_size=16, expand=2, conv_kernel=4, num_hidden_layers=32)
    inner = cfg.size("intermediate_size", default=int(cfg.number("expand") * hidden))
    cfg.ignore("layer_types", "expand", "use_mambapy", "use_associative_scan", "d_inner",
               "use_falcon_mambapy", "hidden_act", "fused_add_norm", "rms_norm",
               "pad_vocab_size_multiple", "d_model", "mixer_rms_eps")  # fmt: skip
    shape = Mamba1Shape(
        hidden=hidden,
        inner=inner,
        state=cfg.size("state_size"),
        rank=step_rank(cfg, "time_step_rank", hidden),
        kernel=cfg.size("conv_kernel"),
        conv_bias=cfg.flag("use_conv_bias", default=True),
        bias=cfg.flag("use_bias", default=False),
    )
    block = Block(
        count=cfg.layers("num_hidden_layers", "n_layer"),
        mixer=mamba1(shape, "mixer."),
        ffn=None,
        norm_sizes=(hidden,),
        norm_params=hidden,
        label="mamba",
    )
    return assemble(cfg, (block,), tied=True)


def mamba_2(cfg: Config) -> Model:
    """Nothing but Mamba-2 layers."""
    cfg.default(hidden_size=4096, num_heads=128, head_dim=64, state_size=128, n_groups=8,
                conv_kernel=4, chunk_size=256, num_hidden_layers=64)  # fmt: skip
    hidden = cfg.size("hidden_size")
    cfg.ignore("layer_types", "expand", "intermediate_size", "time_step_rank",
               "hidden_act", "norm_before_gate", "rms_norm", "fused_add_norm")  # fmt: skip
    shape = Mamba2Shape(
        hidden=hidden,
        heads=cfg.size("num_heads"),
        head_dim=cfg.size("head_dim"),
        state=cfg.size("state_size"),
        groups=cfg.size("n_groups"),
        kernel=cfg.size("conv_kernel"),
        conv_bias=cfg.flag("use_conv_bias", default=True),
        bias=cfg.flag("use_bias", default=False),
        chunk=cfg.size("chunk_size"),
    )
    block = Block(
        count=cfg.layers(),
        mixer=mamba2(shape, "mixer."),
        ffn=None,
        norm_sizes=(hidden,),
        norm_params=hidden,
        label="mamba",
    )
    return assemble(cfg, (block,))


def jamba(cfg: Config) -> Model:
    """One attention layer in eight, experts in every second layer."""
    cfg.default(attn_layer_period=8, attn_layer_offset=4, expert_layer_period=2,
                expert_layer_offset=1, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2,
                num_key_value_heads=8)  # fmt: skip
    hidden, layers, act = cfg.size("hidden_size"), cfg.layers(), cfg.text("hidden_act")
    period, offset = cfg.size("attn_layer_period"), cfg.size("attn_layer_offset", minimum=0)
    every, first = cfg.size("expert_layer_period"), cfg.size("expert_layer_offset", minimum=0)
    cfg.ignore("layer_types", "layers_block_type", "use_mamba_kernels", "use_mambapy",
               "use_associative_scan", "mamba_inner_layernorms",
               "calc_logits_for_entire_prompt")  # fmt: skip
    experts = num_experts(cfg) > 1

    def build(kind: tuple[bool, bool]) -> Block:
        attends, sparse = kind
        names = ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj")
        return Block(
            count=1,
            mixer=_plain_attention(cfg, rotate=False) if attends else _jamba_mamba(cfg),
            ffn=read_moe(cfg, act, ExpertStyle(prefix="feed_forward.", router="router"))
            if sparse
            else gated_mlp(hidden, cfg.size("intermediate_size"), activation=act, names=names),
            norm_sizes=(hidden, hidden),
            norm_params=2 * hidden,
            label="attention" if attends else "mamba",
        )

    kinds = [(i % period == offset, experts and i % every == first) for i in range(layers)]
    return assemble(cfg, collect(kinds, build))


def _plain_attention(cfg: Config, *, rotate: bool, rotary_frac: float = 1.0) -> Mixer:
    shape = heads(cfg)
    bias = cfg.flag("attention_bias", default=False)
    rotary = rotary_dim(cfg, shape.head_dim, rotary_frac) if rotate else 0
    return attention(shape, qkvo(shape, qkv_bias=bias, o_bias=bias), rotary_dim=rotary)


def _jamba_mamba(cfg: Config) -> Mixer:
    hidden = cfg.size("hidden_size")
    return mamba1(
        Mamba1Shape(
            hidden=hidden,
            inner=int(cfg.number("mamba_expand") * hidden),
            state=cfg.size("mamba_d_state"),
            rank=step_rank(cfg, "mamba_dt_rank", hidden),
            kernel=cfg.size("mamba_d_conv"),
            conv_bias=cfg.flag("mamba_conv_bias", default=True),
            bias=cfg.flag("mamba_proj_bias", default=False),
            normed=True,
        ),
        "mamba.",
    )


def _granite_mamba(cfg: Config) -> Mixer:
    cfg.default(mamba_n_heads=128, mamba_n_groups=1, mamba_d_state=256, mamba_d_conv=4,
                mamba_expand=2, mamba_chunk_size=256)  # fmt: skip
    hidden, count = cfg.size("hidden_size"), cfg.size("mamba_n_heads")
    inner = int(cfg.number("mamba_expand") * hidden)
    width = cfg.raw("mamba_d_head")
    return mamba2(
        Mamba2Shape(
            hidden=hidden,
            heads=count,
            head_dim=inner // count if width in (None, "auto") else cfg.size("mamba_d_head"),
            state=cfg.size("mamba_d_state"),
            groups=cfg.size("mamba_n_groups"),
            kernel=cfg.size("mamba_d_conv"),
            conv_bias=cfg.flag("mamba_conv_bias", default=True),
            bias=cfg.flag("mamba_proj_bias", default=False),
            chunk=cfg.size("mamba_chunk_size"),
        ),
        "mamba.",
    )


def granite_hybrid(cfg: Config) -> Model:
    """Granite 4: a shared feed-forward beside the experts, or alone where there are none."""
    layers = cfg.layers()
    types = cfg.texts("layer_types", layers) or cfg.texts("layers_block_type", layers)
    types = types or ["mamba"] * layers
    cfg.ignore("layers_block_type", "normalization_function", "init_method")
    hidden, act = cfg.size("hidden_size"), cfg.text("hidden_act", default="silu")
    shared = gated_mlp(
        hidden, cfg.size("shared_intermediate_size", default=1024), activation=act,
        names=("shared_mlp.input_linear.gate", "shared_mlp.input_linear.up",
               "shared_mlp.output_linear"),
    )  # fmt: skip
    rotate = cfg.raw("position_embedding_type") == "rope"
    count = num_experts(cfg)
    cfg.ignore("num_experts_per_tok", "intermediate_size")

    def build(kind: bool) -> Block:
        ffn = shared if not count else moe(
            hidden, count, cfg.size("num_experts_per_tok", maximum=count),
            gated_mlp(hidden, cfg.size("intermediate_size"), activation=act,
                      names=("block_sparse_moe.experts.gate_proj",
                             "block_sparse_moe.experts.up_proj",
                             "block_sparse_moe.experts.down_proj")),
            router="block_sparse_moe.router.layer", shared=shared,
        )  # fmt: skip
        return Block(
            count=1,
            mixer=_plain_attention(cfg, rotate=rotate) if kind else _granite_mamba(cfg),
            ffn=ffn,
            norm_sizes=(hidden, hidden),
            norm_params=2 * hidden,
            label="attention" if kind else "mamba",
        )

    return assemble(cfg, collect([x in ("attention", "full_attention") for x in types], build))


def bamba(cfg: Config) -> Model:
    """Mamba-2 with attention at listed layers, dense feed-forwards."""
    listed = set(cfg.sizes("attn_layer_indices") or ())
    cfg.ignore("layer_types", "layers_block_type", "z_loss_coefficient", "use_mamba_kernels")
    hidden, act = cfg.size("hidden_size"), cfg.text("hidden_act", default="silu")
    names = ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj")
    cfg.default(num_key_value_heads=8)

    def build(kind: bool) -> Block:
        mlp_bias = cfg.flag("mlp_bias", default=False)
        return Block(
            count=1,
            mixer=_plain_attention(cfg, rotate=True, rotary_frac=0.5)
            if kind
            else _granite_mamba(cfg),
            ffn=gated_mlp(hidden, cfg.size("intermediate_size"), activation=act, bias=mlp_bias,
                          names=names),
            norm_sizes=(hidden, hidden),
            norm_params=2 * hidden,
            label="attention" if kind else "mamba",
        )  # fmt: skip

    return assemble(cfg, collect([i in listed for i in range(cfg.layers())], build))
