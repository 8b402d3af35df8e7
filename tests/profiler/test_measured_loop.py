# SPDX-License-Identifier: Apache-2.0
"""The README's loop on this processor: measure, tune, predict what was not measured, measure it."""

import json
from statistics import median

import pytest

from profiler.store import Store
from roofline.cli.main import main

pytestmark = pytest.mark.slow

SHAPES = {
    "small": (256, 704, 4, 4),
    "wide": (384, 1024, 4, 6),
    "deep": (256, 704, 8, 4),
}
"""Llama shapes: hidden and intermediate size, layers, heads. Two are measured, `deep` is not."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ROOFLINE_CORRECTION", raising=False)
    for name, (hidden, inner, layers, heads) in SHAPES.items():
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": heads, "vocab_size": 8000,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
            "dtype": "float32",
        }  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def profiled(*words):
    said = ["profile", "--threads", "1", "--no-power", *words]
    assert main(said) == 0
    return [row for row in Store().read() if row.kind == "llm" and row.quality != "failed"]


def answer(capsys, row, *words):
    capsys.readouterr()
    asked = [
        *("predict", row.model, "--gpu", "measured", "--engine", "transformers", "--json"),
        *("--weight-dtype", row.weight_dtype, "--batch", f"{row.batch_size}"),
        *("--input-len", f"{row.input_tokens:g}", "--output-len", f"{row.output_tokens:g}"),
    ]
    assert main([*asked, *words]) == 0
    return json.loads(capsys.readouterr().out)


def errors(capsys, rows, *words):
    found = []
    for row in rows:
        said = answer(capsys, row, *words)
        found += [abs(said[name] / getattr(row, name) - 1) for name in ("ttft_s", "tpot_s")]
    return found


def test_measuring_two_models_predicts_a_third(here, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("sklearn")
    sizes = ["--batch", "1,4", "--input-len", "64", "--output-len", "8", "--budget", "0.5"]
    assert main(["profile", "--kernels", "--threads", "1", "--no-power", "--budget", "0.5"]) == 0
    models = ",".join(str(here / name) for name in ("small", "wide"))
    known = profiled("--model", models, "--dtype", "fp32,bf16", *sizes)
    assert len(known) == 8
    mine = str(here / "mine.json")
    store = str(here / "store")
    assert main(["calibrate", "tune", "--measurements", store, "--out", mine]) == 0
    assert "8 rows of your own" in capsys.readouterr().out
    judge = ["calibrate", "eval", "--measurements", store, "--correction", mine, "--json"]
    assert main(judge) == 0
    judged = json.loads(capsys.readouterr().out)
    assert (judged["rows"], judged["not_priced"]) == (8, {})
    devices = {row["group"] for row in judged["errors"] if row["by"] == "device"}
    assert {device.rpartition("-")[2] for device in devices} == {"fp32", "bf16"}
    both = profiled("--model", str(here / "deep"), "--dtype", "fp32,bf16", *sizes)
    new = [row for row in both if row.model.endswith("deep")]
    assert len(new) == 4
    plain = median(errors(capsys, new, "--no-correction"))
    tuned = median(errors(capsys, new, "--correction", mine))
    # The aim is 10%; neighbours on a shared machine alone move a figure by 5 to 30%, and
    # the host's share of models this small is the largest. A loop that is broken, by units,
    # by a device that is not found or rows that are not used, is off by a factor.
    assert tuned < 0.6
    assert tuned < plain + 0.3
    assert "own" in answer(capsys, new[0], "--correction", mine)["basis"]["correction"]
