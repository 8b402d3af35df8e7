# SPDX-License-Identifier: Apache-2.0
"""Makes the torch call behind each kernel, with operands that are not in a cache.

A decode step reads every weight once, so its products find nothing cached. On CUDA and
ROCm the timer empties the cache before each call; elsewhere the call walks through copies
of its large operand that together exceed the cache twice over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import cycle
from typing import Any

from profiler.kernels import ELEMENT_BYTES, Kernel
from profiler.models import free_bytes
from profiler.run_target import Target, cache_bytes

MOST_COPIES = 1024
FREE_SHARE = 0.25
"""Share of the free memory that copies of an operand may take."""

_TORCH = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def call_of(kernel: Kernel, target: Target) -> Callable[[], Any]:
    """Return the call that runs `kernel` once on the first device of `target`.

    Raises
    ------
    RuntimeError
        torch cannot: no such kernel on this device, or no memory for it.
    """
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if kernel.dtype == "tf32" else "highest")
    return _MAKERS[kernel.op](kernel, target)


def _random(kernel: Kernel, target: Target, *shape: int) -> Any:
    import torch

    dtype = getattr(torch, _TORCH.get(kernel.dtype, "bfloat16"))
    return torch.randn(shape, dtype=dtype, device=target.devices[0])


def _cold(operand: Any, target: Target) -> Callable[[], Any]:
    """Return a call that gives one copy of `operand` after another."""
    if target.events:
        return lambda: operand
    size = sum(part.numel() * part.element_size() for part in operand)
    wanted = math.ceil(2 * cache_bytes(target) / size)
    most = int(FREE_SHARE * free_bytes(target.devices[0]) / size)
    count = max(1, min(wanted, most, MOST_COPIES))
    copies = cycle([operand, *(tuple(part.clone() for part in operand) for _ in range(count - 1))])
    return lambda: next(copies)


def _stream(kernel: Kernel, target: Target) -> Callable[[], Any]:
    import torch

    count = kernel.sizes["size_bytes"] // ELEMENT_BYTES[kernel.dtype]
    source = torch.ones(count, device=target.devices[0])
    if kernel.op == "read":
        return lambda: source.sum()
    result = torch.empty_like(source)
    if kernel.op == "copy":
        return lambda: result.copy_(source)
    other = torch.ones_like(source)
    return lambda: torch.add(source, other, alpha=2.0, out=result)


def _gemm(kernel: Kernel, target: Target) -> Callable[[], Any]:
    import torch

    m, n, k = (kernel.sizes[name] for name in "mnk")
    inputs, weight = _random(kernel, target, m, k), _random(kernel, target, n, k)
    if kernel.dtype == "fp8":
        return _gemm_fp8(inputs, weight)
    if m == n == k:  # the peak: operands are used often enough to pay for being fetched
        return lambda: torch.nn.functional.linear(inputs, weight)
    weights = _cold((weight,), target)
    return lambda: torch.nn.functional.linear(inputs, weights()[0])


def _gemm_fp8(inputs: Any, weight: Any) -> Callable[[], Any]:
    import torch

    # AMD's CDNA3 has a form of its own, without negative zero.
    name = "float8_e4m3fnuz" if _is_cdna3() else "float8_e4m3fn"
    left, right = (tensor.to(getattr(torch, name)) for tensor in (inputs, weight))
    one = torch.ones((), device=inputs.device)
    return lambda: torch._scaled_mm(
        left, right.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16
    )


def _is_cdna3() -> bool:
    import torch

    if torch.version.hip is None:
        return False
    return bool(torch.cuda.get_device_properties(0).gcnArchName.startswith("gfx94"))


def _attention(kernel: Kernel, target: Target) -> Callable[[], Any]:
    import torch

    sizes = kernel.sizes
    query = _random(
        kernel, target, sizes["batch"], sizes["heads"], sizes["q_len"], sizes["head_dim"]
    )
    shape = (sizes["batch"], sizes["kv_heads"], sizes["kv_len"], sizes["head_dim"])
    cached = _cold((_random(kernel, target, *shape), _random(kernel, target, *shape)), target)
    causal, grouped = kernel.op == "attention_prefill", sizes["heads"] != sizes["kv_heads"]

    def call() -> Any:
        keys, values = cached()
        return torch.nn.functional.scaled_dot_product_attention(
            query, keys, values, is_causal=causal, enable_gqa=grouped
        )

    return call


def _norm(kernel: Kernel, target: Target) -> Callable[[], Any]:
    import torch

    rows = _random(kernel, target, kernel.sizes["m"], kernel.sizes["k"])
    weight = _random(kernel, target, kernel.sizes["k"])
    return lambda: torch.nn.functional.rms_norm(rows, weight.shape, weight)


def _elementwise(kernel: Kernel, target: Target) -> Callable[[], Any]:
    import torch

    shape = (kernel.sizes["m"], kernel.sizes["k"])
    gate, up = _random(kernel, target, *shape), _random(kernel, target, *shape)
    return lambda: torch.nn.functional.silu(gate) * up


def _launch(kernel: Kernel, target: Target) -> Callable[[], Any]:
    one = _random(kernel, target, 1)
    return lambda: one.add_(1.0)


def _step(kernel: Kernel, target: Target) -> Callable[[], Any]:
    from profiler.kernels_step import step_call

    return step_call(kernel, target)


_MAKERS: dict[str, Callable[[Kernel, Target], Callable[[], Any]]] = {
    "copy": _stream,
    "read": _stream,
    "triad": _stream,
    "gemm": _gemm,
    "attention_prefill": _attention,
    "attention_decode": _attention,
    "norm": _norm,
    "elementwise": _elementwise,
    "launch": _launch,
    "step": _step,
}
