# SPDX-License-Identifier: Apache-2.0
"""The committed table of figures: what it holds, how it is made, how it reads."""

import math

import pytest

pd = pytest.importorskip("pandas")

from benchmarks.figures import (  # noqa: E402
    COLUMNS,
    FIGURES,
    GROUP,
    MEASURED,
    MOST_PER_GROUP,
    corrected,
    epoch_of,
    licence_of,
    load_figures,
    load_sources,
    main,
    reference_of,
    tidy,
)
from benchmarks.floors import unexplained  # noqa: E402
from benchmarks.measured import scenario_of, scenarios_of  # noqa: E402
from benchmarks.scoreboard import METRICS, compare  # noqa: E402
from specs.engine import list_engines  # noqa: E402
from specs.errors import InvalidInputError  # noqa: E402

LICENCES = {
    "Apache-2.0", "BSD-3-Clause", "CDLA-Permissive-2.0", "GPL-3.0", "MIT", "unstated",
}  # fmt: skip

OUTSIDE = {
    "source": "llm-inference-bench",
    "source_ref": "table.csv#1|other.csv#2",
    "license": "BSD-3-Clause (repository)",
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "h100-sxm5-80gb",
    "num_gpus": 1.0,
    "tp": 1.0,
    "pp": None,
    "ep": None,
    "dp": None,
    "engine": "vllm",
    "engine_version": "0.6.1",
    "weight_dtype": "bf16",
    "kv_dtype": None,
    "mode": "static",
    "batch_size": 4.0,
    "request_rate": None,
    "input_tokens": 512.0,
    "output_tokens": 128.0,
    "ttft_s": None,
    "tpot_s": None,
    "e2e_s": 1.5,
    "prefill_tok_s": None,
    "decode_tok_s": None,
    "total_tok_s": None,
    "power_w": None,
    "energy_per_output_token_j": None,
    "n_repeats": 3,
    "notes": "",
    "clean": True,
}


@pytest.fixture(scope="module")
def figures():
    return load_figures()


def outside(*changes):
    return pd.DataFrame([{**OUTSIDE, **change} for change in changes])


def test_several_thousand_rows_of_a_hundred_devices_and_every_engine(figures):
    assert 6_000 <= len(figures) <= 15_000
    assert figures["gpu"].nunique() >= 300
    assert (figures["gpu"].value_counts() >= 5).sum() >= 90
    rows = figures["engine"].value_counts()
    assert {name for name in list_engines() if name != "ideal"} == set(rows.index)
    assert rows.min() >= 50
    assert sum(path.stat().st_size for path in FIGURES.glob("*.csv")) < 3_000_000


def test_every_row_says_where_it_is_from(figures):
    assert tuple(figures.columns) == (*COLUMNS, "trust")
    assert set(figures["source"]) == set(load_sources())
    assert figures["source_ref"].notna().all()
    assert set(figures["license"]) <= LICENCES
    for path in FIGURES.glob("*.csv"):
        assert set(pd.read_csv(path, usecols=["source"])["source"]) == {path.stem}


def test_every_source_says_what_its_figures_are(figures):
    present = figures.groupby("source")[list(MEASURED)].count() > 0
    for name, source in load_sources().items():
        assert source["url"].startswith("https://")
        assert all(source[word] for word in ("title", "publisher", "measured"))
        assert source["licence"] in LICENCES
        for column, said in (("ttft_s", "ttft"), ("tpot_s", "tpot"), ("power_w", "power")):
            assert bool(source[said]) == bool(present.loc[name, column]), (name, column)


def test_only_sources_that_say_how_they_measured_are_trusted(figures):
    trusted = figures.groupby("source")["trust"].unique()
    for name, source in load_sources().items():
        assert source["method"] in ("documented", "anecdotal")
        assert bool(source.get("method_why")) == (source["method"] == "anecdotal")
        assert trusted[name].tolist() == [float(source["method"] == "documented")]
    assert 0.6 < figures["trust"].mean() < 0.95


def test_no_remarks_are_carried(figures):
    texts = figures.select_dtypes("string").columns
    assert "notes" not in figures.columns
    assert max(figures[name].str.len().max() for name in texts if name != "source_ref") <= 64
    assert not figures["source_ref"].str.contains(r"\bid \d{6,}|find_|read_file").any()


def test_groups_are_sampled(figures):
    assert figures.groupby(list(GROUP), dropna=False).size().max() <= MOST_PER_GROUP


def test_figures_are_plausible(figures):
    for name in MEASURED:
        stated = figures[name].dropna()
        assert (stated > 0).all(), name
    assert (figures["tpot_s"].dropna() < 60).all()
    static = figures["mode"] == "static"
    assert figures.loc[static, "batch_size"].notna().all()
    assert figures.loc[static, "concurrency"].isna().all()
    assert figures.loc[~static, "batch_size"].isna().all()


def test_every_row_is_a_scenario(figures):
    assert set(scenarios_of(figures)["reason"]) == {""}


@pytest.mark.slow
def test_every_row_is_priced_and_lies_above_the_floor(figures):
    result = compare(figures)
    assert set(result["reason"]) == {""}
    assert not len(unexplained(result))
    assert result[[f"measured_{name}" for name in METRICS]].notna().any(axis=1).all()


REMARKS = [
    {"notes": "lengths uniform in [0.8,1]x nominal; median latencies", "mode": "serving"},
    {"notes": "power cap 250 W"},
    {"engine": "llama.cpp", "weight_dtype": "q4_0", "notes": "tg from empty context", "tp": 2.0},
    {
        "engine": "llama.cpp", "weight_dtype": "q8_0", "num_gpus": 2.0, "tp": 2.0,
        "notes": "row split",
    },
    {
        "engine": "llama.cpp", "weight_dtype": "mxfp4", "ttft_s": 0.5, "e2e_s": None,
        "output_tokens": 0.0, "notes": "pp256 @ d256",
    },
    {"input_tokens": None, "e2e_s": None, "tpot_s": 0.02, "weight_dtype": "unset"},
    {"mode": "serving", "batch_size": None, "e2e_s": None, "decode_tok_s": 900.0},
    {"input_tokens": 100.25, "mode": "serving", "batch_size": 16.0},
    {"num_gpus": 8.0, "tp": 8.0, "dp": 8.0, "mode": "serving", "weight_dtype": "f16"},
    {"engine": "splitwise-vllm"},
]  # fmt: skip


@pytest.mark.parametrize("change", REMARKS)
def test_columns_say_what_the_remarks_said(change):
    row = {**OUTSIDE, **change}
    theirs = scenario_of(row)
    assert theirs["reason"] == ""
    ours = tidy(outside(change))
    assert "notes" not in ours.columns
    assert scenario_of(ours.iloc[0].to_dict()) == {
        name: pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        for name, value in theirs.items()
    }


def test_columns_win_over_remarks():
    row = {**OUTSIDE, "notes": "power cap 250 W; lengths uniform in [0.8,1]x nominal"}
    asked = scenario_of(
        {**row, "power_limit_w": 300.0, "length_spread_frac": 0.0, "no_burst": True}
    )
    assert (asked["power_limit_w"], asked["spread_frac"], asked["no_burst"]) == (300.0, 0.0, True)


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ("TRAINING step: fw 126 ms; not inference", "training step, not inference"),
        ("KV CACHE DISABLED (use_cache=False)", "decoding without a KV cache"),
    ],
)
def test_other_work_than_generation_is_no_row(notes, reason):
    assert scenario_of({**OUTSIDE, "notes": notes})["reason"] == reason
    assert not len(tidy(outside({"notes": notes})))


def test_rows_that_nothing_can_be_compared_with_are_left_out():
    kept = tidy(outside({}, {"e2e_s": None}, {"e2e_s": 1e-4}, {"source": "nobody"}))
    assert len(kept) == 1  # no figure; below the floor; no such source


def test_corrections_are_those_that_the_sources_state():
    rows = outside(
        {"source": "darsh", "power_w": 80.0, "energy_per_output_token_j": 2.0, "tpot_s": 0.02},
        {"source": "dstack", "tpot_s": 0.01, "e2e_s": None, "output_tokens": 100.0},
        {"source": "llm-d-benchmark", "ttft_s": 0.1},
        {"source": "rig4x3090", "source_ref": "orch/gemma-4-12B-it-FP8", "ttft_s": 0.04},
        {"source": "rocm_vllm_docs", "source_ref": "README.md 2025-01-29_7a292f9b0.md"},
    )
    fixed = corrected(rows)
    assert fixed.loc[0, "power_w"] == pytest.approx(100.0)  # 80 W / 0.8
    assert fixed.loc[0, "energy_per_output_token_j"] == pytest.approx(2.5)
    assert fixed.loc[1, "e2e_s"] == pytest.approx(1.0)  # 100 tokens at 10 ms
    assert math.isnan(fixed.loc[1, "tpot_s"])
    assert fixed.loc[2:3, "ttft_s"].isna().all()
    assert fixed.index.tolist() == [0, 1, 2, 3]


def test_rates_of_decoding_alone_are_tpot_after_the_cache_they_began_with():
    nothing = {"ttft_s": None, "tpot_s": None, "e2e_s": None, "total_tok_s": 30.0}
    rig = {"source": "rig4x3090", **nothing}
    rows = outside(
        {**rig, "source_ref": "depth/Qwen3.6-27B/llamacpp_1x_d32768", "decode_tok_s": 20.0,
         "input_tokens": 32792.0},
        {**rig, "source_ref": "qwen38gguf/m/llamacpp_Q6_K_1gpu_d16384", "tpot_s": 0.03,
         "input_tokens": 4096.0},
        {**rig, "source_ref": "exl3-ab/llamacpp/q6k/sm-layer/pp2048", "decode_tok_s": 25.0,
         "input_tokens": 2048.0},
        {**rig, "source_ref": "sweep/vllm", "decode_tok_s": 25.0},
    )  # fmt: skip
    fixed = corrected(rows)
    assert fixed["tpot_s"].tolist()[:3] == pytest.approx([0.05, 0.03, 0.04])
    assert fixed["input_tokens"].tolist()[:2] == [32792.0, 16384.0]
    assert fixed.loc[:2, ["decode_tok_s", "total_tok_s"]].isna().all().all()
    assert fixed["context_from_zero"].fillna(False).tolist() == [False, False, True, False]
    assert fixed.loc[3, "decode_tok_s"] == 25.0


def test_power_is_that_of_boards_at_work():
    rig = "avg_power_w 303.0 of the rig; power_w = per card (sum of 4 cards / 4)"
    energy = {"energy_per_output_token_j": 2.0}
    rows = outside(
        {"source": "rig4x3090", "notes": rig, "power_w": 75.75, "num_gpus": 1, **energy},
        {"source": "strix_lhl", "notes": "run 20 s", "power_w": 30.0, "ttft_s": 1.0, **energy},
        {"source": "strix_lhl", "notes": "run 6 s", "power_w": 90.0, "ttft_s": 1.0, **energy},
    )
    fixed = corrected(rows)
    # 303 W less three idle cards of 25 W, the energy in proportion; five seconds of twenty
    # are work, the rest is loading; five of six are nearly all
    assert fixed.loc[0, "power_w"] == pytest.approx(228.0)
    assert fixed.loc[0, "energy_per_output_token_j"] == pytest.approx(2.0 * 228.0 / 75.75)
    assert math.isnan(fixed.loc[1, "power_w"])
    assert math.isnan(fixed.loc[1, "energy_per_output_token_j"])
    assert (fixed.loc[2, "power_w"], fixed.loc[2, "energy_per_output_token_j"]) == (90.0, 2.0)


@pytest.mark.parametrize(
    ("change", "profile", "epoch"),
    [
        ({"notes": "measured 2026-03-25"}, "vllm", "2026-Q1"),
        ({"notes": "date Thu May  9 10:00:00 2024"}, "llama.cpp", "2024-Q2"),
        ({"notes": "build 8e672ef (Nov 2023)"}, "llama.cpp", "2023-Q4"),
        ({"source_ref": "run-20260216.json#3"}, "llama.cpp", "2026-Q1"),
        ({"source_ref": "a table (accessed 2026-08-12)", "source": "geerling"}, "ideal", ""),
        ({}, "vllm", "2024-Q3"),
        ({"engine_version": "registry.example/a/b:v0.5.12-cu130"}, "sglang", "2026-Q2"),
        ({"engine_version": None}, "vllm", "2024"),
    ],
)
def test_epochs(change, profile, epoch):
    assert epoch_of({**OUTSIDE, **change}, profile) == epoch


def test_references_and_licences_are_short():
    assert reference_of("a.csv#1|b.csv#2") == "a.csv#1"
    assert reference_of("disc. 4167 via a curated summary (some id 71205878115)") == "disc. 4167"
    assert reference_of("x.json#1 https://github.com/a/b/actions/runs/12/attempts/3") == (
        "x.json#1 run 12/3"
    )
    assert licence_of("MIT repo; community posts unlicensed (facts)") == "unstated"
    assert licence_of("Apache-2.0 (data); carrier repo GPL-3.0") == "Apache-2.0"
    assert licence_of("unstated (no LICENSE file)") == "unstated"


def test_the_builder_samples_the_same_rows_whatever_their_order(tmp_path):
    rows = outside(
        *(
            {
                "batch_size": float(batch),
                "input_tokens": float(prompt),
                "source_ref": f"{batch}-{prompt}",
            }
            for batch in (1, 2, 4, 8, 16)
            for prompt in range(500, 510)
        )
    )
    found = []
    for name, table in (("a", rows), ("b", rows.iloc[::-1])):
        path = tmp_path / f"{name}.parquet"
        table.to_parquet(path)
        assert main(["--measurements", str(path), "--out", str(tmp_path / name)]) == 0
        found.append((tmp_path / name / "llm-inference-bench.csv").read_bytes())
    assert found[0] == found[1]
    kept = load_figures(tmp_path / "a")
    assert len(kept) == MOST_PER_GROUP
    # 16 of 50 rows at five batch sizes: three or four of each.
    assert set(kept["batch_size"].value_counts()) == {3, 4}


def test_no_tables_and_no_file_are_one_line(tmp_path, capsys):
    with pytest.raises(InvalidInputError, match="no tables"):
        load_figures(tmp_path)
    assert main(["--measurements", str(tmp_path / "x.parquet"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
