# SPDX-License-Identifier: Apache-2.0
"""``roofline import``: what is kept, what is told, and the exit code."""

import json
from pathlib import Path

import pytest

from profiler.store import Store
from roofline.cli.main import main

DATA = Path(__file__).parents[1] / "profiler" / "importers" / "data"
THROUGHPUT = {
    "elapsed_time": 2.0,
    "num_requests": 4,
    "total_num_tokens": 80,
    "requests_per_second": 2.0,
    "tokens_per_second": 40.0,
}
FACTS = ["--gpu", "RTX 4090", "--model", "gpt2", "--engine-version", "0.11.0", "--tp", "1"]
FACTS += ["--weight-dtype", "bf16", "--input-len", "16", "--output-len", "4"]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run the command on a store of its own; returns exit code, stdout and stderr."""
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))

    def _run(*words):
        code = main(["import", *map(str, words)])
        return code, *capsys.readouterr()

    return _run


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.json"
    path.write_text(json.dumps(THROUGHPUT))
    return path


def test_good_points_are_kept_and_told(run, store, good):
    code, out, err = run(good, *FACTS)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{good}: vllm-throughput, 1 point",
        f"total: 1 point read from 1 file, 1 kept in {store.path}",
    ]
    (row,) = store.read()
    assert (row.total_tok_s, row.gpu, row.source_ref) == (40, "rtx-4090", "good.json")


def test_a_bad_file_does_not_lose_the_good_ones(run, store, good, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"foo": 1}')
    code, out, err = run(bad, good, tmp_path / "absent.json", *FACTS)
    assert code == 2
    assert len(store.read()) == 1
    assert "total: 1 point read from 3 files, 1 kept" in out
    lines = err.splitlines()
    assert lines[0].startswith("roofline: bad.json: a file of no known tool (it has foo)")
    assert lines[1].startswith("roofline: absent.json: no such file")
    assert lines[2] == "roofline: 2 of 3 refused: the lines above say why."
    assert len(lines) == 3


def test_missing_facts_are_told_and_nothing_is_kept(run, store, good):
    code, _, err = run(good, "--gpu", "RTX 4090", "--engine", "vllm")
    assert code == 2
    assert not store.read()
    missing = "--model, --engine-version, --weight-dtype, --tp, --input-len, --output-len"
    assert err.splitlines()[0] == f"roofline: good.json: missing: {missing}."


def test_the_same_file_is_kept_once(run, store, good):
    run(good, *FACTS)
    code, out, _ = run(good, *FACTS)
    assert code == 0
    assert "(1 already kept)" in out
    assert len(store.read()) == 1
    words = [*FACTS, "--num-gpus", "2"]  # said otherwise, it is another point
    run(good, *words)
    assert len(store.read()) == 2


def test_a_dry_run_keeps_nothing(run, store, good):
    code, out, _ = run(good, "--dry-run", *FACTS)
    assert code == 0
    assert "kept nowhere" in out
    assert not store.path.exists()


def test_json_holds_the_rows(run, good):
    code, out, err = run(good, "--json", "--dry-run", *FACTS)
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert (answer["n_read"], answer["n_kept"], answer["n_refused"]) == (1, 0, 0)
    assert answer["files"][0]["points"][0]["total_tok_s"] == 40


def test_json_tells_refusals_inside(run, good, tmp_path):
    code, out, err = run(good, tmp_path / "absent.json", "--json", *FACTS)
    answer = json.loads(out)
    assert code == 2
    assert answer["n_kept"] == 1
    assert answer["files"][1]["refused"] == ["no such file; give results files"]
    assert len(err.splitlines()) == 1


def test_a_table_by_its_map(run, store, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("lat,b\n250,8\n")
    words = ["--engine", "transformers", "--map", "lat=e2e_s:ms", "--map", "b=batch_size"]
    code, _, err = run(path, *FACTS, *words)
    assert (code, err) == (0, "")
    (row,) = store.read()
    assert (row.e2e_s, row.batch_size) == (0.25, 8)


def test_a_run_log(run, store, tmp_path):
    path = tmp_path / "run.log"
    path.write_text("GPU: NVIDIA GeForce RTX 3090\nmodel: gpt2\nTime taken for 4 inferences: 2 s\n")
    code, out, _ = run("--dstack-log", path)
    assert code == 0
    assert "dstack-log, 1 point (1 partial)" in out
    (row,) = store.read()
    assert (row.e2e_s, row.quality) == (0.5, "partial")


def test_real_files_of_llama_bench_and_optimum_benchmark(run, store):
    names = ("llama_bench.json", "llama_bench.csv", "optimum_benchmark.json")
    code, out, _ = run(*(DATA / name for name in names), "--gpu", "EPYC 9654")
    assert code == 0
    assert "17 points read from 3 files" in out
    assert len(store.read()) == 17


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "no file to import"),
        (["x.json", "--gpu", "quux9000"], "quux9000"),
        (["x.json", "--gpu", "8xH100"], "--num-gpus 8"),
        (["x.json", "--gpu", "L4", "--tp", "-1"], "tp is -1"),
        (["x.csv", "--map", "a"], "theirs=ours"),
        (["x.json", "--as", "vlm"], "no importer is called"),
    ],
)
def test_bad_questions_are_one_line(run, words, why):
    code, out, err = run(*words)
    assert code == 2
    assert why in err
    assert "Traceback" not in err + out
