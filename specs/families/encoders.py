# SPDX-License-Identifier: Apache-2.0
"""Encoder-only models: BERT, RoBERTa, DistilBERT, ModernBERT. All layers are `Model.encoder`."""

from __future__ import annotations

from ..model import Block, Model
from ._assemble import assemble
from ._parts import Heads, attention, collect, gated_mlp, norm_params, plain_mlp, qkvo
from ._reader import Config


def _shape(cfg: Config, width: str, heads: str) -> Heads:
    hidden, count = cfg.size(width), cfg.size(heads)
    if hidden % count:
        raise cfg.error(f"{width!r} {hidden} does not divide by {heads!r} {count}")
    cfg.default(hidden_size=hidden)
    return Heads(hidden=hidden, heads=count, kv_heads=count, head_dim=hidden // count)


def bert(cfg: Config) -> Model:
    """BERT and RoBERTa with their pooler, as the bare model has it."""
    shape = _shape(cfg, "hidden_size", "num_attention_heads")
    hidden = shape.hidden
    cfg.ignore("position_embedding_type", "classifier_dropout", "directionality",
               "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
               "pooler_size_per_head", "pooler_type", "output_past",
               "gradient_checkpointing")  # fmt: skip
    place = "attention.self"
    names = (f"{place}.query", f"{place}.key", f"{place}.value", "attention.output.dense")
    block = Block(
        count=cfg.layers(),
        mixer=attention(shape, qkvo(shape, names=names, qkv_bias=True, o_bias=True),
                        causal=False),
        ffn=plain_mlp(hidden, cfg.size("intermediate_size"), bias=True,
                      activation=cfg.text("hidden_act", default="gelu"),
                      names=("intermediate.dense", "output.dense")),
        norm_sizes=(hidden, hidden),
        norm_params=norm_params("layer", hidden, hidden),
        label="encoder",
    )  # fmt: skip
    rows = cfg.size("max_position_embeddings") + cfg.size("type_vocab_size", default=2, minimum=0)
    pooler = hidden * hidden + hidden
    return assemble(cfg, (), encoder=(block,), norm="layer", positions=rows, extra=pooler,
                    has_head=False)  # fmt: skip


def distilbert(cfg: Config) -> Model:
    """BERT without token types and pooler."""
    shape = _shape(cfg, "dim", "n_heads")
    hidden = shape.hidden
    cfg.ignore("sinusoidal_pos_embds", "tie_weights_", "qa_dropout", "seq_classif_dropout")
    names = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")
    block = Block(
        count=cfg.layers("n_layers"),
        mixer=attention(shape, qkvo(shape, names=names, qkv_bias=True, o_bias=True),
                        causal=False),
        ffn=plain_mlp(hidden, cfg.size("hidden_dim"), bias=True,
                      activation=cfg.text("activation", default="gelu"),
                      names=("ffn.lin1", "ffn.lin2")),
        norm_sizes=(hidden, hidden),
        norm_params=norm_params("layer", hidden, hidden),
        label="encoder",
    )  # fmt: skip
    rows = cfg.size("max_position_embeddings")
    return assemble(cfg, (), encoder=(block,), norm="layer", positions=rows, has_head=False)


def modernbert(cfg: Config) -> Model:
    """Rotary positions, gated feed-forwards, windows in two layers of three.

    ``local_attention`` is the full width of the window, both sides together.
    """
    cfg.default(local_attention=128, global_attn_every_n_layers=3)
    shape = _shape(cfg, "hidden_size", "num_attention_heads")
    hidden, layers = shape.hidden, cfg.layers()
    window = cfg.size("local_attention")
    types = cfg.texts("layer_types", layers)
    step = cfg.size("global_attn_every_n_layers")
    local = (
        [kind == "sliding_attention" for kind in types]
        if types
        else [i % step != 0 for i in range(layers)]
    )
    bias = cfg.flag("attention_bias", default=False)
    mlp_bias = cfg.flag("mlp_bias", default=False)
    norm = "layer" if cfg.flag("norm_bias", default=False) else "layer_nobias"
    act = cfg.text("hidden_activation", default="gelu")
    cfg.ignore("classifier_pooling", "classifier_bias", "classifier_activation", "decoder_bias",
               "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index",
               "reference_compile", "repad_logits_with_grad", "local_rope_theta",
               "embedding_dropout", "position_embedding_type", "tie_word_embeddings")  # fmt: skip
    names = ("attn.Wqkv.q", "attn.Wqkv.k", "attn.Wqkv.v", "attn.Wo")

    def build(kind: tuple[bool, bool]) -> Block:
        windowed, first = kind
        sizes = (hidden,) * (1 if first else 2)  # the first layer has no norm before attention
        linears = qkvo(shape, names=names, qkv_bias=bias, o_bias=bias)
        return Block(
            count=1,
            mixer=attention(shape, linears, window=window if windowed else None, causal=False,
                            rotary_dim=shape.head_dim),
            ffn=gated_mlp(hidden, cfg.size("intermediate_size"), activation=act, bias=mlp_bias,
                          names=("mlp.Wi.input", "mlp.Wi.gate", "mlp.Wo")),
            norm_sizes=sizes,
            norm_params=norm_params(norm, *sizes),
            label="sliding" if windowed else "full",
        )  # fmt: skip

    blocks = collect([(mark, i == 0) for i, mark in enumerate(local)], build)
    embedding_norm = norm_params(norm, hidden)
    return assemble(cfg, (), encoder=blocks, norm=norm, extra=embedding_norm, has_head=False)
