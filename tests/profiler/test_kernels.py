# SPDX-License-Identifier: Apache-2.0
"""Kernels: their sizes by hand, their calls against what they should compute."""

import pytest

from profiler import kernels_calls
from profiler.kernels import (
    STREAMS,
    Kernel,
    kernel_grid,
    moved_bytes,
    stream_size_bytes,
    work_flops,
)
from profiler.run_target import Target, cache_bytes

CPU = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)


def attention(op, *, batch, q_len):
    shape = {"kv_len": 6, "heads": 4, "kv_heads": 2, "head_dim": 8}
    return Kernel(op=op, dtype="fp32", sizes={"batch": batch, "q_len": q_len, **shape})


SMALL = (
    Kernel(op="launch", dtype="fp32"),
    *(Kernel(op=op, dtype="fp32", sizes={"size_bytes": 4096}) for op in STREAMS),
    Kernel(op="gemm", dtype="fp32", sizes={"m": 3, "n": 5, "k": 7}),
    Kernel(op="gemm", dtype="bf16", sizes={"m": 4, "n": 4, "k": 4}),
    attention("attention_prefill", batch=2, q_len=6),
    attention("attention_decode", batch=2, q_len=1),
    Kernel(op="norm", dtype="bf16", sizes={"m": 2, "k": 8}),
    Kernel(op="elementwise", dtype="fp32", sizes={"m": 2, "k": 8}),
    Kernel(op="step", dtype="bf16", sizes={"m": 2}),
)


@pytest.mark.parametrize(
    ("kernel", "flops", "moved"),
    [
        # 2 * 8 * 4096 * 1024; (8*1024 + 4096*1024 + 8*4096) * 2 bytes
        (
            Kernel(op="gemm", dtype="bf16", sizes={"m": 8, "n": 4096, "k": 1024}),
            67_108_864,
            8_470_528,
        ),
        (Kernel(op="copy", dtype="fp32", sizes={"size_bytes": 1000}), 0, 2000),
        (Kernel(op="read", dtype="fp32", sizes={"size_bytes": 1000}), 0, 1000),
        (Kernel(op="triad", dtype="fp32", sizes={"size_bytes": 1000}), 0, 3000),
        # one sequence: 4 * 4 heads * 8 * (6 * 7 / 2) pairs; (2*6*4 + 2*6*2) * 8 * 4 bytes
        (attention("attention_prefill", batch=1, q_len=6), 2688, 2304),
        # 4 * 2 sequences * 4 heads * 8 * 6 pairs; 2 * (2*1*4 + 2*6*2) * 8 * 4 bytes
        (attention("attention_decode", batch=2, q_len=1), 1536, 2048),
        (Kernel(op="norm", dtype="bf16", sizes={"m": 2, "k": 8}), 0, 64),
        (Kernel(op="elementwise", dtype="fp32", sizes={"m": 2, "k": 8}), 0, 192),
    ],
)
def test_work_and_traffic_by_hand(kernel, flops, moved):
    assert work_flops(kernel.columns) == flops
    assert moved_bytes(kernel.columns) == moved


def test_the_grid_names_no_kernel_twice_and_ends_beyond_the_cache():
    grid = kernel_grid(CPU, ("fp32", "bf16"))
    assert len({kernel.title for kernel in grid}) == len(grid)
    largest = max(kernel.sizes.get("size_bytes", 0) for kernel in grid)
    assert largest == stream_size_bytes(CPU) >= 4 * cache_bytes(CPU)
    assert {kernel.dtype for kernel in grid if kernel.op == "gemm"} == {"fp32", "bf16"}


@pytest.mark.slow
@pytest.mark.parametrize("kernel", SMALL, ids=lambda kernel: kernel.title)
def test_every_kernel_runs_and_gives_the_shape_that_its_columns_say(kernel):
    torch = pytest.importorskip("torch")
    if kernel.op == "step":
        pytest.importorskip("transformers")
    result = kernels_calls.call_of(kernel, CPU)()
    sizes = kernel.sizes
    if kernel.op == "gemm":
        assert tuple(result.shape) == (sizes["m"], sizes["n"])
    elif kernel.op.startswith("attention"):
        shape = (sizes["batch"], sizes["heads"], sizes["q_len"], sizes["head_dim"])
        assert tuple(result.shape) == shape
    elif kernel.op in ("norm", "elementwise"):
        assert tuple(result.shape) == (sizes["m"], sizes["k"])
    elif kernel.op == "read":
        assert float(result) == sizes["size_bytes"] / 4  # ones
    elif kernel.op == "triad":
        assert torch.equal(result, torch.full_like(result, 3.0))  # 1 + 2 * 1
    elif kernel.op == "step":
        assert tuple(result.shape) == (1,)  # the next token of one sequence
    of_numbers = {"bf16": torch.bfloat16}.get(kernel.dtype, torch.float32)
    expected = torch.int64 if kernel.op == "step" else of_numbers
    assert result.dtype == expected


@pytest.mark.slow
def test_weights_of_a_thin_product_come_from_memory(monkeypatch):
    torch = pytest.importorskip("torch")
    # A cache of 64 KiB and weights of 16 KiB: eight copies make twice the cache.
    monkeypatch.setattr(kernels_calls, "cache_bytes", lambda target: 2**16)
    operand = torch.zeros(2**12)
    following = kernels_calls._cold((operand,), CPU)
    addresses = [following()[0].data_ptr() for _ in range(16)]
    assert len(set(addresses)) == 8
    assert addresses[:8] == addresses[8:]


@pytest.mark.slow
def test_all_reduce_over_two_processes():
    torch = pytest.importorskip("torch")
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no collectives")
    from profiler.kernels_collective import all_reduce_samples

    two = Target(kind="cpu", devices=("cpu", "cpu"), name="a processor", threads=1)
    samples = all_reduce_samples(two, 2**16, 0.2)
    assert len(samples.samples_s) >= 5
    assert 0 < samples.median_s < 5.0


def test_collectives_need_a_backend():
    pytest.importorskip("torch")
    from profiler.kernels_collective import all_reduce_samples
    from specs.errors import InvalidInputError

    apple = Target(kind="mps", devices=("mps:0",), name="a chip", threads=1)
    with pytest.raises(InvalidInputError, match="no collectives for mps"):
        all_reduce_samples(apple, 2**16, 0.2)
