# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

import roofline
from roofline.cli import main as face
from specs.catalogue import get_accelerator
from specs.engine import get_engine

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from calibration import evaluate  # noqa: E402
from calibration.correct import load, shipped  # noqa: E402
from calibration.dataset import joined  # noqa: E402
from calibration.evaluate import fitted_correction  # noqa: E402

TABLE = ("--measurements", "benchmarks/data/figures/docs_misc.csv")

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
        (["fit", "--kernels", "no", *TABLE, "--out", "a.json"], "no folder no; give the one that"),
        (["fit", "--kernels", ".github", *TABLE, "--out", "a.json"], "no kernel tables"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys):
    assert face.main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


DEVICES = ("h100-sxm5-80gb", "a100-sxm4-80gb", "l40s", "l4", "rtx-4090", "h200-sxm-141gb")


def kernels(folder, names):
    """Products on devices, ten times as long as their roofline."""
    rng = np.random.default_rng(0)
    for name in names:
        device = get_accelerator(name)
        m, n, k = (2 ** rng.integers(low, 14, 60) for low in (0, 9, 9))
        compute_s = 2.0 * m * n * k / device.peak_flops_per_s["bf16"]
        memory_s = 2.0 * (m * k + k * n + m * n) / device.mem_bytes_per_s
        columns = {"gpu": name, "op": "gemm", "op_detail": "gemm", "dtype": "bf16"}
        columns |= {"m": m, "n": n, "k": k, "latency_s": 10.0 * np.maximum(compute_s, memory_s)}
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)


@pytest.mark.slow
def test_kernels_of_your_own_are_fitted_left_out_embedded_and_used(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "kernels"
    folder.mkdir()
    kernels(folder, DEVICES[:3])
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "source": "made", "model": "Qwen/Qwen3-8B", "gpu": np.repeat(DEVICES, 40),
            "engine": "vllm", "mode": "static", "batch_size": rng.integers(1, 32, 240),
            "input_tokens": rng.integers(100, 3000, 240), "output_tokens": 100,
            "tp": rng.choice([1, 2], 240), "tpot_s": rng.uniform(0.01, 0.02, 240),
        }
    )  # fmt: skip
    table.to_csv(tmp_path / "rows.csv", index=False)
    known = watched(monkeypatch)
    out, files = tmp_path / "a.json", ["--measurements", str(tmp_path / "rows.csv")]
    words = ["calibrate", "fit", *files, "--kernels", str(folder), "--out", str(out)]
    told = answer(capsys, *words)
    assert told["kernels"]["devices"] == sorted(DEVICES[:3])
    assert "--kernels" in told["meta"]["command"]
    assert "fitted: gemm_bf16; as shipped: " in (tmp_path / "a.card.md").read_text()

    # No fold has kernels of a device that it left out, and rows to fit on are priced without.
    for left, rows, laws in known:
        assert not left & {name for pool in laws.laws.pools.values() for name in pool.devices}
        again = joined(rows[list(table.columns)], kernels=laws)
        np.testing.assert_allclose(rows["p_tpot_s"], again["p_tpot_s"], rtol=1e-12)
    assert sorted(name for left, _, _ in known for name in left) == sorted(DEVICES)

    asked = {"batch": 1, "input_len": 100, "output_len": 100}
    corrections = load(out), shipped()
    slow, quick = (each.shares(get_accelerator("l4"), get_engine("vllm")) for each in corrections)
    assert (slow.gemm[1, 0] < 0.3).all()
    assert (quick.gemm[1, 0] > 0.6).all()
    analytic_s = [
        roofline.predict("Qwen/Qwen3-8B", "l4", correction=each, **asked).interval.analytic[
            "tpot_s"
        ]
        for each in corrections
    ]
    assert analytic_s[0] > 3.0 * analytic_s[1]
    # What is tuned on top of it keeps it.
    mine = tmp_path / "mine.json"
    words = ["calibrate", "tune", *files, "--correction", str(out), "--out", str(mine)]
    answer(capsys, *words)
    assert (load(mine).shares(get_accelerator("l4"), get_engine("vllm")).gemm == slow.gemm).all()


def watched(monkeypatch):
    """Fit with two folds, and note rows and kernel constants of those that leave devices out."""
    known = []

    def folded(rows, split, **given):
        def noted(train, *, kernels):
            if split == "unseen device":
                known.append((set(DEVICES) - set(train["is_gpu"]), train, kernels))
            return fitted_correction(train, kernels=kernels)

        monkeypatch.setattr(evaluate, "fitted_correction", noted)
        return evaluate.out_of_fold(rows, split, count=2, **given)

    monkeypatch.setattr("calibration.fit.out_of_fold", folded)
    return known


def test_fit_refuses_too_few_rows(mine, capsys, tmp_path):
    words = ["fit", "--measurements", str(mine), "--out", str(tmp_path / "a.json")]
    assert face.main(["calibrate", *words]) == 2
    assert "calibrate tune" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["tune", "eval"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [("A Processor", "'A Processor', which is in no catalogue"), ("", "fill the column gpu")],
)
def test_rows_of_an_unknown_device_say_how_it_gets_known(
    mine, capsys, tmp_path, monkeypatch, action, host, expected
):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("roofline.cli.calibrate._artifact", lambda path: {})
    pd.read_csv(mine).assign(gpu="", host_cpu=host).to_csv(mine, index=False)
    assert face.main(["calibrate", action, "--measurements", str(mine)]) == 2
    said = capsys.readouterr().err
    assert f"3 of 3 rows {'are of' if host else 'name no'}" in said
    assert expected in said
    assert ("roofline profile --kernels" in said) == bool(host)
    assert said.count("\n") == 1


def test_a_row_of_an_unknown_device_among_others_is_told():
    from roofline.cli.measured import unnamed

    rows = pd.DataFrame({"gpu": ["l4", None], "gpu_raw": ["", "Board X"], "host_cpu": ["A", "A"]})
    count, says = unnamed(rows)
    assert count == 1
    assert says.startswith("1 of 2 rows are of 'Board X'")
    assert unnamed(rows.head(1)) == (0, "")
