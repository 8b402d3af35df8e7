# SPDX-License-Identifier: Apache-2.0
from datetime import date, datetime

import pytest

from profiler.importers import values
from specs.errors import InvalidInputError


@pytest.mark.parametrize(
    ("value", "unit", "target", "si"),
    [
        (250, "ms", "s", 0.25),
        (250, "us", "s", 0.00025),
        (2, "ms/token", "s", 0.002),
        (2, "s/tok", "s", 2),
        (3, "mJ", "J", 0.003),
        (3, "MJ", "J", 3e6),
        (1, "kWh", "J", 3.6e6),
        (1, "mWh", "J", 3.6),
        (350_000, "mW", "W", 350),
        (5, "tokens/sec", "tok/s", 5),
        (120, "1/min", "1/s", 2),
    ],
)
def test_units(value, unit, target, si):
    assert values.to_si(value, unit, target) == pytest.approx(si)


@pytest.mark.parametrize(
    ("unit", "target"),
    [("W", "s"), ("mj", "J"), ("MS", "s"), ("", "s"), ("samples/s", "tok/s"), ("J/token", "J")],
)
def test_other_units_are_refused_not_guessed(unit, target):
    with pytest.raises(InvalidInputError, match="does not become"):
        values.to_si(1.0, unit, target)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        ("1e-5", 1e-5),
        (" 2 ", 2.0),
        (True, None),
        (None, None),
        ("inf", None),
        (float("nan"), None),
        (10**400, None),
        ([1], None),
        ("x", None),
    ],
)
def test_numbers(value, expected):
    assert values.number(value) == expected


def test_counts_and_degrees():
    assert values.count(8.0) == 8
    assert values.count("8") == 8
    assert (values.count(0), values.count(1.5), values.count(-3), values.count(2**60)) == (
        None,
    ) * 4
    assert values.degree(64) == 64
    assert values.degree(10**6) is None


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00", "2026-01-31"),
        ("20260131-120000", "2026-01-31"),
        (1_769_860_800.0, "2026-01-31T12:00:00+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 12), "2026-01-31"),
        ("yesterday", ""),
        (12.5, ""),
        (1e300, ""),
        (None, ""),
    ],
)
def test_moments(value, iso):
    assert values.moment(value) == iso


def test_tags_of_images():
    assert values.tag_of("vllm/vllm-openai:v0.11.0") == "v0.11.0"
    assert values.tag_of("lmsysorg/sglang:v0.5.5@sha256:abc") == "v0.5.5"
    assert values.tag_of("registry:5000/vllm") == ""
    assert values.tag_of("vllm") == ""


def test_paths_through_anything():
    assert values.at({"a": {"b": 1}}, "a.b") == 1
    assert values.at({"a": [1]}, "a.b") is None
    assert values.at(3, "a") is None
    assert values.numbers([1, "2"]) == [1, 2]
    assert values.numbers([1, "x"]) == []
