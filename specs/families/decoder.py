# SPDX-License-Identifier: Apache-2.0
"""The standard decoder, read by structure: most families differ in a `Style` only.

Layers of a token mixer and a feed-forward around a residual stream. Attention is
latent where the config has ``kv_lora_rank``, sparse where it has ``index_topk``,
windowed as ``layer_types`` and ``sliding_window`` say; the feed-forward is a mixture
where it counts experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..model import Attention, Block, Dense, LatentAttention, Mixer, Model, MoE
from ._assemble import assemble, next_token_layer
from ._experts import EXPERT_KEYS, ExpertStyle, num_experts, read_moe
from ._harmless import is_harmless
from ._layers import heads, latent_shape, rotary_dim, rotated, sparse_layers, windows
from ._parts import (
    GATED,
    QKVO,
    Heads,
    Norm,
    attention,
    collect,
    gated_mlp,
    latent_attention,
    norm_params,
    plain_mlp,
    qkvo,
)
from ._reader import Config
from ._sparse import has_indexer, indexer_layers, sparse_index

Flag = bool | str | tuple[str, ...]
"""Either fixed by the family's code, or the config keys that say so (False if absent)."""

_FOREIGN = re.compile(
    r"ssm|mamba|conv|hybrid|linear_|rwkv|recurr|retention|compress|lora_rank|block_config|"
    r"layer_group|zero_expert|mixer|hc_mult|hyper_conn|attention_types|_per_layer|latent|"
    r"index_|encoder|cross_|shared_layers|altup|memory|mtp_|loop|depth_|^layer_ids|_cycles|"
    r"type_vocab|embedding_size|kv_channels|retrieval|adapter|local_attention"
)
"""Fields of structures that a standard decoder has not: to guess past them would mislead."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What tells the layers of one decoder apart."""

    window: int | None
    sparse: bool
    rotated: bool
    indexed: bool
    mixer: str = ""
    heads: int = 0
    kv_heads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a family's code fixes and its config does not say.

    Parameters
    ----------
    mixers : Mapping
        Mixers of the family's own, by entry of ``layer_types``.
    output_gate : bool
        Whether the query projection is twice as wide, half of it a gate on the output.
    qkv_bias, o_bias, mlp_bias, head_bias, parallel : bool, str or tuple
        Strings name the config's flag.
    gated : bool
        Whether the dense feed-forward is gated.
    qk_norm : str
        Norms of query and key: ``"head"`` one weight vector per head width, ``"full"``
        over all heads together, ``"heads"`` a vector of its own per head, ``"plain"``
        without weights; empty without.
    qk_norm_flag : str
        Config key that turns `qk_norm` on.
    norm, residual_norms
        Kind of the residual norms, and how many per layer (one where parallel).
    mlp_extra : int
        Parameters of the dense feed-forward outside its linears.
    window : str
        Rule of `specs.families._layers.windows`.
    sinks : bool
        One learned sink logit per query head.
    rotary_frac : float
        Rotated fraction where the config is silent.
    tied : bool
        Whether the head is the embedding where the config is silent.
    defaults : Mapping
        What the family's configuration class fills in.
    ignored : tuple of str
        Fields that the family's configs carry and its code does not use.
    """

    mixers: Mapping[str, Callable[[Config, Style, LayerKind], Mixer]] = field(default_factory=dict)
    output_gate: bool = False
    qkv_bias: Flag = "attention_bias"
    o_bias: Flag = "attention_bias"
    mlp_bias: Flag = "mlp_bias"
    head_bias: Flag = False
    parallel: Flag = False
    gated: bool = True
    qk_norm: str = ""
    qk_norm_flag: str = ""
    qk_norm_kind: Norm = "rms"
    norm: Norm = "rms"
    residual_norms: int = 2
    mlp_extra: int = 0
    window: str = "all"
    sinks: bool = False
    rotary_frac: float = 1.0
    tied: bool = False
    attention_names: tuple[str, str, str, str] = QKVO
    gated_names: tuple[str, str, str] = GATED
    plain_names: tuple[str, str] = ("mlp.up_proj", "mlp.down_proj")
    experts: ExpertStyle = field(default_factory=ExpertStyle)
    defaults: Mapping[str, object] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def on(cfg: Config, flag: Flag) -> bool:
    """Resolve a `Flag` against the config."""
    if isinstance(flag, bool):
        return flag
    return cfg.flag(*((flag,) if isinstance(flag, str) else flag), default=False)


def activation(cfg: Config) -> str:
    """Name of the feed-forward's activation."""
    return cfg.text("hidden_act", "hidden_activation", "activation_function", default="silu")


def qk_norm_params(cfg: Config, style: Style, shape: Heads) -> int:
    """Parameters of the norms over query and key."""
    if not style.qk_norm or (style.qk_norm_flag and not cfg.flag(style.qk_norm_flag)):
        return 0
    each = {
        "head": 2 * shape.head_dim,
        "full": (shape.heads + shape.kv_heads) * shape.head_dim,
        "heads": (shape.heads + shape.kv_heads) * shape.head_dim,
        "plain": 0,
    }[style.qk_norm]
    return norm_params(style.qk_norm_kind, each)


def softmax_layer(cfg: Config, style: Style, kind: LayerKind) -> Attention:
    """Softmax attention of one kind of layer."""
    shape = heads(cfg, kind.heads, kind.kv_heads)
    return attention(
        shape,
        qkvo(
            shape,
            names=style.attention_names,
            qkv_bias=on(cfg, style.qkv_bias),
            o_bias=on(cfg, style.o_bias),
            output_gate=style.output_gate,
        ),
        window=kind.window,
        rotary_dim=rotary_dim(
            cfg, shape.head_dim, style.rotary_frac, windowed=kind.window is not None
        )
        if kind.rotated
        else 0,
        norm_params=qk_norm_params(cfg, style, shape),
        extra_params=shape.heads if style.sinks else 0,
    )


def latent_layer(cfg: Config, style: Style, kind: LayerKind) -> LatentAttention:
    """Latent attention of one kind of layer, sparse where the config indexes."""
    cfg.ignore("num_key_value_heads", "head_dim", "qk_head_dim")
    return latent_attention(
        latent_shape(cfg),
        bias=on(cfg, style.qkv_bias),
        window=kind.window,
        sparse=sparse_index(cfg, kind.indexed) if has_indexer(cfg) else None,
    )


def dense_mlp(cfg: Config, style: Style) -> Dense:
    """The dense feed-forward."""
    hidden, inter = cfg.size("hidden_size"), cfg.size("intermediate_size")
    act, bias, extra = activation(cfg), on(cfg, style.mlp_bias), style.mlp_extra
    if style.gated:
        return gated_mlp(hidden, inter, activation=act, bias=bias, names=style.gated_names,
                         extra_params=extra)  # fmt: skip
    return plain_mlp(hidden, inter, activation=act, bias=bias, names=style.plain_names,
                     extra_params=extra)  # fmt: skip


def layer_kinds(cfg: Config, style: Style) -> list[LayerKind]:
    """The kind of each layer, in order."""
    layers = cfg.layers()
    sparse = sparse_layers(cfg, layers) if num_experts(cfg) else [False] * layers
    indexed = indexer_layers(cfg, layers) if has_indexer(cfg) else [False] * layers
    window = windows(cfg, layers, style.window, style.mixers)
    types = cfg.texts("layer_types", layers) or [""] * layers
    own = [kind if kind in style.mixers else "" for kind in types]
    none = [0] * layers
    count = cfg.sizes("num_attention_heads_per_layer", layers, minimum=1) or none
    kv_heads = cfg.sizes("num_key_value_heads_per_layer", layers, minimum=1) or none
    rotate = rotated(cfg, layers)
    columns = (window, sparse, rotate, indexed, own, count, kv_heads)
    return [LayerKind(*entry) for entry in zip(*columns, strict=True)]


def layer(cfg: Config, style: Style, kind: LayerKind) -> Block:
    """One layer of this kind."""
    hidden = cfg.size("hidden_size")
    parallel = on(cfg, style.parallel)
    norm_sizes = (hidden,) * (1 if parallel else style.residual_norms)
    default = softmax_layer if cfg.raw("kv_lora_rank") is None else latent_layer
    mixer = style.mixers.get(kind.mixer, default)(cfg, style, kind)
    ffn: Dense | MoE
    ffn = read_moe(cfg, activation(cfg), style.experts) if kind.sparse else dense_mlp(cfg, style)
    return Block(
        count=1,
        mixer=mixer,
        ffn=ffn,
        norm_sizes=norm_sizes,
        norm_params=norm_params(style.norm, *norm_sizes),
        parallel=parallel,
        label="moe" if kind.sparse else "dense",
    )


def prediction_layers(cfg: Config, style: Style, kinds: list[LayerKind]) -> tuple[Block, ...]:
    """Multi-token-prediction layers, built like the last layer."""
    count = cfg.size("num_nextn_predict_layers", "num_mtp_modules", "num_mtp_layers",
                     "mtp_num_hidden_layers",
                     default=0, minimum=0, maximum=1000)  # fmt: skip
    cfg.ignore("mtp_transformer_layers", "mtp_use_dedicated_embeddings")
    if count == 0 or not cfg.flag("use_mtp", default=True):
        return ()
    attending = [kind for kind in kinds if kind.mixer != "linear_attention"]
    like = layer(cfg, style, attending[-1] if attending else kinds[-1])
    return (next_token_layer(cfg.size("hidden_size"), count, like, style.norm),)


def decoder(cfg: Config, style: Style) -> Model:
    """A decoder in this style."""
    cfg.default(**style.defaults)
    cfg.ignore(*style.ignored)
    kinds = layer_kinds(cfg, style)
    return assemble(
        cfg,
        collect(kinds, lambda kind: layer(cfg, style, kind)),
        mtp=prediction_layers(cfg, style, kinds),
        norm=style.norm,
        tied=style.tied,
        head_bias=on(cfg, style.head_bias),
    )


def styled(**values: object) -> Callable[[Config], Model]:
    """A family function in a style of its own."""
    style = Style(**values)  # type: ignore[arg-type]

    def family(cfg: Config) -> Model:
        return decoder(cfg, style)

    return family


_STRUCTURAL = Style(
    qkv_bias=("attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias"),
    qk_norm="head",
    qk_norm_flag="use_qk_norm",
)


_PLAIN_ACTIVATIONS = frozenset(
    {"relu", "relu2", "gelu", "gelu_new", "gelu_fast", "quick_gelu", "gelu_10"}
)
"""Activations that families use without a gate; Gemma's gated one is gelu_pytorch_tanh."""


def structural(cfg: Config) -> Model:
    """A model of unknown type whose fields are those of a standard decoder.

    Raises
    ------
    ModelConfigError
        A size is missing, or a field speaks of a structure that is none.
    """
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    missing = [key for key in needed if not cfg.has(key)]
    if missing:
        raise cfg.error(
            f"unknown model_type, and without {', '.join(missing)} it cannot be read as a "
            "standard decoder; give a config with these fields"
        )
    gated = activation(cfg) not in _PLAIN_ACTIVATIONS
    cfg.warn(
        f"model_type {cfg.model_type[:60]!r} is not known; read by its structure as a "
        f"pre-norm decoder with RMSNorm and a {'gated' if gated else 'plain'} feed-forward"
    )
    if cfg.raw("is_moe") is False:
        cfg.data = {key: value for key, value in cfg.data.items() if key not in EXPERT_KEYS}
    if cfg.raw("tie_word_embeddings") is None:
        cfg.warn("tie_word_embeddings is not stated; head and embedding counted apart")
    model = decoder(cfg, replace(_STRUCTURAL, gated=gated))
    foreign = sorted(
        key
        for key, value in cfg.data.items()
        if value and key not in cfg.used and not is_harmless(key, value) and _FOREIGN.search(key)
    )
    if foreign:
        raise cfg.error(
            f"unknown model_type with {', '.join(key[:40] for key in foreign[:8])}, which a "
            "standard decoder does not have; add a family for it in specs/families"
        )
    return model
