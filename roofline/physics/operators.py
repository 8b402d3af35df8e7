# SPDX-License-Identifier: Apache-2.0
"""Model x parallelism x formats x engine -> the operators that one rank runs.

Shapes are those of one rank; an all-reduce follows every row-parallel projection.
Pipeline stages run one after the other, so counts are of all layers.
"""

from __future__ import annotations

from roofline.physics.attention import kv_heads_per_rank
from roofline.physics.builder import PlanBuilder
from roofline.physics.collectives import all_gather_bytes, all_to_all_bytes
from roofline.physics.layout import Formats, Layout
from roofline.physics.plan import (
    CROSS,
    ROUTED,
    SEQUENCES,
    TOKENS,
    AttentionOperator,
    Operator,
    Plan,
    RecurrentOperator,
)
from roofline.physics.recurrent import chunked_flops_per_token, decode_state_flops
from specs.engine import Engine
from specs.model import (
    Attention,
    Block,
    Dense,
    LatentAttention,
    Mixer,
    Model,
    MoE,
    Recurrent,
)
from specs.precision import get_precision


def _mixer(build: PlanBuilder, mixer: Mixer, *, count: float, label: str) -> None:
    """Token mixer of `count` layers, projections included."""
    if isinstance(mixer, Recurrent):
        _recurrent(build, mixer, count, label)
        return
    if isinstance(mixer, Attention) and mixer.cross:
        new = [linear for linear in mixer.linears if linear.kv_heads]
        rest = [linear for linear in mixer.linears if not linear.kv_heads]
        build.projections(new, count=count, driver=CROSS)
        build.projections(rest, count=count)
    else:
        build.projections(mixer.linears, count=count)
    if mixer.sparse is not None:
        build.projections(mixer.sparse.linears, count=count)
    if isinstance(mixer, Attention):
        _attention(build, mixer, count, label)
    else:
        _latent(build, mixer, count, label)
    build.all_reduce(f"{label}all_reduce", build.model.hidden_size, count=count)


def _attention(build: PlanBuilder, mixer: Attention, count: float, label: str) -> None:
    heads = mixer.num_heads / build.layout.tp
    kv_heads = float(kv_heads_per_rank(mixer.num_kv_heads, build.layout.tp))
    kv_elements = kv_heads * (mixer.head_dim + mixer.v_head_dim)
    b, kv_b = build.formats.plain_bytes, build.formats.kv_bytes
    # Encoders keep no cache: their keys and values are activations like any other.
    if not mixer.shares_kv and (mixer.causal or mixer.cross):
        driver = CROSS if mixer.cross else TOKENS
        build.elementwise(
            f"{label}kv_write",
            kv_elements * kv_b,
            count=count,
            driver=driver,
            always_spills=True,
        )
    rotated = heads * mixer.head_dim + kv_heads * mixer.head_dim
    if mixer.rotary_dim or mixer.norm_params:
        build.elementwise(f"{label}rotary", 2.0 * rotated * b, count=count, flops=6.0 * rotated)
    sparse = mixer.sparse
    build.attention.append(
        AttentionOperator(
            name=f"{label}attention",
            count=count,
            num_heads=heads,
            head_dim=mixer.head_dim,
            v_head_dim=mixer.v_head_dim,
            decode_head_dim=mixer.head_dim,
            decode_v_head_dim=mixer.v_head_dim,
            kv_heads=kv_heads,
            kv_bytes_per_token=kv_elements * kv_b,
            window=mixer.window,
            causal=mixer.causal,
            cross=mixer.cross,
            topk=sparse.topk if sparse else None,
            io_bytes_per_token=heads * (mixer.head_dim + mixer.v_head_dim) * b,
            arithmetic=build.attention_arithmetic(),
            score_bytes=0.0 if build.engine.fuses_attention else 4.0 * b * heads,
            index_flops_per_pair=2.0 * sparse.num_heads * sparse.head_dim if sparse else 0.0,
            index_bytes_per_token=float(sparse.head_dim) * kv_b if sparse else 0.0,
            variant=build.attention_variant(latent=False),
        )
    )


def _latent(build: PlanBuilder, mixer: LatentAttention, count: float, label: str) -> None:
    heads = mixer.num_heads / build.layout.tp
    latent = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    full = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
    b, kv_b = build.formats.plain_bytes, build.formats.kv_bytes
    build.elementwise(f"{label}kv_write", latent * kv_b, count=count, always_spills=True)
    rotated = heads * mixer.qk_rope_head_dim + mixer.qk_rope_head_dim
    build.elementwise(f"{label}rotary", 2.0 * rotated * b, count=count, flops=6.0 * rotated)
    sparse = mixer.sparse
    # The cache is one latent vector per token, read by every rank whatever TP is.
    build.attention.append(
        AttentionOperator(
            name=f"{label}latent_attention",
            count=count,
            num_heads=heads,
            head_dim=full,
            v_head_dim=mixer.v_head_dim,
            decode_head_dim=latent,
            decode_v_head_dim=mixer.kv_lora_rank,
            kv_heads=1.0,
            kv_bytes_per_token=latent * kv_b,
            window=mixer.window,
            causal=mixer.causal,
            cross=False,
            topk=sparse.topk if sparse else None,
            io_bytes_per_token=heads * (full + mixer.v_head_dim) * b,
            arithmetic=build.attention_arithmetic(),
            score_bytes=0.0 if build.engine.fuses_attention else 4.0 * b * heads,
            index_flops_per_pair=2.0 * sparse.num_heads * sparse.head_dim if sparse else 0.0,
            index_bytes_per_token=float(sparse.head_dim) if sparse else 0.0,
            compression=mixer.compression,
            variant=build.attention_variant(latent=True),
        )
    )


def _recurrent(build: PlanBuilder, mixer: Recurrent, count: float, label: str) -> None:
    tp, b = build.layout.tp, build.formats.plain_bytes
    build.projections(mixer.linears, count=count)
    if mixer.conv_kernel:
        channels = mixer.conv_channels / tp
        build.elementwise(
            f"{label}conv",
            2.0 * channels * b,
            count=count,
            flops=2.0 * channels * mixer.conv_kernel,
        )
    elements = mixer.num_heads * mixer.key_dim * mixer.value_dim / tp
    matrix = chunked_flops_per_token(
        num_heads=mixer.num_heads,
        key_dim=mixer.key_dim,
        value_dim=mixer.value_dim,
        num_key_heads=mixer.num_key_heads,
        chunk_size=mixer.chunk_size,
    )
    widths = mixer.num_key_heads * mixer.key_dim * 2 + mixer.num_heads * mixer.value_dim * 2
    build.recurrent.append(
        RecurrentOperator(
            name=f"{label}{mixer.kind}",
            count=count,
            state_bytes=mixer.state_bytes / tp,
            matrix_flops_per_token=matrix / tp,
            state_flops_per_token=float(decode_state_flops(elements)),
            io_bytes_per_token=widths / tp * b,
            arithmetic=build.arithmetic(get_precision(build.formats.plain)),
        )
    )
    build.all_reduce(f"{label}all_reduce", build.model.hidden_size, count=count)


def _dense(
    build: PlanBuilder, ffn: Dense, *, count: float, label: str, reduce: bool = True
) -> None:
    """Feed-forward part that every token runs."""
    build.projections(ffn.linears, count=count)
    inter = ffn.inter / build.layout.tp
    moved = inter * (3.0 if ffn.gated else 2.0) * build.formats.plain_bytes
    build.elementwise(f"{label}activation", moved, count=count, flops=8.0 * inter)
    if reduce:
        build.all_reduce(f"{label}all_reduce", build.model.hidden_size, count=count)


def _moe(build: PlanBuilder, ffn: MoE, *, count: float, label: str) -> None:
    """Routing, the experts of this rank, shared experts, and what moves between."""
    layout, b, hidden = build.layout, build.formats.plain_bytes, build.model.hidden_size
    build.num_experts, build.topk = ffn.num_experts, ffn.topk
    held = -(-ffn.num_experts // layout.ep)
    build.projections([ffn.router], count=count)
    build.projections(ffn.latent, count=count)
    build.elementwise(f"{label}route", 2.0 * ffn.num_experts * 4.0, count=count, launches=2.0)
    width = max((linear.in_features for linear in ffn.expert.linears[:1]), default=hidden)
    build.elementwise(f"{label}permute", 2.0 * width * b, count=count, driver=ROUTED)
    build.projections(
        ffn.expert.linears,
        count=count,
        place="experts",
        driver=ROUTED,
        split=layout.expert_split,
        kind="moe_gemm",
        experts=held,
    )
    inter = ffn.expert.inter / layout.expert_split
    moved = inter * (3.0 if ffn.expert.gated else 2.0) * b
    build.elementwise(
        f"{label}expert_activation", moved, count=count, driver=ROUTED, flops=8.0 * inter
    )
    build.elementwise(f"{label}combine", 2.0 * width * b, count=count, driver=ROUTED)
    if ffn.shared is not None:
        _dense(build, ffn.shared, count=count, label=f"{label}shared_", reduce=False)
    if layout.ep > layout.tp:
        _all_to_all(build, f"{label}dispatch", ffn.topk * width, count=count)
        _all_to_all(build, f"{label}combine_all_to_all", ffn.topk * width, count=count)
    else:
        build.all_reduce(f"{label}all_reduce", hidden, count=count)


def _all_to_all(build: PlanBuilder, name: str, width: float, *, count: float) -> None:
    n = build.layout.ep
    sent = float(all_to_all_bytes(width / build.layout.tp * build.formats.plain_bytes, n))
    build.operators.append(
        Operator(name=name, kind="all_to_all", count=count, sent_bytes=sent, ranks=n)
    )


def _block(build: PlanBuilder, block: Block, *, label: str = "") -> None:
    """All operators of `block.count` layers."""
    count = float(block.count)
    for index, size in enumerate(block.norm_sizes):
        build.norm(f"{label}norm_{index}", float(size), count=count)
    if block.mixer is not None:
        _mixer(build, block.mixer, count=count, label=label)
    if block.cross is not None:
        _mixer(build, block.cross, count=count, label=f"{label}cross_")
    build.projections(block.extra_linears, count=count)
    if isinstance(block.ffn, Dense):
        _dense(build, block.ffn, count=count, label=label, reduce=not block.parallel)
    elif isinstance(block.ffn, MoE):
        _moe(build, block.ffn, count=count, label=label)


def _embedding(build: PlanBuilder) -> None:
    """Look-up of one row per token; with TP each rank holds part of the rows."""
    width = build.model.hidden_size * build.formats.plain_bytes
    build.elementwise("embedding", 2.0 * width, count=1.0, kind="embedding", always_spills=True)
    build.all_reduce("embedding_all_reduce", build.model.hidden_size, count=1.0)


def _head(build: PlanBuilder) -> None:
    """Final norm, output projection and sampling, on the last position of a sequence."""
    if build.model.lm_head is None:
        return
    tp, vocab = build.layout.tp, build.model.vocab_size
    b = build.formats.plain_bytes
    hidden = float(build.model.hidden_size)
    build.elementwise("final_norm", 4.0 * hidden * b, count=1.0, kind="norm", driver=SEQUENCES)
    build.projections([build.model.lm_head], count=1.0, place="top", driver=SEQUENCES)
    if tp > 1:
        build.operators.append(
            Operator(
                name="logits_all_gather",
                kind="all_gather",
                count=1.0,
                driver=SEQUENCES,
                sent_bytes=float(all_gather_bytes(vocab * b, tp)),
                ranks=tp,
            )
        )
    build.elementwise(
        "sampling",
        4.0 * vocab * 2.0,
        count=1.0,
        kind="sampling",
        driver=SEQUENCES,
        flops=4.0 * vocab,
        launches=3.0,
    )


def _stages(build: PlanBuilder) -> None:
    """Activations handed from each pipeline stage to the next."""
    if build.layout.pp > 1:
        sent = build.model.hidden_size * build.formats.plain_bytes / build.layout.tp
        build.operators.append(
            Operator(
                name="stage_send",
                kind="send",
                count=float(build.layout.pp - 1),
                sent_bytes=sent,
                ranks=2,
            )
        )


def decoder_plan(model: Model, layout: Layout, formats: Formats, engine: Engine) -> Plan:
    """Operators of the decoder (or of an encoder-only model's single pass)."""
    build = PlanBuilder(model, layout, formats, engine)
    _embedding(build)
    for index, block in enumerate(model.blocks):
        _block(build, block, label=f"{index}." if len(model.blocks) > 1 else "")
    _head(build)
    _stages(build)
    return build.build()


def encoder_plan(model: Model, layout: Layout, formats: Formats, engine: Engine) -> Plan | None:
    """Operators of the encoder; None for decoder-only models."""
    if not model.encoder:
        return None
    build = PlanBuilder(model, layout, formats, engine)
    _embedding(build)
    for index, block in enumerate(model.encoder):
        label = f"encoder.{index}." if len(model.encoder) > 1 else "encoder."
        _block(build, block, label=label)
    _stages(build)
    return build.build()
