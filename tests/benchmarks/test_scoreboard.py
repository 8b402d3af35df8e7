# SPDX-License-Identifier: Apache-2.0
"""The scoreboard: every row is priced or counted with a reason."""

import json
import math
import os
from pathlib import Path

import pytest

pd = pytest.importorskip("pandas")

from benchmarks.floors import explanation, unexplained  # noqa: E402
from benchmarks.measured import engine_profile, scenario_of, weight_format  # noqa: E402
from benchmarks.scoreboard import (  # noqa: E402
    below_floor,
    compare,
    coverage,
    errors_of,
    load,
    main,
    summary,
)

BASE = {
    "source": "hand",
    "source_ref": "1",
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "h100-sxm5-80gb",
    "num_gpus": 1,
    "tp": 1,
    "pp": None,
    "ep": None,
    "dp": None,
    "engine": "vllm",
    "weight_dtype": "bf16",
    "kv_dtype": None,
    "mode": "static",
    "batch_size": 1.0,
    "request_rate": None,
    "input_tokens": 512.0,
    "output_tokens": 128.0,
    "ttft_s": 0.02,
    "tpot_s": 0.007,
    "e2e_s": None,
    "prefill_tok_s": None,
    "decode_tok_s": None,
    "total_tok_s": None,
    "power_w": None,
    "energy_per_output_token_j": None,
    "notes": "",
}


def table(*changes):
    return pd.DataFrame([{**BASE, **change} for change in changes])


def test_a_row_is_compared_with_its_own_scenario():
    result = compare(table({}))
    assert result.loc[0, "reason"] == ""
    # 16.06 GB of weights over 3.35 TB/s is 4.8 ms; the row says 7 ms.
    assert 0.0045 < result.loc[0, "floor_tpot_s"] < 0.0049
    assert math.isclose(
        errors_of(result, "tpot_s")[0], math.log(result.loc[0, "predicted_tpot_s"] / 0.007)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": "disagg"}, "disaggregated"),
        ({"engine": "sambaflow"}, "engine without a profile"),
        ({"gpu": None}, "gpu not stated"),
        ({"model": "no-such-org/no-such-model"}, "model unknown"),
        ({"gpu": "gpu-of-tomorrow"}, "device unknown"),
        ({"weight_dtype": "q4_k_m-reap50"}, "unknown"),
        ({"batch_size": None}, "batch or concurrency not stated"),
        ({"input_tokens": None, "tpot_s": None}, "prompt length not stated"),
        ({"tp": 3, "num_gpus": 3}, "parallelism"),
    ],
)
def test_what_cannot_be_expressed_says_why(change, reason):
    result = compare(table(change))
    assert reason in result.loc[0, "reason"]
    assert coverage(result)["expressed"] == 0
    assert sum(coverage(result)["reasons"].values()) == 1


def test_rows_keep_their_order_and_number():
    result = compare(table({}, {"mode": "disagg"}, {"batch_size": 8.0}))
    assert list(result["reason"] == "") == [True, False, True]
    assert result["predicted_ttft_s"].isna().tolist() == [False, True, False]


def test_decode_from_an_empty_cache_is_priced_without_the_prompt():
    long = {"input_tokens": 100_000.0, "engine": "llama.cpp", "weight_dtype": "q4_0"}
    with_prompt, without = compare(
        table(long, {**long, "notes": "llama-bench pp100000 and tg128 (tg from empty context)"})
    )["predicted_tpot_s"]
    assert without < 0.8 * with_prompt


def test_throughput_is_compared_once_and_with_the_right_tokens():
    # (512 + 128) tokens / 0.911 s: total tokens, not output tokens.
    result = compare(table({"total_tok_s": 700.0, "decode_tok_s": 1.0, "tpot_s": None}))
    predicted = result.loc[0, "predicted_throughput"]
    assert predicted == pytest.approx(640 / result.loc[0, "predicted_e2e_s"], rel=1e-6)


def test_a_measurement_below_the_floor_is_found_and_named():
    result = compare(table({"tpot_s": 0.001}, {}))
    found = below_floor(result)
    assert found["metric"].tolist() == ["tpot_s"]
    assert found["floor_over_measured"].iloc[0] > 4
    assert len(unexplained(result)) == 1
    assert explanation(found.iloc[0]) == ""


def test_summary_counts_what_it_could_not_express():
    rows = summary(compare(table({}, {"mode": "disagg"})), ["mode"])
    overall = next(r for r in rows if r["group"] == "all" and r["metric"] == "tpot_s")
    assert (overall["n"], overall["n_not_expressed"]) == (1, 1)


def test_command_line(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    table({}, {"batch_size": 4.0}).to_csv(path, index=False)
    assert main(["--measurements", str(path), "--by", "gpu,engine", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["coverage"]["expressed"] == 2
    assert {row["group"] for row in said["groups"]} == {"all", "h100-sxm5-80gb / vllm"}


@pytest.mark.parametrize("content", ["", "not,a,table\n1,2,3\n", "\x00\x01"])
def test_a_file_that_is_no_table_is_one_line_and_exit_2(tmp_path, capsys, content):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    assert main(["--measurements", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--measurements", str(tmp_path / "absent.parquet")]) == 2


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("llama.cpp (CUDA)", "llama.cpp"),
        ("ollama", "ollama"),
        ("llama.cpp (llamafile)", "llamafile"),
        ("dynamo-trtllm", "trtllm"),
        ("mori-sglang", "sglang"),
        ("tgis (IBM fork of TGI)", "tgi"),
        ("optimum-habana-deepspeed", "optimum-habana"),
        ("openvino", "openvino"),
        ("openvino-model-server", ""),
        ("mlx", ""),
    ],
)
def test_engines_stand_for_profiles_only_where_they_are_alike(name, profile):
    assert engine_profile(name) == profile


def test_formats_as_tables_write_them():
    assert weight_format("fp4", True) == "mxfp4"
    assert weight_format("fp4", False) == "nvfp4"
    assert weight_format("f16", False) == "fp16"
    assert weight_format("no-such-format", False) is None


def test_attention_data_parallel_inside_the_group_keeps_the_number_of_gpus():
    asked = scenario_of({**BASE, "model": "gpt2", "num_gpus": 8, "tp": 8, "dp": 8})
    assert (asked["tp"], asked["dp"], asked["num_gpus"]) == (1.0, 8.0, 8.0)


@pytest.mark.slow
def test_the_whole_table_is_covered_and_no_floor_is_unexplained():
    shared = os.environ.get("ROOFLINE_SHARED_DATA", "")
    path = Path(shared) / "e2e.parquet"
    if not shared or not path.exists():
        pytest.skip("the table of measurements is not at hand")
    result = compare(load(path))
    assert coverage(result)["expressed_frac"] >= 0.85
    assert not len(unexplained(result))
