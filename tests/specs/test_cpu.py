# SPDX-License-Identifier: Apache-2.0
"""Processors by formula: cores x operations per clock x clock, channels x transfers x 8 bytes."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.catalogue import get_accelerator, resolve_name
from specs.cpu import (
    COLUMNS,
    CoreGroup,
    CoreRates,
    cpu_entries,
    cpu_slug,
    load_cores,
    mem_bytes_per_s,
    peak_flops_per_s,
)
from specs.errors import SpecDataError
from specs.sources import load_sources

SLUGS = (Path(__file__).parent / "cpu_slugs.txt").read_text(encoding="utf-8").split()
ENTRIES = cpu_entries()
SOURCES = frozenset(load_sources())


@pytest.mark.parametrize(
    ("slug", "precision", "flops_per_s"),
    [
        # 56 cores x 1024 (AMX bf16) x 3.0 GHz with all cores active
        ("cpu-intel-xeon-platinum-8480", "bf16", 56 * 1024 * 3.0e9),
        # 56 cores x 2 units x 16 lanes x 2
        ("cpu-intel-xeon-platinum-8480", "fp32", 56 * 2 * 16 * 2 * 3.0e9),
        # 128 cores x 2048 (AMX int8) x 3.2 GHz
        ("cpu-intel-xeon-6980p", "int8", 128 * 2048 * 3.2e9),
        # 40 cores x 2 x 64 products x 2 (VNNI) x 3.0 GHz
        ("cpu-intel-xeon-platinum-8380", "int8", 40 * 2 * 64 * 2 * 3.0e9),
        # 12 cores x 2 units x 8 lanes x 2 x 3.0 GHz would be AVX2; Ivy Bridge has no FMA: half
        ("cpu-intel-xeon-e5-2697-v2", "fp32", 12 * 2 * 8 * 3.0e9),
        # 14 cores x 2 units x 8 lanes x 2 x 2.9 GHz
        ("cpu-intel-xeon-e5-2680-v4", "fp32", 14 * 2 * 8 * 2 * 2.9e9),
        # 16 cores x 2 units x 8 lanes x 2 x 4.9 GHz
        ("cpu-amd-ryzen-9-5950x", "fp32", 16 * 2 * 8 * 2 * 4.9e9),
        # Zen 4 runs 512-bit instructions in two halves: as wide as Zen 3 in fp32
        ("cpu-amd-epyc-9654", "fp32", 96 * 2 * 8 * 2 * 3.55e9),
        # Zen 5: 16 cores x 2 units x 16 lanes x 2 x 5.7 GHz
        ("cpu-amd-ryzen-9-9950x", "fp32", 16 * 2 * 16 * 2 * 5.7e9),
        # 8 P cores x 32 x 5.7 GHz and 16 E cores x 16 x 4.4 GHz
        ("cpu-intel-core-i9-14900k", "fp32", 8 * 32 * 5.7e9 + 16 * 16 * 4.4e9),
        # 72 cores x 4 units x 2 lanes x 2 x 3.1 GHz = 3.57e12; NVIDIA says 7.1e12 for two
        ("cpu-nvidia-grace", "fp64", 7.1e12 / 2),
        # 4 cores x 2 units x 4 lanes x 2 x 2.4 GHz
        ("cpu-raspberry-pi-5", "fp32", 4 * 2 * 4 * 2 * 2.4e9),
    ],
)
def test_peaks_worked_by_hand(slug, precision, flops_per_s):
    # 1% for NVIDIA's two digits; the others are exact.
    assert get_accelerator(slug).peak(precision) == pytest.approx(flops_per_s, rel=0.01)


@pytest.mark.parametrize(
    ("slug", "bytes_per_s"),
    [
        ("cpu-intel-xeon-platinum-8480", 8 * 4800e6 * 8),
        ("cpu-intel-xeon-6980p", 12 * 8800e6 * 8),
        ("cpu-amd-epyc-9654", 12 * 4800e6 * 8),  # 460.8 GB/s, as AMD states
        ("cpu-amd-epyc-7742", 204.8e9),  # AMD's figure
        ("cpu-amd-ryzen-9-7950x", 2 * 5200e6 * 8),
        ("cpu-intel-core-i9-14900k", 89.6e9),  # Intel's figure
        ("cpu-intel-xeon-e5-2680-v4", 76.8e9),  # Intel's figure
        ("cpu-nvidia-grace", 512e9),  # NVIDIA's figure
        ("cpu-aws-graviton3", 307.2e9),
        ("cpu-raspberry-pi-5", 17.064e9),  # 32 bits of LPDDR4X-4266
    ],
)
def test_bandwidth_worked_by_hand(slug, bytes_per_s):
    assert get_accelerator(slug).mem_bytes_per_s == pytest.approx(bytes_per_s, rel=1e-9)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_listed_slug_resolves_to_a_cpu(slug):
    assert get_accelerator(slug).kind == "cpu"


@pytest.mark.parametrize("slug", sorted(ENTRIES))
def test_facts_lie_in_plausible_ranges(slug):
    cpu = get_accelerator(slug)
    assert cpu.name == slug
    assert 4e9 <= cpu.mem_bytes <= 1e12
    assert 8e9 <= cpu.mem_bytes_per_s <= 1700e9
    assert 1e9 <= cpu.vector_flops_per_s <= 50e12
    assert cpu.vector_flops_per_s == cpu.peak("fp32")
    assert 1.0e9 <= cpu.clock_hz <= 6.3e9
    assert 4 <= cpu.tdp_w <= 500
    assert 2 <= cpu.unit_count <= 192
    assert cpu.notes
    assert set(cpu.sources.values()) <= SOURCES


@pytest.mark.parametrize("slug", sorted(ENTRIES))
def test_rates_grow_as_precision_shrinks(slug):
    peaks = get_accelerator(slug).peak_flops_per_s
    order = [p for p in ("fp64", "fp32", "bf16", "int8") if p in peaks]
    assert all(peaks[a] <= peaks[b] for a, b in pairwise(order))


@pytest.mark.parametrize(
    ("written", "slug"),
    [
        ("AMD Ryzen 9 7950X 16-Core Processor", "cpu-amd-ryzen-9-7950x"),
        ("AMD EPYC 9654 96-Core Processor", "cpu-amd-epyc-9654"),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "cpu-intel-core-i7-8700k"),
        ("12th Gen Intel(R) Core(TM) i7-12700K", "cpu-intel-core-i7-12700k"),
        ("11th Gen Intel Core i7-1185G7 @ 3.00GHz", "cpu-intel-core-i7-1185g7"),
        ("Intel(R) Xeon(R) Platinum 8480+", "cpu-intel-xeon-platinum-8480"),
        ("Xeon 8592+", "cpu-intel-xeon-platinum-8592"),
        ("i9-14900K", "cpu-intel-core-i9-14900k"),
        ("Ryzen 7950X", "cpu-amd-ryzen-9-7950x"),
        ("Graviton3", "cpu-aws-graviton3"),
        ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", "cpu-amd-ryzen-7-7840u"),
    ],
)
def test_names_people_write(written, slug):
    assert resolve_name(written) == slug


def test_twins_and_neighbours_are_not_mixed():
    assert resolve_name("cpu-amd-ryzen-9-7900") != resolve_name("cpu-amd-ryzen-9-7900x")
    one, two = get_accelerator("cpu-intel-xeon-gold-6138"), get_accelerator("2x Xeon Gold 6138")
    assert two.unit_count == 2 * one.unit_count
    assert two.mem_bytes_per_s == 2 * one.mem_bytes_per_s


@given(
    cores=st.integers(1, 256),
    wide=st.floats(2, 2048),
    clock_hz=st.floats(1e9, 6e9),
    factor=st.integers(2, 9),
)
def test_peak_scales_with_cores_width_and_clock(cores, wide, clock_hz, factor):
    def peak(count, per_clock, clock):
        rates = CoreRates(name="any", per_clock={"fp32": per_clock}, sources={"fp32": "s"})
        return peak_flops_per_s([CoreGroup(rates=rates, count=count, clock_hz=clock)], "fp32")

    base = peak(cores, wide, clock_hz)
    assert base > 0
    assert peak(cores * factor, wide, clock_hz) == pytest.approx(factor * base)
    assert peak(cores, wide * factor, clock_hz) == pytest.approx(factor * base)
    assert peak(cores, wide, clock_hz * factor) == pytest.approx(factor * base)


def test_a_precision_that_some_cores_lack_has_no_peak():
    cores = load_cores()
    mixed = [
        CoreGroup(rates=cores["sapphire-rapids"], count=8, clock_hz=3e9),
        CoreGroup(rates=cores["gracemont"], count=8, clock_hz=3e9),
    ]
    assert peak_flops_per_s(mixed, "bf16") == 0
    assert peak_flops_per_s(mixed, "fp32") == 8 * 64 * 3e9 + 8 * 16 * 3e9


def test_bandwidth_of_one_ddr5_channel():
    assert mem_bytes_per_s(1, 4800) == pytest.approx(38.4e9)


def test_slugs():
    assert cpu_slug("Intel Xeon Platinum 8480+") == "cpu-intel-xeon-platinum-8480"
    assert cpu_slug("AMD Ryzen AI Max+ 395 CPU") == "cpu-amd-ryzen-ai-max-395"


GOOD = "Some CPU X,desktop,zen4,8,5.0,4.5,,,,ddr5,2,5200,32,65,2024,amd-cpu-specs,,"


def table(tmp_path, line):
    path = tmp_path / "cpus.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n", encoding="utf-8")
    return path


def test_a_good_line_is_read(tmp_path):
    entry = cpu_entries(table(tmp_path, GOOD))["cpu-some-cpu-x"]
    assert entry.values["clock_hz"].value == 4.5e9
    assert entry.values["mem_bytes"].value == 64e9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("zen4", "zen44", "no core 'zen44'; nearest: zen4"),
        (",8,5.0", ",no,5.0", "cores is a positive number, not 'no'"),
        (",8,5.0", ",-8,5.0", "cores is a positive number"),
        (",4.5,", ",5.5,", "all cores turbo to 5.5 GHz"),
        ("amd-cpu-specs", "nobody", "no source 'nobody'"),
        ("desktop", "toaster", "no usual memory of class 'toaster'"),
        (",65,2024", ",65", "has 18 cells"),
    ],
)
def test_a_bad_line_says_what_is_wrong(tmp_path, old, new, message):
    with pytest.raises(SpecDataError, match=message):
        cpu_entries(table(tmp_path, GOOD.replace(old, new)))


def test_a_line_twice_is_refused(tmp_path):
    with pytest.raises(SpecDataError, match="stands twice"):
        cpu_entries(table(tmp_path, GOOD + "\n" + GOOD))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[a]\nsource = "uops-info"\nfp33 = 2\n', "no precision"),
        ('[a]\nsource = "uops-info"\nfp32 = -2\n', "positive number"),
        ("[a]\nfp32 = 2\n", "has no source"),
        ('[a]\nsource = "uops-info"\nint8 = 2\n', "fp32 is needed"),
    ],
)
def test_bad_core_tables_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "cores.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecDataError, match=message):
        load_cores(path)
