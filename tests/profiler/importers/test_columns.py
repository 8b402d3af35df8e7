# SPDX-License-Identifier: Apache-2.0
import pytest

from profiler.importers import parse_map
from specs.errors import InvalidInputError

HEADER = "model,bs,prompt,new,lat_ms,tbt,watts,remark,score"
TABLE = f"{HEADER}\ngpt2,8,512,128,2500,15.5,300,fine,7\ngpt2,16,512,128,4000,,310,x,8\n"
MAP = (
    "bs=batch_size",
    "prompt=input_tokens",
    "new=output_tokens",
    "lat_ms=e2e_s:ms",
    "tbt=itl_s:ms",
    "watts=power_w",
)
FACTS = {
    "gpu": "L4",
    "engine": "transformers",
    "engine_version": "5.0",
    "tp": 1,
    "weight_dtype": "fp16",
}


def test_a_table_by_its_map(read, raw):
    found = read(TABLE, "t.csv", column_map=parse_map(MAP), **FACTS)
    first, second = found.rows
    assert (first.model, first.batch_size, first.mode) == ("openai-community/gpt2", 8, "static")
    assert first.e2e_s == pytest.approx(2.5)
    assert first.itl_s == pytest.approx(0.0155)
    assert first.power_w == 300
    assert second.itl_s is None
    assert raw(first)["score"].value == 7  # not mapped, and kept
    assert raw(first)["lat_ms"].unit == "ms"
    assert second.source_ref == "t.csv, row 2"


def test_parquet(read, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    path = tmp_path / "t.bin"
    columns = {"model": ["gpt2"], "bs": [8], "prompt": [512], "new": [128], "lat_ms": [2500.0]}
    write_table(pa.table(columns), path)
    (row,) = read(path, column_map=parse_map(MAP[:4]), **FACTS).rows
    assert row.e2e_s == pytest.approx(2.5)


def test_our_own_column_names_need_no_map(read):
    text = "gpu,op,dtype,m,n,k,latency_s\nNVIDIA L4,gemm,bf16,8,4096,4096,1e-5\n"
    (row,) = read(text.replace("gpu,", "kind,gpu,").replace("NVIDIA", "kernel,NVIDIA")).rows
    assert (row.kind, row.gpu, row.gpu_raw) == ("kernel", "l4", "NVIDIA L4")
    assert (row.m, row.latency_s) == (8, 1e-5)


def test_units_whose_case_matters(read):
    text = "model,bs,prompt,new,e\ngpt2,1,8,8,5\n"
    for unit, joules in (("mJ", 0.005), ("MJ", 5e6), ("Wh", 18_000.0)):
        entries = (*MAP[:3], f"e=energy_j:{unit}")
        (row,) = read(text, "t.csv", column_map=parse_map(entries), **FACTS).rows
        assert row.energy_j == pytest.approx(joules)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("latency", "theirs=ours"),
        ("=e2e_s", "theirs=ours"),
        ("lat=e2e", "nearest: e2e_s"),
        ("lat=e2e_s:W", "does not become"),
        ("lat=raw", "no column 'raw'"),
    ],
)
def test_wrong_maps_are_told(entry, why):
    with pytest.raises(InvalidInputError, match=why):
        parse_map([entry])


def test_a_column_mapped_twice_is_refused():
    with pytest.raises(InvalidInputError, match="twice"):
        parse_map(["a=ttft_s", "b=ttft_s"])


def test_absent_columns_and_bad_cells_are_told(read):
    found = read(TABLE, "t.csv", column_map=parse_map(["nope=ttft_s"]), **FACTS)
    assert "no column nope; it has model, bs" in found.refused[0]
    bad = TABLE.replace("2500", "quick")
    found = read(bad, "t.csv", column_map=parse_map(MAP), **FACTS)
    assert found.refused == ("row 1: lat_ms is 'quick', no number",)
    assert len(found.rows) == 1


def test_a_unit_slip_is_refused(read):
    found = read(TABLE, "t.csv", column_map=parse_map([*MAP[:3], "lat_ms=e2e_s:h"]), **FACTS)
    assert len(found.rows) == 2  # hours are possible
    text = "model,bs,prompt,new,lat\ngpt2,8,512,128,25000000000\n"
    found = read(text, "t.csv", column_map=parse_map([*MAP[:3], "lat=e2e_s"]), **FACTS)
    assert "convert its unit" in found.refused[0]


def test_a_table_without_a_map_says_what_to_give(read):
    with pytest.raises(InvalidInputError, match=r"--map theirs=ours"):
        read("a,b\n1,2\n", "t.csv")


def test_a_table_of_our_own_comes_back(read, one, tmp_path):
    pytest.importorskip("pyarrow")
    from profiler.store import Store

    (row,) = read(TABLE.partition("gpt2,16")[0], "t.csv", column_map=parse_map(MAP), **FACTS).rows
    (again,) = read(Store(tmp_path / "store").append([row])).rows
    assert again.figures == row.figures
    assert (again.gpu, again.gpu_raw, again.model) == (row.gpu, row.gpu_raw, row.model)
    assert again.tool == row.tool


def test_a_device_that_nobody_knows_is_asked_for(read):
    text = "kind,gpu,op,dtype,latency_s\nkernel,Board 7,gemm,bf16,1e-5\n"
    assert read(text).refused == ("missing: --gpu (the file says 'Board 7')",)
    (row,) = read(text, gpu="L4").rows
    assert (row.gpu, row.gpu_raw) == ("l4", "Board 7")
