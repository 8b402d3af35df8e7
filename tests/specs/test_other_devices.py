# SPDX-License-Identifier: Apache-2.0
"""Facts of TPUs, Trainium, Gaudi, Apple, Jetson and integrated GPUs, worked by hand."""

from itertools import pairwise

import pytest

from specs.catalogue import get_accelerator, resolve_name
from specs.errors import AmbiguousNameError
from specs.node import get_link
from specs.overlay import load_overlay
from specs.sources import load_sources

FILES = (
    "tpu.toml",
    "aws.toml",
    "gaudi.toml",
    "apple.toml",
    "jetson.toml",
    "soc.toml",
    "other.toml",
)

OURS = {slug: entry for slug, entry in load_overlay().items() if entry.file in FILES}

SOURCES = frozenset(load_sources())

EXPECTED = """
tpu-v4 tpu-v5e tpu-v5p tpu-v6e tpu-v7
inferentia2 trainium1 trainium2 gaudi gaudi2 gaudi3 sn40l
m1-7 m1-8 m1-pro-14 m1-pro-16 m1-max-24 m1-max-32 m1-ultra-48 m1-ultra-64
m2-8 m2-10 m2-pro-16 m2-pro-19 m2-max-30 m2-max-38 m2-ultra-60 m2-ultra-76
m3-10 m3-pro-14 m3-pro-18 m3-max-30 m3-max-40 m3-ultra-60 m3-ultra-80
m4-10 m4-pro-16 m4-pro-20 m4-max-32 m4-max-40 m5 m5-pro-20 m5-max-40
agx-orin-64gb agx-orin-32gb orin-nx-16gb orin-nano-8gb agx-xavier-32gb agx-thor
radeon-8060s radeon-8050s radeon-890m radeon-780m radeon-680m gb10 bc-250
arc-140v arc-140t arc-igpu-155h arc-igpu-368h
"""


@pytest.mark.parametrize("slug", EXPECTED.split())
def test_every_promised_device_resolves_to_itself(slug):
    assert get_accelerator(slug).name == slug


def test_peaks_follow_from_width_and_clock():
    # TPU v4: 2 cores x 4 arrays of 128 x 128, a multiply-add each, at 1.05 GHz.
    assert get_accelerator("tpu-v4").peak("bf16") == pytest.approx(
        2 * 4 * 128 * 128 * 2 * 1.05e9, rel=0.002
    )
    # TPU v5e: 1 core x 4 arrays at 1.5 GHz = 196.6e12, printed as 197.
    assert get_accelerator("tpu-v5e").peak("bf16") == pytest.approx(
        4 * 128 * 128 * 2 * 1.5e9, rel=0.003
    )
    # TPU v5p: 2 x 4 arrays at 1.75 GHz = 458.8e12, printed as 459.
    assert get_accelerator("tpu-v5p").peak("bf16") == pytest.approx(
        8 * 128 * 128 * 2 * 1.75e9, rel=0.001
    )
    # Gaudi 3: 8 engines of 256 x 256 multiply-adds at 1.75 GHz = 1835.0e12.
    assert get_accelerator("gaudi3").peak("bf16") == pytest.approx(
        8 * 256 * 256 * 2 * 1.75e9, rel=0.001
    )
    # M1 Max: 32 cores x 128 lanes x 2 at 1.296 GHz = 10.62e12; Apple says 10.4.
    assert get_accelerator("m1-max-32").peak("fp16") == pytest.approx(32 * 128 * 2 * 1.296e9)
    assert get_accelerator("m1-max-32").vector_flops_per_s == pytest.approx(10.4e12, rel=0.03)
    # M2 Ultra: 76 x 256 x 1.398 GHz = 27.2e12, Apple's figure.
    assert get_accelerator("m2-ultra-76").peak("fp16") == pytest.approx(27.2e12, rel=0.001)
    # AGX Orin 64 GB: 16 SMs x 4096 int8 operations x 1.3 GHz = 85.2e12, half the sparse 170.
    assert get_accelerator("agx-orin-64gb").peak("int8") == pytest.approx(170e12 / 2, rel=0.005)
    # AGX Thor: 20 SMs x 32768 x 1.575 GHz = 1032e12, half the sparse 2070.
    assert get_accelerator("agx-thor").peak("fp4") == pytest.approx(2070e12 / 2, rel=0.005)
    # AGX Xavier: 8 SMs x 2048 x 1.377 GHz = 22.6e12; NVIDIA says 22 TOPS.
    assert get_accelerator("agx-xavier-32gb").peak("int8") == pytest.approx(22e12, rel=0.03)
    # Radeon 8060S: 40 CUs x 512 x 2.9 GHz = 59.4e12.
    assert get_accelerator("radeon-8060s").peak("fp16") == pytest.approx(59.4e12, rel=0.001)
    # Arc 140V: 8 Xe cores x 4096 x 2.05 GHz = 67.2e12; Intel says 67 TOPS.
    assert get_accelerator("arc-140v").peak("int8") == pytest.approx(67e12, rel=0.005)
    # Arc of the 155H: 8 Xe cores x 128 lanes x 2 x 2.25 GHz = 4.6e12, fp16 twice that.
    assert get_accelerator("arc-igpu-155h").peak("fp16") == pytest.approx(9.2e12, rel=0.003)


def test_bandwidth_follows_from_bus_and_data_rate():
    # M1 Max: 512 bits of LPDDR5-6400; M4 Max: 512 bits of LPDDR5X-8533 = 546.1 GB/s.
    assert get_accelerator("m1-max-32").mem_bytes_per_s == pytest.approx(512 / 8 * 6400e6)
    assert get_accelerator("m4-max-40").mem_bytes_per_s == pytest.approx(512 / 8 * 8533e6, rel=1e-3)
    # Strix Halo: 256 bits of LPDDR5X-8000. GB10: 256 bits of LPDDR5X-8533 = 273.1 GB/s.
    assert get_accelerator("radeon-8060s").mem_bytes_per_s == pytest.approx(256 / 8 * 8000e6)
    assert get_accelerator("gb10").mem_bytes_per_s == pytest.approx(256 / 8 * 8533e6, rel=1e-3)
    # SN40L: 25.6 TB/s over 16 sockets.
    assert get_accelerator("sn40l").mem_bytes_per_s == pytest.approx(25.6e12 / 16)


@pytest.mark.parametrize(
    ("slug", "precision", "flops_per_s"),
    [  # the makers' dense figures
        ("tpu-v5e", "int8", 394e12),
        ("tpu-v6e", "bf16", 918e12),
        ("tpu-v6e", "int8", 1836e12),
        ("tpu-v7", "bf16", 2307e12),
        ("tpu-v7", "fp8", 4614e12),
        ("trainium1", "bf16", 190e12),
        ("inferentia2", "int8", 380e12),
        ("trainium2", "bf16", 667e12),
        ("trainium2", "fp8", 1299e12),
        ("gaudi", "bf16", 60e12),
        ("gaudi2", "bf16", 432e12),
        ("gaudi2", "fp8", 865e12),
        ("gaudi3", "fp8", 1835e12),
        ("sn40l", "bf16", 638e12),
        ("gb10", "fp4", 500e12),
        ("agx-thor", "fp8", 1035e12 / 2),
        ("arc-140t", "int8", 77e12),
    ],
)
def test_peaks_are_the_makers_dense_figures(slug, precision, flops_per_s):
    assert get_accelerator(slug).peak(precision) == pytest.approx(flops_per_s, rel=0.01)


@pytest.mark.parametrize(
    ("written", "slug"),
    [
        ("v5e", "tpu-v5e"),
        ("TPU v5 lite", "tpu-v5e"),
        ("Trillium", "tpu-v6e"),
        ("TPU7x (Ironwood)", "tpu-v7"),
        ("AWS Trainium2", "trainium2"),
        ("trn1", "trainium1"),
        ("inf2", "inferentia2"),
        ("Habana Gaudi2", "gaudi2"),
        ("Apple M2 Ultra (76 GPU cores)", "m2-ultra-76"),
        ("DGX Spark", "gb10"),
        ("NVIDIA GB10", "gb10"),
        ("Strix Halo", "radeon-8060s"),
        ("Jetson AGX Thor", "agx-thor"),
        ("Jetson AGX Orin 64GB", "agx-orin-64gb"),
        ("Intel Arc 140V GPU", "arc-140v"),
    ],
)
def test_names_people_write(written, slug):
    assert resolve_name(written) == slug


@pytest.mark.parametrize("bare", ["M2 Ultra", "m3 max", "Apple M1 Pro", "m4 max"])
def test_apple_chips_of_several_sizes_are_ambiguous(bare):
    with pytest.raises(AmbiguousNameError, match="may mean"):
        resolve_name(bare)


@pytest.mark.parametrize("slug", sorted(OURS))
def test_facts_lie_in_plausible_ranges(slug):
    device = get_accelerator(slug)
    fastest = max(device.peak_flops_per_s.values())
    assert 4e9 <= device.mem_bytes <= 512 * 2**30
    assert 30e9 <= device.mem_bytes_per_s <= 8e12
    assert 1e11 <= device.vector_flops_per_s <= fastest * 1.01
    assert 0.5e9 <= device.clock_hz <= 3e9
    assert 10 <= device.tdp_w <= 1200
    # Between a phone-class GPU and the newest data-centre parts.
    assert 2 <= fastest / device.mem_bytes_per_s <= 5000
    if device.idle_w is not None:
        assert device.idle_w < device.tdp_w


@pytest.mark.parametrize("slug", sorted(OURS))
def test_rates_grow_as_precision_shrinks(slug):
    peaks = get_accelerator(slug).peak_flops_per_s
    order = [p for p in ("fp64", "fp32", "tf32", "bf16", "fp8", "fp6", "fp4") if p in peaks]
    assert all(peaks[a] <= peaks[b] for a, b in pairwise(order))
    integers = [p for p in ("bf16", "int8", "int4") if p in peaks]
    assert all(peaks[a] <= peaks[b] for a, b in pairwise(integers))


@pytest.mark.parametrize("slug", sorted(OURS))
def test_links_exist_and_sources_resolve(slug):
    device = get_accelerator(slug)
    assert device.sources
    assert set(device.sources.values()) <= SOURCES
    for link in filter(None, (device.link, device.host_link)):
        get_link(link)


def test_devices_inside_processors_share_memory():
    for slug, entry in OURS.items():
        if entry.file in ("apple.toml", "jetson.toml", "soc.toml"):
            device = get_accelerator(slug)
            assert device.unified_memory, slug
            assert device.kind == "igpu", slug
