# SPDX-License-Identifier: Apache-2.0
"""The accuracy card: nothing leaks between folds, figures add up, the page is not stale."""

import json
import re

import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

import numpy as np  # noqa: E402

from benchmarks.accuracy import (  # noqa: E402
    GROUPS,
    METHODS,
    TARGETS,
    Answers,
    Group,
    figures_of,
    study,
)
from benchmarks.baselines import (  # noqa: E402
    factor_per_engine,
    nearest_device,
    one_factor,
    regression,
)
from benchmarks.card import DATA, README, page, readme_section  # noqa: E402
from benchmarks.figures import load_figures  # noqa: E402
from benchmarks.floors import predicted_below_floor  # noqa: E402
from benchmarks.worst import worst_groups  # noqa: E402
from calibration.split import SPLITS, folds  # noqa: E402
from specs.catalogue import get_accelerator  # noqa: E402

SCOREBOARD = DATA.parent / "SCOREBOARD.md"

HAND = pd.DataFrame(
    {
        "engine": ["vllm", "vllm", "vllm", "tgi"],
        "gpu": ["h100-sxm5-80gb", "t4", "t4", "l4"],
        "reason": "",
        "measured_tpot_s": [0.02, 0.03, 0.03, 0.05],
        "predicted_tpot_s": [0.01, 0.01, 0.01, 0.01],
    }
)
"""Measured over predicted: 2 and 3, 3 under vLLM, 5 under TGI."""


def asked(engine, gpu):
    return pd.DataFrame({"engine": [engine], "gpu": [gpu], "predicted_tpot_s": [0.1]})


@pytest.mark.parametrize(
    ("baseline", "engine", "gpu", "expected_s"),
    [
        (one_factor, "vllm", "a100-sxm4-80gb", 0.3),  # median of 2, 3, 3, 5
        (factor_per_engine, "tgi", "a100-sxm4-80gb", 0.5),
        (factor_per_engine, "sglang", "a100-sxm4-80gb", 0.3),  # no rows: overall
        (nearest_device, "vllm", "a100-sxm4-80gb", 0.2),  # an H100 is nearer than a T4
        (nearest_device, "vllm", "l4", 0.3),  # ... and here the T4 is; TGI's L4 is another engine
    ],
)
def test_baselines_by_hand(baseline, engine, gpu, expected_s):
    found = baseline(HAND, asked(engine, gpu), "tpot_s")
    # Medians of an even number of logs are geometric means: 3 either way here.
    assert found.tolist() == pytest.approx([expected_s])


@pytest.mark.parametrize("split", SPLITS)
def test_groups_never_leak_between_folds(split):
    rows = load_figures().sample(600, random_state=0).reset_index(drop=True)
    rows = rows.assign(is_gpu=rows["gpu"], is_model=rows["model"], is_engine=rows["engine"],
                       is_weights=rows["weight_dtype"])  # fmt: skip
    key = rows.groupby(list(SPLITS[split]), dropna=False).ngroup()
    left_out = np.zeros(len(rows))
    for fitted, left in folds(rows, split, count=4):
        assert not set(key[fitted]) & set(key[left])
        assert (fitted ^ left).all()
        left_out += left
    assert (left_out == 1).all()


def _small_table():
    table = load_figures()
    chosen = table[table["gpu"].isin(("h100-sxm5-80gb", "mi300x", "b200"))]
    chosen = chosen[chosen["engine"].eq("vllm") & chosen["trust"].eq(1.0)]
    return chosen.groupby("gpu").head(90).reset_index(drop=True)


@pytest.mark.slow
def test_what_a_device_measured_never_moves_its_own_prediction():
    table = _small_table()
    hidden = table["gpu"].eq("mi300x")
    changed = table.copy()
    measured = ["ttft_s", "tpot_s", "e2e_s"]
    changed.loc[hidden, measured] *= 3.0
    one, other = (study(each, count=3).answers["unseen device"] for each in (table, changed))
    for name in METHODS:
        mine = other.by_method[name][measured] / one.by_method[name][measured]
        moved = np.abs(mine - 1.0).max(axis=1)
        assert moved[hidden].max() < 1e-12, name
        if name not in ("plain", "kernels"):
            assert moved[~hidden].max() > 1e-3, name  # others do learn from it


def test_figures_of_a_group_by_hand():
    # Two devices of five rows. Corrected errors: 0.1 five times; 0.1, 0.2, 0.3, 0.4, 0.5.
    rows = pd.DataFrame(
        {
            "is_gpu": ["a"] * 5 + ["b"] * 5 + ["lone"],
            "is_model": "m",
            "measured_tpot_s": 1.0,
        }
    )
    close = pd.DataFrame({"tpot_s": [1.1] * 5 + [1.1, 0.8, 1.3, 0.6, 1.5] + [9.0]})
    answers = Answers("unseen device", rows, {"plain": close * 0 + 2.0, "corrected": close})
    found = figures_of(answers, Group("all", ("tpot_s",), lambda r: r["is_gpu"].ne("")))
    assert (found.rows, found.devices) == (10, 2)  # the device of one row is not reported
    assert found.median["plain"] == pytest.approx(100.0)
    assert found.median["corrected"] == pytest.approx(10.0)  # six of ten are 0.1
    assert found.mean["corrected"] == pytest.approx(20.0)  # (5 * 0.1 + 1.5) / 10
    assert found.by_device["corrected"] == pytest.approx(20.0)  # of 0.1 and 0.3


def test_a_prediction_below_the_floor_is_counted():
    rows = pd.DataFrame({f"floor_{name}": [1.0, 1.0] for name in ("ttft_s", "tpot_s", "e2e_s")})
    predicted = pd.DataFrame({"ttft_s": [1.0, 2.0], "tpot_s": [0.9, 1.1], "e2e_s": [1.0, 1.0]})
    assert predicted_below_floor(rows, predicted) == 1


def test_worst_groups_count_too_fast_and_too_slow_alike():
    names = ["slow"] * 10 + ["fast"] * 10 + ["good"] * 10
    rows = pd.DataFrame({"source": "s", "is_gpu": names, "is_model": "m", "is_engine": "vllm"})
    for metric in ("ttft_s", "tpot_s", "e2e_s", "throughput"):
        rows[f"measured_{metric}"] = 1.0 if metric == "tpot_s" else np.nan
    value = pd.Series([4.0] * 10 + [0.2] * 10 + [1.1] * 10)
    predicted = pd.DataFrame(dict.fromkeys(("ttft_s", "tpot_s", "e2e_s", "throughput"), value))
    found = worst_groups(rows, predicted, predicted, count=2)
    assert [line["is_gpu"] for line in found] == ["fast", "slow"]  # factors of 5 and 4
    assert [line["bias"] for line in found] == pytest.approx([0.2, 4.0])
    assert {line["reason"] for line in found} == {"not found"}


def test_targets_name_groups_and_the_page_says_what_was_asked():
    titles = {group.title for group in GROUPS}
    assert len(titles) == len(GROUPS)
    assert {target.group for target in TARGETS} <= titles
    text = SCOREBOARD.read_text(encoding="utf-8")
    for target in TARGETS:
        assert re.search(rf"^\| {re.escape(target.group)} \| {target.split} \|", text, re.M)
    assert "\n0 predicted times lie below the hard floor, and 0 of" in text
    # Reasons are of groups that exist.
    table = load_figures()
    devices = {name: get_accelerator(name).name for name in table["gpu"].unique()}
    known = set(zip(table["source"], table["gpu"].map(devices), table["engine"], strict=True))
    for name in json.loads((DATA / "worst.json").read_text(encoding="utf-8")):
        assert tuple(name.split(" | ")) in known


def test_a_regression_without_physics_learns_a_plain_rule():
    # Time falls with the batch in a straight line of logs; specifications say nothing.
    table = load_figures().head(400).reset_index(drop=True)
    table["measured_tpot_s"] = 0.01 * (1.0 + table["input_tokens"].fillna(0.0))
    found = regression(table, table, "tpot_s")
    assert np.median(np.abs(found / table["measured_tpot_s"] - 1.0)) < 0.2


NUMBER = re.compile(r"(?<![\w.-])[\d,]*\d(?:\.\d+)?(?![\w-])")


def _apart(text):
    """Words of a page, and its numbers."""
    numbers = [float(each.replace(",", "")) for each in NUMBER.findall(text)]
    return NUMBER.sub("#", text), numbers


def test_pages_are_compared_by_their_numbers():
    words, numbers = _apart("| H100 | 1,234 | 5.6 | gpt-2 |")
    assert words == "| H100 | # | # | gpt-2 |"
    assert numbers == [1234.0, 5.6]


@pytest.mark.slow
def test_the_committed_page_is_what_the_table_gives():
    found = study(load_figures())
    section = README.read_text(encoding="utf-8").partition("<!-- scoreboard -->\n")[2]
    for committed, now in (
        (SCOREBOARD.read_text(encoding="utf-8"), page(found)),
        (section.partition("<!-- /scoreboard -->")[0], readme_section(found) + "\n"),
    ):
        # Groups that are equally far off may change places; all else is told in order.
        (old_words, old), (words, new) = _apart(committed), _apart(now)
        assert old_words == words
        # Trees split where sums of floats fall: other processors move figures a little.
        assert new == pytest.approx(old, rel=0.03, abs=0.6)
