# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's hybrids: Nemotron-H (one part per layer) and the searched Nemotron-NAS."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model import Attention, Block, Dense, Linear, Mixer, Model
from ._assemble import assemble
from ._experts import ExpertStyle, read_moe
from ._layers import heads, rotary_dim
from ._parts import attention, collect, gated_mlp, plain_mlp, qkvo
from ._reader import Config
from ._ssm import Mamba2Shape, mamba2

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_KINDS = {
    "mamba": "mamba", "linear_attention": "mamba", "attention": "attention",
    "full_attention": "attention", "mlp": "mlp", "moe": "moe",
}  # fmt: skip


def _types(cfg: Config, listed: str, pattern: str) -> list[str] | None:
    """Kind of each layer, from a list of words or a string of letters."""
    words = cfg.texts(listed)
    letters = cfg.raw(pattern)
    if words is None and letters is None:
        return None
    if words is None:
        if not isinstance(letters, str) or not 0 < len(letters) <= 10_000:
            raise cfg.error(f"{pattern!r} must be a string of M, E, * and -")
        words = [_LETTERS.get(letter, letter) for letter in letters]
    for word in words:
        if word not in _KINDS:
            raise cfg.error(f"{listed!r} holds {word[:40]!r}, which is not understood")
    return [_KINDS[word] for word in words]


def _nemotron_mamba(cfg: Config) -> Mixer:
    return mamba2(
        Mamba2Shape(
            hidden=cfg.size("hidden_size"),
            heads=cfg.size("mamba_num_heads"),
            head_dim=cfg.size("mamba_head_dim"),
            state=cfg.size("ssm_state_size"),
            groups=cfg.size("n_groups", "mamba_n_groups"),
            kernel=cfg.size("conv_kernel", "mamba_d_conv"),
            conv_bias=cfg.flag("use_conv_bias", "mamba_conv_bias", default=True),
            bias=cfg.flag("use_bias", default=False),
            chunk=cfg.size("chunk_size", "mamba_chunk_size"),
        ),
        "mixer.",
    )


def _nemotron_attention(cfg: Config) -> Mixer:
    cfg.default(head_dim=cfg.raw("attention_head_dim") or 128)
    shape = heads(cfg)
    names = ("mixer.q_proj", "mixer.k_proj", "mixer.v_proj", "mixer.o_proj")
    return attention(shape, qkvo(shape, names=names))


def _nemotron_layer(cfg: Config, kind: str) -> Block:
    """One layer: a mixer or a feed-forward, never both."""
    hidden = cfg.size("hidden_size")
    act, bias = cfg.text("mlp_hidden_act"), cfg.flag("mlp_bias", default=False)
    block = Block(
        count=1, mixer=None, ffn=None, norm_sizes=(hidden,), norm_params=hidden, label=kind
    )
    if kind == "mamba":
        return replace(block, mixer=_nemotron_mamba(cfg))
    if kind == "attention":
        return replace(block, mixer=_nemotron_attention(cfg))
    if kind == "moe":
        style = ExpertStyle(prefix="mixer.", gated=False)
        return replace(block, ffn=read_moe(cfg, act, style))
    names = ("mixer.up_proj", "mixer.down_proj")
    mlp = plain_mlp(hidden, cfg.size("intermediate_size"), activation=act, bias=bias, names=names)
    return replace(block, ffn=mlp)


def _nemotron_mtp(cfg: Config) -> tuple[Block, ...]:
    count = cfg.size("num_nextn_predict_layers", default=0, minimum=0, maximum=1000)
    kinds = _types(cfg, "mtp_layers_block_type", "mtp_hybrid_override_pattern")
    if not count or not kinds:
        return ()
    hidden = cfg.size("hidden_size")
    blocks = [replace(_nemotron_layer(cfg, kind), count=count) for kind in kinds]
    join = Linear(name="eh_proj", in_features=2 * hidden, out_features=hidden)
    blocks[0] = replace(
        blocks[0],
        extra_linears=(join,),
        norm_sizes=(*blocks[0].norm_sizes, hidden, hidden),
        norm_params=blocks[0].norm_params + 2 * hidden,
    )
    blocks[-1] = replace(
        blocks[-1],
        norm_sizes=(*blocks[-1].norm_sizes, hidden),
        norm_params=blocks[-1].norm_params + hidden,
    )
    return tuple(blocks)


def nemotron_h(cfg: Config) -> Model:
    """Layers of one part each, in the order of a pattern."""
    cfg.default(
        conv_kernel=4, n_groups=8, chunk_size=128, mlp_hidden_act="relu2", ssm_state_size=128,
        mamba_num_heads=128, mamba_head_dim=64, intermediate_size=21504,
        num_attention_heads=32, num_key_value_heads=8, n_routed_experts=8, n_shared_experts=1,
        moe_intermediate_size=7688, moe_shared_expert_intermediate_size=7688,
        num_experts_per_tok=2,
    )  # fmt: skip
    listed = "layers_block_type" if cfg.has("layers_block_type") else "layer_types"
    kinds = _types(cfg, listed, "hybrid_override_pattern")
    if kinds is None:
        raise cfg.error("'layers_block_type' or 'hybrid_override_pattern' is missing; add one")
    cfg.ignore(
        "num_hidden_layers", "layer_types", "layers_block_type", "expand", "mamba_hidden_act",
        "mamba_ssm_cache_dtype", "moe_shared_expert_overlap", "use_mamba_kernels",
        "mamba_proj_bias", "attention_head_dim", "head_dim", "hybrid_override_pattern",
        "sliding_window", "attention_bias", "intermediate_size", "n_routed_experts",
        "n_shared_experts", "moe_intermediate_size", "num_experts_per_tok", "moe_latent_size",
        "moe_shared_expert_intermediate_size", "mamba_num_heads", "mamba_head_dim",
        "mtp_layers_block_type", "mtp_hybrid_override_pattern", "num_attention_heads",
        "num_key_value_heads", "use_conv_bias", "ssm_state_size", "n_groups", "conv_kernel",
        "chunk_size", "use_bias", "partial_rotary_factor",
    )  # fmt: skip
    blocks = collect(kinds, lambda kind: _nemotron_layer(cfg, kind))
    return assemble(cfg, blocks, mtp=_nemotron_mtp(cfg))


@dataclass(frozen=True, slots=True)
class _Searched:
    """What the search left of one layer: 0 is none, -1 a single linear."""

    heads_per_group: int
    inter: int


def _searched(cfg: Config, entry: object, hidden: int) -> _Searched:
    """One entry of ``block_configs``."""
    if not isinstance(entry, dict):
        raise cfg.error("'block_configs' must hold objects")
    block = Config(entry, model_type=cfg.model_type, name=cfg.name)
    mixer, ffn = block.child("attention"), block.child("ffn")
    if mixer is None or ffn is None:
        raise cfg.error("'block_configs' must hold 'attention' and 'ffn'")
    group = 0
    if mixer.flag("replace_with_linear", default=False):
        group = -1
    elif not mixer.flag("no_op", default=False):
        group = mixer.size("n_heads_in_group")
    if ffn.flag("no_op", default=False):
        return _Searched(group, 0)
    if ffn.flag("replace_with_linear", default=False):
        return _Searched(group, -1)
    if ffn.has("intermediate_size"):
        return _Searched(group, ffn.size("intermediate_size"))
    width = int(2 * ffn.number("ffn_mult") * hidden / 3)
    return _Searched(group, -(-width // 256) * 256)


def nemotron_nas(cfg: Config) -> Model:
    """Llama layers of which a search dropped or thinned parts, one by one."""
    hidden, count = cfg.size("hidden_size"), cfg.size("num_attention_heads")
    entries = cfg.items("block_configs", cfg.layers()) or []
    if not entries:
        raise cfg.error("'block_configs' is missing; add it to the config")
    head_dim = cfg.size("head_dim", default=hidden // count)
    bias = cfg.flag("attention_bias", default=False)
    mlp_bias = cfg.flag("mlp_bias", default=False)
    act = cfg.text("hidden_act", default="silu")
    cfg.ignore("num_key_value_heads", "intermediate_size")

    def mixer(kind: _Searched) -> Attention | None:
        if kind.heads_per_group <= 0:
            return None
        if count % kind.heads_per_group:
            raise cfg.error("'n_heads_in_group' does not divide 'num_attention_heads'")
        inner = Config(
            {"hidden_size": hidden, "num_attention_heads": count, "head_dim": head_dim,
             "num_key_value_heads": count // kind.heads_per_group},
            model_type=cfg.model_type, name=cfg.name,
        )  # fmt: skip
        shape = heads(inner)
        rotary = rotary_dim(cfg, head_dim)
        return attention(shape, qkvo(shape, qkv_bias=bias, o_bias=bias), rotary_dim=rotary)

    def build(kind: _Searched) -> Block:
        extra: list[Linear] = []
        if kind.heads_per_group < 0:
            extra.append(Linear(name="self_attn.linear_attn", in_features=hidden,
                                out_features=hidden))  # fmt: skip
        if kind.inter < 0:
            extra.append(Linear(name="mlp.linear_mlp", in_features=hidden, out_features=hidden))
        ffn: Dense | None = None
        if kind.inter > 0:
            ffn = gated_mlp(hidden, kind.inter, activation=act, bias=mlp_bias)
        sizes = (hidden,) * ((kind.heads_per_group != 0) + (kind.inter != 0))
        return Block(
            count=1, mixer=mixer(kind), ffn=ffn, norm_sizes=sizes, norm_params=sum(sizes),
            extra_linears=tuple(extra), label="searched",
        )  # fmt: skip

    return assemble(cfg, collect([_searched(cfg, entry, hidden) for entry in entries], build))
