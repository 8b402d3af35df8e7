# SPDX-License-Identifier: Apache-2.0

SINGLE = {
    "hw": "h200-trt",
    "conc": 64,
    "image": "nvcr.io/nvidia/tensorrt-llm/release:1.1.0rc2",
    "model": "openai/gpt-oss-120b",
    "framework": "trt",
    "precision": "fp4",
    "spec_decoding": "none",
    "disagg": False,
    "isl": 1024,
    "osl": 1024,
    "is_multinode": False,
    "tp": 4,
    "ep": 1,
    "dp_attention": "false",
    "tput_per_gpu": 1000.0,
    "output_tput_per_gpu": 500.0,
    "input_tput_per_gpu": 500.0,
    "mean_ttft": 0.25,
    "p99_ttft": 0.75,
    "mean_tpot": 0.0125,
    "mean_tpot_intvty": 80.0,
    "mean_intvty": 80.0,
    "mean_itl": 0.012,
    "mean_e2el": 13.0,
}


def test_seconds_without_a_suffix(one, raw):
    row = one(SINGLE)
    assert (row.method, row.engine, row.engine_version) == ("inferencex", "trtllm", "1.1.0rc2")
    assert (row.gpu, row.num_gpus, row.tp, row.ep) == ("h200-sxm-141gb", 4, 4, 1)
    assert (row.weight_dtype, row.mode, row.concurrency) == ("fp4", "serving", 64)
    assert (row.input_tokens, row.output_tokens) == (1024, 1024)
    assert (row.ttft_s, row.tpot_s, row.itl_s, row.e2e_s) == (0.25, 0.0125, 0.012, 13.0)
    assert row.total_tok_s == 4000  # 1000 on each of 4
    assert row.decode_tok_s == 2000
    assert row.power_w is None
    assert raw(row)["p99_ttft"].unit == "s"
    assert not [name for name in raw(row) if "intvty" in name]


def test_milliseconds_in_a_format_of_seconds_are_refused(read):
    found = read({**SINGLE, "mean_tpot": 125.0})
    assert not found.rows
    assert "holds seconds" in found.refused[0]


def test_several_nodes_count_decode_gpus_apart(read):
    more = {
        "hw": "gb200-nv",
        "framework": "dynamo-trt",
        "disagg": True,
        "is_multinode": True,
        "prefill_tp": 4,
        "decode_tp": 8,
        "decode_ep": 8,
        "num_prefill_gpu": 4,
        "num_decode_gpu": 8,
    }
    single = {k: v for k, v in SINGLE.items() if k not in ("tp", "ep")}
    (row,) = read([{**single, **more}]).rows
    assert (row.gpu, row.mode, row.engine) == ("gb200", "disagg", "trtllm")
    assert (row.num_gpus, row.tp, row.ep) == (12, 8, 8)
    assert row.total_tok_s == 12_000  # 1000 * (4 + 8)
    assert row.decode_tok_s == 4000  # 500 * 8


def test_power_counts_only_where_it_is_valid_and_of_schema_two(one):
    power = {"avg_power_w": 600.0, "joules_per_output_token": 1.2, "power_valid": True}
    row = one({**SINGLE, **power, "power_metric_schema_version": 2})
    assert (row.power_w, row.energy_per_output_token_j) == (600, 1.2)
    row = one({**SINGLE, **power})
    assert (row.power_w, row.energy_per_output_token_j) == (None, None)
    row = one({**SINGLE, **power, "power_valid": False, "power_metric_schema_version": 2})
    assert row.power_w is None


def test_speculation_is_noted(one):
    assert "speculative" in one({**SINGLE, "spec_decoding": "mtp"}).notes
    assert one(SINGLE).notes == ""


def test_an_unknown_runner_needs_its_gpu(read):
    found = read({**SINGLE, "hw": "quux9000-nb"})
    assert found.refused == ("missing: --gpu (the file says 'quux9000')",)
