# SPDX-License-Identifier: Apache-2.0
import pytest

REPORT = {
    "engine": {
        "model": "nvidia/Llama-3.1-8B-Instruct-FP8",
        "version": "1.2.0",
        "backend": "Pytorch",
        "dtype": "bfloat16",
        "kv_cache_dtype": "FP8",
        "quantization": "FP8",
    },
    "machine": {"name": "NVIDIA H200", "memory.total": 139.8, "clocks.mem": 3.2},
    "world_info": {"tp_size": 2, "pp_size": 1, "ep_size": None, "world_size": 2},
    "request_info": {
        "num_requests": 1000,
        "avg_num_concurrent_requests": 250.5,
        "avg_input_length": 128.0,
        "avg_output_length": 512.0,
    },
    "performance": {
        "total_latency_ms": 50_000.0,
        "avg_request_latency_ms": 6000.0,
        "request_throughput_req_s": 20.0,
        "system_output_throughput_tok_s": 10_240.0,
        "system_total_throughput_tok_s": 12_800.0,
        "output_throughput_per_gpu_tok_s": 5120.0,
        "request_latency_percentiles_ms": {"p50": 5900.0, "p99": 7000.0},
    },
    "streaming_metrics": {
        "avg_ttft_ms": 890.0,
        "avg_tpot_ms": 10.0,
        "tpot_percentiles": {"p99": 12.0},
    },
}


def test_report_needs_no_facts(one, raw):
    row = one(REPORT)
    assert (row.method, row.engine, row.engine_version) == ("trtllm-bench", "trtllm", "1.2.0")
    assert (row.gpu, row.gpu_raw) == ("h200-sxm-141gb", "NVIDIA H200")
    assert (row.tp, row.pp, row.num_gpus) == (2, 1, 2)
    assert (row.weight_dtype, row.kv_dtype) == ("fp8", "fp8")
    assert (row.concurrency, row.n_samples) == (250.5, 1000)
    assert row.ttft_s == pytest.approx(0.89)
    assert row.tpot_s == pytest.approx(0.01)  # (6000 - 890) / 511
    assert row.e2e_s == pytest.approx(6.0)
    assert (row.decode_tok_s, row.total_tok_s) == (10_240, 12_800)
    kept = raw(row)
    assert kept["streaming_metrics.tpot_percentiles.p99"].value == 12
    assert kept["performance.output_throughput_per_gpu_tok_s"].unit == "tok/s"


def test_without_streaming_there_is_neither_ttft_nor_tpot(one):
    row = one({k: v for k, v in REPORT.items() if k != "streaming_metrics"})
    assert (row.ttft_s, row.tpot_s) == (None, None)
    assert row.e2e_s == 6.0


@pytest.mark.parametrize(
    ("quantisation", "dtype", "known"),
    [
        ("NVFP4", "bfloat16", "nvfp4"),
        ("W4A16_AWQ", "float16", "awq-int4"),
        (None, "float16", "fp16"),
    ],
)
def test_formats(one, quantisation, dtype, known):
    engine = {**REPORT["engine"], "quantization": quantisation, "dtype": dtype}
    assert one({**REPORT, "engine": engine}).weight_dtype == known


def test_no_gpu_information(read):
    assert read({**REPORT, "machine": None}).refused == ("missing: --gpu",)


def test_energy_is_clear_for_one_gpu_only(one, raw):
    energy = {"total_energy_j": 51_200.0, "average_gpu_power": 600.0, "output_tps_per_w": 17.0}
    alone = {**REPORT["world_info"], "tp_size": 1, "world_size": 1}
    row = one({**REPORT, "energy": energy, "world_info": alone})
    assert row.power_w == 600
    assert row.energy_per_output_token_j == pytest.approx(0.1)  # 51 200 J / (1000 * 512)
    row = one({**REPORT, "energy": energy})
    assert (row.power_w, row.energy_per_output_token_j) == (None, None)
    assert raw(row)["energy.average_gpu_power"].value == 600
