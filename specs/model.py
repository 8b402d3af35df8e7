# SPDX-License-Identifier: Apache-2.0
"""A neutral description of a transformer-like model: what it multiplies and what it keeps.

A `Model` is a plan per layer. Layers that are alike are one `Block` with a
`count`. A block holds a token mixer (attention, latent attention, recurrence), a
feed-forward part (dense or mixture of experts) and its norms. Everything that
multiplies is a `Linear`, so parameters and FLOPs are sums over what is written
here and nothing else. Dimensions keep their Hugging Face names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Shard = Literal["column", "row", "replicated", "vocab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """``y = x W + b``, `copies` times over.

    Parameters
    ----------
    name : str
        The module's name inside its layer as transformers has it, such as
        ``"self_attn.q_proj"``; quantisation exclusion patterns match on it.
    in_features, out_features, copies : int
        Shape of one copy, and how many equal copies there are.
    bias : bool
        Whether a bias of `out_features` is added.
    shard : {"column", "row", "replicated", "vocab"}
        How tensor parallelism splits it: by output, by input (an all-reduce
        follows), not at all, or over the vocabulary.
    fuse : str
        Linears of one part that share a non-empty tag read the same input and are
        one GEMM in an engine that fuses: ``"qkv"``, ``"gate_up"``.
    kv_heads : int
        For key / value projections, the KV heads they make: TP beyond that number
        replicates them. 0 for all others.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool = False
    shard: Shard = "replicated"
    fuse: str = ""
    copies: int = 1
    kv_heads: int = 0

    @property
    def weight_params(self) -> int:
        """Elements of the weight matrices, biases left out."""
        return self.in_features * self.out_features * self.copies

    @property
    def params(self) -> int:
        """Elements of weights and biases."""
        return self.weight_params + (self.out_features * self.copies if self.bias else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseIndex:
    """A light scorer that picks the `topk` cached tokens that attention then reads.

    `head_dim` is the width of its own key cache, one per token and layer.
    """

    num_heads: int
    head_dim: int
    topk: int
    linears: tuple[Linear, ...]
    extra_params: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax attention with its own keys and values per KV head.

    Parameters
    ----------
    num_heads, num_kv_heads, head_dim, v_head_dim : int
        Query heads, KV heads, width of a query / key head, width of a value head.
    window : int or None
        Most tokens of the past that a query sees (itself included); None is all.
    causal : bool
        False in encoders.
    cross : bool
        Keys and values come from the encoder's output, made once per request.
    shares_kv : bool
        Reads the cache that an earlier layer wrote; writes none of its own.
    rotary_dim : int
        Width per head that is rotated; 0 without rotary embedding.
    linears : tuple of Linear
    norm_params : int
        Parameters of query / key norms; 0 without.
    extra_params : int
        Parameters that no GEMM reads: sinks, relative-position tables.
    sparse : SparseIndex or None
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int | None = None
    causal: bool = True
    cross: bool = False
    shares_kv: bool = False
    rotary_dim: int = 0
    linears: tuple[Linear, ...] = ()
    norm_params: int = 0
    extra_params: int = 0
    sparse: SparseIndex | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one compressed KV per token.

    The cache holds ``kv_lora_rank + qk_rope_head_dim`` elements per token and layer,
    whatever the number of heads, and tensor parallelism replicates it. Prefill
    expands it to full heads; decode absorbs the expansion into the query and output
    side, so `linears` carry ``kv_b_proj`` and the engine decides how it is used.

    `compression` above 1 (DeepSeek-V4): besides the last `window` tokens, the whole past
    is kept at one entry per `compression` tokens; `sparse.topk` then counts such entries.
    """

    num_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    window: int | None = None
    causal: bool = True
    linears: tuple[Linear, ...] = ()
    norm_params: int = 0
    extra_params: int = 0
    sparse: SparseIndex | None = None
    compression: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A mixer whose memory does not grow: state-space layers and linear attention.

    State per sequence is ``num_heads * key_dim * value_dim`` elements, kept in fp32
    by default, plus ``conv_channels * (conv_kernel - 1)``.

    Parameters
    ----------
    kind : str
        ``"mamba1"``, ``"mamba2"``, ``"gated_delta"``, ``"linear"``, ``"short_conv"``...
    num_heads, key_dim, value_dim : int
        Heads of the state, and the two sides of one head's state matrix
        (for Mamba: state size and head size).
    num_key_heads : int
        Heads of keys (groups of B and C in Mamba); at most `num_heads`.
    conv_channels, conv_kernel : int
        Depth-wise convolution in front; 0 without.
    chunk_size : int
        Tokens per chunk of the parallel prefill form.
    """

    kind: str
    num_heads: int
    key_dim: int
    value_dim: int
    num_key_heads: int
    conv_channels: int = 0
    conv_kernel: int = 0
    chunk_size: int = 64
    state_bytes_per_element: float = 4.0
    linears: tuple[Linear, ...] = ()
    norm_params: int = 0
    extra_params: int = 0

    @property
    def state_bytes(self) -> float:
        """Bytes kept per sequence and layer; the convolution window in 16 bits."""
        state = self.num_heads * self.key_dim * self.value_dim * self.state_bytes_per_element
        return state + 2.0 * self.conv_channels * max(self.conv_kernel - 1, 0)


Mixer = Attention | LatentAttention | Recurrent


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Feed-forward part: every linear runs on every token.

    `gated` says that the first projection comes in two halves multiplied together;
    `inter` is the width between the projections.
    """

    inter: int
    gated: bool
    activation: str
    linears: tuple[Linear, ...]
    extra_params: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoE:
    """Mixture of experts: `topk` of `num_experts` run on each token.

    `expert` describes one expert; `shared` runs on every token; `router` scores.
    `latent` are projections around the experts (Nemotron's latent MoE), run once per
    token. `extra_params` are router biases and the like.
    """

    num_experts: int
    topk: int
    expert: Dense
    router: Linear
    shared: Dense | None = None
    latent: tuple[Linear, ...] = ()
    extra_params: int = 0


FeedForward = Dense | MoE


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`count` layers that are alike.

    `norm_sizes` lists the widths of the norms over the residual stream, one entry
    each; `norm_params` all their parameters (two per element for LayerNorm, one for
    RMSNorm, none where they have no weight). `parallel` says that mixer and
    feed-forward read the same input and are summed: one all-reduce, not two.
    `extra_linears` are further projections of the layer, run on every token.
    """

    count: int
    mixer: Mixer | None
    cross: Attention | None = None
    ffn: FeedForward | None
    norm_sizes: tuple[int, ...] = ()
    norm_params: int = 0
    parallel: bool = False
    extra_linears: tuple[Linear, ...] = ()
    extra_params: int = 0
    label: str = ""

    def linears(self) -> Iterator[tuple[Linear, int, int]]:
        """All linears of one layer as (linear, stored copies, copies run per token)."""
        for mixer in (self.mixer, self.cross):
            if mixer is not None:
                yield from ((linear, 1, 1) for linear in mixer.linears)
                sparse = None if isinstance(mixer, Recurrent) else mixer.sparse
                if sparse is not None:
                    yield from ((linear, 1, 1) for linear in sparse.linears)
        yield from ((linear, 1, 1) for linear in self.extra_linears)
        if isinstance(self.ffn, Dense):
            yield from ((linear, 1, 1) for linear in self.ffn.linears)
        elif isinstance(self.ffn, MoE):
            yield self.ffn.router, 1, 1
            for linear in self.ffn.latent:
                yield linear, 1, 1
            for linear in self.ffn.expert.linears:
                yield linear, self.ffn.num_experts, self.ffn.topk
            if self.ffn.shared is not None:
                yield from ((linear, 1, 1) for linear in self.ffn.shared.linears)

    @property
    def other_params(self) -> int:
        """Parameters of one layer that belong to no linear."""
        total = self.norm_params + self.extra_params
        for mixer in (self.mixer, self.cross):
            if mixer is not None:
                total += mixer.norm_params + mixer.extra_params
                if not isinstance(mixer, Recurrent) and mixer.sparse is not None:
                    total += mixer.sparse.extra_params
        if self.ffn is not None:
            total += self.ffn.extra_params
            if isinstance(self.ffn, MoE):
                total += self.ffn.expert.extra_params * self.ffn.num_experts
                total += self.ffn.shared.extra_params if self.ffn.shared is not None else 0
        return total

    @property
    def params(self) -> int:
        """Parameters of one layer."""
        stored = sum(linear.params * copies for linear, copies, _ in self.linears())
        return stored + self.other_params

    @property
    def active_params(self) -> int:
        """Parameters of one layer that one token uses."""
        used = sum(linear.params * run for linear, _, run in self.linears())
        idle = 0
        if isinstance(self.ffn, MoE):
            idle = self.ffn.expert.extra_params * (self.ffn.num_experts - self.ffn.topk)
        return used + self.other_params - idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How the weights of a checkpoint are stored, beyond its plain dtype.

    Parameters
    ----------
    method : str
        ``"gptq"``, ``"awq"``, ``"fp8"``, ``"compressed-tensors"``, ``"mxfp4"``,
        ``"modelopt"``, ``"bitsandbytes"``, ``"gguf"``...
    weight : str
        Storage precision of the quantised linears, a name in `specs.precision`.
    activation : str
        Precision that activations are cast to before the product; empty if they stay
        in 16 bits (weights are then dequantised on the way).
    kv : str
        Precision of the KV cache that the checkpoint asks for; empty for the default.
    overrides : tuple of (pattern, precision)
        First match wins, over ``"<place>.<linear name>"`` where place is ``layers``,
        ``experts`` or ``top``; a regular expression searched for. Precision ``""``
        means the checkpoint's plain dtype. Linears that nothing matches use `weight`.
    """

    method: str
    weight: str
    activation: str = ""
    kv: str = ""
    overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: embeddings, blocks, head.

    Parameters
    ----------
    name, model_type : str
        Repository id or path, and the config's ``model_type``.
    dtype : str
        Plain dtype of the checkpoint: ``"bf16"``, ``"fp16"``, ``"fp32"``.
    hidden_size, vocab_size, max_position : int
        `max_position` 0 if the config states none.
    blocks : tuple of Block
        The (decoder) layers; in order as far as grouping allows.
    encoder : tuple of Block
        Encoder layers of an encoder-decoder; all layers of an encoder-only model are
        here and `blocks` is empty.
    mtp : tuple of Block
        Multi-token-prediction layers; in the checkpoint, idle without speculation, and
        left out of `params` as transformers leaves them out.
    embedding_params : int
        Token, position and type embeddings, each once.
    lm_head : Linear or None
        The output projection; None for encoder-only models.
    tie_word_embeddings : bool
        The head's weight is the embedding: no parameters of its own.
    final_params : int
        Final norm, embedding norm and whatever else stands outside the layers.
    quantisation : Quantisation or None
    source : str
        Where the configuration came from: ``"shipped record"``, a path, ``"hub"``.
    card_active_params, card_params : float or None
        What the model card says, for checks; None if unknown.
    warnings : tuple of str
        Fields that matter and were not understood, parts left out (vision tower).
    """

    name: str
    model_type: str
    dtype: str
    hidden_size: int
    vocab_size: int
    max_position: int = 0
    blocks: tuple[Block, ...]
    encoder: tuple[Block, ...] = ()
    mtp: tuple[Block, ...] = ()
    embedding_params: int
    lm_head: Linear | None
    tie_word_embeddings: bool
    final_params: int = 0
    quantisation: Quantisation | None = None
    source: str = ""
    card_params: float | None = None
    card_active_params: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def num_layers(self) -> int:
        """Decoder layers (encoder layers for an encoder-only model)."""
        return sum(block.count for block in self.blocks or self.encoder)

    @property
    def _outer_params(self) -> int:
        head = 0
        if self.lm_head is not None:
            head = self.lm_head.params
            if self.tie_word_embeddings:
                head -= self.lm_head.weight_params
        return self.embedding_params + self.final_params + head

    @property
    def params(self) -> int:
        """All parameters, tied ones once, multi-token-prediction layers left out."""
        layers = sum(block.count * block.params for block in (*self.blocks, *self.encoder))
        return layers + self._outer_params

    @property
    def active_params(self) -> int:
        """Parameters that one token uses: of each MoE only the experts it is sent to."""
        layers = sum(block.count * block.active_params for block in (*self.blocks, *self.encoder))
        return layers + self._outer_params
