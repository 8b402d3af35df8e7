# SPDX-License-Identifier: Apache-2.0
"""What holds for every name, however it is written."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.catalogue import get_accelerator, list_accelerators, resolve_name
from specs.errors import RooflineError
from specs.names import key_of, slug_of, words

SLUGS = [row.name for row in list_accelerators()]


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_gives_an_accelerator_or_one_line(text):
    message = ""
    try:
        get_accelerator(text)
    except RooflineError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@given(st.sampled_from(SLUGS), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_case_and_punctuation_never_matter(slug, rng: random.Random):
    written = "".join(rng.choice(" -_/") if c == "-" else rng.choice((c, c.upper())) for c in slug)
    assert resolve_name(written) == slug


@given(st.sampled_from(SLUGS), st.sampled_from(("NVIDIA ", "AMD ", "Intel(R) ", "GPU ")))
@settings(max_examples=100, deadline=None)
def test_a_vendor_in_front_never_matters(slug, vendor):
    assert resolve_name(vendor + slug) == slug


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("NVIDIA GeForce RTX 4060Ti Laptop GPU 8GB", "geforce rtx 4060 ti laptop 8gb"),
        ("RTX4070TiSuper", "rtx 4070 ti super"),
        ("RTXPRO6000", "rtx pro 6000"),
        ("H100NVL", "h100 nvl"),
        ("A100:80GB:8", "a100 80gb"),
        ("Intel(R) Arc(TM) A770 Graphics", "arc a770"),
        ("RTX 3060 12 GiB", "rtx 3060 12gb"),
        ("Jetson AGX Orin 64G", "jetson agx orin 64gb"),
        ("Radeon RX 580G", "radeon rx 580g"),
        ("GeForce RTX 2080 Max-Q", "geforce rtx 2080 maxq"),
        ("NVIDIA A100-PCI-Express 40 GB", "a100 pcie 40gb"),
        ("v5litepod-16", "v5e"),
        ("Tesla M4", "teslam4"),
        ("Intel(R) Xeon(R) Platinum 8280 CPU @ 2.70GHz", "xeon platinum 8280 cpu"),
        ("AMD Ryzen 9 5950X 16-Core Processor", "ryzen 9 5950x"),
        ("7900XTX", "7900 xtx"),
    ],
)
def test_words_of_a_written_name(written, expected):
    assert " ".join(words(written)) == expected
    assert key_of(written) == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("GeForce RTX 3060 12 GB", "rtx-3060-12gb"),
        ("GeForce GTX 1080 Ti", "gtx-1080-ti"),
        ("GeForce RTX 4070 Mobile", "rtx-4070-laptop"),
        ("Radeon RX 7900 XT", "rx-7900-xt"),
        ("Radeon 780M", "radeon-780m"),
        ("Radeon PRO W7900", "radeon-pro-w7900"),
        ("Radeon Instinct MI300X", "mi300x"),
        ("Tesla V100 SXM2 32 GB", "v100-sxm2-32gb"),
        ("Tesla M4", "tesla-m4"),
        ("Quadro P5000", "quadro-p5000"),
        ("RTX 5000 Ada Generation", "rtx-5000-ada"),
        ("TITAN Xp", "titan-xp"),
        ("Arc B580", "arc-b580"),
    ],
)
def test_slug_of_a_board(name, slug):
    assert slug_of(name) == slug
