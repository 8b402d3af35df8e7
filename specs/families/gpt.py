# SPDX-License-Identifier: Apache-2.0
"""The decoders before Llama: GPT-2, GPT-J, GPT-NeoX, BigCode, OPT, BLOOM, Falcon, MPT.

LayerNorm, plain feed-forwards, mostly one matrix for query, key and value; learned
positions, rotation or ALiBi.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..model import Attention, Block, Linear, Model
from ._assemble import assemble
from ._layers import rotary_dim
from ._parts import Heads, attention, collect, fused_qkv, norm_params, plain_mlp, qkvo
from ._reader import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """One layer of this generation."""

    shape: Heads
    inter: int
    qkvo: tuple[str, str, str, str]
    mlp: tuple[str, str]
    qkv_bias: bool = True
    o_bias: bool = True
    mlp_bias: bool = True
    norm: str = "layer"
    norms: int = 2
    parallel: bool = False
    rotary: int = 0
    activation: str = "gelu"

    def block(self, count: int) -> Block:
        """The layer, `count` times."""
        sizes = (self.shape.hidden,) * self.norms
        linears = qkvo(self.shape, names=self.qkvo, qkv_bias=self.qkv_bias, o_bias=self.o_bias)
        return Block(
            count=count,
            mixer=attention(self.shape, linears, rotary_dim=self.rotary),
            ffn=plain_mlp(
                self.shape.hidden,
                self.inter,
                activation=self.activation,
                bias=self.mlp_bias,
                names=self.mlp,
            ),
            norm_sizes=sizes,
            norm_params=norm_params(self.norm, *sizes),
            parallel=self.parallel,
        )


def _shape(
    cfg: Config, hidden: tuple[str, ...], heads: tuple[str, ...], kv_heads: int = 0
) -> Heads:
    width, count = cfg.size(*hidden), cfg.size(*heads)
    if width % count:
        raise cfg.error(f"{hidden[0]!r} {width} does not divide by {heads[0]!r} {count}")
    cfg.default(hidden_size=width)
    return Heads(hidden=width, heads=count, kv_heads=kv_heads or count, head_dim=width // count)


_GPT_HIDDEN = ("n_embd", "hidden_size")
_GPT_HEADS = ("n_head", "num_attention_heads")


def _positions(cfg: Config) -> int:
    cfg.ignore("n_ctx")
    positions = cfg.size("n_positions", "max_position_embeddings", default=cfg.raw("n_ctx"))
    cfg.default(max_position_embeddings=positions)
    return positions


def gpt2(cfg: Config) -> Model:
    """Learned positions, biases everywhere."""
    cfg.default(vocab_size=50257, n_positions=1024, activation_function="gelu_new")
    shape = _shape(cfg, _GPT_HIDDEN, _GPT_HEADS)
    layer = Plain(
        shape=shape,
        inter=cfg.size("n_inner", default=4 * shape.hidden),
        qkvo=fused_qkv("attn.c_attn", "attn.c_proj"),
        mlp=("mlp.c_fc", "mlp.c_proj"),
        activation=cfg.text("activation_function"),
    )
    blocks = (layer.block(cfg.layers("n_layer", "num_hidden_layers")),)
    return assemble(cfg, blocks, norm="layer", tied=True, positions=_positions(cfg))


def gptj(cfg: Config) -> Model:
    """Parallel layers on one norm, rotation of part of each head, a bias on the head."""
    cfg.default(n_positions=2048, rotary_dim=64, activation_function="gelu_new")
    shape = _shape(cfg, _GPT_HIDDEN, _GPT_HEADS)
    layer = Plain(
        shape=shape,
        inter=cfg.size("n_inner", default=4 * shape.hidden),
        qkvo=("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"),
        mlp=("mlp.fc_in", "mlp.fc_out"),
        qkv_bias=False,
        o_bias=False,
        norms=1,
        parallel=True,
        rotary=cfg.size("rotary_dim", default=shape.head_dim, minimum=0),
        activation=cfg.text("activation_function"),
    )
    _positions(cfg)
    cfg.ignore("rotary")
    blocks = (layer.block(cfg.layers("n_layer", "num_hidden_layers")),)
    return assemble(cfg, blocks, norm="layer", head_bias=True)


def codegen(cfg: Config) -> Model:
    """GPT-J with one matrix for query, key and value."""
    model = gptj(cfg)
    names = iter(fused_qkv("attn.qkv_proj", "attn.out_proj"))
    (block,) = model.blocks
    mixer = block.mixer
    if isinstance(mixer, Attention):
        renamed = tuple(replace(x, name=name) for x, name in zip(mixer.linears, names, strict=True))
        mixer = replace(mixer, linears=renamed)
    return replace(model, blocks=(replace(block, mixer=mixer),))


def gpt_neox(cfg: Config) -> Model:
    """Two norms per layer even where the halves run in parallel."""
    shape = _shape(cfg, ("hidden_size",), ("num_attention_heads",))
    bias = cfg.flag("attention_bias", default=True)
    layer = Plain(
        shape=shape,
        inter=cfg.size("intermediate_size"),
        qkvo=fused_qkv("attention.query_key_value", "attention.dense"),
        mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        qkv_bias=bias,
        o_bias=bias,
        parallel=cfg.flag("use_parallel_residual", default=True),
        rotary=rotary_dim(cfg, shape.head_dim, 0.25),
        activation=cfg.text("hidden_act", default="gelu"),
    )
    return assemble(cfg, (layer.block(cfg.layers()),), norm="layer", head_name="embed_out")


def _local_layers(cfg: Config, layers: int) -> list[bool]:
    """``attention_types`` as ``[[["global", "local"], 12]]``: which layers are windowed."""
    listed = cfg.texts("attention_layers", layers)
    if listed is None:
        listed = []
        for entry in cfg.items("attention_types") or [[["global", "local"], layers]]:
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], list):
                raise cfg.error("'attention_types' must hold pairs of a list and a number")
            times = cfg.as_int("attention_types", entry[1], 0, 10_000)
            listed.extend(str(kind)[:20] for kind in entry[0][:100] * min(times, layers))
    if len(listed) < layers or not set(listed) <= {"global", "local"}:
        raise cfg.error("'attention_types' must name each layer global or local")
    return [kind == "local" for kind in listed[:layers]]


def gpt_neo(cfg: Config) -> Model:
    """GPT-2's layout with every second layer windowed; no biases on query, key and value."""
    cfg.default(activation_function="gelu_new", window_size=256, num_layers=24, num_heads=16,
                max_position_embeddings=2048)  # fmt: skip
    shape = _shape(cfg, ("hidden_size",), ("num_heads", "num_attention_heads"))
    layers = cfg.layers("num_layers", "num_hidden_layers")
    local = _local_layers(cfg, layers)
    cfg.ignore("attention_types", "attention_layers")
    place = "attn.attention"
    layer = Plain(
        shape=shape,
        inter=cfg.size("intermediate_size", default=4 * shape.hidden),
        qkvo=(f"{place}.q_proj", f"{place}.k_proj", f"{place}.v_proj", f"{place}.out_proj"),
        mlp=("mlp.c_fc", "mlp.c_proj"),
        qkv_bias=False,
        activation=cfg.text("activation_function"),
    )

    def build(windowed: bool) -> Block:
        block, mixer = layer.block(1), layer.block(1).mixer
        if windowed and isinstance(mixer, Attention):
            block = replace(block, mixer=replace(mixer, window=cfg.size("window_size")))
        return block

    positions = cfg.size("max_position_embeddings")
    return assemble(cfg, collect(local, build), norm="layer", tied=True, positions=positions)


def gpt_bigcode(cfg: Config) -> Model:
    """GPT-2 with one KV head."""
    cfg.default(vocab_size=50257, n_positions=1024, activation_function="gelu_pytorch_tanh")
    kv_heads = 1 if cfg.flag("multi_query", default=True) else 0
    cfg.ignore("num_key_value_heads", "attention_softmax_in_fp32",
               "scale_attention_softmax_in_fp32", "inference_runner",
               "validate_runner_input", "pre_allocate_kv_cache", "max_batch_size",
               "max_sequence_length")  # fmt: skip
    shape = _shape(cfg, _GPT_HIDDEN, _GPT_HEADS, kv_heads)
    layer = Plain(
        shape=shape,
        inter=cfg.size("n_inner", default=4 * shape.hidden),
        qkvo=fused_qkv("attn.c_attn", "attn.c_proj"),
        mlp=("mlp.c_fc", "mlp.c_proj"),
        activation=cfg.text("activation_function"),
    )
    blocks = (layer.block(cfg.layers("n_layer", "num_hidden_layers")),)
    return assemble(cfg, blocks, norm="layer", tied=True, positions=_positions(cfg))


def opt(cfg: Config) -> Model:
    """Two position rows in reserve; the 350M model embeds in a narrower space."""
    cfg.default(activation_function="relu", max_position_embeddings=2048)
    shape = _shape(cfg, ("hidden_size",), ("num_attention_heads",))
    hidden = shape.hidden
    width = cfg.size("word_embed_proj_dim", default=hidden)
    bias = cfg.flag("enable_bias", default=True)
    affine = cfg.flag("layer_norm_elementwise_affine", default=True)
    norm = "layer" if affine else "none"
    before = cfg.flag("do_layer_norm_before", default=True)
    final = before and not cfg.flag("_remove_final_layer_norm", default=False)
    cfg.ignore("layerdrop")
    layer = Plain(
        shape=shape, inter=cfg.size("ffn_dim"), qkv_bias=bias, o_bias=bias, mlp_bias=bias,
        qkvo=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
        mlp=("fc1", "fc2"), norm=norm, activation=cfg.text("activation_function"),
    )  # fmt: skip
    blocks: tuple[Block, ...] = (layer.block(cfg.layers()),)
    if width != hidden:
        outer = (
            Linear(name="project_in", in_features=width, out_features=hidden),
            Linear(name="project_out", in_features=hidden, out_features=width),
        )
        blocks = (
            replace(blocks[0], count=1, extra_linears=outer),
            *((replace(blocks[0], count=blocks[0].count - 1),) if blocks[0].count > 1 else ()),
        )
    return assemble(
        cfg, blocks, norm=norm if final else "none", tied=True, embedding_width=width,
        positions=cfg.size("max_position_embeddings") + 2,
    )  # fmt: skip


def bloom(cfg: Config) -> Model:
    """ALiBi, and a norm after the embedding."""
    shape = _shape(cfg, ("hidden_size", "n_embed", "n_embd"), ("n_head", "num_attention_heads"))
    cfg.ignore("apply_residual_connection_post_layernorm", "slow_but_exact", "offset_alibi",
               "masked_softmax_fusion", "skip_bias_add", "skip_bias_add_qkv",
               "attention_softmax_in_fp32", "bias_dropout_fusion", "n_inner")  # fmt: skip
    layer = Plain(
        shape=shape,
        inter=4 * shape.hidden,
        qkvo=fused_qkv("self_attention.query_key_value", "self_attention.dense"),
        mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    )
    blocks = (layer.block(cfg.layers("n_layer", "num_hidden_layers")),)
    embedding_norm = norm_params("layer", shape.hidden)
    return assemble(cfg, blocks, norm="layer", tied=True, extra=embedding_norm)


def falcon(cfg: Config) -> Model:
    """One KV head in the 7B, several in the newer layout, parallel layers."""
    heads = ("num_attention_heads", "n_head")
    new = cfg.flag("new_decoder_architecture", default=False)
    multi_query = cfg.flag("multi_query", default=True)
    count = cfg.size(*heads)
    stated = cfg.size("num_kv_heads", "n_head_kv", default=count)
    kv_heads = stated if new else 1 if multi_query else count
    shape = _shape(cfg, ("hidden_size", "n_embed"), heads, kv_heads)
    parallel = cfg.flag("parallel_attn", default=True)
    norms = cfg.size("num_ln_in_parallel_attn", default=2 if new else 1)
    bias = cfg.flag("bias", default=False)
    alibi = cfg.flag("alibi", default=False)
    layer = Plain(
        shape=shape,
        inter=cfg.size("ffn_hidden_size", default=4 * shape.hidden),
        qkvo=fused_qkv("self_attention.query_key_value", "self_attention.dense"),
        mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        norms=norms if parallel else 2,
        parallel=parallel,
        rotary=0 if alibi else rotary_dim(cfg, shape.head_dim),
        activation=cfg.text("activation", default="gelu"),
    )
    cfg.ignore("ff_factor", "apply_residual_connection_post_layernorm")
    cfg.default(max_position_embeddings=2048)
    blocks = (layer.block(cfg.layers("num_hidden_layers", "n_layer")),)
    return assemble(cfg, blocks, norm="layer", tied=True)


def mpt(cfg: Config) -> Model:
    """ALiBi, no biases, norms without a shift."""
    shape = _shape(cfg, ("d_model", "hidden_size"), ("n_heads", "num_attention_heads"))
    inner = cfg.child("attn_config")
    if inner is not None:
        kv_heads = inner.size("kv_n_heads", default=shape.heads)
        if kv_heads != shape.heads or inner.flag("qk_ln") or inner.flag("rope"):
            raise cfg.error("'attn_config' asks for kv_n_heads, qk_ln or rope, not understood")
    if not cfg.flag("no_bias", default=True) or cfg.size("expansion_ratio", default=4) != 4:
        raise cfg.error("'no_bias' false and an 'expansion_ratio' other than 4 are not understood")
    cfg.ignore("learned_pos_emb", "norm_type", "embedding_fraction", "init_device", "verbose",
               "attn_type", "attn_impl", "alibi", "alibi_bias_max", "fc_type", "prefix_lm",
               "ffn_config", "init_config", "attn_uses_sequence_id", "qk_ln")  # fmt: skip
    cfg.default(max_position_embeddings=cfg.size("max_seq_len", default=2048))
    layer = Plain(
        shape=shape, inter=4 * shape.hidden, norm="layer_nobias", qkv_bias=False, o_bias=False,
        mlp_bias=False, qkvo=fused_qkv("attn.Wqkv", "attn.out_proj"),
        mlp=("ffn.up_proj", "ffn.down_proj"),
    )  # fmt: skip
    blocks = (layer.block(cfg.layers("n_layers", "num_hidden_layers")),)
    return assemble(cfg, blocks, norm="layer_nobias", tied=True)
