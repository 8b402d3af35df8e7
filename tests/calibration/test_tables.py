# SPDX-License-Identifier: Apache-2.0
"""Tables of measurements are read alike from every format and folder."""

import json

import pytest

pd = pytest.importorskip("pandas")

from calibration.tables import read_measurements, trust_of  # noqa: E402
from specs.errors import InvalidInputError  # noqa: E402
from specs.measurement import Measurement  # noqa: E402

ROW = {"model": "gpt2", "gpu": "l4", "mode": "static", "batch_size": 1.0, "tpot_s": 0.01}


def measured(**fields):
    given = {"kind": "llm", "model": "gpt2", "gpu": "l4", "mode": "static", "batch_size": 1}
    return Measurement(**{**given, "tpot_s": 0.01, **fields}).to_dict()


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_every_format_reads_alike(tmp_path, suffix):
    path, table = tmp_path / f"rows{suffix}", pd.DataFrame([ROW, {**ROW, "model": "NA"}])
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    {
        ".csv": lambda: table.to_csv(path, index=False),
        ".json": lambda: path.write_text(json.dumps({"records": table.to_dict("records")})),
        ".jsonl": lambda: table.to_json(path, orient="records", lines=True),
        ".parquet": lambda: table.to_parquet(path),
    }[suffix]()
    found = read_measurements([path])
    assert found.to_dict("records") == [ROW, {**ROW, "model": "NA"}]


def test_a_folder_says_whom_to_trust(tmp_path):
    for name in ("careful", "hearsay", "_left"):
        pd.DataFrame([{**ROW, "source": name}]).to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "sources.toml").write_text(
        '[careful]\nmethod = "documented"\n[hearsay]\nmethod = "anecdotal"\n'
    )
    pd.DataFrame([ROW]).to_csv(tmp_path / "_own.csv", index=False)
    found = read_measurements([tmp_path, tmp_path / "_own.csv"])
    assert found["trust"].tolist() == [1.0, 0.0, 1.0]
    assert trust_of(tmp_path / "sources.toml") == {"careful": 1.0, "hearsay": 0.0}


def test_a_store_gives_its_usable_requests(tmp_path):
    pytest.importorskip("pyarrow")
    from profiler.store import Store

    rows = [
        measured(point_id="a", measured_at="2026-03-01T00:00:00Z", reason="power: no sensor"),
        measured(point_id="b", tpot_s=None, quality="failed", reason="out of memory"),
        {"kind": "kernel", "op": "gemm", "latency_s": 1e-3},
    ]
    Store(tmp_path).append([Measurement.from_dict(row) for row in rows])
    found = read_measurements([tmp_path])
    assert found["point_id"].tolist() == ["a"]
    assert found["quality_reason"].tolist() == ["power: no sensor"]
    assert "reason" not in found
    assert found["epoch"].tolist() == ["2026"]


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.json").write_text("[1, 2]")
    (tmp_path / "notes.txt").write_text("hello")
    for name, said in (
        ("bad.csv", "lacks model, gpu, mode"),
        ("bad.json", "no list of objects"),
        ("notes.txt", "is none of"),
        ("absent.csv", "no file or folder"),
    ):
        with pytest.raises(InvalidInputError, match=said) as caught:
            read_measurements([tmp_path / name])
        assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="no measurement"):
        read_measurements([tmp_path / "empty"])
