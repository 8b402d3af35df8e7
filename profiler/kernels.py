# SPDX-License-Identifier: Apache-2.0
"""Kernels that show what a device reaches: streams, products, attention, norms, launches.

A `Kernel` says what is run, in the columns of a measurement; `operands` and `call_of` in
`profiler.kernels_calls` make it. Work and traffic follow from the columns alone, so that
a stored row can be judged without this program.

======================= ===========================================================
op                      what runs
======================= ===========================================================
copy, read, triad       ``y = x``; sum of ``x``; ``y = x + 2 z``; `size_bytes` each
gemm                    ``x[m, k] W[n, k]^T``; m = 1 is the GEMV of a decode step
attention_prefill       causal softmax attention of `q_len` tokens on themselves
attention_decode        of one token per sequence on `kv_len` cached ones
norm                    RMS norm of `m` rows of width `k`
elementwise             ``silu(a) * b``, same shape
step                    one decode step of a transformers model of `m` layers too small to
                        compute anything: what its host costs
launch                  one addition on one element: what a call costs by itself
all_reduce              sum over all devices, `size_bytes` on each
======================= ===========================================================
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Any

from profiler.run_target import Target, cache_bytes

ELEMENT_BYTES = MappingProxyType({"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1})
"""Bytes of an operand; tf32 is fp32 in memory."""

STREAMS = MappingProxyType({"copy": 2, "read": 1, "triad": 3})
"""Arrays that cross memory once each."""

LINEARS = ((768, 3072), (1024, 1024), (1024, 4096), (4096, 4096), (4096, 14336))
"""Inner and outer width of weight matrices: those of models of about 0.1B to 8B."""

ROWS = (1, 4, 8, 16, 32, 128, 512)
STEP_LAYERS = (2, 10)
"""Layers of the two models whose difference is what a layer costs the host."""

HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
"""Shape of attention: that of Llama 3 8B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel to time: operation, arithmetic, and its sizes by column."""

    op: str
    dtype: str
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """What identifies it, in columns of a measurement."""
        return {"op": self.op, "dtype": self.dtype, **self.sizes}

    @property
    def title(self) -> str:
        """Short name for progress and tables."""
        sizes = " ".join(f"{name}={value}" for name, value in self.sizes.items())
        return f"{self.op} {self.dtype} {sizes}".strip()


def default_dtypes(target: Target) -> tuple[str, ...]:
    """Precisions that are swept on this device unless others are asked for."""
    if target.kind != "cuda":
        return ("fp32", "bf16") if target.kind in ("cpu", "xpu") else ("fp32", "fp16")
    import torch

    capability = torch.cuda.get_device_capability(target.devices[0])
    nvidia = torch.version.hip is None
    dtypes = ["fp32", "fp16"]
    if not nvidia or capability >= (8, 0):
        dtypes[1:1] = ["tf32", "bf16"] if nvidia else ["bf16"]
    # gfx94x, gfx95x and gfx12xx on AMD's side
    amd = (9, 4) <= capability < (10, 0) or capability >= (12, 0)
    if capability >= (8, 9) if nvidia else amd:
        dtypes.append("fp8")
    return tuple(dtypes)


def kernel_grid(target: Target, dtypes: Sequence[str]) -> list[Kernel]:
    """Return the kernels to time on `target`, cheap ones first within each operation."""
    large = target.kind != "cpu"
    grid = [Kernel(op="launch", dtype="fp32")]
    grid += _streams(target)
    for dtype in dtypes:
        grid += _products(dtype, large=large)
        if dtype in ("tf32", "fp8"):
            continue  # arithmetic of products alone
        if importlib.util.find_spec("transformers") is not None:
            grid += [Kernel(op="step", dtype=dtype, sizes={"m": m}) for m in STEP_LAYERS]
        grid += _attention(dtype, large=large)
        for op, rows in product(("norm", "elementwise"), (1, 512)):
            grid.append(Kernel(op=op, dtype=dtype, sizes={"m": rows, "k": 4096}))
    return grid


def collective_grid() -> list[Kernel]:
    """All-reduce over the range between a decode step's activations and a large prefill's."""
    return [
        Kernel(op="all_reduce", dtype="bf16", sizes={"size_bytes": 2**power})
        for power in range(13, 29, 3)
    ]


def stream_size_bytes(target: Target) -> int:
    """Size of an array that no cache can hold: four times the last level, and 256 MiB."""
    return max(4 * cache_bytes(target), 2**28)


def _streams(target: Target) -> Iterator[Kernel]:
    beyond = stream_size_bytes(target)
    for op, size in product(STREAMS, (2**20, 2**24, beyond)):
        yield Kernel(op=op, dtype="fp32", sizes={"size_bytes": size})


def _products(dtype: str, *, large: bool) -> Iterator[Kernel]:
    for n in (256, 512, 1024, 2048, *((4096, 8192, 16384) if large else ())):
        yield Kernel(op="gemm", dtype=dtype, sizes={"m": n, "n": n, "k": n})
    rows = [*ROWS, *((2048, 8192) if large else ())]
    # fp8 products of PyTorch take multiples of 16 rows.
    rows = [m for m in rows if dtype != "fp8" or m % 16 == 0]
    for (k, n), m in product(LINEARS, rows):
        yield Kernel(op="gemm", dtype=dtype, sizes={"m": m, "n": n, "k": k})


def _attention(dtype: str, *, large: bool) -> Iterator[Kernel]:
    shape = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM}
    for length in (128, 512, 2048, *((8192,) if large else ())):
        sizes = {"batch": 1, "q_len": length, "kv_len": length, **shape}
        yield Kernel(op="attention_prefill", dtype=dtype, sizes=sizes)
    for batch, length in product((1, 8), (512, 4096, *((32768,) if large else ()))):
        sizes = {"batch": batch, "q_len": 1, "kv_len": length, **shape}
        yield Kernel(op="attention_decode", dtype=dtype, sizes=sizes)


def work_flops(columns: Mapping[str, Any]) -> float:
    """Operations that a kernel of these columns does; a multiply-add counts as two.

    Notes
    -----
    ``2 m n k`` for a product. Attention: ``4 b h d`` per pair of query and key that is
    not masked, of which a causal prefill has ``q (q + 1) / 2``.
    """
    if columns["op"] == "gemm":
        return float(2 * columns["m"] * columns["n"] * columns["k"])
    if columns["op"].startswith("attention"):
        q, kv = columns["q_len"], columns["kv_len"]
        pairs = q * (q + 1) / 2 if columns["op"] == "attention_prefill" else q * kv
        return float(4 * columns["batch"] * columns["heads"] * columns["head_dim"] * pairs)
    return 0.0


def moved_bytes(columns: Mapping[str, Any]) -> float:
    """Bytes that must cross memory, each operand and result once."""
    op, element = columns["op"], ELEMENT_BYTES[columns["dtype"]]
    if op in STREAMS:
        return float(STREAMS[op] * columns["size_bytes"])
    if op == "gemm":
        m, n, k = columns["m"], columns["n"], columns["k"]
        out = 2 if columns["dtype"] == "fp8" else element  # results come in bf16
        return float((m * k + n * k) * element + m * n * out)
    if op.startswith("attention"):
        queries = 2 * columns["q_len"] * columns["heads"]
        keys = 2 * columns["kv_len"] * columns["kv_heads"]
        return float(columns["batch"] * (queries + keys) * columns["head_dim"] * element)
    if op in ("norm", "elementwise"):
        arrays = 2 if op == "norm" else 3
        return float(arrays * columns["m"] * columns["k"] * element)
    return float(columns.get("size_bytes") or 0)
