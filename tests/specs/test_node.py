# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from specs.accelerator import Accelerator
from specs.errors import InvalidInputError, SpecDataError, UnknownNameError
from specs.node import NODES_DIR, Link, get_interconnect, get_link, link_names
from specs.sources import load_sources


def _card(**changes):
    values = {
        "name": "card",
        "title": "A Card",
        "vendor": "nvidia",
        "kind": "gpu",
        "architecture": "hopper",
        "mem_bytes": 80e9,
        "mem_bytes_per_s": 3e12,
        "peak_flops_per_s": {"bf16": 1e15},
        "vector_flops_per_s": 6e13,
        "unit_count": 132,
        "clock_hz": 1.7e9,
        "tdp_w": 700.0,
    }
    return Accelerator(**{**values, **changes})


@pytest.mark.parametrize(
    ("name", "gb_per_s"),
    # Vendors' headline figures, which add both directions, halved.
    [
        ("nvlink1", 160 / 2),
        ("nvlink2", 300 / 2),
        ("nvlink3", 600 / 2),
        ("nvlink3-a800", 400 / 2),
        ("nvlink4", 900 / 2),
        ("nvlink4-h800", 400 / 2),
        ("nvlink5", 1800 / 2),
        ("nvlink-bridge-ampere", 112.5 / 2),
        ("nvlink-bridge-h100", 600 / 2),
        ("xgmi3", 896 / 2),
        ("xgmi4", 1075.2 / 2),
        ("ici-v5e", 400 / 2),
        ("ici-v5p", 1200 / 2),
        ("ici-v6e", 800 / 2),
        ("gaudi-roce2", 525 / 2),
        ("gaudi-roce3", 1050 / 2),
        ("ib-ndr", 400 / 8),
    ],
)
def test_rates_are_half_of_the_headline(name, gb_per_s):
    assert get_link(name).bytes_per_s == pytest.approx(gb_per_s * 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "gb_per_s"),
    # 8 GT/s x 16 lanes x 128/130 / 8 bits = 15.754 GB/s, and so on; 5 GT/s codes 8 in 10 bits.
    [
        ("pcie2x16", 5 * 16 * 8 / 10 / 8),
        ("pcie3x16", 8 * 16 * 128 / 130 / 8),
        ("pcie4x16", 16 * 16 * 128 / 130 / 8),
        ("pcie4x8", 16 * 8 * 128 / 130 / 8),
        ("pcie5x16", 32 * 16 * 128 / 130 / 8),
        ("pcie6x16", 64 * 16 * 242 / 256 / 8),
    ],
)
def test_pcie_rates_follow_from_transfers_and_coding(name, gb_per_s):
    assert get_link(name).bytes_per_s == pytest.approx(gb_per_s * 1e9, rel=1e-5)


def test_every_link_reads_and_resolves_its_sources():
    sources = load_sources()
    names = link_names()
    assert len(names) > 40
    assert len(set(names)) == len(names)
    for name in names:
        link = get_link(name)
        assert link.title
        assert {"bytes_per_s", "latency_s"} <= set(link.sources), name
        assert set(link.sources.values()) <= set(sources), name
        assert 1e9 / 4 <= link.bytes_per_s <= 1.2e12, name
        assert 0.1e-6 <= link.latency_s <= 10e-6, name
        if link.scale_out:
            assert get_link(link.scale_out).kind == "network"


def test_every_file_holds_only_keys_of_its_family():
    for path in NODES_DIR.glob("*.toml"):
        if path.stem not in ("pcie", "network"):
            own = [name for name in link_names() if name.startswith(path.stem)]
            assert own, path.name


def test_a_group_on_a_mesh_reaches_only_the_ports_inside_it():
    mi300x = get_link("xgmi3")  # seven links of 64 GB/s, one to each other device
    assert mi300x.group_bytes_per_s(2) == pytest.approx(64e9)
    assert mi300x.group_bytes_per_s(4) == pytest.approx(3 * 64e9)
    assert mi300x.group_bytes_per_s(8) == pytest.approx(448e9)
    assert get_link("nvlink4").group_bytes_per_s(2) == pytest.approx(450e9)


@pytest.mark.parametrize("name", link_names())
def test_a_larger_group_never_has_less_rate(name):
    link = get_link(name)
    rates = [link.group_bytes_per_s(n) for n in range(1, 65)]
    assert rates[1:] == sorted(rates[1:])
    assert max(rates) <= link.bytes_per_s


def test_library_floor_by_hand():
    # H100: 4.9 us + 2 x 7 x 0.78 us = 15.82 us for eight; measured 15.8 us.
    assert get_link("nvlink4").library_floor_s(8) == pytest.approx(15.82e-6)
    # Unmeasured: 3.6 us + 2 x 1 x 0.5 us.
    assert get_link("nvlink2").library_floor_s(2) == pytest.approx(4.6e-6)


@pytest.mark.parametrize(
    ("name", "devices", "measured_us"),
    # Medians of NCCL all-reduces of at most 8 KiB in the public aiconfigurator tables.
    [
        ("nvlink3", 2, 10.04),
        ("nvlink3", 4, 14.34),
        ("nvlink3", 8, 21.71),
        ("nvlink4", 2, 6.44),
        ("nvlink4", 4, 9.74),
        ("nvlink4", 8, 15.80),
        ("nvlink5", 2, 10.35),
        ("nvlink5", 4, 15.40),
        ("nvlink5", 8, 26.57),
        ("pcie5x16", 2, 6.37),
        ("pcie5x16", 4, 13.37),
        ("pcie5x16", 8, 25.50),
    ],
)
def test_library_floor_is_near_the_measurements(name, devices, measured_us):
    assert get_link(name).library_floor_s(devices) * 1e6 == pytest.approx(measured_us, rel=0.1)


def test_captured_floor_is_below_the_library_and_above_a_hop():
    for name in ("nvlink3", "nvlink4", "nvlink5"):
        link = get_link(name)
        for devices in (2, 4, 8):
            floor_s = link.captured_floor_of_s(devices)
            assert link.latency_s < floor_s <= link.library_floor_s(devices)
    rack = get_link("nvlink5-nvl72")
    assert rack.captured_floor_of_s(16) == rack.library_floor_s(16)


def test_hgx_card():
    net = get_interconnect(_card(link="nvlink4", host_link="pcie5x16"))
    assert (net.devices_per_node, net.scale_up.name) == (8, "nvlink4")
    assert (net.host.name, net.scale_out.name) == ("pcie5x16", "ib-ndr")
    assert get_interconnect(_card(link="nvlink3")).scale_out.name == "ib-hdr"
    assert net.link_for(8).name == "nvlink4"
    assert net.link_for(16).name == "ib-ndr"


def test_rack_scale():
    net = get_interconnect(_card(link="nvlink5-nvl72", host_link="nvlink-c2c"))
    assert net.devices_per_node == 72
    assert net.link_for(64).name == "nvlink5-nvl72"


def test_a_group_beyond_the_bridge_crosses_the_root_complex():
    net = get_interconnect(_card(link="nvlink-bridge-h100", host_link="pcie5x16"))
    assert net.link_for(2).name == "nvlink-bridge-h100"
    assert net.link_for(4).name == "pcie5x16"
    assert net.link_for(9).name == "ib-ndr"


def test_card_without_link_uses_its_host_link():
    net = get_interconnect(_card(host_link="pcie4x16"))
    assert net.scale_up == net.host == get_link("pcie4x16")
    assert net.devices_per_node == 8


def test_geforce_is_staged_through_host_memory():
    net = get_interconnect(_card(title="NVIDIA GeForce RTX 4090", host_link="pcie4x16"))
    assert net.scale_up.latency_s == pytest.approx(2 * net.host.latency_s)
    assert net.scale_up.bytes_per_s == net.host.bytes_per_s  # the two copies overlap
    assert "host memory" in net.scale_up.note


def test_unstated_host_link_is_said():
    assert "assumed" in get_interconnect(_card()).host.note


def test_unified_memory_is_never_joined():
    net = get_interconnect(_card(vendor="apple", kind="igpu", unified_memory=True))
    assert net.scale_up.kind == "none"
    assert net.devices_per_node == 1
    assert net.link_for(2).kind == "network"


def test_gaudi_brings_its_own_network():
    net = get_interconnect(_card(vendor="intel", link="gaudi-roce3", host_link="pcie5x16"))
    assert net.scale_out.name == "gaudi-out3"


@pytest.mark.parametrize(
    "name", ["nvlink9", "pcie9x16", "pcie4x5", "", "README", "../x", "default"]
)
def test_unknown_links_are_named(name):
    with pytest.raises(UnknownNameError, match=r"nearest"):
        get_link(name)


def test_impossible_links():
    link = get_link("xgmi3")
    for bad in (
        {"kind": "string"},
        {"bytes_per_s": 0.0},
        {"latency_s": -1.0},
        {"ports": 0},
        {"ports_used": {2: 9}},
    ):
        with pytest.raises(SpecDataError):
            dataclasses.replace(link, **bad)
    with pytest.raises(InvalidInputError):
        link.group_bytes_per_s(0)
    assert isinstance(link, Link)


def test_every_link_that_a_device_names_exists():
    import tomllib

    named = set()
    for path in (NODES_DIR.parent / "accelerators").glob("*.toml"):
        for table in tomllib.loads(path.read_text(encoding="utf-8")).values():
            for field in ("link", "host_link"):
                value = table.get(field)
                named.add(value["value"] if isinstance(value, dict) else value)
    for name in named - {None}:
        assert get_link(name).name == name
