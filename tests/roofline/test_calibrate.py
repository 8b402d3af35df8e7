# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from roofline.cli import main as face

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

WORDS = ["meta-llama/Llama-3.1-8B", "--gpu", "RTX 4090", "--batch", "2", "--input-len", "256"]


def answer(capsys, *words):
    assert face.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Three points of one machine that needs 40 ms for a token."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ROOFLINE_CORRECTION", raising=False)
    path = tmp_path / "mine.csv"
    pd.DataFrame(
        {
            "model": "meta-llama/Llama-3.1-8B",
            "gpu": "rtx-4090",
            "engine": "vllm",
            "mode": "static",
            "batch_size": [1, 2, 4],
            "input_tokens": 256,
            "output_tokens": 128,
            "tpot_s": 0.040,
        }
    ).to_csv(path, index=False)
    return path


def test_tune_is_used_by_the_next_prediction(mine, capsys):
    before = answer(capsys, "predict", *WORDS)
    told = answer(capsys, "calibrate", "tune", "--measurements", str(mine))
    assert told["own_rows"] == 3
    assert set(told["moved"]) == {"tpot"}
    after = answer(capsys, "predict", *WORDS)
    assert before["tpot_s"] < after["tpot_s"] < 0.040
    assert "3 rows of your own" in after["basis"]["correction"]
    again = answer(capsys, "calibrate", "tune", "--measurements", str(mine))
    assert again == told


def test_tune_elsewhere_changes_no_default(mine, capsys, tmp_path):
    out = tmp_path / "other.json"
    before = answer(capsys, "predict", *WORDS)
    answer(capsys, "calibrate", "tune", "--measurements", str(mine), "--out", str(out))
    assert answer(capsys, "predict", *WORDS) == before
    asked = answer(capsys, "predict", *WORDS, "--correction", str(out))
    assert asked["tpot_s"] > before["tpot_s"]
    assert "Rows of your own" in (tmp_path / "other.card.md").read_text(encoding="utf-8")


def test_tune_says_what_is_doubtful(mine, capsys):
    rows = pd.read_csv(mine).head(1)
    rows.assign(tpot_s=0.2).to_csv(mine, index=False)
    assert face.main(["calibrate", "tune", "--measurements", str(mine)]) == 0
    found = capsys.readouterr()
    assert "only 1" in found.err
    assert "times higher than expected" in found.err
    assert "1 rows of your own in" in found.out


def test_eval_counts_and_compares(mine, capsys):
    found = answer(capsys, "calibrate", "eval", "--measurements", str(mine))
    (row,) = [row for row in found["errors"] if row["by"] == "all"]
    plain = answer(capsys, "predict", *WORDS, "--no-correction")["tpot_s"]
    assert found["rows"] == row["rows"] == 3
    assert row["metric"] == "tpot_s"
    # All three hardly differ: the median is close to the point predicted alone.
    assert row["uncorrected"] == pytest.approx(1 - plain / 0.040, abs=0.02)
    assert 0.0 <= row["inside"] <= 1.0 < row["width"]
    assert face.main(["calibrate", "eval", "--measurements", str(mine)]) == 0
    assert "uncorrected" in capsys.readouterr().out


def test_card_of_the_shipped_correction_is_the_committed_one(capsys):
    from calibration.correct import ARTIFACT

    assert face.main(["calibrate", "card"]) == 0
    committed = ARTIFACT.with_name("correction.card.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == committed
    assert answer(capsys, "calibrate", "card")["meta"]["data_sha256"] in committed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["card", "--correction", "no.json"], "no.json cannot be read as a correction"),
        (["eval", "--measurements", "no.csv"], "no file or folder no.csv"),
        (["tune", "--measurements", "no.csv"], "no file or folder no.csv"),
        (["fit", "--measurements", "no.csv", "--out", "a.json"], "no file or folder no.csv"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys):
    assert face.main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_fit_refuses_too_few_rows(mine, capsys, tmp_path):
    words = ["fit", "--measurements", str(mine), "--out", str(tmp_path / "a.json")]
    assert face.main(["calibrate", *words]) == 2
    assert "calibrate tune" in capsys.readouterr().err
