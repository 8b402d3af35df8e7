# SPDX-License-Identifier: Apache-2.0
from importlib.util import find_spec

import numpy as np
import pytest

from calibration import explain
from calibration.staged import FEATURES
from roofline.residual import NUMBERS

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.slow

LABELS = {"family": "ada", "vendor": "nvidia", "kind": "gpu", "memory": "other", "mode": "static",
          "experts": "dense", "engine": "vllm", "era": "now", "weights": "16 bit",
          "model": "llama-32x4096-8.03B"}  # fmt: skip


@pytest.fixture(scope="module")
def told():
    """Machines whose log ratio is a step at zero of one number and nothing else."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(800, len(NUMBERS)))
    rows = pd.DataFrame(numbers, columns=[f"x_{name}" for name in NUMBERS])
    rows["is_gpu"] = [f"gpu{row % 20}" for row in range(800)]
    for name, word in LABELS.items():
        rows[f"is_{name}"] = word
    rows["source"] = "us"
    y = np.where(rows["x_running"] > 0, 0.5, -0.1) + random.normal(0, 0.02, 800)
    return explain.Explained(rows, y)


def test_the_number_that_decides_is_the_most_important(told):
    found = told.importance()
    assert {row["feature"] for row in found} == set(FEATURES)
    assert found[0]["feature"] == "running"
    # Shuffled, half of the rows are off by a step of 0.6, as far as the trees follow it.
    assert 0.2 < found[0]["rise"] < 0.35
    assert abs(found[1]["rise"]) < 0.01


def test_its_curve_is_the_step(told):
    curve = told.curve("running")
    value, answer = np.array(curve["value"]), np.array(curve["log_ratio"])
    assert answer[value < -0.2] == pytest.approx(-0.1, abs=0.06)
    assert answer[value > 0.2] == pytest.approx(0.5, abs=0.06)
    flat = told.curve("ridge")["log_ratio"]
    assert np.ptp(flat) < 0.03


def test_errors_by_group_are_of_rows_left_out(told):
    found = told.errors()
    assert [row["group"] for row in found["size"]] == ["4B to 16B"]
    (engine,) = found["engine"]
    assert engine["rows"] == 800
    # Nothing known, half of the rows are off by 10% and half by 39%.
    assert engine["after"] < 0.08 < 0.1 < engine["before"]
    assert len(found["device"]) == 20


def test_shap_agrees(told):
    pytest.importorskip("shap")
    assert told.shap()[0]["feature"] == "running"


def test_what_is_not_installed_is_said(told, monkeypatch, tmp_path):
    rows = told.rows.assign(trust=1.0)
    monkeypatch.setattr(explain, "priced_rows", lambda table: rows)
    monkeypatch.setattr(explain, "target", lambda part, name: pd.Series(told.y))
    monkeypatch.setattr(explain, "find_spec", lambda name: None)
    found = explain.explain(rows, tmp_path / "out")
    assert found["notes"] == [explain.NO_SHAP, explain.NO_FIGURES]
    assert found["files"] == []
    assert found["shap"] == {}
    assert found["importance"]["tpot"][0]["feature"] == "running"


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="draws with matplotlib")
def test_figures_are_drawn(tmp_path):
    rows = [{"feature": "running", "rise": 0.2}]
    curves = {"running": {"value": [0.0, 1.0], "log_ratio": [0.0, 0.1]}}
    found = {"importance": {"tpot": rows}, "curves": {"tpot": curves}, "shap": {}}
    files = explain.draw(found, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "tpot_effects.png",
        "tpot_importance.png",
    ]
    assert len(files) == 2
