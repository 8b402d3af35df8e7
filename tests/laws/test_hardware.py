# SPDX-License-Identifier: Apache-2.0
"""A better card is never slower; a lower limit is never faster and never hotter."""

import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.predict import predict_table
from specs.catalogue import get_accelerator
from specs.engine import list_engines

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = DRAWN["models"]
CARDS = DRAWN["cards"]
TIMES = ("ttft_s", "tpot_s", "e2e_s", "floor_ttft_s", "floor_tpot_s", "floor_e2e_s")

SERVING_SLACK = 0.02
"""How much of a prompt rides for nothing on steps of the others is an estimate, and not
strictly monotone."""

sizes = st.fixed_dictionaries(
    {
        "input_len": st.lists(st.integers(1, 20_000), min_size=6, max_size=6),
        "output_len": st.lists(st.integers(1, 3_000), min_size=6, max_size=6),
    }
)
amounts = st.lists(st.integers(1, 600), min_size=6, max_size=6)
mode = st.sampled_from(["batch", "concurrency"])


def priced(card, **columns):
    """All models and the six sizes on one card."""
    count = len(MODELS)
    tiled = {
        name: np.tile(value, count) if isinstance(value, list) else value
        for name, value in columns.items()
    }
    model = [name for name in MODELS for _ in range(6)]
    return predict_table({"model": model, "gpu": [card], **tiled})


def never_slower(better, worse, slack=1e-9):
    for name in TIMES:
        np.testing.assert_array_less(better[name], worse[name] * (1 + slack) + 1e-15, name)


@settings(deadline=None, max_examples=15)
@given(
    card=st.sampled_from(CARDS),
    engine=st.sampled_from(list_engines()),
    sizes=sizes,
    batch=amounts,
    factor=st.floats(1.0, 10.0),
)
def test_more_bandwidth_is_never_slower(card, engine, sizes, batch, factor):
    base = get_accelerator(card)
    wide = replace(base, mem_bytes_per_s=base.mem_bytes_per_s * factor)
    columns = {"engine": engine, "batch": batch, **sizes}
    never_slower(priced(wide, **columns), priced(base, **columns))


@settings(deadline=None, max_examples=15)
@given(
    card=st.sampled_from(CARDS),
    engine=st.sampled_from(list_engines()),
    sizes=sizes,
    batch=amounts,
    factor=st.floats(1.0, 10.0),
)
def test_more_peak_is_never_slower(card, engine, sizes, batch, factor):
    base = get_accelerator(card)
    peaks = {name: peak * factor for name, peak in base.peak_flops_per_s.items()}
    strong = replace(base, peak_flops_per_s=peaks)
    columns = {"engine": engine, "batch": batch, **sizes}
    never_slower(priced(strong, **columns), priced(base, **columns))


@settings(deadline=None, max_examples=15)
@given(
    card=st.sampled_from(CARDS),
    engine=st.sampled_from([name for name in list_engines() if name != "ideal"]),
    sizes=sizes,
    batch=amounts,
    mode=mode,
)
def test_a_lower_limit_is_never_faster_and_never_hotter(card, engine, sizes, batch, mode):
    device = get_accelerator(card)
    results = [
        priced(device, engine=engine, power_limit_w=share * device.tdp_w, **{mode: batch}, **sizes)
        for share in (0.35, 0.5, 0.7, 0.85, 1.0, 1.3)
    ]
    for low, high in pairwise(results):
        for name in ("ttft_s", "tpot_s", "e2e_s") if mode == "batch" else ("e2e_s",):
            slack = 1e-6 if mode == "batch" else SERVING_SLACK
            assert (low[name] >= high[name] * (1 - slack)).all(), name
        for name in ("power_prefill_w", "power_decode_w", "power_mean_w"):
            assert (low[name] <= high[name] * (1 + 1e-6)).all(), name
    unlimited = priced(device, engine=engine, **{mode: batch}, **sizes)
    for name, values in unlimited.items():
        np.testing.assert_allclose(results[-1][name], values, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("card", CARDS)
def test_more_memory_holds_no_fewer(card):
    base = get_accelerator(card)
    batch, sizes = [1, 8, 64, 1, 8, 64], {"input_len": [512] * 6, "output_len": [128] * 6}
    last = None
    for factor in (1.0, 1.5, 2.0, 8.0):
        device = replace(base, mem_bytes=base.mem_bytes * factor)
        now = priced(device, batch=batch, **sizes)
        if last is not None:
            assert (now["max_batch"] >= last["max_batch"]).all()
            assert (now["fits"] >= last["fits"]).all()
        last = now
