# SPDX-License-Identifier: Apache-2.0
import json

import pytest

SERVE = {
    "date": "20250914-021127",
    "endpoint_type": "openai",
    "label": None,
    "model_id": "openai/gpt-oss-120b",
    "tokenizer_id": "openai/gpt-oss-120b",
    "num_prompts": 500,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 32,
    "duration": 80.0,
    "completed": 500,
    "total_input_tokens": 64000,
    "total_output_tokens": 320000,
    "request_throughput": 6.25,
    "request_goodput": 3.0,
    "output_throughput": 4000.0,
    "total_token_throughput": 4800.0,
    "mean_ttft_ms": 131.5,
    "median_ttft_ms": 110.5,
    "std_ttft_ms": 68.5,
    "p99_ttft_ms": 369.5,
    "mean_tpot_ms": 7.5,
    "median_tpot_ms": 7.25,
    "std_tpot_ms": 0.5,
    "p99_tpot_ms": 9.5,
    "mean_itl_ms": 7.25,
    "median_itl_ms": 7.0,
    "std_itl_ms": 0.875,
    "p99_itl_ms": 9.25,
}


def test_serve_reads_every_figure_in_si(one, hardware, raw):
    row = one(SERVE, **hardware)
    assert (row.tool, row.method) == ("vllm bench serve", "vllm-serve")
    assert row.measured_at == "2025-09-14"  # the file's time of day has no zone
    assert (row.gpu, row.num_gpus, row.tp) == ("rtx-4090", 1, 1)
    assert (row.model, row.mode, row.n_samples) == ("openai/gpt-oss-120b", "serving", 500)
    assert (row.concurrency, row.request_rate) == (32, None)
    assert row.input_tokens == 128  # 64000 / 500
    assert row.output_tokens == 640  # 320000 / 500
    assert row.ttft_s == pytest.approx(0.1315)
    assert row.tpot_s == pytest.approx(0.0075)
    assert row.itl_s == pytest.approx(0.00725)
    assert row.e2e_s is None  # e2el is written on request only
    assert (row.decode_tok_s, row.total_tok_s) == (4000, 4800)
    kept = raw(row)
    assert kept["p99_itl_ms"].value == 9.25
    assert kept["p99_itl_ms"].statistic == "p99 over all gaps"
    assert kept["mean_tpot_ms"].unit == "ms"
    assert "request_goodput" not in kept
    assert "output tokens - 1" in json.loads(row.environment)["definitions"]["tpot_s"]


def test_serve_without_tpot_has_none_though_itl_is_there(one, hardware):
    record = {name: value for name, value in SERVE.items() if "tpot" not in name}
    row = one(record, **hardware)
    assert row.tpot_s is None
    assert row.itl_s == pytest.approx(0.00725)


def test_serve_names_all_missing_facts_at_once(read):
    found = read(SERVE)
    assert not found.rows
    (why,) = found.refused
    for option in ("--gpu", "--engine", "--engine-version", "--weight-dtype", "--tp"):
        assert option in why
    assert "--model" not in why
    assert "--input-len" not in why


def test_serve_takes_metadata_keys(one):
    extra = {"gpu": "NVIDIA L4", "tensor_parallel_size": "2", "dtype": "bfloat16"}
    row = one({**SERVE, **extra}, engine="vllm", engine_version="0.11.0")
    assert (row.gpu, row.tp, row.num_gpus, row.weight_dtype) == ("l4", 2, 2, "bf16")


def test_flags_that_the_file_gainsays_are_refused(read, hardware):
    found = read({**SERVE, "tp": 8}, **hardware)
    assert not found.rows
    assert "--tp 1 where the file says 8" in found.refused[0]
    found = read(SERVE, **{**hardware, "input_tokens": 1024})
    assert "--input-len 1024 where the file says 128" in found.refused[0]
    found = read({**SERVE, "gpu": "L4"}, **hardware)
    assert "'L4'" in found.refused[0]
    assert "RTX 4090" in found.refused[0]


def test_the_callers_model_counts_and_the_files_is_kept(one, hardware):
    row = one({**SERVE, "model_id": "/models/x"}, **hardware, model="gpt2")
    assert row.model == "openai-community/gpt2"
    assert json.loads(row.environment)["model_in_file"] == "/models/x"


def test_an_unknown_version_is_said_and_left_empty(one, hardware):
    assert one(SERVE, **{**hardware, "engine_version": "unknown"}).engine_version == ""


def test_failed_requests_make_a_row_partial(one, hardware):
    row = one({**SERVE, "completed": 490, "failed": 10}, **hardware)
    assert row.quality == "partial"
    assert "10 of 500" in row.reason


def test_a_figure_of_zero_is_left_out(one, hardware):
    # Single-token outputs: the tool writes a TPOT of 0.
    row = one({**SERVE, "mean_tpot_ms": 0.0}, **hardware)
    assert row.tpot_s is None
    assert row.quality == "partial"
    assert "tpot_s: 0" in row.reason


def test_no_completed_request_and_embeddings_are_refused(read, hardware):
    assert "no request completed" in read({**SERVE, "completed": 0}, **hardware).refused[0]
    embedding = {**SERVE, "total_input_sequences": 500}
    assert "embedding" in read(embedding, **hardware).refused[0]


def test_all_at_once_is_a_concurrency_with_a_note(one, hardware):
    row = one({**SERVE, "max_concurrency": None}, **hardware)
    assert row.concurrency == 500
    assert "sent at once" in row.notes
    row = one({**SERVE, "max_concurrency": None, "request_rate": 4.0}, **hardware)
    assert (row.concurrency, row.request_rate) == (None, 4.0)


def test_speculation_is_noted(one, hardware):
    row = one({**SERVE, "spec_decode_acceptance_length": 2.5}, **hardware)
    assert "speculative" in row.notes


def test_appended_results_are_one_object_per_line(read, hardware):
    found = read([SERVE, {**SERVE, "max_concurrency": 64}], lines=True, **hardware)
    assert [row.concurrency for row in found.rows] == [32, 64]
    assert found.rows[1].source_ref == "results.json, record 2"


LATENCY = {
    "avg_latency": 2.0,
    "latencies": [1.5, 2.5],
    "percentiles": {"10": 1.6, "25": 1.75, "50": 2.0, "75": 2.25, "90": 2.4, "99": 2.49},
}


def test_latency_is_of_the_whole_batch(one, hardware, raw):
    shape = {"input_tokens": 512, "output_tokens": 128, "batch_size": 8, "model": "gpt2"}
    row = one(LATENCY, **{**hardware, "engine": ""}, **shape)
    assert (row.engine, row.mode, row.batch_size) == ("vllm", "static", 8)
    assert row.e2e_s == 2.0
    assert row.samples_s == (1.5, 2.5)
    assert (row.ttft_s, row.tpot_s, row.decode_tok_s) == (None, None, None)
    assert raw(row)["percentiles.99"].value == 2.49


def test_latency_lacks_nearly_everything(read):
    (why,) = read(LATENCY).refused
    for option in ("--gpu", "--model", "--tp", "--input-len", "--output-len", "--batch"):
        assert option in why


def test_latency_takes_its_command_line_from_the_twin(one, write):
    arguments = {
        "model": "openai-community/gpt2",
        "input_len": 32,
        "output_len": 16,
        "batch_size": 4,
        "tensor_parallel_size": 2,
        "dtype": "auto",
    }
    entry = {
        "benchmark": {"name": "vLLM benchmark", "extra_info": {"args": arguments}},
        "model": {"name": "openai-community/gpt2"},
        "metric": {"name": "latency", "benchmark_values": [1.5, 2.5], "extra_info": {}},
    }
    write([entry], "results.pytorch.json")
    row = one(LATENCY, gpu="L4", weight_dtype="bf16", engine_version="0.11.0")
    assert (row.input_tokens, row.output_tokens, row.batch_size) == (32, 16, 4)
    assert (row.tp, row.num_gpus, row.model) == (2, 2, "openai-community/gpt2")


def test_throughput_counts_input_and_output(one, hardware):
    record = {
        "elapsed_time": 214.5,
        "num_requests": 128,
        "total_num_tokens": 278528,
        "requests_per_second": 0.5967,
        "tokens_per_second": 1298.5,
    }
    row = one(record, **hardware, model="gpt2", input_tokens=128, output_tokens=2048)
    assert row.total_tok_s == 1298.5
    assert row.decode_tok_s is None
    assert row.concurrency == 128
    assert "all requests given at once" in row.notes


def case(name, queries, contexts, median_us, **more):
    requests = [
        {"query_len": q, "kv_len": k, "num_draft_tokens": 0, "chunked": False, **more}
        for q, k in zip(queries, contexts, strict=True)
    ]
    return {"case": name, "requests": requests, "median_us": median_us, "ranks": []}


def test_forward_tells_decode_from_prefill(read, hardware):
    cases = [
        case("dec4", [1] * 4, [2048] * 4, 12_500.0),
        case("pre512", [512, 512], [512, 512], 40_000.0),
        case("mix", [512, 1], [512, 2048], 45_000.0),
        case("draft", [1], [2048], 45_000.0, num_draft_tokens=3),
    ]
    found = read(cases, **hardware, model="gpt2")
    decode, prefill = found.rows
    assert decode.tpot_s == pytest.approx(0.0125)  # 12.5 ms
    assert (decode.batch_size, decode.input_tokens) == (4, 2048)
    assert decode.capture == "graph"
    assert prefill.prefill_tok_s == pytest.approx(25_600)  # 1024 tokens in 40 ms
    assert prefill.tpot_s is None
    assert prefill.ttft_s == pytest.approx(0.040)
    assert found.n_refused == 2
    assert any("case mix" in why for why in found.refused)
    assert any("draft" in why for why in found.refused)
