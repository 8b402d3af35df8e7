# SPDX-License-Identifier: Apache-2.0
"""Rates per unit and clock against the vendors' own dense figures."""

import dataclasses

import pytest

from specs.errors import SpecDataError
from specs.sources import load_sources
from specs.techpowerup import BoardFacts, read_boards
from specs.tensor_rates import load_rules, rule_for

RULES = load_rules()

# Rule, units, clock in GHz, precision, the vendor's dense figure in TFLOPS or TOPS.
VENDOR_FIGURES = [
    # V100 data sheet: 125 TFLOPS of tensor performance on SXM2, 15.7 of fp32.
    ("volta-gv100", 80, 1.530, "fp16", 125),
    ("volta-gv100", 80, 1.530, "fp32", 15.7),
    # Turing white paper, appendices: RTX 2080 Ti FE, T4, TITAN RTX, RTX 2060.
    ("turing-geforce", 68, 1.635, "fp16", 56.9),
    ("turing-geforce", 68, 1.635, "int8", 227.7),
    ("turing", 40, 1.590, "fp16", 65),
    ("turing", 40, 1.590, "int8", 130),
    ("turing", 40, 1.590, "int4", 260),
    ("turing", 72, 1.770, "fp16", 130.5),
    # A100 data sheet.
    ("ampere-ga100", 108, 1.410, "fp16", 312),
    ("ampere-ga100", 108, 1.410, "tf32", 156),
    ("ampere-ga100", 108, 1.410, "int8", 624),
    ("ampere-ga100", 108, 1.410, "fp64", 19.5),
    # A30 data sheet: 56 SMs.
    ("ampere-ga100", 56, 1.440, "fp16", 165),
    # GA102 white paper, tables 2 and 3: RTX 3090 and A6000.
    ("ampere-ga10x-geforce", 82, 1.695, "bf16", 71),
    ("ampere-ga10x-geforce", 82, 1.695, "tf32", 35.6),
    ("ampere-ga10x-geforce", 82, 1.695, "int8", 284.7),
    ("ampere-ga10x-geforce", 82, 1.695, "int4", 569.5),
    ("ampere-ga10x", 84, 1.800, "bf16", 154.8),
    ("ampere-ga10x", 84, 1.800, "tf32", 77.4),
    ("ampere-ga10x", 84, 1.800, "int8", 309.7),
    # Ada white paper: RTX 4090 with fp32 accumulation, RTX 6000 Ada, L40, L4.
    ("ada-geforce", 128, 2.520, "fp16", 165.2),
    ("ada-geforce", 128, 2.520, "fp8", 330.3),
    ("ada-geforce", 128, 2.520, "int8", 660.6),
    ("ada-geforce", 128, 2.520, "tf32", 82.6),
    ("ada", 142, 2.505, "fp16", 364.2),
    ("ada", 58, 2.040, "fp16", 121),
    ("ada", 58, 2.040, "fp8", 242.5),
    ("ada-server-halved", 142, 2.490, "fp16", 181.05),
    # H100 data sheet, at the listed boost clocks of 1980 and 1755 MHz.
    ("hopper", 132, 1.980, "bf16", 989.4),
    ("hopper", 132, 1.980, "fp8", 1978.9),
    ("hopper", 132, 1.980, "fp32", 66.9),
    ("hopper", 114, 1.755, "bf16", 756),
    # HGX B200: per GPU, dense.
    ("blackwell-gb100", 148, 1.965, "bf16", 2250),
    ("blackwell-gb100", 148, 1.965, "fp4", 9000),
    # RTX Blackwell white paper: RTX 5090; RTX PRO 6000.
    ("blackwell-geforce", 170, 2.407, "bf16", 209.5),
    ("blackwell-geforce", 170, 2.407, "fp8", 419),
    ("blackwell-geforce", 170, 2.407, "fp4", 1676),
    ("blackwell-pro", 188, 2.617, "bf16", 503.8),
    ("blackwell-pro", 188, 2.617, "fp4", 2015.2),
    # P100 SXM2 and P40 data sheets.
    ("pascal-gp100", 56, 1.480, "fp16", 21.2),
    ("pascal-gp10x", 30, 1.531, "int8", 47),
    # AMD: MI100, MI250X (board), MI300X, MI355X, MI50.
    ("cdna1", 120, 1.502, "fp16", 184.6),
    ("cdna1", 120, 1.502, "bf16", 92.3),
    ("cdna1", 120, 1.502, "fp32", 46.1),
    ("cdna2", 220, 1.700, "bf16", 383),
    ("cdna2", 220, 1.700, "fp64", 95.7),
    ("cdna3", 304, 2.100, "bf16", 1307.4),
    ("cdna3", 304, 2.100, "fp8", 2614.9),
    ("cdna3", 304, 2.100, "tf32", 653.7),
    ("cdna3", 304, 2.100, "fp32", 163.4),
    ("cdna4", 256, 2.400, "bf16", 2516.6),
    ("cdna4", 256, 2.400, "fp8", 5033.2),
    ("cdna4", 256, 2.400, "fp4", 10066.3),
    ("cdna4", 256, 2.400, "fp64", 78.6),
    ("vega20", 60, 1.725, "fp16", 26.5),
    ("vega20", 60, 1.725, "int8", 53),
    # Radeon RX 6900 XT, RX 7900 XTX, RX 9070 XT product pages.
    ("rdna2", 80, 2.250, "fp16", 46.08),
    ("rdna3", 96, 2.500, "fp16", 122.8),
    ("rdna3", 96, 2.500, "fp32", 61.4),
    ("rdna4", 64, 2.970, "fp16", 195),
    ("rdna4", 64, 2.970, "fp8", 389),
    ("rdna4", 64, 2.970, "int4", 779),
    # Intel: Max 1550, Arc B580 (233 TOPS), Arc 140T (77 TOPS).
    ("xe-hpc", 128, 1.600, "bf16", 839),
    ("xe-hpc", 128, 1.600, "tf32", 419),
    ("xe2", 20, 2.850, "int8", 233),
    ("xe-hpg", 8, 2.350, "int8", 77),
]


@pytest.mark.parametrize(("rule", "units", "clock_ghz", "precision", "tera"), VENDOR_FIGURES)
def test_rate_times_units_times_clock_is_the_vendors_dense_figure(
    rule, units, clock_ghz, precision, tera
):
    # Vendors round to three or four digits, and clocks to steps of 15 MHz: 1%.
    peak = RULES[rule].peaks(units, clock_ghz * 1e9)[precision]
    assert peak == pytest.approx(tera * 1e12, rel=0.01)


def test_geforce_runs_fp32_accumulation_at_half_the_workstation_rate():
    for family in ("turing", "ampere-ga10x", "ada"):
        assert RULES[f"{family}-geforce"].rates["fp16"] * 2 == RULES[family].rates["fp16"]
        assert RULES[f"{family}-geforce"].rates["int8"] == RULES[family].rates["int8"]
    assert RULES["blackwell-geforce"].rates["fp16"] * 2 == RULES["blackwell-pro"].rates["fp16"]


@pytest.mark.parametrize(
    ("rule", "lacks"),
    [
        ("volta-gv100", ("bf16", "tf32", "int8", "fp8")),
        ("turing", ("bf16", "tf32", "fp8")),
        ("ampere-ga100", ("fp8", "fp4")),
        ("ada", ("fp4",)),
        ("hopper", ("int4", "fp4")),
        ("cdna2", ("fp8", "tf32")),
        ("cdna3", ("fp4", "int4")),
        ("cdna4", ("tf32",)),
        ("rdna3", ("fp8", "tf32")),
        ("pascal-gp10x", ("fp16", "bf16")),
    ],
)
def test_a_precision_that_the_hardware_lacks_is_absent(rule, lacks):
    assert not set(lacks) & set(RULES[rule].rates)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("geforce-rtx-4090.c3889", "ada-geforce"),
        ("titan-rtx.c3311", "turing"),
        ("geforce-rtx-2080-ti.c3305", "turing-geforce"),
        ("quadro-rtx-6000.c3307", "turing"),
        ("geforce-gtx-1660-super.c3458", "turing-minor"),
        ("rtx-a6000.c3686", "ampere-ga10x"),
        ("a100-sxm4-80-gb.c3746", "ampere-ga100"),
        ("geforce-gtx-1080-ti.c2877", "pascal-gp10x"),
        ("radeon-rx-vega-64.c2871", "vega"),
    ],
)
def test_board_falls_under_the_rule_of_its_chip_and_market(key, rule):
    board = next(board for board in read_boards() if board.key == key)
    assert rule_for(board, RULES).name == rule


def test_mining_boards_are_refused():
    boards = [board for board in read_boards() if board.generation == "Mining GPUs"]
    assert boards
    assert all(rule_for(board, RULES).refuse for board in boards)


def test_units_follow_the_lanes_where_the_listed_count_disagrees():
    # L4: 7424 lanes / 128 = 58 SMs, as its data sheet has it; the snapshot lists 60.
    board = next(board for board in read_boards() if board.key.startswith("l4.c"))
    assert board.sm_count == 60
    assert rule_for(board, RULES).units(board) == 58


def test_every_source_resolves():
    assert {rule.source for rule in RULES.values()} <= set(load_sources())


def test_each_rule_covers_some_board_of_the_snapshot():
    used = {rule.name for board in read_boards() if (rule := rule_for(board, RULES))}
    assert used == set(RULES)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[x]\nmatch = {chip = "A"}\nsource = "s"\nrate = {fp16 = 1}', "nearest: rates"),
        ('[x]\nmatch = {chip = "A"}\nsource = "s"\narchitecture = "a"\nrates = {fp15 = 1}', "fp16"),
        ('[x]\nmatch = {chipp = "A"}\nsource = "s"\narchitecture = "a"', "nearest: chip"),
        ('[x]\nsource = "s"\narchitecture = "a"', "needs match"),
        ('[x]\nmatch = {chip = "A"}\nsource = "s"', "needs an architecture"),
    ],
)
def test_a_slip_in_the_table_is_named(tmp_path, text, complaint):
    path = tmp_path / "rates.toml"
    path.write_text(text)
    with pytest.raises(SpecDataError, match=complaint):
        load_rules(path)


def test_unless_name_exempts_a_board():
    board = BoardFacts(
        key="x.c1", name="TITAN RTX", manufacturer="NVIDIA", chip="TU102", generation="GeForce 20"
    )
    assert not RULES["turing-geforce"].covers(board)
    assert RULES["turing-geforce"].covers(dataclasses.replace(board, name="GeForce RTX 2080"))
