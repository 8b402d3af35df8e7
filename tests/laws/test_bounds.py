# SPDX-License-Identifier: Apache-2.0
"""Floors below estimates, power between idle and cap, memory that adds up."""

import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.devices import idle_w
from roofline.physics.layout import Layout
from roofline.physics.memory import footprint, sequence_cache_bytes
from roofline.predict import predict_table
from roofline.setups import FormatNames, as_model, formats_of
from specs.catalogue import get_accelerator
from specs.engine import get_engine, list_engines
from specs.errors import RooflineError
from specs.model import Attention

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = (*DRAWN["models"], DRAWN["encoder"])
CARDS = (*DRAWN["cards"], *DRAWN["unusual_cards"])
REAL_ENGINES = tuple(name for name in list_engines() if name != "ideal")
FORMATS = ("", "bf16", "fp16", "fp8", "int8", "int4", "q4_k_m", "mxfp4")

models, cards, engines = (st.sampled_from(names) for names in (MODELS, CARDS, REAL_ENGINES))
formats = st.sampled_from(FORMATS)


def eight(low, high):
    return st.lists(st.integers(low, high), min_size=8, max_size=8)


sizes = st.fixed_dictionaries({"input_len": eight(1, 20_000), "output_len": eight(1, 3_000)})
mode = st.sampled_from(["batch", "concurrency"])


def priced(columns):
    """The table, without rows of formats that a card lacks by name."""
    table = predict_table(columns, errors="column")
    good = table["error"] == ""
    return {name: values[good] for name, values in table.items()}, good


@settings(deadline=None, max_examples=80)
@given(
    model=models, card=cards, engine=engines, weight=formats, kv=st.sampled_from(["", "fp8"]),
    tp=st.sampled_from([1, 2, 4]), amount=eight(1, 2000), sizes=sizes, mode=mode,
)  # fmt: skip
def test_no_engine_is_below_the_floor(model, card, engine, weight, kv, tp, amount, sizes, mode):
    if "fp8" not in get_accelerator(card).peak_flops_per_s:
        kv = ""
    table, _ = priced(
        {"model": model, "gpu": card, "engine": engine, "weight_dtype": weight, "kv_dtype": kv,
         "tp": tp, mode: amount, **sizes}
    )  # fmt: skip
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        if name in table:
            assert (table[f"floor_{name}"] <= table[name] * (1 + 1e-9)).all(), name


@settings(deadline=None, max_examples=60)
@given(
    model=models, card=cards, engine=engines, weight=formats, amount=eight(1, 2000), sizes=sizes,
    mode=mode, share=st.floats(0.3, 1.5), tp=st.sampled_from([1, 2]), pp=st.sampled_from([1, 2]),
)  # fmt: skip
def test_power_and_energy_lie_between_idle_and_cap(
    model, card, engine, weight, amount, sizes, mode, share, tp, pp
):
    device = get_accelerator(card)
    limit_w = share * device.tdp_w
    table, good = priced(
        {"model": model, "gpu": card, "engine": engine, "weight_dtype": weight, mode: amount,
         "power_limit_w": limit_w, "tp": tp, "pp": pp, **sizes}
    )  # fmt: skip
    if not good.any():
        return
    low_w, high_w = idle_w(device), min(limit_w, device.tdp_w)
    for name in ("power_prefill_w", "power_decode_w", "power_mean_w"):
        assert (table[name] >= min(low_w, high_w) * (1 - 1e-9)).all(), name
        assert (table[name] <= max(low_w, high_w) * (1 + 1e-9)).all(), name
    # Energy is power x time and nothing else: of all devices, per request.
    per_request_j = table["power_mean_w"] * tp * pp / table["requests_per_s"]
    out = np.array(sizes["output_len"])[good] * float(bool(as_model(model).blocks))
    total = np.array(sizes["input_len"])[good] + out
    np.testing.assert_allclose(
        table["energy_per_output_token_j"], per_request_j / np.maximum(out, 1), rtol=1e-9
    )
    np.testing.assert_allclose(table["energy_per_total_token_j"], per_request_j / total, rtol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, weight=formats, amount=eight(1, 2000), sizes=sizes,
    mode=mode, tp=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_memory_adds_up(model, card, engine, weight, amount, sizes, mode, tp):
    columns = {"model": model, "gpu": card, "engine": engine, "weight_dtype": weight, "tp": tp,
               **sizes}  # fmt: skip
    table, good = priced({**columns, mode: amount})
    if not good.any():
        return
    parts = ("weights_bytes", "kv_bytes", "activation_bytes", "runtime_bytes")
    np.testing.assert_allclose(sum(table[p] for p in parts), table["total_bytes"], rtol=1e-12)
    twice, _ = priced({**columns, mode: [2 * value for value in amount]})
    if mode == "batch":
        np.testing.assert_allclose(twice["kv_bytes"], 2 * table["kv_bytes"], rtol=1e-12)
        assert (twice["activation_bytes"] >= table["activation_bytes"]).all()
    else:
        # Of requests in flight, those that do not fit wait; the activations of a fuller
        # pass take a little of the others' room.
        room = twice["activation_bytes"] - table["activation_bytes"]
        assert (twice["kv_bytes"] + room >= 0.9 * table["kv_bytes"]).all()
        assert (twice["kv_bytes"] <= 2 * table["kv_bytes"] * (1 + 1e-12)).all()
    np.testing.assert_allclose(twice["weights_bytes"], table["weights_bytes"], rtol=1e-12)
    # What fits is at most the largest batch, and that is no rumour: one more does not.
    if mode == "batch":
        batch = np.array(amount)[good]
        assert (batch[table["fits"]] <= table["max_batch"][table["fits"]]).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", REAL_ENGINES)
def test_narrower_weights_are_never_heavier(model, engine):
    def weights(name):
        names = FormatNames(weight=name, kv="", activation="")
        chosen = as_model(model)
        try:
            formats = formats_of(chosen, names, get_engine(engine))
        except RooflineError:
            return None
        return footprint(chosen, Layout(), formats).weights_bytes

    wide = weights("bf16")
    assert wide == pytest.approx(2.0 * as_model(model).params, rel=1e-12)
    order = [weights(name) for name in ("fp32", "bf16", "fp8", "int4")]
    assert order[0] == pytest.approx(2.0 * wide)
    assert all(a >= b for a, b in pairwise(order)), order


@pytest.mark.parametrize("model", MODELS)
def test_cache_ignores_query_heads(model):
    chosen = as_model(model)

    def widened(block):
        if not isinstance(block.mixer, Attention):
            return block
        mixer = replace(block.mixer, num_heads=4 * block.mixer.num_heads)
        return replace(block, mixer=mixer)

    names = FormatNames(weight="", kv="", activation="")
    formats = formats_of(chosen, names, get_engine("vllm"))
    wide = replace(chosen, blocks=tuple(widened(block) for block in chosen.blocks))
    one, four = (footprint(m, Layout(), formats) for m in (chosen, wide))
    tokens = np.array([1.0, 100.0, 5000.0])
    np.testing.assert_array_equal(
        sequence_cache_bytes(one, tokens, tokens), sequence_cache_bytes(four, tokens, tokens)
    )


@pytest.mark.slow
def test_every_device_has_its_floor_below_every_engine():
    from specs.catalogue import list_accelerators

    names = [row.name for row in list_accelerators()]
    for engine in REAL_ENGINES:
        table = predict_table(
            {"model": "meta-llama/Llama-3.1-8B", "gpu": names, "engine": engine, "batch": 4},
            errors="column",
        )
        assert (table["error"] == "").mean() > 0.99
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            above = table[f"floor_{name}"] > table[name] * (1 + 1e-9)
            assert not above.any(), [names[i] for i in np.flatnonzero(above)[:5]]
