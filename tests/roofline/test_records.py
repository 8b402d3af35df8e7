# SPDX-License-Identifier: Apache-2.0
import json

import pyarrow.parquet as pq
import pytest

from profiler.store import Store
from roofline.cli import main as face
from specs.measurement import COLUMNS, Measurement

LLM = {"kind": "llm", "model": "gpt2", "gpu": "l4", "engine": "vllm", "mode": "static"}
SIZES = {"batch_size": 4, "input_tokens": 512, "output_tokens": 64, "weight_dtype": "bf16"}
ROWS = [
    Measurement(**LLM, **SIZES, tpot_s=0.02, power_w=60.0, measured_at="2026-01-31", source="us"),
    Measurement(**{**LLM, "engine": "sglang"}, **SIZES, tpot_s=2.5, run_id="r2", num_gpus=2),
    Measurement(kind="kernel", gpu="a100-sxm4-80gb", op="gemm", dtype="bf16", m=8, n=16, k=32),
    Measurement(kind="tabular", host_cpu="EPYC", estimator="forest", rows=100, latency_s=0.001),
]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    made = Store()
    made.append(ROWS[:2])
    made.append(ROWS[2:])
    return made


def said(capsys, *words, code=0):
    assert face.main(["records", *words]) == code
    out = capsys.readouterr()
    return out.err if code else out.out


def answer(capsys, *words):
    return json.loads(said(capsys, *words, "--json"))


def test_list(store, capsys):
    text = said(capsys, "list")
    lines = text.splitlines()
    assert len(lines) == 5
    assert lines[1].split() == [
        *(ROWS[0].point_id[:10], "2026-01-31", "l4", "gpt2", "batch", "4", "512+64", "bf16"),
        *("vllm", "TPOT", "20.0", "ms,", "power", "60.0", "W", "ok"),
    ]
    assert "2 x l4" in lines[2]
    assert "bf16 m 8 n 16 k 32" in lines[3]
    assert "rows 100" in lines[4]
    found = answer(capsys, "list")
    assert found["count"] == 4
    assert [Measurement.from_dict(row) for row in found["records"]] == ROWS
    assert found["skipped"] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--kind", "llm"], [0, 1]),
        (["--gpu", "A100"], [2]),
        (["--gpu", "epyc"], [3]),
        (["--model", "gpt"], [0, 1]),
        (["--model", "gemm"], [2]),
        (["--engine", "sglang"], [1]),
        (["--run", "r2"], [1]),
        (["--source", "us"], [0]),
        (["--since", "2026-01-31"], [0]),
        (["--mode", "static", "--engine", "vllm"], [0]),
        (["--quality", "ok"], [0, 1, 2, 3]),
        (["--limit", "1"], [3]),
        (["--limit", "0"], [0, 1, 2, 3]),
    ],
)
def test_filters(store, capsys, words, expected):
    found = answer(capsys, "list", *words)["records"]
    assert [row["point_id"] for row in found] == [ROWS[place].point_id for place in expected]


def test_a_long_list_says_that_it_is_cut(store, capsys, monkeypatch):
    store.append([Measurement(kind="tabular", rows=n) for n in range(1, 60)])
    assert face.main(["records", "list"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 41
    assert "the last 40 of 63" in err


def test_show(store, capsys):
    text = said(capsys, "show", ROWS[0].point_id[:10])
    assert "tpot_s" in text
    assert "20.0 ms" in text
    assert "ttft_s" not in text, "what is not known is left out"
    found = answer(capsys, "show", ROWS[0].point_id)["records"]
    assert [Measurement.from_dict(row) for row in found] == [ROWS[0]]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_export(store, capsys, tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    assert answer(capsys, "export", str(path), "--kind", "llm")["rows"] == 2
    found = answer(capsys, "list", "--store", str(path))
    assert [Measurement.from_dict(row) for row in found["records"]] == ROWS[:2]


def test_export_with_facts(store, capsys, tmp_path):
    path = tmp_path / "out.parquet"
    columns = answer(capsys, "export", str(path), "--kind", "llm", "--with-facts")["columns"]
    assert columns[: len(COLUMNS)] == list(COLUMNS)
    table = pq.read_table(path)
    assert table["gpu_tdp_w"].to_pylist() == [72.0, 72.0]
    assert table["model_num_layers"].to_pylist() == [12, 12]


def test_validate_says_which_rows_and_why(store, capsys):
    text = said(capsys, "validate")
    assert "4 measurements, 2 held against the ideal machine, 1 findings" in text
    row = next(line for line in text.splitlines() if "milliseconds taken for seconds" in line)
    assert row.split()[:4] == ["2", ROWS[1].point_id[:10], "unit", "tpot_s"]
    found = answer(capsys, "validate")
    assert [(f["row"], f["rule"]) for f in found["findings"]] == [(2, "unit")]
    assert found["unchecked"] == {"no floor for tabular rows": 1, "no time": 1}


def test_push_and_pull(store, capsys, tmp_path):
    there = tmp_path / "there"
    pushed = answer(capsys, "push", str(there))
    assert (len(pushed["moved"]), pushed["rows"]) == (2, 4)
    text = said(capsys, "pull", str(there), "--store", str(tmp_path / "other"))
    assert text.startswith("4 measurements in 2 part-files fetched from")
    assert Store(tmp_path / "other").read() == ROWS


def test_broken_parts_are_noted_and_the_rest_is_shown(store, capsys):
    (store.path / "cut.parquet").write_bytes(b"PAR1")
    assert face.main(["records", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["count"] == 4
    assert [note["where"] for note in json.loads(out)["skipped"]] == ["cut.parquet"]
    assert err.count("\n") == 1
    assert "cut.parquet" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "zzz"], "no point 'zzz'"),
        (["list", "--gpu", "abacus"], "none of 4 measurements"),
        (["list", "--store", "nowhere"], "no file or folder"),
        (["export", "out.xlsx"], "ends in none of"),
        (["export", "/proc/none/out.csv"], "cannot write"),
        (["push", "justaword"], "no place to exchange"),
        (["pull", "./nowhere"], "no records"),
    ],
)
def test_what_cannot_be_done_is_one_line(store, capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    err = said(capsys, *words, code=2)
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["list", "--since", "soon"], ["list", "--limit", "-3"], []])
def test_wrong_usage(store, capsys, words):
    with pytest.raises(SystemExit) as left:
        face.main(["records", *words])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("action", [["list"], ["validate"], ["export", "x.csv"], ["push", "./x"]])
def test_an_empty_store_says_how_to_fill_it(tmp_path, capsys, monkeypatch, action):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    assert "no measurements" in said(capsys, *action, code=2)


def test_show_keeps_long_values_from_widening_the_page(tmp_path, capsys):
    environment = json.dumps({f"setting_{n}": "some value" for n in range(40)})
    Store(tmp_path).append([Measurement(kind="tabular", rows=7, environment=environment)])
    text = said(
        capsys, "show", Measurement(kind="tabular", rows=7).point_id, "--store", str(tmp_path)
    )
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "".join(text.split()).count("some") == 40
