# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from specs.errors import InvalidInputError
from specs.measurement import (
    COLUMNS,
    FIGURES,
    SCHEMA_VERSION,
    Measurement,
    RawFigure,
    now_utc,
    point_id_of,
)

LLM = {"kind": "llm", "model": "gpt2", "mode": "static", "batch_size": 8, "input_tokens": 128}


def test_round_trip_through_json():
    row = Measurement(
        **LLM,
        tpot_s=0.01,
        samples_s=[0.01, 0.011],
        raw=[RawFigure(name="mean_tpot_ms", statistic="mean over requests", unit="ms", value=10)],
        measured_at=now_utc(),
        environment='{"torch": "2.13"}',
    )
    assert Measurement.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    assert row.figures == {"tpot_s": 0.01}
    assert row.raw[0].value == 10.0


def test_columns_are_the_fields_and_every_one_is_described():
    assert list(COLUMNS) == [f.name for f in fields(Measurement)]
    assert list(Measurement(kind="llm").to_dict()) == list(COLUMNS)
    assert all(column.says and column.group for column in COLUMNS.values())
    suffixes = {"s": "_s", "W": "_w", "J": "_j", "tok/s": "_tok_s"}
    for name, column in COLUMNS.items():
        if column.unit in suffixes:
            assert name.endswith(suffixes[column.unit]), name


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        Measurement(kind="llm").model = "other"


@pytest.mark.parametrize("name", [*FIGURES, "batch_size", "power_limit_w", "price_usd_per_h"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "12"])
def test_no_figure_is_zero_or_absurd(name, value):
    with pytest.raises(InvalidInputError, match=name):
        Measurement(kind="llm", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("power_w", 350e3), ("ttft_s", 1e-12), ("energy_j", 1e-15), ("tpot_s", 1e9)],
)
def test_a_value_that_cannot_be_in_its_unit_is_refused(name, value):
    with pytest.raises(InvalidInputError, match="convert its unit"):
        Measurement(kind="llm", **{name: value})


@pytest.mark.parametrize("name", ["input_tokens", "cached_tokens", "output_tokens", "depth"])
def test_zero_is_an_amount_where_it_can_be(name):
    assert getattr(Measurement(kind="llm", **{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "gpu"), ("kind", ""), ("mode", "batch"), ("capture", "cuda"), ("quality", "good")],
)
def test_unknown_words(name, value):
    with pytest.raises(InvalidInputError, match=f"{name} is .*; give one of"):
        Measurement(**{"kind": "llm", name: value})


@pytest.mark.parametrize("quality", ["failed", "partial"])
def test_a_point_that_failed_says_why(quality):
    with pytest.raises(InvalidInputError, match="reason"):
        Measurement(kind="llm", quality=quality)
    assert Measurement(kind="llm", quality=quality, reason="out of memory").figures == {}


def test_numpy_and_whole_floats_become_plain_numbers():
    row = Measurement(kind="kernel", op="gemm", m=np.int64(8), n=16.0, latency_s=np.float32(0.5))
    assert (type(row.m), type(row.n), type(row.latency_s)) == (int, int, float)
    with pytest.raises(InvalidInputError, match="whole"):
        Measurement(kind="kernel", m=8.5)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31", "2026-01-31"),
        ("", ""),
    ],
)
def test_times_are_utc(given, kept):
    assert Measurement(kind="llm", measured_at=given).measured_at == kept


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "yesterday", "20260131-120000"])
def test_times_without_a_zone_are_refused(text):
    with pytest.raises(InvalidInputError, match="zone"):
        Measurement(kind="llm", measured_at=text)


def test_point_id_is_what_was_asked_and_nothing_else():
    one = Measurement(**LLM, ttft_s=0.1, run_id="a", driver="550")
    same = Measurement(**LLM, ttft_s=0.2, run_id="b", quality="noisy")
    assert one.point_id == same.point_id == point_id_of({**LLM, "input_tokens": 128.0, "tp": None})
    assert Measurement(**{**LLM, "batch_size": 9}).point_id != one.point_id
    assert Measurement(**LLM, point_id="mine").point_id == "mine"


def test_foreign_rows():
    row = Measurement.from_dict({**LLM, "ttft_s": float("nan"), "notes": None, "raw": np.array([])})
    assert row == Measurement(**LLM)
    with pytest.raises(InvalidInputError, match=r"no column 'tpot_ms'.*tpot_s"):
        Measurement.from_dict({"kind": "llm", "tpot_ms": 3})
    with pytest.raises(InvalidInputError, match="schema"):
        Measurement.from_dict({"kind": "llm", "schema_version": SCHEMA_VERSION + 1})
    for raw in ("x", [1], [{"name": "a"}], [{"name": "a", "value": 1, "colour": 2}]):
        with pytest.raises(InvalidInputError, match="raw"):
            Measurement.from_dict({"kind": "llm", "raw": raw})


@pytest.mark.parametrize("text", ["[1]", "torch 2.13"])
def test_environment_is_a_json_object(text):
    with pytest.raises(InvalidInputError, match="environment"):
        Measurement(kind="llm", environment=text)


def test_importing_it_is_light():
    code = "import sys, specs.measurement; print([m for m in sys.modules if m in HEAVY])"
    code = code.replace("HEAVY", "('numpy', 'pandas', 'pyarrow', 'torch')")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
