# SPDX-License-Identifier: Apache-2.0
import pytest

FACTS = {"engine": "vllm", "engine_version": "0.11.0", "tp": 2, "weight_dtype": "fp8"}


def block(avg, unit="ms", **more):
    return {"unit": unit, "avg": avg, **more}


def gpu(index, watts):
    metrics = {"nvidia_power_usage": block(watts, "W")}
    return {"gpu_index": index, "gpu_name": "NVIDIA H100 80GB HBM3", "metrics": metrics}


EXPORT = {
    "schema_version": "1.5",
    "aiperf_version": "0.12.0",
    "benchmark_id": "b",
    "is_complete": True,
    "was_cancelled": False,
    "start_time": "2026-01-31T12:00:00+00:00",
    "end_time": "2026-01-31T12:01:00+00:00",
    "request_latency": block(2020.0, p99=2500.0, count=100),
    "time_to_first_token": block(40.0),
    "inter_token_latency": block(20.0),
    "inter_chunk_latency": block(19.0),
    "output_token_throughput": block(1600.0, "tokens/sec"),
    "input_sequence_length": block(550.0, "tokens"),
    "output_sequence_length": block(100.0, "tokens"),
    "request_count": block(100.0, "requests"),
    "goodput": block(1.0, "requests/sec"),
    "nvidia_energy_per_output_token": block(875.0, "mJ/token"),
    "nvidia_total_gpu_energy": block(42_000.0, "J"),
    "telemetry_data": {
        "endpoints": {"localhost:9400": {"gpus": {"0": gpu(0, 690.0), "1": gpu(1, 710.0)}}}
    },
    "input_config": {
        "endpoint": {"model_names": ["Qwen/Qwen3-8B"]},
        "loadgen": {"concurrency": 32},
    },
    "run_info": {"cli_command": "aiperf profile --model other/model --concurrency 8"},
}


def test_export_by_hand(one, raw):
    row = one(EXPORT, **FACTS)
    assert (row.method, row.tool_version) == ("aiperf", "0.12.0")
    assert (row.gpu, row.num_gpus) == ("h100-sxm5-80gb", 2)
    assert (row.model, row.concurrency) == ("Qwen/Qwen3-8B", 32)
    assert (row.input_tokens, row.output_tokens, row.n_samples) == (550, 100, 100)
    assert row.ttft_s == pytest.approx(0.04)
    assert row.tpot_s == pytest.approx(0.02)  # (2020 - 40) / 99
    assert row.itl_s == pytest.approx(0.019)  # every gap between chunks, pooled
    assert row.e2e_s == pytest.approx(2.02)
    assert row.decode_tok_s == 1600
    assert row.power_w == 700  # of each of the two
    assert row.energy_per_output_token_j == pytest.approx(0.875)  # mJ, not MJ
    assert row.energy_j is None  # 42 kJ are of the whole run, not of one batch
    kept = raw(row)
    assert kept["nvidia_energy_per_output_token"].unit == "mJ/token"
    assert kept["inter_chunk_latency.avg"].value == 19
    assert "goodput" not in kept
    assert row.measured_at == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize("change", [{"is_complete": False}, {"was_cancelled": True}])
def test_an_unfinished_run_is_refused(read, change):
    found = read({**EXPORT, **change, "incomplete_reason": "timeout"}, **FACTS)
    assert not found.rows
    assert "not complete: timeout" in found.refused[0]


def test_the_command_line_says_what_the_configuration_does_not(one):
    row = one({**EXPORT, "input_config": {}}, **FACTS)
    assert (row.model, row.concurrency) == ("other/model", 8)


def test_energy_over_other_gpus_than_those_used_is_dropped(one):
    row = one(EXPORT, **{**FACTS, "tp": 1})
    assert (row.power_w, row.energy_per_output_token_j) == (None, None)
    assert row.quality == "partial"


def test_a_file_without_configuration_or_command_line_lacks_its_load(read):
    bare = {k: v for k, v in EXPORT.items() if k not in ("input_config", "run_info")}
    (why,) = read(bare, **FACTS).refused
    assert why == "missing: --model, --concurrency or --request-rate"


def test_the_configuration_of_newer_versions(one):
    # As aiperf 0.10 writes it: models and phases, the warm-up among them.
    config = {
        "models": {"items": [{"name": "Qwen/Qwen3-8B"}]},
        "phases": [
            {"name": "warmup", "exclude_from_results": True, "concurrency": 4},
            {"name": "profiling", "type": "concurrency", "requests": 96, "concurrency": 16},
        ],
    }
    row = one({**EXPORT, "input_config": config, "run_info": {}}, **FACTS)
    assert (row.model, row.concurrency) == ("Qwen/Qwen3-8B", 16)
    config["phases"][1] = {"name": "profiling", "type": "poisson", "rate": 2.5}
    row = one({**EXPORT, "input_config": config, "run_info": {}}, **FACTS)
    assert (row.concurrency, row.request_rate) == (None, 2.5)
