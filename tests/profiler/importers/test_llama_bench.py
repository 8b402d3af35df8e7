# SPDX-License-Identifier: Apache-2.0
"""On files that llama-bench wrote here: two toy models, one thread, depths 0 and 128."""

import json

import pytest

from profiler.importers import detect

CPU = "EPYC 9654"


def test_real_json_values_by_hand(read, data):
    found = read(data / "llama_bench.json", gpu=CPU)
    tests = json.loads((data / "llama_bench.json").read_text())
    assert len(found.rows) == len(tests) == 8
    prompt, decode = found.rows[0], found.rows[1]
    # Test 1: 64 prompt tokens in 4 017 445 ns; test 2: 16 steps.
    assert tests[0]["avg_ns"] == 4_017_445
    assert prompt.prefill_tok_s == pytest.approx(64 / 4.017445e-3)
    assert prompt.ttft_s == pytest.approx(4.017445e-3)
    assert prompt.tpot_s is None
    assert (prompt.input_tokens, prompt.cached_tokens, prompt.output_tokens) == (64, 0, 0)
    assert decode.tpot_s == pytest.approx(tests[1]["avg_ns"] / 1e9 / 16)
    assert decode.samples_s == pytest.approx([ns / 16e9 for ns in tests[1]["samples_ns"]])
    assert decode.n_samples == 3
    assert (decode.input_tokens, decode.output_tokens) == (0, 16)
    deep = [row for row in found.rows if row.cached_tokens == 128]
    assert [(row.input_tokens, row.output_tokens) for row in deep[:2]] == [(192, 0), (128, 16)]


def test_real_json_states_its_machine_and_formats(read, data):
    rows = read(data / "llama_bench.json", gpu=CPU).rows
    assert {row.weight_dtype for row in rows} == {"fp32", "q4_0"}
    assert {row.kv_dtype for row in rows} == {"fp16"}
    assert {row.model for row in rows} == {"toy-f32", "toy-q4_0"}
    assert {(row.engine, row.engine_version) for row in rows} == {("llama.cpp", "b1 (0c1e570)")}
    assert {(row.gpu, row.gpu_raw) for row in rows} == {("cpu-amd-epyc-9654", "scrubbed CPU")}
    assert {(row.tp, row.num_gpus, row.batch_size) for row in rows} == {(1, 1, 1)}


def test_json_lines_and_csv_give_the_same_kind_of_rows(read, data):
    def asked(name):
        return [
            (row.model, row.weight_dtype, row.input_tokens, row.output_tokens)
            for row in read(data / name, gpu=CPU).rows
        ]

    assert asked("llama_bench.json") == asked("llama_bench.jsonl") == asked("llama_bench.csv")
    (row, *_) = read(data / "llama_bench.csv", gpu=CPU).rows
    assert row.samples_s == ()  # CSV has no samples
    assert row.prefill_tok_s > 0


def test_prompt_and_generation_together_are_one_time(read, data):
    (row,) = read(data / "llama_bench_pg.jsonl", gpu=CPU).rows
    assert row.e2e_s == pytest.approx(12_423_703e-9)
    assert (row.ttft_s, row.prefill_tok_s, row.tpot_s) == (None, None, None)
    assert (row.input_tokens, row.output_tokens) == (64, 16)


def test_a_file_that_the_tool_died_over(data):
    # llama-bench was killed in the middle of its list.
    with pytest.raises(Exception, match=r"damaged JSON.*still writing"):
        detect(data / "llama_bench_truncated.json")


GPU_TEST = {
    "build_commit": "abc1234",
    "build_number": 6123,
    "cpu_info": "AMD Ryzen 9 7950X",
    "gpu_info": "NVIDIA GeForce RTX 4090",
    "backends": "CUDA",
    "model_filename": "C:\\models\\Qwen3-8B-Q4_K_M.gguf",
    "model_type": "qwen3 8B Q4_K - Medium",
    "n_gpu_layers": 99,
    "split_mode": "layer",
    "type_k": "q8_0",
    "type_v": "q8_0",
    "n_prompt": 0,
    "n_gen": 128,
    "n_depth": 0,
    "test_time": "2026-01-31T12:00:00Z",
    "avg_ns": 1_280_000_000,
    "samples_ns": [1_280_000_000],
}


def test_a_gpu_file_states_everything(one):
    row = one([GPU_TEST])
    assert (row.gpu, row.host_cpu) == ("rtx-4090", "AMD Ryzen 9 7950X")
    assert (row.model, row.weight_dtype, row.kv_dtype) == ("Qwen3-8B-Q4_K_M", "q4_k_m", "q8_0")
    assert row.engine_version == "b6123 (abc1234)"
    assert row.tpot_s == pytest.approx(0.01)  # 1.28 s / 128
    assert row.measured_at == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("model_type", "dtype"),
    [
        ("llama 8B Q4_K - Medium", "q4_k_m"),
        ("llama 7B mostly F16", "fp16"),
        ("llama 7B Q8_0", "q8_0"),
        ("gpt-oss 20B MXFP4 MoE", "mxfp4"),
        ("qwen3moe 30B.A3B Q6_K", "q6_k"),
        ("llama 8B IQ4_XS - 4.25 bpw", "iq4_xs"),
        ("llama 8B BF16", "bf16"),
    ],
)
def test_weight_formats(one, model_type, dtype):
    assert one([{**GPU_TEST, "model_type": model_type}]).weight_dtype == dtype


def test_layers_in_turn_and_rows_together(one):
    two = {**GPU_TEST, "gpu_info": "NVIDIA L4, NVIDIA L4"}
    row = one([two])
    assert (row.gpu, row.num_gpus, row.tp, row.pp) == ("l4", 2, 1, 2)
    row = one([{**two, "split_mode": "row"}])
    assert (row.num_gpus, row.tp, row.pp) == (2, 2, 1)
    assert one([{**two, "split_mode": "none"}]).num_gpus == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n_gpu_layers": 0}, "no layers on the GPU"),
        ({"gpu_info": "NVIDIA L4, NVIDIA T4"}, "different GPUs"),
        ({"n_gen": 0}, "neither prompt nor generation"),
        ({"avg_ns": 0}, "no figure"),
    ],
)
def test_tests_that_are_no_row(read, change, why):
    found = read([{**GPU_TEST, **change}])
    assert not found.rows
    assert why in found.refused[0]


def test_some_layers_on_the_gpu_are_noted(one):
    assert "20 layers" in one([{**GPU_TEST, "n_gpu_layers": 20}]).notes
