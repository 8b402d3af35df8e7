# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os

import pytest

from specs.errors import InvalidInputError
from specs.gpufile import (
    EXAMPLE_GPU_FILE,
    KNOWN_KEYS,
    accelerator_from_table,
    load_gpu_file,
    to_gpu_file_toml,
)
from specs.sources import get_source


@pytest.fixture
def write(tmp_path):
    def run(text, mode="w"):
        path = tmp_path / "card.toml"
        path.write_bytes(text) if mode == "wb" else path.write_text(text, encoding="utf-8")
        return path

    return run


def refused(path, *words):
    with pytest.raises(InvalidInputError) as caught:
        load_gpu_file(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def test_the_example_is_a_device(write):
    card = load_gpu_file(write(EXAMPLE_GPU_FILE))
    assert card.name == "my-card"
    assert card.mem_bytes == 24 * 2**30
    assert card.mem_bytes_per_s == 1.008e12
    assert card.vector_flops_per_s == 82.6e12
    assert card.clock_hz == 2.52e9
    assert (card.unit_count, card.tdp_w, card.idle_w, card.process_nm) == (128, 450, 20, 5)
    assert card.cache_bytes == 72 * 2**20
    assert card.peak("fp8") == 330.3e12
    assert card.peak("int8") == 660.6e12
    assert set(card.sources.values()) == {"user-gpu-file"}
    assert get_source("user-gpu-file").publisher == "the user"
    assert "by hand" in card.notes[0]


SI = """
name = "plain"
mem_bytes = 80e9
mem_bytes_per_s = 3350000000000
vector_flops_per_s = 66.9e12
clock_hz = 1.83e9
tdp_w = 700
unit_count = 132
[peak_flops_per_s]
bf16 = 989.4e12
"""


def test_plain_si_numbers(write):
    card = load_gpu_file(write(SI))
    assert (card.mem_bytes, card.mem_bytes_per_s) == (80e9, 3.35e12)
    assert card.title == "plain"
    assert card.vendor == "other"


def test_si_names_take_units_too_and_thousands_may_be_grouped(write):
    text = SI.replace("3350000000000", '"3.35 TB/s"').replace("80e9", '"80,000 MB"')
    assert load_gpu_file(write(text)) == load_gpu_file(write(SI))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("80 GB", 80e9), ("80GiB", 80 * 2**30), ("81920 MiB", 80 * 2**30), ("0.08TB", 80e9)],
)
def test_sizes_by_hand(write, text, expected):
    path = write(SI.replace("mem_bytes = 80e9", f'memory = "{text}"'))
    assert load_gpu_file(path).mem_bytes == pytest.approx(expected, rel=1e-12)


def test_byte_order_mark_is_read(write):
    assert load_gpu_file(write(b"\xef\xbb\xbf" + SI.encode(), "wb")).name == "plain"


def test_written_text_reads_back(write):
    card = load_gpu_file(write(EXAMPLE_GPU_FILE))
    odd = dataclasses.replace(
        card,
        title='A "quoted" \\ Card\tµ',
        notes=("one", 'two "2"'),
        unified_memory=True,
        dies=2,
        mem_bytes_per_s=1.0080000000000002e12,
        released="2022-09-20",
    )
    again = load_gpu_file(write(to_gpu_file_toml(odd)))
    assert again.notes[1:] == odd.notes
    assert dataclasses.replace(again, notes=(), sources={}) == dataclasses.replace(
        odd, notes=(), sources={}
    )


def test_unknown_key_names_the_nearest(write):
    refused(write(SI.replace("tdp_w", "tpd_w")), "unknown key 'tpd_w'", "tdp_w")
    refused(write(SI.replace("name =", "nmae =")), "nearest", "name")
    refused(write(SI + 'bf17 = "1 TFLOPS"\n'), "bf17", "bf16")
    refused(write('[my-card]\nmemory = "24 GB"\n'), "unknown table [my-card]", "[peaks]")


def test_missing_facts_are_listed_with_units(write):
    message = refused(write('name = "x"\n'), "lacks")
    for word in ("memory = '24 GiB'", "bandwidth = '1008 GB/s'", "clock", "tdp = '450 W'"):
        assert word in message
    assert "units = 128" in message
    assert "[peaks]" in message
    refused(write(""), "name = 'my-card'")
    refused(write(SI.replace("[peak_flops_per_s]", "").replace("bf16 = 989.4e12", "")), "[peaks]")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mem_bytes = 80e9", "memory = 80", ("no unit", "24 GiB")),
        ("mem_bytes = 80e9", 'memory = "80"', ("memory", "unit")),
        ("mem_bytes = 80e9", 'memory = "80 GB/s"', ("memory",)),
        ("mem_bytes = 80e9", 'memory = "eighty GB"', ("memory",)),
        ("mem_bytes = 80e9", 'memory = "-80 GB"', ("memory",)),
        ("mem_bytes = 80e9", 'memory = "8e10"', ("no unit",)),
        ("mem_bytes = 80e9", 'memory = "640 Gb"', ("bits",)),
        ("mem_bytes = 80e9", 'memory = "640 Gbit"', ("bits",)),
        ("mem_bytes = 80e9", f'memory = "{"8" * 99} GB"', ("short text",)),
        ("mem_bytes_per_s = 3350000000000", 'bandwidth = "26800 Gb/s"', ("bits",)),
        ("mem_bytes_per_s = 3350000000000", 'bandwidth = "26800 Gbps"', ("bits",)),
        ("mem_bytes_per_s = 3350000000000", 'bandwidth = "3.35 TB"', ("bandwidth",)),
        ("mem_bytes = 80e9", "mem_bytes = 80", ("outside",)),
        ("mem_bytes = 80e9", "mem_bytes = -80e9", ("outside",)),
        ("mem_bytes = 80e9", "mem_bytes = nan", ("outside",)),
        ("mem_bytes = 80e9", "mem_bytes = inf", ("outside",)),
        ("mem_bytes = 80e9", "mem_bytes = 1" + "0" * 400, ("outside",)),
        ("mem_bytes = 80e9", "mem_bytes = true", ("with a unit",)),
        ("mem_bytes = 80e9", "mem_bytes = [80e9]", ("with a unit",)),
        ("mem_bytes = 80e9", 'mem_bytes = 80e9\nmemory = "80 GB"', ("twice",)),
        ("tdp_w = 700", "tdp_w = 700e9", ("outside",)),
        ("tdp_w = 700", "tdp_w = 0", ("outside",)),
        ("unit_count = 132", "unit_count = 132.5", ("whole number",)),
        ("unit_count = 132", "unit_count = 0", ("whole number",)),
        ("unit_count = 132", 'unit_count = "132"', ("whole number",)),
        ("unit_count = 132", "unit_count = 132\nunits = 132", ("twice",)),
        ("unit_count = 132", 'unit_count = 132\nkind = "gpus"', ("kind", "gpu, igpu")),
        ("unit_count = 132", 'unit_count = 132\nlink = "nvlink44"', ("link", "nvlink4")),
        ("unit_count = 132", "unit_count = 132\nunified_memory = 1", ("true or false",)),
        ("unit_count = 132", 'unit_count = 132\nnotes = "x"', ("list of texts",)),
        ('name = "plain"', "name = 5", ("name",)),
        ('name = "plain"', 'name = " "', ("name",)),
        ("bf16 = 989.4e12", "bf16 = 989.4", ("outside",)),
        ("bf16 = 989.4e12", 'bf16 = "989 GB"', ("peaks.bf16",)),
        ("[peak_flops_per_s]\nbf16 = 989.4e12", "peaks = 5", ("is a table",)),
        ("bf16 = 989.4e12", "bf16 = 989.4e12\n[peaks]\nbf16 = 1e12", ("twice",)),
    ],
)
def test_impossible_values_are_one_line(write, old, new, words):
    assert old in SI
    refused(write(SI.replace(old, new)), *words)


def test_files_that_are_none(write, tmp_path):
    refused(tmp_path / "absent.toml", "no file")
    refused(tmp_path, "folder")
    refused(write(b"\xff\xfe\x00", "wb"), "UTF-8")
    refused(write("name = "), "not TOML")
    refused(write("x = " + "[" * 100_000), "not TOML")
    refused(write("#" * 1_100_000), "1 MB")


def test_every_known_key_is_accepted():
    assert len(set(KNOWN_KEYS)) >= 30
    table = {
        "name": "all",
        "memory": "1 GB",
        "bandwidth": "1 GB/s",
        "vector": "1 TFLOPS",
        "clock": "1 GHz",
        "tdp": "10 W",
        "units": 1,
        "peaks": {"fp32": "1 TFLOPS"},
        "source": "the vendor's page",
        "released": "2026",
        "notes": ["a caveat"],
        "devices_per_board": 2,
    }
    card = accelerator_from_table(table, where="all.toml")
    assert card.devices_per_board == 2
    assert card.notes == ("Described by hand in all.toml, from the vendor's page.", "a caveat")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    with pytest.raises(InvalidInputError, match="no regular file"):
        load_gpu_file(path)


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        load_gpu_file(path)
    assert len(str(caught.value)) < 200
