# SPDX-License-Identifier: Apache-2.0
import errno
import os
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiler import parts as parts_module
from profiler.parts import draft_folder
from profiler.store import Store, default_store_path, load_measurements
from profiler.tables import FORMATS, write_table_file
from roofline.cli.main import main
from specs import measurement_columns
from specs.errors import InvalidInputError, StoreError
from specs.measurement import SCHEMA_VERSION, Measurement


def point(batch=1, **more):
    given = {"kind": "llm", "model": "gpt2", "mode": "static", "batch_size": batch}
    return Measurement(**{**given, "tpot_s": 0.01, "samples_s": [0.01, 0.02], **more})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "data" / "store")


@pytest.fixture
def problems():
    return []


def test_what_was_appended_is_read_back_in_order(store):
    rows = [point(1), point(2, raw=[{"name": "x_ms", "unit": "ms", "value": -1.0}]), point(3)]
    first = store.append(rows[:2])
    store.append(rows[2:])
    assert store.read() == rows
    assert store.parts()[0] == first
    assert store.table().num_rows == 3
    assert Store(store.path).table(["point_id"]).column_names == ["point_id"]


def test_an_empty_store_and_an_empty_append(store):
    assert store.read() == []
    assert store.table().num_rows == 0
    assert store.points() == {}
    with pytest.raises(InvalidInputError, match="no measurements"):
        store.append([])


def test_the_folder_holds_finished_parquet_alone(store):
    store.append([point()])
    assert [path.suffix for path in store.path.iterdir()] == [".parquet"]
    assert list(draft_folder(store.path).iterdir()) == []


@pytest.mark.slow
def test_other_tools_read_the_folder(store):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    for batch in (1, 2, 3):
        store.append([point(batch)])
    (draft_folder(store.path) / "x.tmp").write_bytes(b"PAR1")  # a writer at work
    assert pd.read_parquet(store.path)["batch_size"].tolist() == [1, 2, 3]
    assert pl.read_parquet(store.path)["batch_size"].to_list() == [1, 2, 3]
    query = duckdb.sql(f"select sum(batch_size), sum(tpot_s) from '{store.path}/*.parquet'")
    assert query.fetchall() == [(6, pytest.approx(0.03))]


@pytest.mark.parametrize("step", ["write_table", "fsync", "replace"])
def test_an_append_that_fails_leaves_nothing(store, monkeypatch, step):
    store.append([point(1)])

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq if step == "write_table" else os, step, full)
    with pytest.raises(StoreError, match="No space left"):
        store.append([point(2)])
    monkeypatch.undo()
    assert store.read() == [point(1)]
    assert list(draft_folder(store.path).iterdir()) == []


def test_a_store_on_a_mount_of_its_own(store, monkeypatch):
    real, calls = os.replace, []

    def across(source, target):
        calls.append(source.parent)
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", across)
    store.append([point()])
    assert calls == [draft_folder(store.path), store.path]
    assert store.read() == [point()]
    assert len(list(store.path.iterdir())) == 1


def test_what_killed_writers_left_is_swept_after_a_day(store):
    store.append([point()])
    old, new = (draft_folder(store.path) / name for name in ("old.tmp", "new.tmp"))
    for path in (old, new):
        path.write_bytes(b"PAR1")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    store.append([point()])
    assert (old.exists(), new.exists()) == (False, True)


def test_a_place_that_cannot_be_a_store(tmp_path):
    (tmp_path / "file").write_text("x")
    for use in (Store(tmp_path / "file").parts, lambda: Store(tmp_path / "file").append([point()])):
        with pytest.raises(StoreError, match="file"):
            use()


def broken_parts(folder):
    """Part-files that are none, and a word of the reason."""
    good = next(folder.iterdir()).read_bytes()
    newer = pa.table({"schema_version": [SCHEMA_VERSION + 1], "kind": ["llm"], "hue": ["red"]})
    pq.write_table(newer, folder / "newer.parquet")
    pq.write_table(pa.table({"a": [1]}), folder / "foreign.parquet")
    extra = pa.table({"schema_version": [1], "kind": ["llm"], "colour": [1]})
    pq.write_table(extra, folder / "extra.parquet")
    wrong = pa.table({"schema_version": [1], "kind": ["llm"], "batch_size": ["many"]})
    pq.write_table(wrong, folder / "types.parquet")
    (folder / "cut.parquet").write_bytes(good[: len(good) // 2])
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "text.parquet").write_text("not Parquet at all, though named so")
    (folder / "folder.parquet").mkdir()
    (folder / "notes.txt").write_text("no part")
    (folder / ".hidden.parquet").write_bytes(b"PAR1")
    return {
        "newer.parquet": f"schema {SCHEMA_VERSION + 1}",
        "foreign.parquet": "schema_version",
        "extra.parquet": "colour",
        "types.parquet": "many",
        "cut.parquet": "no whole Parquet",
        "empty.parquet": "no whole Parquet",
        "text.parquet": "no whole Parquet",
        "folder.parquet": "directory",
    }


def test_broken_parts_are_reported_and_skipped(store, problems):
    store.append([point(7)])
    expected = broken_parts(store.path)
    assert store.read(on_problem=problems.append) == [point(7)]
    told = {problem.where: problem.reason for problem in problems}
    assert sorted(told) == sorted(expected)
    for where, word in expected.items():
        assert word in told[where], where
        assert "\n" not in told[where]
    assert store.table(on_problem=lambda _: None).num_rows == 1
    assert store.has(point(7).point_id)


def test_problems_reach_the_log_by_default(store, caplog):
    store.append([point()])
    (store.path / "cut.parquet").write_bytes(b"PAR1")
    store.read()
    assert "cut.parquet" in caplog.text


def test_a_row_that_is_no_measurement_is_reported_alone(store, problems):
    path = store.append([point(1), point(2)])
    table = pq.read_table(path)
    bad = table.set_column(table.column_names.index("tpot_s"), "tpot_s", [[0.01, 0.0]])
    pq.write_table(bad, path)
    assert store.read(on_problem=problems.append) == [point(1)]
    assert [problem.where for problem in problems] == [f"{path.name} row 2"]


def test_rows_of_an_older_schema_are_read(store, monkeypatch, problems):
    path = store.append([point(1)])
    older = pq.read_table(path).drop_columns(["driver", "raw", "itl_s", "n_samples"])
    pq.write_table(older, path)
    newer = SCHEMA_VERSION + 1
    monkeypatch.setattr(parts_module, "SCHEMA_VERSION", newer)
    monkeypatch.setattr(measurement_columns, "SCHEMA_VERSION", newer)
    assert store.read(on_problem=problems.append) == [point(1)]
    assert problems == []


def test_points_for_resuming(store):
    store.append([point(1, run_id="a"), point(2, run_id="a", quality="failed", reason="memory")])
    other = Store(store.path)
    assert other.points("a") == {point(1).point_id: "ok", point(2).point_id: "failed"}
    assert other.has(point(1).point_id, "a")
    assert not other.has(point(1).point_id, "b")
    store.append([point(1, run_id="b", quality="noisy")])
    assert other.has(point(1).point_id, "b")
    assert other.points()[point(1).point_id] == "noisy"
    assert not other.has(point(9).point_id)


def test_an_exported_file_in_a_folder_of_its_own_is_a_store(store, tmp_path):
    for batch in (1, 2, 3):
        store.append([point(batch)])
    (tmp_path / "small").mkdir()
    assert main(["records", "export", str(tmp_path / "small" / "all.parquet"),
                 "--store", str(store.path)]) == 0  # fmt: skip
    small = Store(tmp_path / "small")
    assert small.read() == store.read()
    assert small.points() == store.points()
    small.append([point(4)])
    assert len(small.parts()) == 2
    assert len(small.read()) == 4


def test_several_writers_lose_nothing(store):
    def write(writer):
        for number in range(10):
            Store(store.path).append([point(number + 1, run_id=f"run-{writer}")])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.read()
    assert len(rows) == 40
    assert {(row.run_id, row.batch_size) for row in rows} == {
        (f"run-{n}", batch) for n in range(4) for batch in range(1, 11)
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read_back(store, tmp_path, suffix, problems):
    rows = [
        point(1, notes='comma, "quote"\nline', cached_tokens=0, price_usd_per_h=2.5),
        Measurement(kind="kernel", op="gemm", m=8, latency_s=1e-6, measured_at="2026-01-31"),
        point(2, raw=[{"name": "x", "statistic": "mean", "unit": "ms", "value": 0.0}]),
    ]
    store.append(rows)
    path = tmp_path / f"out{suffix}"
    write_table_file(store.table(), path)
    assert load_measurements([path, store.path], on_problem=problems.append) == rows + rows
    assert problems == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", path.name]


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.csv", "model,ms\ngpt2,1\n", "lacks the column kind"),
        ("a.csv", "", "lacks the column kind"),
        ("a.csv", "kind,model,tpot_ms\nllm,gpt2,1\n", "no column tpot_ms"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[1, 2]", "no object"),
        ("a.json", '{"results": []}', "no object"),
        ("a.jsonl", "{}\n", "no line"),
        ("a.parquet", "PAR1", "no whole Parquet"),
        ("a.xlsx", "x", "none of"),
    ],
)
def test_foreign_files_are_refused_in_one_line(tmp_path, name, text, word):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=word) as refused:
        load_measurements([path])
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_spreadsheets_byte_order_mark(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfkind,model\r\nllm,gpt2\r\n")
    assert load_measurements([tmp_path / "a.csv"]) == [Measurement(kind="llm", model="gpt2")]


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInputError, match="no file or folder"):
        load_measurements([tmp_path / "nothing.csv"])


@pytest.mark.parametrize(
    ("name", "text", "bad", "good"),
    [
        ("a.csv", "kind,model,tpot_s\nllm,gpt2,fast\nllm,gpt2,0.5\nllm,gpt2,1,2\n", [1, 3], 1),
        ("a.jsonl", '{"kind": "llm", "model": "gpt2"}\n{"kind": "ll', [2], 1),
        ("a.json", '[{"kind": "llm", "model": "gpt2"}, 3, {"kind": "gpu"}]', [2, 3], 1),
    ],
)
def test_bad_rows_of_a_file_are_reported(tmp_path, problems, name, text, bad, good):
    path = tmp_path / name
    path.write_text(text)
    rows = load_measurements([path], on_problem=problems.append)
    assert [problem.where for problem in problems] == [f"{name} row {n}" for n in bad]
    assert len(rows) == good


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path))
    assert default_store_path() == tmp_path == Store().path
    monkeypatch.delenv("ROOFLINE_STORE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store_path() == tmp_path / "roofline" / "measurements"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store_path() == tmp_path / ".local" / "share" / "roofline" / "measurements"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted on Linux")
def test_reading_leaves_no_thread_behind_that_could_abort_the_end(store):
    # A reader thread that lets go of a Python file while the interpreter ends aborts it.
    store.append([point(1)])
    script = (
        "import os, sys, pyarrow.parquet\n"
        "from profiler.store import Store\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "assert len(Store(sys.argv[1]).read()) == 1\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    words = [sys.executable, "-c", script, str(store.path)]
    root = os.path.dirname(os.path.dirname(parts_module.__file__))
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
