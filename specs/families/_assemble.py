# SPDX-License-Identifier: Apache-2.0
"""What stands around the layers: embeddings, final norm, head, prediction layers."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Linear, Model
from ._parts import norm_params
from ._reader import Config

_DTYPES = {
    "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "half": "fp16",
    "float32": "fp32", "fp32": "fp32", "float": "fp32",
}  # fmt: skip


def read_dtype(cfg: Config) -> str:
    """The plain dtype of the checkpoint, with a warning where none is stated.

    A silent config means fp32, except beside quantised weights: their scales and what is
    left unquantised run in 16 bits.
    """
    value = cfg.raw("torch_dtype", "dtype")
    if value is None or value == "auto":
        if cfg.quantised:
            cfg.warn("the config states no torch_dtype; bf16 assumed for what is not quantised")
            return "bf16"
        cfg.warn("the config states no torch_dtype; fp32 assumed, as transformers does")
        return "fp32"
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if not isinstance(name, str) or name not in _DTYPES:
        raise cfg.error("'torch_dtype' must be bfloat16, float16 or float32")
    return _DTYPES[name]


def assemble(
    cfg: Config,
    blocks: tuple[Block, ...],
    *,
    encoder: tuple[Block, ...] = (),
    mtp: tuple[Block, ...] = (),
    norm: str = "rms",
    tied: bool = False,
    positions: int = 0,
    extra_embedding: int = 0,
    extra: int = 0,
    has_head: bool = True,
    head_bias: bool = False,
    head_name: str = "lm_head",
    embedding_width: int = 0,
) -> Model:
    """The `Model` around these layers.

    Parameters
    ----------
    norm : str
        Kind of the final norm over the residual stream.
    tied : bool
        Value of ``tie_word_embeddings`` where the config is silent.
    positions, extra_embedding, extra : int
        Rows of a learned position table; elements of further embeddings; parameters
        of whatever else stands outside the layers.
    embedding_width : int
        Width of the token embedding where it is not the hidden size.
    """
    hidden, vocab = cfg.size("hidden_size"), cfg.size("vocab_size")
    width = embedding_width or hidden
    cfg.ignore("tie_word_embeddings")
    head = None
    if has_head:
        head = Linear(
            name=head_name, in_features=width, out_features=vocab, bias=head_bias, shard="vocab"
        )
    return Model(
        name=cfg.name,
        model_type=cfg.model_type,
        dtype=read_dtype(cfg),
        hidden_size=hidden,
        vocab_size=vocab,
        max_position=cfg.size("max_position_embeddings", default=0, minimum=0),
        blocks=blocks,
        encoder=encoder,
        mtp=mtp,
        embedding_params=vocab * width + positions * hidden + extra_embedding,
        lm_head=head,
        tie_word_embeddings=has_head and cfg.flag("tie_word_embeddings", default=tied),
        final_params=norm_params(norm, hidden) + extra,
    )


def next_token_layer(hidden: int, count: int, like: Block, norm: str = "rms") -> Block:
    """Multi-token-prediction layers built on a layer of the main model.

    Each joins the embedding of the next token with the hidden state (two norms and a
    projection of twice the width), runs one layer and norms the result (DeepSeek-V3
    report, section 2.2). Embedding and head are the main model's.
    """
    join = Linear(name="eh_proj", in_features=2 * hidden, out_features=hidden)
    return replace(
        like,
        count=count,
        norm_sizes=(*like.norm_sizes, hidden, hidden, hidden),
        norm_params=like.norm_params + norm_params(norm, hidden, hidden, hidden),
        extra_linears=(*like.extra_linears, join),
        label="mtp",
    )
