# SPDX-License-Identifier: Apache-2.0
import pytest

FACTS = {
    "gpu": "L40S",
    "engine": "vllm",
    "engine_version": "0.9.0",
    "tp": 1,
    "weight_dtype": "fp8",
}


def block(avg, unit="ms", **more):
    return {"unit": unit, "avg": avg, **more}


EXPORT = {
    "request_throughput": block(4.0, "requests/sec"),
    "request_latency": block(1270.0, p99=1500.0, std=20.0),
    "time_to_first_token": block(50.0, p50=48.0),
    "time_to_second_token": block(10.5),
    "inter_token_latency": block(12.2),
    "output_token_throughput": block(404.0, "tokens/sec"),
    "output_token_throughput_per_user": block(82.0, "tokens/sec/user"),
    "output_sequence_length": block(101.0, "tokens"),
    "input_sequence_length": block(200.0, "tokens"),
    "request_count": block(40.0, "count"),
    "telemetry_stats": {
        "gpu_power_usage": {"unit": "W", "gpu0": {"avg": 250.0}},
        "energy_consumption": {"unit": "MJ", "gpu0": {"avg": 67.33}},
    },
    "input_config": {"model": ["gpt2"], "concurrency": 5, "goodput": {"ttft": 100}},
}


def test_units_count_and_itl_is_tpot_by_its_definition(one, raw):
    row = one(EXPORT, **FACTS)
    assert row.method == "genai-perf"
    assert row.model == "openai-community/gpt2"
    assert (row.concurrency, row.n_samples) == (5, 40)
    assert row.ttft_s == pytest.approx(0.050)
    # (1270 - 50) / (101 - 1) = 12.2: a mean over requests, TTFT left out
    assert row.tpot_s == pytest.approx(0.0122)
    assert row.itl_s is None
    assert row.e2e_s == pytest.approx(1.27)
    assert row.decode_tok_s == 404
    kept = raw(row)
    assert kept["inter_token_latency.avg"].value == 12.2
    assert kept["request_latency.p99"].statistic == "p99 over requests"


def test_megajoules_since_boot_are_no_energy_of_this_run(one, raw):
    row = one(EXPORT, **FACTS)
    assert row.energy_j is None
    assert row.energy_per_output_token_j is None
    figure = raw(row)["energy_consumption.gpu0"]
    assert (figure.unit, figure.value) == ("MJ", 67.33)


def test_nanoseconds_are_read_as_such(one):
    row = one({**EXPORT, "time_to_first_token": block(50e6, "ns")}, **FACTS)
    assert row.ttft_s == pytest.approx(0.050)


def test_an_unknown_unit_leaves_the_cell_empty(one):
    row = one({**EXPORT, "time_to_first_token": block(50, "jiffies")}, **FACTS)
    assert row.ttft_s is None
    assert "jiffies" in row.reason
    assert row.quality == "partial"


def test_power_of_idle_neighbours_is_dropped(one):
    assert one(EXPORT, **FACTS).power_w == 250
    power = {"unit": "W", "gpu0": {"avg": 250.0}, "gpu1": {"avg": 42.0}}
    stats = {"gpu_power_usage": power}
    row = one({**EXPORT, "telemetry_stats": stats}, **FACTS)
    assert row.power_w is None
    assert "telemetry of 2 GPUs, 1 took part" in row.reason
    both = one({**EXPORT, "telemetry_stats": stats}, **{**FACTS, "tp": 2})
    assert both.power_w == 146


def test_what_is_missing(read):
    found = read({**EXPORT, "input_config": {}})
    for option in ("--gpu", "--model", "--engine", "--tp", "--concurrency or --request-rate"):
        assert option in found.refused[0]
