# SPDX-License-Identifier: Apache-2.0
"""Settings that launch scripts state: which rows they reach, and what that explains."""

import pytest

pd = pytest.importorskip("pandas")

from benchmarks.figures import load_figures  # noqa: E402
from benchmarks.recipes import SETTINGS, load_recipes, rule_of, with_recipes  # noqa: E402

ROW = {
    "source": "inferencex", "mode": "serving", "engine": "trtllm", "gpu": "b200-sxm-180gb",
    "model": "meta-llama/Llama-3.3-70B-Instruct", "weight_dtype": "nvfp4", "tp": 2,
    "input_tokens": 921.6, "output_tokens": 921.6, "concurrency": 8, "kv_dtype": "",
    "length_spread_frac": 0.222222,
}  # fmt: skip


def test_the_first_rule_that_fits_is_taken():
    assert rule_of(ROW)["held_steps"] == 20.0
    assert rule_of({**ROW, "tp": 8}).get("held_steps") is None
    assert rule_of({**ROW, "output_tokens": 7372.8}).get("held_steps") is None
    sglang = {**ROW, "engine": "sglang", "model": "deepseek-ai/DeepSeek-R1-0528"}
    assert rule_of({**sglang, "concurrency": 15})["held_steps"] == 5.0
    assert rule_of({**sglang, "concurrency": 16})["held_steps"] == 15.0


@pytest.mark.parametrize(
    "change",
    [{"source": "dstack"}, {"mode": "static"}, {"length_spread_frac": 0.0}, {"engine": "tgi"}],
)
def test_rows_of_other_harnesses_are_left_alone(change):
    assert rule_of({**ROW, **change}) is None


def test_what_a_row_states_is_kept():
    table = pd.DataFrame([{**ROW, "kv_dtype": "bf16"}, ROW])
    assert with_recipes(table)["kv_dtype"].tolist() == ["bf16", "fp8"]


def test_every_rule_says_where_it_is_from_and_reaches_rows():
    figures = load_figures()
    rules = load_recipes()["rule"]
    assert all(rule["script"].endswith(".sh") for rule in rules)
    assert all(set(rule) & set(SETTINGS) for rule in rules)
    rows = figures[figures["source"].isin(load_recipes()["sources"])]
    found = [rule_of(row) for row in rows.to_dict("records")]
    unused = [rule["script"] for rule in rules if not any(rule is each for each in found)]
    assert unused == []


def test_the_committed_table_has_what_the_rules_say():
    figures = load_figures()
    again = with_recipes(figures)
    for name in SETTINGS:
        mine = figures[name].astype(object).where(figures[name].notna(), None)
        theirs = again[name].where(again[name].notna(), None)
        assert mine.tolist() == theirs.tolist(), name
