# SPDX-License-Identifier: Apache-2.0
"""Model x parallelism x formats x engine -> the operators that one rank runs.

Shapes are those of one rank: tensor parallelism divides the outputs of column-parallel
projections and the inputs of row-parallel ones, copies KV heads once it exceeds them,
and adds an all-reduce after every row-parallel projection. Pipeline stages run one
after the other, so counts are of all layers. Multiply-adds count as two FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from roofline.physics.attention import kv_heads_per_rank
from roofline.physics.plan import (
    CROSS,
    ROUTED,
    SEQUENCES,
    TOKENS,
    AttentionOperator,
    Operator,
    Plan,
    RecurrentOperator,
    make_plan,
)
from roofline.physics.recurrent import chunked_flops_per_token, decode_state_flops
from specs.engine import Engine
from specs.model import (
    Attention,
    Block,
    Dense,
    LatentAttention,
    Linear,
    Mixer,
    Model,
    MoE,
    Quantisation,
    Recurrent,
)
from specs.precision import Precision, compute_precision, get_precision
from specs.quantisation import storage_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Degrees of parallelism: a replica has ``tp * pp`` ranks.

    `dp` replicas share experts when `ep` exceeds `tp`.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1

    @property
    def expert_split(self) -> int:
        """Ranks that one expert's own matrices are cut over."""
        return max(1, self.tp // self.ep)

    @property
    def pooled_replicas(self) -> int:
        """Replicas whose tokens meet at the same experts."""
        return max(1, self.ep // self.tp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """How weights, activations and KV cache are stored.

    `plain` is the dtype of whatever is not quantised; `activation` what products of
    quantised weights cast their input to (empty: stays plain); `kv` the cache.
    """

    plain: str
    activation: str
    kv: str
    quantisation: Quantisation | None

    @property
    def plain_bytes(self) -> float:
        """Bytes per plain element."""
        return get_precision(self.plain).bytes_per_element

    @property
    def kv_bytes(self) -> float:
        """Bytes per cached element."""
        return get_precision(self.kv).bytes_per_element

    def storage(self, place: str, linear: Linear) -> Precision:
        """Storage of a linear; `place` is ``layers``, ``experts`` or ``top``."""
        return storage_precision(
            self.quantisation,
            f"{place}.{linear.name}",
            self.plain,
            in_features=linear.in_features,
        )


class PlanBuilder:
    """Collects the operators of a stack of blocks for one rank."""

    def __init__(self, model: Model, layout: Layout, formats: Formats, engine: Engine) -> None:
        self.model, self.layout, self.formats, self.engine = model, layout, formats, engine
        self.operators: list[Operator] = []
        self.attention: list[AttentionOperator] = []
        self.recurrent: list[RecurrentOperator] = []
        self.num_experts = self.topk = 0

    def build(self) -> Plan:
        """Arrays of what was collected."""
        return make_plan(
            self.operators,
            self.attention,
            self.recurrent,
            num_experts=self.num_experts,
            topk=self.topk,
            expert_ranks=self.layout.ep,
            pooled_replicas=self.layout.pooled_replicas,
        )

    # -- precision -------------------------------------------------------------------

    def arithmetic(self, storage: Precision) -> str:
        """Rate that a product with a weight stored so runs at."""
        plain, activation = self.formats.plain, self.formats.activation
        if not storage.plain and not activation and self.engine.int8_products:
            # Integer blocks enter integer products; float blocks the narrowest they fit.
            if storage.compute in ("int8", "int4", "fp4"):
                return "int8" if self.engine.overlaps else "int8_block"
            if self.engine.overlaps and storage.compute != "16bit":
                return storage.compute
        result = compute_precision(storage, activation, plain)
        if result == "fp16" and self.engine.half_accumulate:
            return "fp16_acc16"
        return result

    def attention_arithmetic(self) -> str:
        """Rate of scores and weighted sums: plain, or the cache's own if kernels may."""
        plain = get_precision(self.formats.plain)
        kv = get_precision(self.formats.kv)
        if self.engine.overlaps and kv.compute in ("fp8", "int8") and not kv.plain:
            return kv.compute
        return self.arithmetic(plain)

    # -- projections -----------------------------------------------------------------

    def _shape(self, linear: Linear, split: int) -> tuple[float, float]:
        """(K, N) of a linear on one of `split` ranks, copies laid side by side."""
        k, n = float(linear.in_features), float(linear.out_features)
        if linear.shard == "row":
            k /= split
        elif linear.shard in ("column", "vocab"):
            if linear.kv_heads:
                n *= kv_heads_per_rank(linear.kv_heads, split) / linear.kv_heads
            else:
                n /= split
        return k, n * linear.copies

    def projections(
        self,
        linears: Iterable[Linear],
        *,
        count: float,
        place: str = "layers",
        driver: int = TOKENS,
        split: int = 0,
        kind: str = "gemm",
        experts: int = 0,
    ) -> None:
        """GEMMs of linears that run on every unit of `driver`, fused where they may be."""
        split = split or self.layout.tp
        for members in self._fused(linears):
            storage = [self.formats.storage(place, linear) for linear in members]
            shapes = [self._shape(linear, split) for linear in members]
            k = shapes[0][0]
            n = sum(shape[1] for shape in shapes)
            weight_bytes = sum(
                shape[0] * shape[1] * kept.bytes_per_element
                for shape, kept in zip(shapes, storage, strict=True)
            )
            biases = sum(
                shape[1] for linear, shape in zip(members, shapes, strict=True) if linear.bias
            )
            arithmetic = self.arithmetic(storage[0])
            name = members[0].name if len(members) == 1 else members[0].fuse + "_proj"
            self._quantise_input(name, arithmetic, k, count, driver)
            self.operators.append(
                Operator(
                    name=name,
                    kind=kind,
                    count=count,
                    driver=driver,
                    flops=2.0 * k * n,
                    weight_bytes=weight_bytes + biases * self.formats.plain_bytes,
                    act_bytes=(k + n) * self.formats.plain_bytes,
                    columns=n,
                    experts=experts,
                    arithmetic=arithmetic,
                    launches=1.0 if experts or self.fuses(members) else float(len(members)),
                )
            )

    def fuses(self, members: list[Linear]) -> bool:
        """Whether these linears are one kernel."""
        return len(members) == 1 or self._may_fuse(members[0].fuse)

    def _may_fuse(self, tag: str) -> bool:
        if tag == "qkv":
            return self.engine.fuses_qkv
        if tag == "gate_up":
            return self.engine.fuses_gate_up
        return bool(tag) and self.engine.fuses_qkv

    def _fused(self, linears: Iterable[Linear]) -> Iterator[list[Linear]]:
        groups: dict[str, list[Linear]] = {}
        for linear in linears:
            fused = linear.fuse and self._may_fuse(linear.fuse)
            key = f"{linear.fuse}/{linear.in_features}" if fused else f"/{linear.name}"
            groups.setdefault(key, []).append(linear)
        yield from groups.values()

    def _quantise_input(
        self, name: str, arithmetic: str, k: float, count: float, driver: int
    ) -> None:
        """The pass that casts a product's input to fewer bits, where a kernel does it."""
        narrow = {"fp8": 1.0, "int8": 1.0, "fp6": 0.75, "fp4": 0.5, "int4": 0.5}
        if arithmetic not in narrow or self.engine.overlaps:
            return
        moved = k * (self.formats.plain_bytes + narrow[arithmetic])
        self.elementwise(
            f"{name}.quantise_input", moved, count=count, driver=driver, kind="quantise"
        )

    # -- small operators -------------------------------------------------------------

    def elementwise(
        self,
        name: str,
        act_bytes: float,
        *,
        count: float,
        driver: int = TOKENS,
        kind: str = "elementwise",
        flops: float = 0.0,
        launches: float = 1.0,
        always_spills: bool = False,
        weight_bytes: float = 0.0,
    ) -> None:
        """An operator that only moves activations."""
        if self.engine.overlaps and not always_spills:
            return
        self.operators.append(
            Operator(
                name=name,
                kind=kind,
                count=count,
                driver=driver,
                flops=flops,
                act_bytes=act_bytes,
                weight_bytes=weight_bytes,
                launches=launches,
                always_spills=always_spills,
            )
        )

    def norm(self, name: str, size: float, *, count: float) -> None:
        """Residual addition and norm over `size` elements per token."""
        b = self.formats.plain_bytes
        if self.engine.fuses_norm:
            self.elementwise(name, 4.0 * size * b, count=count, kind="norm", flops=6.0 * size)
        else:
            self.elementwise(
                name, 5.0 * size * b, count=count, kind="norm", flops=6.0 * size, launches=2.0
            )

    def all_reduce(self, name: str, width: float, *, count: float, driver: int = TOKENS) -> None:
        """Sum of a `width`-element vector per token over the tensor-parallel ranks."""
        n = self.layout.tp
        if n > 1:
            sent = 2.0 * (n - 1) / n * width * self.formats.plain_bytes
            self.operators.append(
                Operator(
                    name=name,
                    kind="all_reduce",
                    count=count,
                    driver=driver,
                    sent_bytes=sent,
                    ranks=n,
                )
            )

    # -- mixers ----------------------------------------------------------------------

    def mixer(self, mixer: Mixer, *, count: float, label: str) -> None:
        """Token mixer of `count` layers, projections included."""
        if isinstance(mixer, Recurrent):
            self._recurrent(mixer, count, label)
            return
        if isinstance(mixer, Attention) and mixer.cross:
            new = [linear for linear in mixer.linears if linear.kv_heads]
            rest = [linear for linear in mixer.linears if not linear.kv_heads]
            self.projections(new, count=count, driver=CROSS)
            self.projections(rest, count=count)
        else:
            self.projections(mixer.linears, count=count)
        if mixer.sparse is not None:
            self.projections(mixer.sparse.linears, count=count)
        if isinstance(mixer, Attention):
            self._attention(mixer, count, label)
        else:
            self._latent(mixer, count, label)
        self.all_reduce(f"{label}all_reduce", self.model.hidden_size, count=count)

    def _attention(self, mixer: Attention, count: float, label: str) -> None:
        heads = mixer.num_heads / self.layout.tp
        kv_heads = float(kv_heads_per_rank(mixer.num_kv_heads, self.layout.tp))
        kv_elements = kv_heads * (mixer.head_dim + mixer.v_head_dim)
        b, kv_b = self.formats.plain_bytes, self.formats.kv_bytes
        if not mixer.shares_kv:
            driver = CROSS if mixer.cross else TOKENS
            self.elementwise(
                f"{label}kv_write",
                kv_elements * kv_b,
                count=count,
                driver=driver,
                always_spills=True,
            )
        rotated = heads * mixer.head_dim + kv_heads * mixer.head_dim
        if mixer.rotary_dim or mixer.norm_params:
            self.elementwise(f"{label}rotary", 2.0 * rotated * b, count=count, flops=6.0 * rotated)
        sparse = mixer.sparse
        self.attention.append(
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
                arithmetic=self.attention_arithmetic(),
                score_bytes=0.0 if self.engine.fuses_attention else 4.0 * b * heads,
                index_flops_per_pair=2.0 * sparse.num_heads * sparse.head_dim if sparse else 0.0,
                index_bytes_per_token=float(sparse.head_dim) * kv_b if sparse else 0.0,
            )
        )

    def _latent(self, mixer: LatentAttention, count: float, label: str) -> None:
        heads = mixer.num_heads / self.layout.tp
        latent = mixer.kv_lora_rank + mixer.qk_rope_head_dim
        full = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
        b, kv_b = self.formats.plain_bytes, self.formats.kv_bytes
        self.elementwise(f"{label}kv_write", latent * kv_b, count=count, always_spills=True)
        rotated = heads * mixer.qk_rope_head_dim + mixer.qk_rope_head_dim
        self.elementwise(f"{label}rotary", 2.0 * rotated * b, count=count, flops=6.0 * rotated)
        sparse = mixer.sparse
        # The cache is one latent vector per token, read by every rank whatever TP is.
        self.attention.append(
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
                arithmetic=self.attention_arithmetic(),
                score_bytes=0.0 if self.engine.fuses_attention else 4.0 * b * heads,
                index_flops_per_pair=2.0 * sparse.num_heads * sparse.head_dim if sparse else 0.0,
                index_bytes_per_token=float(sparse.head_dim) if sparse else 0.0,
            )
        )

    def _recurrent(self, mixer: Recurrent, count: float, label: str) -> None:
        tp, b = self.layout.tp, self.formats.plain_bytes
        self.projections(mixer.linears, count=count)
        if mixer.conv_kernel:
            channels = mixer.conv_channels / tp
            self.elementwise(
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
        self.recurrent.append(
            RecurrentOperator(
                name=f"{label}{mixer.kind}",
                count=count,
                state_bytes=mixer.state_bytes / tp,
                matrix_flops_per_token=matrix / tp,
                state_flops_per_token=float(decode_state_flops(elements)),
                io_bytes_per_token=widths / tp * b,
                arithmetic=self.arithmetic(get_precision(self.formats.plain)),
            )
        )
        self.all_reduce(f"{label}all_reduce", self.model.hidden_size, count=count)

    # -- feed-forward ----------------------------------------------------------------

    def dense(self, ffn: Dense, *, count: float, label: str, reduce: bool = True) -> None:
        """Feed-forward part that every token runs."""
        self.projections(ffn.linears, count=count)
        inter = ffn.inter / self.layout.tp
        moved = inter * (3.0 if ffn.gated else 2.0) * self.formats.plain_bytes
        self.elementwise(f"{label}activation", moved, count=count, flops=8.0 * inter)
        if reduce:
            self.all_reduce(f"{label}all_reduce", self.model.hidden_size, count=count)

    def moe(self, ffn: MoE, *, count: float, label: str) -> None:
        """Routing, the experts of this rank, shared experts, and what moves between."""
        layout, b, hidden = self.layout, self.formats.plain_bytes, self.model.hidden_size
        self.num_experts, self.topk = ffn.num_experts, ffn.topk
        held = -(-ffn.num_experts // layout.ep)
        self.projections([ffn.router], count=count)
        self.projections(ffn.latent, count=count)
        self.elementwise(f"{label}route", 2.0 * ffn.num_experts * 4.0, count=count, launches=2.0)
        width = max((linear.in_features for linear in ffn.expert.linears[:1]), default=hidden)
        self.elementwise(f"{label}permute", 2.0 * width * b, count=count, driver=ROUTED)
        self.projections(
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
        self.elementwise(
            f"{label}expert_activation", moved, count=count, driver=ROUTED, flops=8.0 * inter
        )
        self.elementwise(f"{label}combine", 2.0 * width * b, count=count, driver=ROUTED)
        if ffn.shared is not None:
            self.dense(ffn.shared, count=count, label=f"{label}shared_", reduce=False)
        if layout.ep > layout.tp:
            self._all_to_all(f"{label}dispatch", ffn.topk * width, count=count)
            self._all_to_all(f"{label}combine_all_to_all", ffn.topk * width, count=count)
        else:
            self.all_reduce(f"{label}all_reduce", hidden, count=count)

    def _all_to_all(self, name: str, width: float, *, count: float) -> None:
        n = self.layout.ep
        sent = width / self.layout.tp * (n - 1) / n * self.formats.plain_bytes
        self.operators.append(
            Operator(name=name, kind="all_to_all", count=count, sent_bytes=sent, ranks=n)
        )

    # -- blocks and the rest ---------------------------------------------------------

    def block(self, block: Block, *, label: str = "") -> None:
        """All operators of `block.count` layers."""
        count = float(block.count)
        for index, size in enumerate(block.norm_sizes):
            self.norm(f"{label}norm_{index}", float(size), count=count)
        if block.mixer is not None:
            self.mixer(block.mixer, count=count, label=label)
        if block.cross is not None:
            self.mixer(block.cross, count=count, label=f"{label}cross_")
        self.projections(block.extra_linears, count=count)
        if isinstance(block.ffn, Dense):
            self.dense(block.ffn, count=count, label=label, reduce=not block.parallel)
        elif isinstance(block.ffn, MoE):
            self.moe(block.ffn, count=count, label=label)

    def embedding(self) -> None:
        """Look-up of one row per token; with TP each rank holds part of the rows."""
        width = self.model.hidden_size * self.formats.plain_bytes
        self.elementwise("embedding", 2.0 * width, count=1.0, kind="embedding", always_spills=True)
        self.all_reduce("embedding_all_reduce", self.model.hidden_size, count=1.0)

    def head(self) -> None:
        """Final norm, output projection and sampling, on the last position of a sequence."""
        if self.model.lm_head is None:
            return
        tp, vocab = self.layout.tp, self.model.vocab_size
        b = self.formats.plain_bytes
        hidden = float(self.model.hidden_size)
        self.elementwise("final_norm", 4.0 * hidden * b, count=1.0, kind="norm", driver=SEQUENCES)
        self.projections([self.model.lm_head], count=1.0, place="top", driver=SEQUENCES)
        if tp > 1:
            self.operators.append(
                Operator(
                    name="logits_all_gather",
                    kind="all_gather",
                    count=1.0,
                    driver=SEQUENCES,
                    sent_bytes=vocab * b * (tp - 1) / tp,
                    ranks=tp,
                )
            )
        self.elementwise(
            "sampling",
            4.0 * vocab * 2.0,
            count=1.0,
            kind="sampling",
            driver=SEQUENCES,
            flops=4.0 * vocab,
            launches=3.0,
        )

    def stages(self) -> None:
        """Activations handed from each pipeline stage to the next."""
        if self.layout.pp > 1:
            sent = self.model.hidden_size * self.formats.plain_bytes / self.layout.tp
            self.operators.append(
                Operator(
                    name="stage_send",
                    kind="send",
                    count=float(self.layout.pp - 1),
                    sent_bytes=sent,
                    ranks=2,
                )
            )


def decoder_plan(model: Model, layout: Layout, formats: Formats, engine: Engine) -> Plan:
    """Operators of the decoder (or of an encoder-only model's single pass)."""
    builder = PlanBuilder(model, layout, formats, engine)
    builder.embedding()
    for index, block in enumerate(model.blocks):
        builder.block(block, label=f"{index}." if len(model.blocks) > 1 else "")
    builder.head()
    builder.stages()
    return builder.build()


def encoder_plan(model: Model, layout: Layout, formats: Formats, engine: Engine) -> Plan | None:
    """Operators of the encoder; None for decoder-only models."""
    if not model.encoder:
        return None
    builder = PlanBuilder(model, layout, formats, engine)
    builder.embedding()
    for index, block in enumerate(model.encoder):
        label = f"encoder.{index}." if len(model.encoder) > 1 else "encoder."
        builder.block(block, label=label)
    builder.stages()
    return builder.build()
