# SPDX-License-Identifier: Apache-2.0
"""What must fit: weights, KV cache, activations, runtime, per rank.

Bytes are per device. The fullest pipeline stage counts: ``ceil(layers / pp)`` layers
and the embedding or the head, whichever is larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.attention import kv_heads_per_rank
from roofline.physics.kernel import FloatArray
from roofline.physics.layout import Formats, Layout
from specs.engine import Engine
from specs.model import Attention, Block, Dense, LatentAttention, Linear, Model, MoE, Recurrent


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKind:
    """Layers whose cache grows alike: ``count`` layers of `bytes_per_token` up to `window`."""

    count: float
    bytes_per_token: float
    window: int | None
    cross: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of one rank that depend on model, layout and formats alone.

    `act_bytes_per_token` is the peak of live activations per token of a pass and
    `logit_bytes_per_sequence` the fp32 logits per sampled sequence.
    """

    weights_bytes: float
    caches: tuple[CacheKind, ...]
    state_bytes_per_sequence: float
    act_bytes_per_token: float
    logit_bytes_per_sequence: float


def footprint(model: Model, layout: Layout, formats: Formats) -> Footprint:
    """Measure what one rank of the fullest pipeline stage holds."""
    blocks = (*model.blocks, *model.encoder)
    stage = 1.0 / layout.pp
    layers = sum(block.count for block in blocks)
    if layout.pp > 1 and layers:
        stage = -(-layers // layout.pp) / layers
    in_layers = sum(block.count * _block_bytes(block, layout, formats) for block in blocks)
    outer = _outer_bytes(model, layout, formats)
    caches, state = _caches(blocks, layout, formats, stage)
    return Footprint(
        weights_bytes=in_layers * stage + outer,
        caches=caches,
        state_bytes_per_sequence=state,
        act_bytes_per_token=_activation_bytes(model, layout, formats),
        logit_bytes_per_sequence=4.0 * model.vocab_size if model.lm_head is not None else 0.0,
    )


def _linear_bytes(linear: Linear, place: str, split: int, formats: Formats) -> float:
    share = 1.0 / split if linear.shard in ("column", "row", "vocab") else 1.0
    if linear.kv_heads:
        share = kv_heads_per_rank(linear.kv_heads, split) / linear.kv_heads
    bias = linear.out_features * linear.copies if linear.bias else 0
    stored = formats.storage(place, linear).bytes_per_element
    return share * (linear.weight_params * stored + bias * formats.plain_bytes)


def _block_bytes(block: Block, layout: Layout, formats: Formats) -> float:
    total = block.other_params * formats.plain_bytes
    for linear, stored, run in block.linears():
        if stored == run:
            total += _linear_bytes(linear, "layers", layout.tp, formats)
        else:
            held = -(-stored // layout.ep)
            total += held * _linear_bytes(linear, "experts", layout.expert_split, formats)
    return total


def _outer_bytes(model: Model, layout: Layout, formats: Formats) -> float:
    """Embedding and head on one rank; with pipeline stages the larger of the two."""
    top = Linear(name="embed_tokens", in_features=model.vocab_size, out_features=model.hidden_size)
    embedding = model.embedding_params * formats.storage("top", top).bytes_per_element
    embedding /= layout.tp
    head = 0.0
    if model.lm_head is not None and not model.tie_word_embeddings:
        head = _linear_bytes(model.lm_head, "top", layout.tp, formats)
    outer = model.final_params * formats.plain_bytes
    return outer + (max(embedding, head) if layout.pp > 1 else embedding + head)


def _caches(
    blocks: tuple[Block, ...], layout: Layout, formats: Formats, stage: float
) -> tuple[tuple[CacheKind, ...], float]:
    kinds: dict[tuple[float, int | None, bool], float] = {}
    state = 0.0
    for block in blocks:
        for mixer in (block.mixer, block.cross):
            if isinstance(mixer, Recurrent):
                state += block.count * stage * mixer.state_bytes / layout.tp
                continue
            if mixer is None or not (mixer.causal or getattr(mixer, "cross", False)):
                continue
            per_token = _kv_bytes_per_token(mixer, layout, formats)
            cross = getattr(mixer, "cross", False)
            entries = [(per_token, mixer.window, cross)]
            compression = getattr(mixer, "compression", 1)
            if compression > 1:
                # The whole past stays too, at one entry per `compression` tokens.
                entries.append((per_token / compression, None, cross))
            for key in entries:
                if per_token:
                    kinds[key] = kinds.get(key, 0.0) + block.count * stage
    caches = tuple(
        CacheKind(count=count, bytes_per_token=per_token, window=window, cross=cross)
        for (per_token, window, cross), count in kinds.items()
    )
    return caches, state


def _kv_bytes_per_token(
    mixer: Attention | LatentAttention, layout: Layout, formats: Formats
) -> float:
    """Bytes that one token adds to one layer's cache on one rank."""
    index = mixer.sparse.head_dim * 1.0 if mixer.sparse is not None else 0.0
    if isinstance(mixer, LatentAttention):
        return (mixer.kv_lora_rank + mixer.qk_rope_head_dim) * formats.kv_bytes + index
    if mixer.shares_kv:
        return 0.0
    heads = kv_heads_per_rank(mixer.num_kv_heads, layout.tp)
    return heads * (mixer.head_dim + mixer.v_head_dim) * formats.kv_bytes + index


def _activation_bytes(model: Model, layout: Layout, formats: Formats) -> float:
    """Largest set of intermediates alive at once, per token: in, out and residual."""
    widest = 0.0
    for block in (*model.blocks, *model.encoder):
        for linear, _, run in block.linears():
            share = layout.tp if linear.shard == "column" else 1
            widest = max(widest, 2.0 * linear.out_features * linear.copies * run / share)
        if isinstance(block.ffn, MoE):
            widest = max(widest, 2.0 * block.ffn.topk * model.hidden_size)
        elif isinstance(block.ffn, Dense):
            widest = max(widest, 3.0 * block.ffn.inter / layout.tp)
    return (2.0 * model.hidden_size + widest) * formats.plain_bytes


def sequence_cache_bytes(
    sizes: Footprint, tokens: ArrayLike, cross_tokens: ArrayLike, *, block_tokens: int = 1
) -> FloatArray:
    """KV cache and state of one sequence of `tokens` tokens on one rank.

    Tokens round up to whole pages; a layer with a window keeps no more than it.
    """
    tokens = np.ceil(np.asarray(tokens, float) / block_tokens) * block_tokens
    total = np.full(np.broadcast_shapes(tokens.shape), sizes.state_bytes_per_sequence)
    for kind in sizes.caches:
        if kind.cross:
            kept = np.asarray(cross_tokens, float)
        elif kind.window is None:
            kept = tokens
        else:
            kept = np.minimum(tokens, kind.window)
        total = total + kind.count * kind.bytes_per_token * kept
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes per device; arrays of shape ``(n,)``."""

    weights_bytes: FloatArray
    kv_bytes: FloatArray
    activation_bytes: FloatArray
    runtime_bytes: FloatArray
    total_bytes: FloatArray
    capacity_bytes: FloatArray
    kv_budget_bytes: FloatArray
    max_batch: FloatArray
    kv_capacity_tokens: FloatArray
    fits: np.ndarray


def memory_use(
    sizes: Footprint,
    engine: Engine,
    *,
    capacity_bytes: FloatArray,
    sequences: FloatArray,
    elastic: np.ndarray,
    input_tokens: FloatArray,
    output_tokens: FloatArray,
    cross_tokens: FloatArray,
    prompt_tokens: FloatArray,
) -> MemoryUse:
    """Bytes per device by the engine's own rule, and the largest batch that fits.

    Parameters
    ----------
    capacity_bytes : ndarray, shape (n,)
    sequences : ndarray
        Sequences that one replica is asked to hold at once.
    elastic : ndarray of bool
        Whether sequences that do not fit wait (serving); what is held is then what fits.
    input_tokens, output_tokens, cross_tokens : ndarray
        Per sequence; `cross_tokens` are the encoder's.
    prompt_tokens : ndarray
        Tokens of one prompt that prefill processes. A static batch in an engine without
        chunks prefills all its prompts at once, a server one prompt, and an engine with
        chunks at most a chunk.
    """
    length = input_tokens + output_tokens
    per_sequence = sequence_cache_bytes(
        sizes, length, cross_tokens, block_tokens=engine.kv_block_tokens
    )
    chunk, each = engine.prefill_chunk_tokens, prompt_tokens * sizes.act_bytes_per_token
    together = np.where(elastic, 0.0, each) if not chunk else np.zeros_like(each)
    at_once = np.minimum(sequences * prompt_tokens, chunk) if chunk else prompt_tokens * elastic
    marginal = per_sequence + sizes.logit_bytes_per_sequence + together
    fixed = at_once * sizes.act_bytes_per_token
    weights = np.full(length.shape, sizes.weights_bytes)
    runtime = np.full(length.shape, engine.runtime_bytes + engine.graph_bytes)
    budget = _budget_bytes(engine, capacity_bytes, weights + runtime + fixed)
    max_batch = np.floor(np.maximum(budget, 0.0) / np.maximum(marginal, 1e-9))
    max_batch = np.where(marginal > 0, max_batch, np.inf)
    held = np.where(elastic, np.minimum(sequences, np.maximum(max_batch, 1.0)), sequences)
    activations = fixed + held * (marginal - per_sequence)
    kv_budget = budget - held * (marginal - per_sequence)
    tokens = np.maximum(kv_budget, 0.0) / np.maximum(per_sequence / length, 1e-9)
    return MemoryUse(
        weights_bytes=weights,
        kv_bytes=held * per_sequence,
        activation_bytes=activations,
        runtime_bytes=runtime,
        total_bytes=weights + runtime + activations + held * per_sequence,
        capacity_bytes=capacity_bytes,
        kv_budget_bytes=kv_budget,
        max_batch=max_batch,
        kv_capacity_tokens=np.where(per_sequence > 0, np.floor(tokens), np.inf),
        fits=held * marginal <= budget + 0.5,
    )


def _budget_bytes(engine: Engine, capacity_bytes: FloatArray, rest: FloatArray) -> FloatArray:
    """What the engine's rule leaves beside weights, runtime and the activations of a pass."""
    if engine.memory_rule == "total":
        budget = capacity_bytes * engine.memory_kv_frac - (rest - engine.graph_bytes)
        return np.minimum(budget, capacity_bytes - rest)
    return (capacity_bytes - rest) * engine.memory_kv_frac
