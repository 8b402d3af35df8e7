# SPDX-License-Identifier: Apache-2.0
"""Names in published measurements lead to shipped models."""

import json
import os
from pathlib import Path

import pytest

from specs.model_records import find_record

NAMES = json.loads(
    (Path(__file__).parents[2] / "benchmarks" / "data" / "model_names.json").read_text("utf-8")
)


def test_every_name_leads_to_a_shipped_model():
    assert {raw: repo for raw, repo in NAMES.items() if find_record(repo) is None} == {}


def test_no_entry_is_idle():
    # What a record answers to by itself needs no entry here.
    assert [raw for raw in NAMES if find_record(raw) is not None] == []


def test_clean_rows_are_covered():
    folder = os.environ.get("ROOFLINE_SHARED_DATA")
    if not folder:
        pytest.skip("ROOFLINE_SHARED_DATA is not set")
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(Path(folder) / "e2e.parquet", columns=["model", "clean"])
    names = table.loc[table["clean"].astype(bool), "model"]
    known = {
        name: isinstance(name, str) and find_record(NAMES.get(name, name)) is not None
        for name in names.unique()
    }
    assert names.map(known).mean() >= 0.99
