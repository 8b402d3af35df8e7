# SPDX-License-Identifier: Apache-2.0
"""On a file that optimum-benchmark 0.6.0 wrote here: two-layer GPT-2, batch 2, 64 in, 17 out."""

import json

import pytest

CPU = "EPYC 9654"


@pytest.fixture
def real(data):
    return json.loads((data / "optimum_benchmark.json").read_text())


def test_real_file_by_hand(read, data, raw):
    (row,) = read(data / "optimum_benchmark.json", gpu=CPU).rows
    assert (row.tool, row.tool_version) == ("optimum-benchmark", "0.6.0")
    assert (row.engine, row.engine_version) == ("transformers", "4.56.2")
    assert (row.capture, row.mode, row.weight_dtype) == ("eager", "static", "fp32")
    assert (row.batch_size, row.input_tokens, row.output_tokens) == (2, 64, 17)
    assert row.ttft_s == pytest.approx(0.018751314500605076)
    assert row.e2e_s == pytest.approx(0.19552291250010967)
    # decode = 0.1767715979995046 s for 16 tokens after the first, per sequence
    assert row.tpot_s == pytest.approx(0.1767715979995046 / 16)
    assert row.prefill_tok_s == pytest.approx(2 * 64 / 0.018751314500605076)
    assert row.n_samples == 4
    assert len(row.samples_s) == 4
    assert (row.energy_j, row.power_w) == (None, None)
    # The file calls 2 * 16 decode tokens per generate() "samples/s"; no rate comes from it.
    assert not [name for name in raw(row) if "throughput" in name]
    assert row.decode_tok_s is None


def test_a_report_alone_takes_its_settings_from_beside_it(read, write, real):
    write(real["config"], "benchmark_config.json")
    path = write(real["report"], "benchmark_report.json")
    (row,) = read(path, gpu=CPU).rows
    assert (row.model, row.batch_size) == ("tiny-random-gpt2", 2)


def test_a_report_alone_lacks_its_settings(read, real):
    (why,) = read(real["report"]).refused
    for option in ("--gpu", "--model", "--engine", "--tp", "--input-len", "--batch"):
        assert option in why


def test_energy_is_the_gpus_alone(one, real):
    real["config"]["environment"].update(gpu=["NVIDIA A100-SXM4-80GB"] * 8, gpu_count=8)
    real["config"]["backend"].update(device="cuda", device_ids="0")
    energy = {"unit": "kWh", "cpu": 9e-6, "ram": 9e-6, "gpu": 1e-5, "total": 2.8e-5}
    real["report"]["generate"]["energy"] = energy
    row = one(real)
    assert (row.gpu, row.num_gpus, row.tp) == ("a100-sxm4-80gb", 1, 1)
    assert row.energy_j == pytest.approx(36.0)  # 1e-5 kWh
    assert row.energy_per_output_token_j == pytest.approx(36.0 / (2 * 17))
    assert row.power_w == pytest.approx(36.0 / 0.19552291250010967)


def test_several_devices_need_their_parallelism(read, real):
    real["config"]["environment"].update(gpu=["NVIDIA A100-SXM4-80GB"] * 2, gpu_count=2)
    real["config"]["backend"].update(device="cuda", device_ids="0,1")
    assert read(real).refused == ("missing: --tp (the file says 2 devices)",)


def test_a_quantised_run_needs_its_format(read, real):
    real["config"]["backend"]["quantization_scheme"] = "bnb"
    (why,) = read(real, gpu=CPU).refused
    assert "--weight-dtype" in why
    assert "bnb" in why


def test_a_report_without_prefill_is_refused(read, real):
    real["report"]["prefill"]["latency"] = None
    assert "no prefill latency" in read(real, gpu=CPU).refused[0]
