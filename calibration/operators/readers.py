# SPDX-License-Identifier: Apache-2.0
"""Rows of kernel tables as terms of the laws: which rows, and how their columns read.

A reader takes a data frame of one operator and dtype and returns the law's terms, the
plain roofline in seconds, and which rows were timed on operands from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.operators.facts import DeviceFacts
from calibration.operators.features import (
    SCHEMES,
    collective_terms,
    decode_terms,
    gemm_terms,
    moe_terms,
    prefill_terms,
    stream_terms,
)
from calibration.operators.laws import FloatArray
from calibration.operators.routing import rank_load

if TYPE_CHECKING:
    import pandas as pd

    Frame = pd.DataFrame
else:
    Frame = Any

RANKS = (2, 4, 8)
_GEMM_COPIES = {"vllm": 6.0, "sglang": 6.0}
"""Weight copies that a table's loop goes through; TensorRT-LLM as many as fill the cache, 5 at
most."""

Reader = Callable[[Frame, DeviceFacts, str], tuple[dict[str, FloatArray], FloatArray, Any]]


def _numbers(rows: Frame, *names: str, fill: float = 0.0) -> list[FloatArray]:
    def column(name: str) -> FloatArray:
        if name not in rows:
            empty: FloatArray = np.full(len(rows), fill, dtype=np.float64)
            return empty
        filled: FloatArray = np.asarray(rows[name].astype("Float64").fillna(fill), np.float64)
        return filled

    return [column(name) for name in names]


def _plain(terms: Mapping[str, FloatArray], compute: str) -> FloatArray:
    result: FloatArray = np.maximum(terms[compute], terms["memory_s"])
    return result


def _gemm(rows: Frame, facts: DeviceFacts, dtype: str) -> tuple[Any, Any, Any]:
    m, n, k = _numbers(rows, "m", "n", "k")
    scheme = SCHEMES[dtype]
    terms = gemm_terms(m, n, k, scheme=scheme, facts=facts)
    weight = n * k * scheme.weight_bytes
    cache = facts.cache_bytes
    copies = np.clip(np.ceil(cache / np.maximum(weight, 1.0)), 1.0, 5.0)
    for engine, number in _GEMM_COPIES.items():
        single = engine == "vllm" and dtype in ("fp8_block", "nvfp4")
        copies = np.where(rows.framework == engine, 1.0 if single else number, copies)
    cold = (copies * weight > 2.0 * cache) | (dtype == "fp32")
    terms["resident"] = 1.0 / (1.0 + (copies * weight / max(cache, 1.0)) ** 4)
    return terms, _plain(terms, "ideal_s"), cold


def _prefill(rows: Frame, facts: DeviceFacts, dtype: str) -> tuple[Any, Any, Any]:
    names = ("batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim", "window")
    batch, q, kv, heads, kv_heads, head_dim, window = _numbers(rows, *names)
    latent = rows.op.iloc[0] == "mla_prefill"
    kv_bytes = 1.0 if (rows.kv_dtype.iloc[0] == "fp8") else 2.0
    kv_elements = np.where(kv_heads > 0, kv_heads, heads) * 2.0 * head_dim
    terms = prefill_terms(
        batch=batch,
        q=q,
        kv=kv,
        heads=heads,
        head_dim=np.where(latent, 192.0, head_dim),
        v_head_dim=np.where(latent, 128.0, head_dim),
        kv_bytes_per_token=1152.0 if latent else kv_elements * kv_bytes,
        window=window,
        arithmetic=SCHEMES[dtype].arithmetic,
        facts=facts,
    )
    if not latent and dtype == "bf16" and kv_bytes == 1.0:
        faster = np.where(_multiplies_fp8(rows, facts), facts.peak("bf16") / facts.peak("fp8"), 1.0)
        terms["pairs_s"] = terms["pairs_s"] * faster
    return terms, _plain(terms, "pairs_s"), np.ones(len(rows), bool)


def _multiplies_fp8(rows: Frame, facts: DeviceFacts) -> Any:
    """Which 16-bit queries over an fp8 cache are multiplied in fp8 all the same.

    TensorRT-LLM from 1.3.0rc20, and its kernels as FlashInfer and SGLang call them on
    Blackwell.
    """
    version = rows.framework_version.astype(str)
    engine = (rows.framework == "trtllm") & version.str.fullmatch(r"1\.3\.0rc2\d|1\.[4-9].*")
    kernel = rows.kernel.astype(str).str.contains("trtllm") & (facts.family == "blackwell")
    return (engine | kernel).to_numpy()


def _decode(rows: Frame, facts: DeviceFacts, dtype: str) -> tuple[Any, Any, Any]:
    names = ("batch", "kv_len", "heads", "kv_heads", "head_dim", "window")
    batch, kv, heads, kv_heads, head_dim, window = _numbers(rows, *names)
    latent = rows.op.iloc[0] == "mla_decode"
    element = 1.0 if rows.kv_dtype.iloc[0] == "fp8" else 2.0
    terms = decode_terms(
        batch=batch,
        kv=kv,
        heads=heads,
        kv_heads=np.where(latent, 1.0, np.where(kv_heads > 0, kv_heads, heads)),
        qk_dim=np.where(latent, 576.0, head_dim),
        v_dim=np.where(latent, 512.0, head_dim),
        kv_bytes_per_token_head=np.where(latent, 576.0, 2.0 * head_dim) * element,
        window=window,
        arithmetic=SCHEMES[dtype].arithmetic,
        facts=facts,
    )
    cold = terms["memory_s"] * facts.mem_bytes_per_s > 2.0 * facts.cache_bytes
    return terms, _plain(terms, "compute_s"), cold


def _moe(rows: Frame, facts: DeviceFacts, dtype: str) -> tuple[Any, Any, Any]:
    names = ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep")
    tokens, hidden, inter, topk, experts, tp, ep = _numbers(rows, *names, fill=1.0)
    text = rows.distribution.astype(str).str.extract(r"power_law_([\d.]+)")[0]
    skew = text.astype(float).fillna(0.0).to_numpy()
    loads = [
        rank_load(float(t), float(k), float(e), float(r), float(a))
        for t, k, e, r, a in zip(tokens, topk, experts, ep, skew, strict=True)
    ]
    pairs, awake = np.array(loads).T
    plain = rows.kernel.astype(str).str.contains("nongated").to_numpy()
    terms = moe_terms(
        pairs=pairs,
        awake=awake,
        local_experts=np.maximum(experts / ep, 1.0),
        hidden=hidden,
        inter=inter / tp,
        matrices=np.where(plain, 2.0, 3.0),
        skew=skew,
        scheme=SCHEMES[dtype],
        facts=facts,
    )
    plain_s = np.maximum(terms["ideal_s"], terms["memory_s"]).sum(axis=0)
    return terms, plain_s, np.ones(len(rows), bool)


def _stream(rows: Frame, facts: DeviceFacts, dtype: str) -> tuple[Any, Any, Any]:
    m, n, k = _numbers(rows, "m", "n", "k")
    width = np.where(n > 0, n, k)
    element = 4.0 if dtype == "fp32" else 2.0
    detail = rows.op_detail.astype(str)
    per_element = np.select(
        [
            detail.str.startswith("quantize"),
            detail.isin(["add", "addu", "mulu", "mlp_act", "addi", "muli"]),
        ],
        [1.5, 3.0],
        2.0,
    )
    terms = stream_terms(m * width * element * per_element, facts=facts)
    return terms, terms["spilled_s"] + terms["cached_s"], np.ones(len(rows), bool)


def _collective(rows: Frame, facts: DeviceFacts, _dtype: str) -> tuple[Any, Any, Any]:
    size, ranks = _numbers(rows, "bytes", "num_gpus")
    terms = collective_terms(size, ranks, kind=rows.op.iloc[0], facts=facts)
    return terms, terms["ring_s"], np.ones(len(rows), bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one operator family is found in the tables."""

    name: str
    op: str
    law: str
    dtype: str
    read: Reader
    where: Callable[[Frame], Any]

    @property
    def powered(self) -> bool:
        """Whether the compute plateau follows the power limit."""
        return self.law in ("gemm", "gemm_quantised", "moe")

    @property
    def arithmetic(self) -> str:
        """Arithmetic of its products."""
        return SCHEMES[self.dtype].arithmetic if self.dtype in SCHEMES else "bf16"


def _launched(rows: Frame) -> Any:
    """Rows without host launch cost; the Intel tables have no others."""
    graph = ~rows.launch.astype(str).str.startswith("eager")
    return graph | rows.gpu.astype(str).str.startswith("arc-")


def _host_bound(rows: Frame) -> Any:
    """Rows of vLLM's block-scaled products: over 0.2 ms at any size, its host's time."""
    return (rows.op == "gemm") & (rows.framework == "vllm") & (rows.dtype == "fp8_block")


def _kernel_only(rows: Frame) -> Any:
    return (
        _launched(rows)
        & ~_host_bound(rows)
        & rows.op_detail.isin(
            ["gemm", "context_mla", "generation_mla", "moe", "generation_attention"]
        )
    )


def _kv(dtype: str) -> Callable[[Frame], Any]:
    return lambda rows: _kernel_only(rows) & (rows.kv_dtype == dtype)


def _prompt(dtype: str) -> Callable[[Frame], Any]:
    return lambda rows: (
        _launched(rows) & (rows.kv_dtype == dtype) & (rows.op_detail == "context_attention")
    )


def _grouped(rows: Frame) -> Any:
    plain = ~rows.kernel.astype(str).str.contains("deepep|megamoe", case=False)
    return _kernel_only(rows) & plain


def _custom(rows: Frame) -> Any:
    return rows.launch.astype(str).eq("cuda_graph") & rows.num_gpus.isin(RANKS)


def _library(rows: Frame) -> Any:
    return rows.kernel.isin(["NCCL", "oneCCL"]) & rows.num_gpus.isin(RANKS) & (rows.dtype == "fp16")


def _all(rows: Frame) -> Any:
    """Rows whose traffic is known: of Vidur's element-wise operators the addition alone.

    Its activation moves 10 bytes per element in two kernels, where engines now move 6 in one.
    """
    known = (rows.op != "elementwise") | (rows.op_detail == "add")
    return _launched(rows) & known


def _quantise(rows: Frame) -> Any:
    return _launched(rows) & rows.op_detail.astype(str).str.startswith("quantize")


def _anything(rows: Frame) -> Any:
    return rows.latency_s > 0


def _families() -> Iterator[Family]:
    for dtype in ("bf16", "fp8", "fp8_block", "nvfp4", "int8_wo", "int4_wo", "int8_sq", "fp32"):
        law = "gemm_quantised" if SCHEMES[dtype].quantised_bytes else "gemm"
        where = _anything if dtype == "fp32" else _kernel_only
        yield Family(name=f"gemm_{dtype}", op="gemm", law=law, dtype=dtype, read=_gemm, where=where)
    for kv in ("bf16", "fp8"):
        yield Family(
            name=f"prefill_bf16_kv_{kv}",
            op="attention_prefill",
            law="prefill",
            dtype="bf16",
            read=_prefill,
            where=_prompt(kv),
        )
        yield Family(
            name=f"decode_kv_{kv}",
            op="attention_decode",
            law="decode",
            dtype="bf16",
            read=_decode,
            where=_kv(kv),
        )
        yield Family(
            name=f"mla_decode_kv_{kv}",
            op="mla_decode",
            law="decode",
            dtype="bf16",
            read=_decode,
            where=_kv(kv),
        )
    yield Family(
        name="prefill_fp8",
        op="attention_prefill",
        law="prefill",
        dtype="fp8",
        read=_prefill,
        where=_prompt("fp8"),
    )
    yield Family(
        name="mla_prefill",
        op="mla_prefill",
        law="prefill",
        dtype="bf16",
        read=_prefill,
        where=_kv("bf16"),
    )
    for dtype in (
        "bf16",
        "fp8",
        "fp8_block",
        "nvfp4",
        "int4_wo",
        "w4a16_mxfp4",
        "w4a8_mxfp4_mxfp8",
    ):
        yield Family(
            name=f"moe_{dtype}", op="moe", law="moe", dtype=dtype, read=_moe, where=_grouped
        )
    yield Family(
        name="all_reduce",
        op="all_reduce",
        law="collective",
        dtype="bf16",
        read=_collective,
        where=_custom,
    )
    for op in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        name = f"{op}_library"
        yield Family(
            name=name, op=op, law="collective", dtype="fp16", read=_collective, where=_library
        )
    yield Family(
        name="quantise", op="elementwise", law="stream", dtype="fp8", read=_stream, where=_quantise
    )
    for op in ("elementwise", "norm", "softmax"):
        yield Family(name=f"{op}_fp16", op=op, law="stream", dtype="fp16", read=_stream, where=_all)
        yield Family(
            name=f"{op}_fp32", op=op, law="stream", dtype="fp32", read=_stream, where=_anything
        )


FAMILIES: Mapping[str, Family] = {family.name: family for family in _families()}
"""Operator families by name."""
