# SPDX-License-Identifier: Apache-2.0
"""Encoder-decoders: T5 and its relations, BART, Whisper."""

from __future__ import annotations

from dataclasses import replace

from ..model import Attention, Block, Dense, Linear, Model
from ._assemble import assemble
from ._parts import Heads, attention, gated_mlp, norm_params, plain_mlp, qkvo
from ._reader import Config


def _t5_attention(shape: Heads, place: str, *, causal: bool, cross: bool, extra: int) -> Attention:
    names = (f"{place}.q", f"{place}.k", f"{place}.v", f"{place}.o")
    kv_in = shape.hidden if cross else 0
    return attention(
        shape, qkvo(shape, names=names, kv_in=kv_in), causal=causal, cross=cross,
        extra_params=extra,
    )  # fmt: skip


def _t5_mlp(cfg: Config, hidden: int, place: str) -> Dense:
    """``feed_forward_proj`` is an activation, or ``gated-`` and one."""
    kind = cfg.text("feed_forward_proj")
    inter = cfg.size("d_ff")
    gate, _, act = kind.rpartition("-")
    if gate not in ("", "gated"):
        raise cfg.error(f"'feed_forward_proj' {kind[:40]!r} is not understood")
    name = f"{place}.DenseReluDense"
    if gate:
        names = (f"{name}.wi_0", f"{name}.wi_1", f"{name}.wo")
        return gated_mlp(hidden, inter, activation=act, names=names)
    return plain_mlp(hidden, inter, activation=act, names=(f"{name}.wi", f"{name}.wo"))


def _t5(cfg: Config, *, table_per_layer: bool) -> Model:
    """T5: no biases, RMSNorm, a learned bias per bucket of distance instead of positions.

    The bucket table belongs to the first layer of each stack, in UMT5 to every layer.
    A config that unties the head (T5 1.1, Flan) is taken at its word, as its checkpoint
    holds both matrices.
    """
    cfg.default(relative_attention_num_buckets=32, feed_forward_proj="relu", d_kv=64)
    hidden, count = cfg.size("d_model"), cfg.size("num_heads")
    layers = cfg.layers("num_layers")
    head_dim = cfg.size("d_kv")
    shape = Heads(hidden=hidden, heads=count, kv_heads=count, head_dim=head_dim)
    table = cfg.size("relative_attention_num_buckets") * count
    extra = table if table_per_layer else 0
    encoder = Block(
        count=layers,
        mixer=_t5_attention(shape, "layer.0.SelfAttention", causal=False, cross=False,
                            extra=extra),
        ffn=_t5_mlp(cfg, hidden, "layer.1"),
        norm_sizes=(hidden,) * 2,
        norm_params=2 * hidden,
        label="encoder",
    )  # fmt: skip
    decoder = Block(
        count=cfg.size("num_decoder_layers", default=layers, maximum=10_000),
        mixer=_t5_attention(shape, "layer.0.SelfAttention", causal=True, cross=False,
                            extra=extra),
        cross=_t5_attention(shape, "layer.1.EncDecAttention", causal=False, cross=True, extra=0),
        ffn=_t5_mlp(cfg, hidden, "layer.2"),
        norm_sizes=(hidden,) * 3,
        norm_params=3 * hidden,
        label="decoder",
    )  # fmt: skip
    cfg.ignore("dense_act_fn", "is_gated_act", "relative_attention_max_distance", "n_positions",
               "output_past", "scale_decoder_outputs")  # fmt: skip
    cfg.default(hidden_size=hidden)
    # Two final norms, one per stack; two bucket tables, unless the layers hold them.
    outside = hidden + (0 if table_per_layer else 2 * table)
    return assemble(cfg, (decoder,), encoder=(encoder,), tied=True, extra=outside)


def t5(cfg: Config) -> Model:
    """T5, Flan-T5, Flan-UL2, mT5."""
    return _t5(cfg, table_per_layer=False)


def umt5(cfg: Config) -> Model:
    """UMT5: a bucket table in every self-attention."""
    return _t5(cfg, table_per_layer=True)


def _speech_or_text(
    cfg: Config, side: str, hidden: int, k_bias: bool, cross: bool
) -> tuple[Heads, Attention, Attention | None, Dense, int]:
    """The parts of one BART-like stack."""
    count = cfg.size(f"{side}_attention_heads")
    if hidden % count:
        raise cfg.error(f"'d_model' {hidden} does not divide by '{side}_attention_heads' {count}")
    shape = Heads(hidden=hidden, heads=count, kv_heads=count, head_dim=hidden // count)

    def attend(place: str, causal: bool, crossing: bool) -> Attention:
        names = tuple(f"{place}.{part}" for part in ("q_proj", "k_proj", "v_proj", "out_proj"))
        linears = qkvo(
            shape, names=(names[0], names[1], names[2], names[3]), o_bias=True,
            qkv_bias=(True, k_bias, True), kv_in=hidden if crossing else 0,
        )  # fmt: skip
        return attention(shape, linears, causal=causal, cross=crossing)

    return (
        shape,
        attend("self_attn", side == "decoder", False),
        attend("encoder_attn", False, True) if cross else None,
        plain_mlp(
            hidden,
            cfg.size(f"{side}_ffn_dim"),
            activation=cfg.text("activation_function", default="gelu"),
            bias=True,
            names=("fc1", "fc2"),
        ),
        cfg.layers(f"{side}_layers"),
    )


def _stack(cfg: Config, side: str, hidden: int, *, k_bias: bool) -> Block:
    crossing = side == "decoder"
    _, mixer, cross, ffn, layers = _speech_or_text(cfg, side, hidden, k_bias, crossing)
    sizes = (hidden,) * (3 if crossing else 2)
    return Block(
        count=layers, mixer=mixer, cross=cross, ffn=ffn, norm_sizes=sizes,
        norm_params=norm_params("layer", *sizes), label=side,
    )  # fmt: skip


def bart(cfg: Config) -> Model:
    """BART: learned positions with two rows in reserve, a norm after each embedding."""
    hidden = cfg.size("d_model")
    cfg.default(hidden_size=hidden, max_position_embeddings=1024)
    _ignore_training(cfg)
    positions = 2 * (cfg.size("max_position_embeddings") + 2)
    return assemble(
        cfg,
        (_stack(cfg, "decoder", hidden, k_bias=True),),
        encoder=(_stack(cfg, "encoder", hidden, k_bias=True),),
        norm="none",
        tied=True,
        positions=positions,
        extra=2 * norm_params("layer", hidden),
    )


def whisper(cfg: Config) -> Model:
    """Whisper: two convolutions in front of the encoder, keys without bias.

    The convolutions stand as linears of three frames in the first encoder layer.
    """
    hidden = cfg.size("d_model")
    mels = cfg.size("num_mel_bins", default=80)
    source = cfg.size("max_source_positions", default=1500)
    target = cfg.size("max_target_positions", default=448)
    cfg.default(hidden_size=hidden, max_position_embeddings=target)
    cfg.data = {k: v for k, v in cfg.data.items() if k != "max_position_embeddings"}
    _ignore_training(cfg)
    encoder = _stack(cfg, "encoder", hidden, k_bias=False)
    front = tuple(
        Linear(name=name, in_features=3 * width, out_features=hidden, bias=True)
        for name, width in (("conv1", mels), ("conv2", hidden))
    )
    first = replace(encoder, count=1, extra_linears=front)
    rest = (replace(encoder, count=encoder.count - 1),) if encoder.count > 1 else ()
    return assemble(
        cfg,
        (_stack(cfg, "decoder", hidden, k_bias=False),),
        encoder=(first, *rest),
        norm="layer",
        tied=True,
        positions=source + target,
        extra=norm_params("layer", hidden),
        head_name="proj_out",
    )


def _ignore_training(cfg: Config) -> None:
    cfg.ignore(
        "encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers", "classifier_proj_size",
        "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks",
        "mask_feature_prob", "mask_feature_length", "mask_feature_min_masks",
        "median_filter_width", "use_weighted_layer_sum", "num_mel_bins", "add_bias_logits",
        "add_final_layer_norm", "classif_dropout", "normalize_before", "normalize_embedding",
        "static_position_embeddings", "extra_pos_embeddings", "force_bos_token_to_be_generated",
        "gradient_checkpointing", "alignment_heads", "lang_ids", "max_position_embeddings",
        "forced_decoder_ids",
    )  # fmt: skip
