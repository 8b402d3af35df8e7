# SPDX-License-Identifier: Apache-2.0
"""Measured peaks: worked by hand from rows, written, and read by a prediction."""

import json

import pytest

from profiler.kernels_peaks import last_measured, peaks_of, write_measured
from profiler.run_target import Target
from profiler.store import Store
from roofline.cli.main import main
from roofline.cli.measured import LAYER_LAUNCHES, as_measured, named_measured, with_measured
from roofline.physics.layout import Layout
from roofline.setups import FormatNames, setup_of
from specs.engine import get_engine
from specs.errors import InvalidInputError
from specs.gpufile import load_gpu_file
from specs.hub import get_model
from specs.measurement import Measurement

CPU = Target(kind="cpu", devices=("cpu",), name="A Processor Nobody Has 1234", threads=2)
BEYOND = 10**12  # on any machine more than four times its cache


def row(op, latency_s, *, dtype="fp32", **columns):
    return Measurement(
        kind="kernel",
        op=op,
        dtype=dtype,
        latency_s=latency_s,
        measured_at="2026-01-31T12:00:00Z",
        **columns,
    )


ATTENTION = {"batch": 1, "heads": 8, "head_dim": 64, "kv_heads": 8}
ROWS = [
    row("read", 50.0, size_bytes=BEYOND),  # 20 GB/s
    row("copy", 80.0, size_bytes=BEYOND),  # 25 GB/s, both ways
    row("triad", 150.0, size_bytes=BEYOND),  # 20 GB/s
    row("read", 1e-6, size_bytes=2**20),  # 1 TB/s out of a cache: does not count
    row("gemm", 0.02, m=1000, n=1000, k=1000),  # 100 GFLOP/s
    row("gemm", 0.016, dtype="bf16", m=1000, n=1000, k=1000),  # 125 GFLOP/s
    # 2 * 128 * 4096 * 1024 = 1.073741824 GFLOP: 67.1 and 53.7 GFLOP/s, of 100 the median 60.4%
    row("gemm", 0.016, m=128, n=4096, k=1024),
    row("gemm", 0.020, m=128, n=1024, k=4096),
    # 4 * (4096 + 4096 * 4096 + 4096) = 67 141 632 bytes in 4 ms: 16.79 GB/s
    row("gemm", 0.004, m=1, n=4096, k=4096),
    # One row, 0.5 MiB of weights: the launch shows, not the memory.
    row("gemm", 1e-5, m=1, n=512, k=256),
    row("launch", 3e-6),
    # 4 * 1 * 8 heads * 64 * (128 * 129 / 2) = 16.908288 MFLOP: 16.9 and 8.454 GFLOP/s
    row("attention_prefill", 1e-3, **ATTENTION, q_len=128, kv_len=128),
    row("attention_prefill", 2e-3, **{**ATTENTION, "kv_heads": 2}, q_len=128, kv_len=128),
    # 2 * 512 * 4096 * 4 bytes in 4 ms, three halves of that in 6 ms: 41 943 040 in 10 ms. One
    # row counts for nothing.
    row("norm", 4e-3, m=512, k=4096),
    row("elementwise", 6e-3, m=512, k=4096),
    row("norm", 1e-3, m=1, k=4096),
    # 8 layers more in 1.6 ms: 0.2 ms each, and 0.5 ms beside the two of the shorter one
    row("step", 0.9e-3, m=2, engine="transformers"),
    row("step", 2.5e-3, m=10, engine="transformers"),
    row("step", 2.5e-3, m=10, engine="transformers", dtype="bf16"),
    Measurement(
        kind="kernel", op="gemm", dtype="fp16", m=9, n=9, k=9, quality="failed", reason="test"
    ),
]


def test_peaks_by_hand():
    peaks = peaks_of(ROWS, beyond_cache_bytes=BEYOND)
    assert peaks.mem_bytes_per_s == pytest.approx(25e9)
    assert peaks.peak_flops_per_s == pytest.approx({"fp32": 100e9, "bf16": 125e9})
    assert peaks.gemv_bytes_per_s == pytest.approx({"fp32": 16.785408e9})
    assert peaks.gemm_frac == pytest.approx({"fp32": 0.604}, rel=1e-3)
    assert (peaks.launch_s, peaks.floor_s) == (3e-6, None)
    assert peaks.attention_frac == pytest.approx({"fp32": 0.16908288})
    ((length, rate),) = peaks.attention["fp32"]
    assert (length, rate) == (128, pytest.approx((16.908288e9 + 8.454144e9) / 2))
    assert peaks.pass_bytes_per_s == pytest.approx({"fp32": 4.194304e9})
    assert set(peaks.host_s) == {"transformers"}
    assert peaks.host_s["transformers"]["fp32"] == pytest.approx((0.2e-3, 0.5e-3))
    assert set(peaks.host_s["transformers"]) == {"fp32"}  # of bf16 one depth is missing


def test_of_repeats_the_last_counts():
    again = row("copy", 100.0, size_bytes=BEYOND)  # 20 GB/s now
    peaks = peaks_of([*ROWS, again], beyond_cache_bytes=BEYOND)
    assert peaks.mem_bytes_per_s == pytest.approx(20e9)


def test_weights_that_stream_faster_than_copies_are_the_bandwidth():
    fast = row("gemm", 0.001, m=1, n=4096, k=4096, dtype="bf16")  # 33.6 GB/s
    peaks = peaks_of([*ROWS, fast], beyond_cache_bytes=BEYOND)
    assert peaks.mem_bytes_per_s == pytest.approx(33.57e9, rel=1e-3)


def test_without_streams_or_products_there_are_no_peaks():
    for missing in ("gemm", "copy"):
        kept = [r for r in ROWS if r.op != missing and (missing == "gemm" or r.op == "gemm")]
        with pytest.raises(InvalidInputError, match="no measured peaks"):
            peaks_of(kept, beyond_cache_bytes=BEYOND)


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr("profiler.kernels_peaks.stream_size_bytes", lambda target: BEYOND)
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    return write_measured(ROWS, CPU, [], tmp_path / "store")


def test_the_file_is_one_for_gpu_file(written):
    device = load_gpu_file(written)
    assert device.kind == "cpu"
    assert device.unit_count == 2
    assert device.mem_bytes_per_s == pytest.approx(25e9)
    assert device.peak_flops_per_s["bf16"] == pytest.approx(125e9)
    assert device.vector_flops_per_s == pytest.approx(100e9)
    assert any("power of this processor is not known" in note for note in device.notes)


def test_predictions_use_what_was_measured(written, capsys):
    asked = ["predict", "gpt2", "--engine", "ideal", "--input-len", "128", "--json"]
    assert main([*asked, "--gpu", "measured"]) == 0
    answer = json.loads(capsys.readouterr().out)
    # (124.4 M parameters less 0.8 M positions) * 4 bytes, and a cache of 192 tokens with
    # 2 * 12 * 768 * 4 bytes each, together 508.6 MB, at 16.785 GB/s
    assert answer["tpot_s"] == pytest.approx(0.0303, rel=0.01)
    assert main([*asked, "--gpu-file", str(written)]) == 0
    plain = json.loads(capsys.readouterr().out)
    # The file alone knows the 25 GB/s of the streams.
    assert plain["tpot_s"] == pytest.approx(0.02034, rel=0.01)


def test_shares_and_launches_of_an_engine_give_way_to_measured_ones():
    engine = get_engine("transformers")
    rates = {
        "mem_bytes_per_s": 20e9,
        "gemv_bytes_per_s": {"fp32": 15e9, "bf16": 10e9},
        "gemm_frac": {"bf16": 0.5},
        "attention_frac": {},
        "launch_s": 4e-6,
        "floor_s": 1e-6,
    }
    changed = as_measured(engine, rates, "bf16")
    assert changed.memory_frac == pytest.approx(0.5)
    assert changed.compute_frac == pytest.approx(0.5)
    assert changed.attention_frac == engine.attention_frac
    # 4 us of a bare launch do not say what the engine's own dispatch costs, which is more.
    assert (changed.host_launch_s, changed.kernel_floor_s) == (engine.host_launch_s, 1e-6)
    slow = as_measured(engine, {**rates, "launch_s": 1e-3}, "bf16")
    assert slow.host_launch_s == 1e-3
    assert as_measured(engine, rates, "fp32").memory_frac == pytest.approx(0.75)


def test_products_of_few_rows_pace_decode_and_of_many_prefill():
    rates = {
        "mem_bytes_per_s": 20e9,
        "gemv_bytes_per_s": {"fp32": 16e9},
        "peak_flops_per_s": {"fp32": 100e9},
        "gemm_frac": {"fp32": 0.5},
        "products": {"fp32": [[1, 16e9, 8e9], [16, 4e9, 32e9], [256, 1e9, 80e9]]},
    }
    engine = get_engine("transformers")
    one = as_measured(engine, rates, "fp32", batch=1, tokens=256)
    assert (one.memory_frac, one.compute_frac) == pytest.approx((0.8, 0.8))
    # 4 rows lie halfway from 1 to 16 on a logarithmic scale: sqrt(16e9 * 4e9) = 8e9 of 20e9;
    # 64 likewise from 16 to 256: sqrt(32e9 * 80e9) = 50.6e9 of 100e9. Beyond 256, as at 256.
    four = as_measured(engine, rates, "fp32", batch=4, tokens=64)
    assert (four.memory_frac, four.compute_frac) == pytest.approx((0.4, 0.506), rel=1e-3)
    assert as_measured(engine, rates, "fp32", batch=4, tokens=4096).compute_frac == pytest.approx(
        0.8
    )
    assert as_measured(engine, rates, "bf16", batch=4, tokens=64).compute_frac == 0.5


def test_attention_passes_and_the_host_are_as_they_were_measured():
    rates = {
        "mem_bytes_per_s": 20e9,
        "peak_flops_per_s": {"fp32": 100e9},
        "attention": {"fp32": [[128, 20e9], [2048, 80e9]]},
        "pass_bytes_per_s": {"fp32": 5e9},
        "host_s": {"transformers": {"fp32": [200e-6, 500e-6]}},
        "launch_s": 4e-6,
    }
    engine = get_engine("transformers")
    # 512 tokens lie halfway on a logarithmic scale: sqrt(20e9 * 80e9) = 40e9 of 100e9.
    four = as_measured(engine, rates, "fp32", batch=4, tokens=2048, is_host=True)
    assert four.attention_frac == pytest.approx(0.4)
    assert four.pass_frac == pytest.approx(0.25)
    assert (four.host_layer_s, four.host_step_s) == pytest.approx((140e-6, 500e-6))  # 200 - 15 * 4
    assert four.host_launch_s == 4e-6
    gpu = as_measured(engine, rates, "fp32", batch=4, tokens=2048)
    assert gpu.pass_frac == 0.0
    other = as_measured(get_engine("vllm"), rates, "fp32")
    assert other.host_layer_s == get_engine("vllm").host_layer_s
    assert as_measured(engine, rates, "bf16", is_host=True).host_step_s == engine.host_step_s
    assert as_measured(get_engine("ideal"), rates, "fp32", is_host=True).pass_frac == 0.0


def test_the_launches_of_a_layer_are_those_that_are_counted():
    engine, names = get_engine("transformers"), FormatNames(weight="", kv="", activation="")
    model = get_model("meta-llama/Llama-3.1-8B")
    plan = setup_of(model, Layout(), names, engine).decoder
    of_layers = plan.launches[plan.count == 32] @ plan.count[plan.count == 32] / 32
    attentions = sum(op.count for op in plan.attention) / 32
    assert of_layers + attentions == LAYER_LAUNCHES


def test_rows_of_the_measured_device_are_named_and_priced_as_it(written):
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame(
        {"gpu": ["", "l4", ""], "gpu_raw": ["Test CPU", "NVIDIA L4", "Other CPU"]}
    )
    name = load_gpu_file(written).name
    title = load_gpu_file(written).title.removesuffix(", measured")
    named = named_measured(rows.replace("Test CPU", title))
    assert named["gpu"].tolist() == [name, "l4", ""]
    asked = {"model": "gpt2", "engine": "transformers", "weight_dtype": "fp32", "batch": 1.0}
    scenarios = named.iloc[:2].assign(**asked, concurrency=0.0, input_len=128)
    placed = with_measured(scenarios)
    assert placed["gpu"][0].name == f"{name}-fp32"
    # 16.785 of 25 GB/s, as in test_peaks_by_hand
    assert placed["engine"][0].memory_frac == pytest.approx(16.785408 / 25)
    assert (placed["gpu"][1], placed["engine"][1]) == ("l4", "transformers")
    assert with_measured(scenarios.iloc[1:])["gpu"].tolist() == ["l4"]


def test_the_host_of_another_device_is_not_the_measured_one(written):
    pandas = pytest.importorskip("pandas")
    device = load_gpu_file(written)
    cpu = device.title.removesuffix(", measured")
    rows = pandas.DataFrame({"gpu_raw": ["New GPU", "", None], "host_cpu": [cpu, cpu, "other"]})
    assert named_measured(rows)["gpu"].tolist() == ["", device.name, ""]


def test_rows_of_other_numbers_of_threads_are_of_another_device(written):
    pandas = pytest.importorskip("pandas")
    device = load_gpu_file(written)  # of two threads
    methods = ["forward-t2", "forward-t1", "llama-bench", None, "forward-t12"]
    rows = pandas.DataFrame({"method": methods, "gpu_raw": device.title.removesuffix(", measured")})
    assert named_measured(rows)["gpu"].tolist() == [device.name, "", device.name, device.name, ""]


def test_without_a_measured_device_rows_stay_as_they_are(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "none"))
    rows = pandas.DataFrame({"gpu": [""], "host_cpu": ["any"]})
    assert named_measured(rows)["gpu"].tolist() == [""]


def test_products_are_grouped_by_rows():
    rows = [
        row("gemm", 1e-3, m=8, n=4096, k=2048, dtype="bf16"),
        row("gemm", 2e-3, m=8, n=4096, k=2048, dtype="bf16", heads=1),
        row("gemm", 9e-9, m=8, n=64, k=64, dtype="bf16"),  # within a cache
        row("gemm", 9e-9, m=4096, n=4096, k=4096, dtype="bf16"),  # square: for the peak alone
    ]
    copy = row("copy", 1.0, size_bytes=BEYOND)
    ((count, _, flops),) = peaks_of([copy, *rows], beyond_cache_bytes=BEYOND).products["bf16"]
    assert count == 8
    work = 2 * 8 * 4096 * 2048
    assert flops == pytest.approx((work / 1e-3 + work / 2e-3) / 2)  # of two, the median is the mean


def test_a_small_matrix_counts_where_it_takes_many_launches():
    # 2 * (1024 + 1024 * 1024 + 1024) = 2 101 248 bytes in 0.2 ms: 10.5 GB/s; four launches
    # of 1 us are too few, 200 are enough.
    rows = [
        row("copy", 1.0, size_bytes=BEYOND),
        row("gemm", 2e-4, m=1, n=1024, k=1024, dtype="bf16"),
        row("gemm", 4e-6, m=1, n=256, k=256, dtype="bf16"),
    ]
    found = peaks_of([*rows, row("launch", 1e-6)], beyond_cache_bytes=BEYOND)
    assert found.gemv_bytes_per_s == pytest.approx({"bf16": 10.50624e9})
    assert peaks_of([*rows, row("launch", 1e-5)], beyond_cache_bytes=BEYOND).gemv_bytes_per_s == {}
    assert peaks_of(rows, beyond_cache_bytes=BEYOND).gemv_bytes_per_s == {}


def test_the_last_written_is_used(written, tmp_path):
    import os

    older = written.with_name("another.toml")
    older.write_text("name = 'x'")
    os.utime(older, (1, 1))
    assert last_measured(tmp_path / "store")[0] == written


def test_nothing_measured_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "empty"))
    assert main(["predict", "gpt2", "--gpu", "measured"]) == 2
    said = capsys.readouterr().err
    assert "roofline profile --kernels" in said
    assert said.count("\n") == 1


def test_a_run_that_was_stopped_is_told_to_go_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    Store().append([r for r in ROWS if r.op == "read"])
    assert main(["predict", "gpt2", "--gpu", "measured"]) == 2
    said = capsys.readouterr().err
    assert "2 kernels are measured" in said
    assert "--kernels with --resume" in said
    assert said.count("\n") == 1


def test_records_of_the_device_are_held_against_its_rates(written, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    asked = {
        "kind": "llm", "model": "meta-llama/Llama-3.1-8B", "weight_dtype": "bf16",
        "engine": "transformers", "mode": "static", "batch_size": 1, "input_tokens": 16,
        "output_tokens": 8, "host_cpu": CPU.name,
    }  # fmt: skip
    # 7.5e9 weights beside the embedding, two bytes each, at 25 GB/s: 0.60 s a token.
    Store().append(
        [
            Measurement(**asked, tpot_s=0.9, method="transformers-t2"),
            Measurement(**asked, tpot_s=0.3, method="transformers-t2"),
            Measurement(**asked, tpot_s=0.3, method="transformers-t4"),  # other threads
            Measurement(**{**asked, "host_cpu": "Another"}, tpot_s=0.3),
        ]
    )
    assert main(["records", "validate", "--store", str(tmp_path / "store"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["checked"], found["unchecked"]) == (2, {"accelerator not identified": 2})
    (finding,) = found["findings"]
    assert (finding["row"], finding["rule"], finding["column"]) == (2, "floor", "tpot_s")
    assert finding["limit"] == pytest.approx(0.60, rel=0.01)
    assert "measured bandwidth and peaks" in finding["says"]


def test_lost_rates_are_one_line(written, capsys):
    written.with_suffix(".rates.json").write_text("{")
    assert main(["predict", "gpt2", "--gpu", "measured"]) == 2
    assert "missing or damaged" in capsys.readouterr().err
