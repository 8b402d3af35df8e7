# SPDX-License-Identifier: Apache-2.0
import pytest

FACTS = {
    "gpu": "H100",
    "model": "gpt2",
    "engine_version": "0.5.6",
    "tp": 1,
    "weight_dtype": "bf16",
}
ONE_BATCH = {
    "run_name": "roofline",
    "batch_size": 8,
    "input_len": 512,
    "output_len": 65,
    "prefill_latency": 0.25,
    "prefill_throughput": 16384.0,
    "median_decode_latency": 0.009,
    "median_decode_throughput": 888.9,
    "total_latency": 0.89,
    "overall_throughput": 5186.5,
}


def test_one_batch_times_phases_apart(one, raw):
    row = one([ONE_BATCH], lines=True, **FACTS)
    assert (row.tool, row.engine, row.mode) == ("sglang bench_one_batch", "sglang", "static")
    assert (row.batch_size, row.input_tokens, row.output_tokens) == (8, 512, 65)
    assert row.ttft_s == 0.25
    assert row.e2e_s == 0.89
    # 64 decode steps follow the first token: (0.89 - 0.25) / 64 = 10 ms, and the median
    # step of 9 ms is another statistic.
    assert row.tpot_s == pytest.approx(0.010)
    assert raw(row)["median_decode_latency"].value == 0.009
    assert raw(row)["median_decode_latency"].statistic == "median over decode steps"
    assert row.prefill_tok_s == 16384  # 8 * 512 / 0.25
    assert row.total_tok_s == 5186.5


def test_one_batch_of_one_token_has_no_tpot(one):
    record = {k: v for k, v in ONE_BATCH.items() if "decode" not in k} | {"output_len": 1}
    assert one(record, **FACTS).tpot_s is None


def test_one_batch_lacks_its_device(read):
    (why,) = read([ONE_BATCH, {**ONE_BATCH, "batch_size": 1}], lines=True).refused
    assert why.startswith("2 points: missing")
    assert "--gpu" in why
    assert "--batch" not in why
    assert "--engine," not in why


def test_one_batch_server_gives_no_tpot(one):
    record = {
        "run_name": "default",
        "batch_size": 16,
        "input_len": 1024,
        "output_len": 16,
        "latency": 1.25,
        "input_throughput": 32768.0,
        "output_throughput": 341.3,
        "overall_throughput": 13312.0,
        "last_ttft": 0.5,
        "last_gen_throughput": 350.0,
        "acc_length": -1.0,
    }
    row = one(record, **FACTS)
    assert row.method == "sglang-one-batch-server"
    assert row.e2e_s == 1.25
    assert row.prefill_tok_s == 32768  # 16 * 1024 / 0.5
    assert row.total_tok_s == 13312  # 16 * 1040 / 1.25
    assert (row.tpot_s, row.ttft_s, row.decode_tok_s) == (None, None, None)


SERVING = {
    "tag": None,
    "backend": "sglang",
    "dataset_name": "random-ids",
    "request_rate": "inf",
    "max_concurrency": 64,
    "random_input_len": 512,
    "random_output_len": 128,
    "random_range_ratio": 1.0,
    "server_info": {
        "model_path": "meta-llama/Llama-3.1-8B-Instruct",
        "version": "0.5.6",
        "tp_size": 2,
        "pp_size": 1,
        "dp_size": 1,
        "ep_size": 1,
        "dtype": "bfloat16",
        "quantization": None,
        "kv_cache_dtype": "auto",
    },
    "duration": 10.0,
    "completed": 200,
    "total_input_tokens": 102_400,
    "total_output_tokens": 25_600,
    "request_throughput": 20.0,
    "input_throughput": 10_240.0,
    "output_throughput": 2560.0,
    "total_throughput": 12_800.0,
    "mean_e2e_latency_ms": 2900.0,
    "median_e2e_latency_ms": 2850.0,
    "mean_ttft_ms": 360.0,
    "p99_ttft_ms": 900.0,
    "mean_tpot_ms": 20.0,
    "mean_itl_ms": 19.5,
    "concurrency": 58.0,
    "accept_length": None,
}


def test_serving_states_all_but_the_gpu(one, raw):
    row = one([SERVING], lines=True, gpu="H100")
    assert (row.engine, row.engine_version, row.tp, row.num_gpus) == ("sglang", "0.5.6", 2, 2)
    assert row.weight_dtype == "bf16"
    assert row.kv_dtype == ""
    assert (row.input_tokens, row.output_tokens) == (512, 128)
    assert row.concurrency == 64
    assert raw(row)["concurrency"].value == 58  # counted, not asked
    assert row.ttft_s == pytest.approx(0.36)
    assert row.tpot_s == pytest.approx(0.02)
    assert row.itl_s == pytest.approx(0.0195)
    assert row.e2e_s == pytest.approx(2.9)
    assert (row.decode_tok_s, row.total_tok_s) == (2560, 12_800)


def test_serving_of_another_backend_does_not_name_the_engine(read):
    found = read({**SERVING, "backend": "openai-chat"}, gpu="H100")
    assert found.refused == ("missing: --engine",)


def test_attention_replicas_share_the_tensor_parallel_group(one):
    info = {**SERVING["server_info"], "tp_size": 8, "dp_size": 8, "enable_dp_attention": True}
    row = one({**SERVING, "server_info": info}, gpu="H100")
    assert (row.tp, row.dp, row.num_gpus) == (8, 8, 8)


def test_a_quantisation_that_is_no_format_is_asked_for(read):
    info = {**SERVING["server_info"], "quantization": "compressed-tensors"}
    (why,) = read({**SERVING, "server_info": info}, gpu="H100").refused
    assert why == "missing: --weight-dtype (the file says 'compressed-tensors')"


def test_offline_throughput(one):
    record = {
        "backend": "engine",
        "successful_requests": 100,
        "total_latency": 20.0,
        "total_input_tokens": 51_200,
        "total_output_tokens": 12_800,
        "request_throughput": 5.0,
        "input_throughput": 2560.0,
        "output_throughput": 640.0,
        "total_throughput": 3200.0,
    }
    row = one(record, **FACTS)
    assert (row.method, row.engine) == ("sglang-offline", "sglang")
    assert (row.input_tokens, row.output_tokens) == (512, 128)
    assert (row.decode_tok_s, row.total_tok_s) == (640, 3200)
