# SPDX-License-Identifier: Apache-2.0
"""The whole snapshot and the whole compiled table against physics and themselves."""

import json
from functools import cache

import pytest

from specs.catalogue import TABLE_PATH, accelerator_of, get_accelerator
from specs.compile import board_values, clocked_bandwidth
from specs.overlay import load_overlay
from specs.sources import load_sources
from specs.techpowerup import HEADER, board_facts, read_boards, write_boards
from specs.tensor_rates import load_rules, rule_for

BOARDS = read_boards()

# Fastest pins sold, Gbit/s, by JEDEC standard or vendor part.
FASTEST_PIN_GBPS = {
    "gddr5": 9.1,
    "gddr5x": 12.1,
    "gddr6": 20.2,
    "gddr6x": 24.1,
    "gddr7": 32.1,
    "hbm": 1.1,
    "hbm2": 2.5,
    "hbm2e": 3.7,
    "hbm3": 6.6,
    "hbm3e": 9.9,
    "lpddr4x": 4.3,
    "lpddr5": 6.5,
    "lpddr5x": 10.8,
}
TOO_FAST_PINS = {
    "radeon-instinct-mi300a.c4296": "clock entered after doubling: 10.3 instead of 5.3 TB/s",
    "radeon-instinct-mi300x.c4179": "clock entered after doubling: 10.3 instead of 5.3 TB/s",
    "radeon-instinct-mi308x.c4295": "clock entered after doubling: 10.3 instead of 5.3 TB/s",
    "radeon-instinct-mi325x.c4231": "clock of MI300X, doubled: 10.3 instead of 6.0 TB/s",
    "steam-deck-gpu.c3897": "88 GB/s is right, its bus has 128 bits, not 64",
    "steam-deck-oled-gpu.c4185": "the console's bus has 128 bits, not 64",
    "tesla-p10.c3750": "clock of the GDDR5 on P40, taken for GDDR5X",
}


@cache
def table():
    with TABLE_PATH.open(encoding="utf-8") as file:
        return tuple(accelerator_of(json.loads(line)) for line in file)


def test_the_snapshot_holds_the_whole_database():
    assert len(BOARDS) > 2800
    assert len({board.key for board in BOARDS}) == len(BOARDS)


def test_the_snapshot_survives_a_round_trip(tmp_path):
    path = tmp_path / "boards.csv"
    write_boards(BOARDS, path)
    assert read_boards(path) == BOARDS
    assert path.read_text(encoding="utf-8").splitlines()[0].split(",") == list(HEADER)


def test_one_board_in_si_units():
    # TechPowerUp's page: 24 GB GDDR6X, 384 bit, 21 Gbps, 72 MB L2, 450 W, 128 SMs.
    board = board_facts("GeForce RTX 4090")
    assert board.mem_bytes == 24 * 2**30
    assert board.l2_bytes == 72 * 2**20
    assert board.boost_clock_hz == 2.52e9
    assert (board.sm_count, board.tensor_core_count, board.tdp_w) == (128, 512, 450)
    # 1313 MHz x 16 transfers x 384 bits / 8; the page rounds to 1.01 TB/s.
    assert clocked_bandwidth(board) == 1_008_384_000_000
    assert board.mem_bytes_per_s == 1.01e12


@pytest.mark.parametrize(
    ("key", "mib"),
    [
        ("geforce-gtx-275", 896),
        ("quadro-fx-3800", 1024),
        ("geforce-gtx-570", 1280),
    ],
)
def test_sizes_are_powers_of_two_as_printed(key, mib):
    assert board_facts(key).mem_bytes == mib * 2**20


def test_bandwidth_is_memory_clock_times_transfers_times_width():
    # Four digits below 1 TB/s, three above: 1%.
    checked = wrong = 0
    for board in BOARDS:
        clocked = clocked_bandwidth(board)
        if clocked is None or board.mem_bytes_per_s is None:
            continue
        checked += 1
        wrong += abs(board.mem_bytes_per_s / clocked - 1) > 0.011
    assert (checked > 2600, wrong) == (True, 0)


def test_no_memory_runs_faster_than_its_standard_save_the_known_errors():
    wrong = {
        board.key
        for board in BOARDS
        if board.mem_kind in FASTEST_PIN_GBPS
        and board.mem_bytes_per_s
        and board.mem_bytes_per_s * 8e-9 / board.mem_bus_bits > FASTEST_PIN_GBPS[board.mem_kind]
    }
    assert wrong == set(TOO_FAST_PINS)


def test_listed_fp32_rate_is_units_times_rate_times_clock():
    rules = load_rules()
    # Single issue counted (twice that with dual issue or packed fp32); half an Xe core.
    counted_once = ("CDNA 3.0", "CDNA 4.0", "RDNA 3.5")
    known = {"arc-graphics-24eu.c4301"}
    checked, wrong = 0, []
    for board in BOARDS:
        rule = rule_for(board, rules)
        if rule is None or not rule.vector or not board.fp32_flops_per_s:
            continue
        units, clock_hz = rule.units(board), board.boost_clock_hz or board.base_clock_hz
        if not units or not clock_hz or board.key in known:
            continue
        checked += 1
        rate = rule.vector / (2 if board.architecture in counted_once else 1)
        if abs(units * rate * clock_hz / board.fp32_flops_per_s - 1) > 0.01:
            wrong.append(board.key)
    assert checked > 1100
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "mem_bytes_per_s", "mem_gib", "tdp_w"),
    [
        # Where TechPowerUp is known to be wrong, by the vendors' data sheets.
        ("b200", 8.0e12, 179, 1000),  # the row describes one of two dies
        ("b300", 8.0e12, 268, 1100),  # likewise; HGX module
        ("mi300x", 5.3e12, 192, 750),
        ("mi325x", 6.0e12, 256, 1000),
        ("l40s", 0.864e12, 45, 350),
        ("h200", 4.8e12, 140, 700),
    ],
)
def test_known_errors_of_the_database_are_corrected(name, mem_bytes_per_s, mem_gib, tdp_w):
    accelerator = get_accelerator(name)
    assert accelerator.mem_bytes_per_s == pytest.approx(mem_bytes_per_s, rel=0.005)
    assert accelerator.mem_bytes / 2**30 == pytest.approx(mem_gib, rel=0.01)
    assert accelerator.tdp_w == tdp_w


def test_derived_peaks_meet_the_stated_ones():
    """Rates x units x clock against what datasheets say, wherever both are known."""
    rules, known = load_rules(), {
        ("p4", "int8"): "22 TOPS are quoted at 1075 MHz, below the listed boost",
        ("a10g", "*"): "tensor cores throttled to half of A10's rate",
        ("l40s", "int4"): "data sheet repeats the int8 figure",
        ("rtx-5090-d", "fp4"): "capped in firmware for export",
        ("rtx-5090-d", "int8"): "capped in firmware for export",
    }  # fmt: skip
    agreeing, wrong = set(), []
    for entry in load_overlay().values():
        if not entry.board:
            continue
        board = next(b for b in BOARDS if entry.board in (b.key, b.short_key))
        rule = rules[entry.rates] if entry.rates else rule_for(board, rules)
        if rule is None:
            continue
        units, clock = entry.values.get("unit_count"), entry.values.get("clock_hz")
        listed = board_values(board)
        peaks = rule.peaks(
            float(units.value) if units else rule.units(board),
            float((clock or listed["clock_hz"]).value),
            matrix_clock=clock is not None,
        )
        for name, stated in entry.values.items():
            table, _, precision = name.partition(".")
            if table != "peak_flops_per_s" or precision not in rule.rates:
                continue
            if abs(peaks[precision] / float(stated.value) - 1) <= 0.03:
                agreeing.add(entry.slug)
            elif {(entry.slug, precision), (entry.slug, "*")}.isdisjoint(known):
                wrong.append((entry.slug, precision, peaks[precision], stated.value))
    assert wrong == []
    assert len(agreeing) >= 60


NOT_FASTER = {
    ("b300-sxm-288gb", "int8"): "Blackwell Ultra keeps only a remnant of int8",
    ("gb300", "int8"): "Blackwell Ultra keeps only a remnant of int8",
}


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("fp32", "fp64"),
        ("tf32", "fp32"),
        ("fp16", "fp32"),
        ("bf16", "fp32"),
        ("fp16", "tf32"),
        ("bf16", "tf32"),
        ("fp8", "bf16"),
        ("fp8", "fp16"),
        ("int8", "fp16"),
        ("fp6", "fp8"),
        ("fp4", "fp6"),
        ("fp4", "fp8"),
        ("int4", "int8"),
    ],
)
def test_a_narrower_precision_is_never_slower(narrow, wide):
    # 3%: figures of one data sheet are rounded each by itself.
    wrong = {
        a.name
        for a in table()
        if narrow in a.peak_flops_per_s
        and wide in a.peak_flops_per_s
        and a.peak_flops_per_s[narrow] < 0.97 * a.peak_flops_per_s[wide]
    }
    assert wrong == {name for name, precision in NOT_FASTER if precision == narrow} & wrong
    assert not wrong or narrow == "int8"


def test_bf16_and_fp16_are_equal_on_gpus_save_mi100():
    wrong = {
        a.name
        for a in table()
        if a.kind != "cpu"
        and {"bf16", "fp16"} <= a.peak_flops_per_s.keys()
        and a.peak("bf16") != pytest.approx(a.peak("fp16"), rel=0.02)
    }
    assert wrong == {"mi100"}  # CDNA 1 runs bf16 at half rate


def test_every_value_lies_in_a_plausible_range():
    wrong = []
    for a in table():
        memory_gib = a.mem_bytes / 2**30
        limit_gib = 6200 if a.kind == "cpu" else 520 if a.unified_memory else 300
        if not (
            0.004 <= memory_gib <= limit_gib
            and 1e8 <= a.mem_bytes_per_s <= 2.5e13
            and 3 <= a.tdp_w <= 1500
            and 5e7 <= a.clock_hz <= 6.3e9
            and 1 <= a.unit_count <= 1200
            and (a.idle_w is None or 0 < a.idle_w < a.tdp_w)
            and (a.process_nm is None or 1 < a.process_nm <= 250)
        ):
            wrong.append(a.name)
    assert wrong == []


def test_vector_rate_and_fp32_peak_agree():
    # A matrix fp32 mode doubles it at most (CDNA); GB10's data sheet rounds.
    wrong = {
        a.name
        for a in table()
        if a.kind in ("gpu", "igpu")
        and "fp32" in a.peak_flops_per_s
        and not 0.94 <= a.peak("fp32") / a.vector_flops_per_s <= 2.05
    }
    assert wrong == set()


def test_every_value_of_the_table_has_a_source_that_resolves():
    known = set(load_sources())
    for a in table():
        stated = {key for key in a.sources if not key.startswith("peak_flops_per_s.")}
        assert {"mem_bytes", "mem_bytes_per_s", "tdp_w", "clock_hz", "unit_count"} <= stated
        assert {f"peak_flops_per_s.{p}" for p in a.peak_flops_per_s} <= set(a.sources)
        assert set(a.sources.values()) <= known


def test_every_slug_stands_once():
    names = [a.name for a in table()]
    assert len(set(names)) == len(names)
