# SPDX-License-Identifier: Apache-2.0
"""Collects the operators of one rank: projections at their true shapes, and what lies between.

Tensor parallelism divides the outputs of column-parallel projections and the inputs of
row-parallel ones and copies KV heads once it exceeds them. Multiply-adds count as two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from roofline.physics.attention import kv_heads_per_rank
from roofline.physics.collectives import all_reduce_bytes
from roofline.physics.layout import Formats, Layout
from roofline.physics.plan import (
    TOKENS,
    AttentionOperator,
    Operator,
    Plan,
    RecurrentOperator,
    make_plan,
)
from roofline.physics.unpack import unpack_ops
from specs.engine import Engine
from specs.formats import Precision
from specs.model import Linear, Model
from specs.precision import compute_precision, get_precision


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
            if self.engine.overlaps:
                # The floor grants whatever the device does fastest with such weights.
                return "any4" if storage.compute in ("int4", "fp4") else "any8"
            if storage.compute in ("int8", "int4", "fp4"):
                return "int8_block"
        result = compute_precision(storage, activation, plain)
        if result == "fp16" and self.engine.half_accumulate:
            return "fp16_acc16"
        return result

    def scheme(self, storage: Precision, arithmetic: str) -> str:
        """Class of kernels (``schemes.SCHEMES``) of products with a weight stored so."""
        narrow = storage.bits < 6.0
        if storage.plain:
            return "plain"
        if arithmetic == "fp8":
            if narrow:
                return "fp4_fp8"
            return "fp8_block" if storage.block > 1 else "fp8"
        if arithmetic in ("fp4", "int8"):
            return arithmetic
        if arithmetic in ("bf16", "fp16", "fp16_acc16"):
            if narrow:
                return "fp4_only" if storage.compute == "fp4" else "int4_only"
            return "int8_only"
        return "other"

    def attention_variant(self, *, latent: bool) -> float:
        """Index of the kind of attention (``schemes.ATTENTION_VARIANTS``)."""
        return 2.0 * latent + float(self.formats.kv_bytes < 2.0)

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
            scheme = self.scheme(storage[0], arithmetic)
            self._quantise_input(name, arithmetic, scheme, k, count, driver)
            packed = sum(
                shape[0] * shape[1]
                for shape, kept in zip(shapes, storage, strict=True)
                if not kept.plain
            )
            self._dequantise(name, arithmetic, packed, count, driver, experts)
            ops = 0.0
            if self.engine.unpack_frac and arithmetic == "int8_block":
                ops = sum(
                    shape[0] * shape[1] * unpack_ops(kept)
                    for shape, kept in zip(shapes, storage, strict=True)
                )
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
                    unpack_ops=ops,
                    experts=experts,
                    arithmetic=arithmetic,
                    scheme=scheme,
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
        self, name: str, arithmetic: str, scheme: str, k: float, count: float, driver: int
    ) -> None:
        """The pass that casts a product's input to fewer bits, where a kernel does it."""
        narrow = {"fp8": 1.0, "int8": 1.0, "fp6": 0.75, "fp4": 0.5, "int4": 0.5}
        narrow["int8_block"] = 36.0 / 32.0  # blocks of 32 with a scale and a sum
        if arithmetic not in narrow or self.engine.overlaps:
            return
        moved = k * (self.formats.plain_bytes + narrow[arithmetic])
        self.elementwise(
            f"{name}.quantise_input",
            moved,
            count=count,
            driver=driver,
            kind="quantise",
            scheme=scheme,
        )

    def _dequantise(
        self, name: str, arithmetic: str, packed: float, count: float, driver: int, experts: int
    ) -> None:
        """The pass that unpacks weights to a plain copy, where kernels do not do it inside.

        The plain copy is written, then read by the product.
        """
        above = self.engine.dequantise_above_tokens
        if not packed or not above or arithmetic not in ("bf16", "fp16", "fp32", "fp16_acc16"):
            return
        self.operators.append(
            Operator(
                name=f"{name}.dequantise",
                kind="dequantise",
                count=count,
                driver=driver,
                weight_bytes=2.0 * packed * self.formats.plain_bytes,
                above=float(above),
                experts=experts,
            )
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
        scheme: str = "plain",
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
                scheme=scheme,
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
            sent = float(all_reduce_bytes(width * self.formats.plain_bytes, n))
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
