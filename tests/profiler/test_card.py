# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from profiler.card import BEGIN, END, dataset_card, renewed_card
from specs.measurement import COLUMNS, SCHEMA_VERSION, Measurement

ROW = {"kind": "llm", "gpu": "l4", "gpu_raw": "NVIDIA L4", "driver": "550.54", "tool": "roofline"}
MORE = {"method": "steady", "license": "CC-BY-4.0", "measured_at": "2026-01-31", "model": "gpt2"}


def front_matter(card):
    """The lines between the rules, as far as they are ``key: value``."""
    head = card.split("---\n")[1]
    return dict(line.split(": ", 1) for line in head.splitlines() if line[0] not in " -c")


def test_card_states_hardware_method_schema_and_licence():
    rows = [Measurement(**ROW, **MORE), Measurement(**ROW, **MORE), Measurement(kind="tabular")]
    card = dataset_card(rows, name="org/records")
    assert "3 measurements of inference (2 llm, 1 tabular) of 1 models" in card
    assert "measured 2026-01-31 to 2026-01-31" in card
    assert "| l4 | NVIDIA L4 | 550.54 |  |  | 2 |" in card
    assert "| roofline |  | steady |  |  |  | 2 |" in card
    assert "|  | CC-BY-4.0 | 2 |" in card
    assert "|  | not stated | 1 |" in card
    assert f"Schema {SCHEMA_VERSION}." in card
    for name, column in COLUMNS.items():
        assert f"| `{name}` | {column.type} | {column.unit} | {column.says} |" in card


@pytest.mark.parametrize(
    ("licences", "stated"),
    [(["CC-BY-4.0"] * 2, "cc-by-4.0"), (["MIT", "CC-BY-4.0"], "other"), ([""], "unknown")],
)
def test_licence_of_the_whole(licences, stated):
    rows = [Measurement(kind="llm", license=licence) for licence in licences]
    assert json.loads(front_matter(dataset_card(rows, name="x"))["license"]) == stated


@pytest.mark.parametrize(
    ("count", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10_000, "10K<n<100K")]
)
def test_size_category(count, size):
    card = dataset_card([Measurement(kind="llm")] * count, name="x")
    assert front_matter(card)["size_categories"] == f"[{size}]"


def test_cells_cannot_break_the_table_or_the_front_matter():
    row = Measurement(kind="llm", gpu_raw="a | b\nc", notes="---")
    card = dataset_card([row], name='no: "name"')
    assert "| a \\| b c |" in card
    assert json.loads(front_matter(card)["pretty_name"]) == 'no: "name"'


def test_renewing_keeps_what_the_owner_wrote():
    first = dataset_card([Measurement(**ROW)], name="x")
    second = dataset_card([Measurement(**ROW)] * 2, name="x")
    assert renewed_card(None, first) == first
    assert renewed_card(" \n", first) == first
    owned = renewed_card(first + "\n## Thanks\n\nTo all.\n", second)
    assert owned.startswith(second.rstrip("\n"))
    assert owned.endswith("## Thanks\n\nTo all.\n")
    assert owned.count(BEGIN) == owned.count(END) == 1
    assert renewed_card(owned, second) == owned
    assert renewed_card("# Somebody's own page\n", first) is None
