# SPDX-License-Identifier: Apache-2.0
"""The laws hold with constants learned from kernels, and without them nothing has changed."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.operators.bridge import load_correction
from roofline.correction import CaseShares, Correction
from roofline.devices import DeviceColumns
from roofline.phase_costs import Setup
from roofline.physics.layout import Layout
from roofline.physics.passes import decode_pass, prefill_pass
from roofline.physics.phases import pass_cost, summed
from roofline.physics.shares import engine_shares
from roofline.physics.step import operator_costs
from roofline.predict import predict, predict_table
from roofline.setups import FormatNames, as_model, formats_of
from specs.catalogue import get_accelerator, list_accelerators
from specs.engine import get_engine, list_engines

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = DRAWN["models"]
CARDS = (*DRAWN["cards"], "h100-pcie-80gb", "b200")
TIMES = ("ttft_s", "tpot_s", "e2e_s")
DEVICES = [row.name for row in list_accelerators()]

models, cards = st.sampled_from(MODELS), st.sampled_from(CARDS)
engines = st.sampled_from(["vllm", "sglang", "trtllm", "transformers", "llama.cpp", "ideal"])
six = st.lists(st.integers(1, 3_000), min_size=6, max_size=6)


class Stated(Correction):
    """A correction that says what the engine's profile says."""

    def shares(self, _accelerator, engine):
        return engine_shares(engine)

    def basis(self, _accelerator, _engine):
        return "stated"


def test_profile_as_shares_prices_as_the_profile_does():
    names = DEVICES[:: max(len(DEVICES) // 12, 1)]
    for engine in list_engines():
        for model in MODELS[1:7:2]:
            for weight, kv in (("", "fp8"), ("fp8", ""), ("int4", "")):
                asked = {"model": model, "gpu": names, "engine": engine, "tp": 2}
                asked |= {"weight_dtype": weight, "kv_dtype": kv, "batch": 9, "input_len": 700}
                plain = predict_table(asked, errors="column")
                again = predict_table(asked, errors="column", correction=Stated())
                for name, values in plain.items():
                    if name != "error":
                        np.testing.assert_allclose(again[name], values, rtol=1e-12, err_msg=name)


def test_a_correction_that_multiplies_nothing_has_no_interval():
    asked = {"model": MODELS[0], "gpu": "l4", "batch": [1, 40], "input_len": 700}
    table = predict_table(asked, correction=Stated())
    assert (table["standing"] == -1).all()
    for end in ("analytic", "low", "high"):
        np.testing.assert_array_equal(table[f"{end}_e2e_s"], table["e2e_s"])
    one = predict(MODELS[0], "l4", batch=40, input_len=700, correction=Stated())
    assert one.interval is None
    assert one.e2e_s == pytest.approx(table["e2e_s"][1], rel=1e-12)  # sums in another order
    assert one.basis.correction == "stated"


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "llama.cpp"])
@pytest.mark.parametrize("weight", ["", "int4", "mxfp4", "nvfp4", "fp8", "int8", "q4_k_m"])
def test_floor_and_utilisation_on_every_device(engine, weight):
    asked = {"gpu": DEVICES[:: max(len(DEVICES) // 80, 1)], "engine": engine}
    asked |= {"weight_dtype": weight, "input_len": 2048, "output_len": 16}
    for model in ("Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V2-Lite"):
        table = predict_table(
            {"model": model, **asked}, errors="column", correction=load_correction()
        )
        plain = predict_table({"model": model, **asked}, errors="column")
        good = table["error"] == ""
        assert good.mean() > 0.9
        for name in TIMES:
            floor = table[f"floor_{name}"]
            assert (floor[good] <= table[name][good] * (1 + 1e-9)).all(), name
            np.testing.assert_array_equal(floor, plain[f"floor_{name}"])
        assert (table["mfu"][good] <= 1 + 1e-9).all()
        assert (table["mbu"][good] <= 1 + 1e-9).all()


@settings(deadline=None, max_examples=25)
@given(
    card=cards, engine=engines, weight=st.sampled_from(["", "fp8", "int4"]), batch=six, length=six,
    factor=st.floats(1.0, 8.0), mode=st.sampled_from(["batch", "concurrency"]),
)  # fmt: skip
def test_better_cards_are_never_slower_and_floors_hold(
    card, engine, weight, batch, length, factor, mode
):
    base = get_accelerator(card)
    peaks = {name: peak * factor for name, peak in base.peak_flops_per_s.items()}
    cards_used = [
        base,
        replace(base, mem_bytes_per_s=base.mem_bytes_per_s * factor),
        replace(base, peak_flops_per_s=peaks),
    ]
    asked = {"engine": engine, "weight_dtype": weight, "output_len": 64}
    asked["model"] = [name for name in MODELS for _ in range(6)]
    asked[mode] = batch * len(MODELS)
    asked["input_len"] = length * len(MODELS)
    tables = [
        predict_table({**asked, "gpu": [each]}, errors="column", correction=load_correction())
        for each in cards_used
    ]
    good = tables[0]["error"] == ""
    for table in tables:
        for name in TIMES:
            assert (table[f"floor_{name}"][good] <= table[name][good] * (1 + 1e-9)).all(), name
    slack = 1e-9 if mode == "batch" else 0.02
    for better in tables[1:]:
        for name in TIMES:
            assert (better[name][good] <= tables[0][name][good] * (1 + slack)).all(), name


@settings(deadline=None, max_examples=25)
@given(
    model=models, card=cards, engine=engines, batch=st.integers(1, 500),
    length=st.integers(1, 6_000), more=st.integers(1, 3_000),
)  # fmt: skip
def test_more_to_do_is_never_faster(model, card, engine, batch, length, more):
    table = predict_table(
        {
            "model": model,
            "gpu": card,
            "engine": engine,
            "batch": [batch, batch + more, batch],
            "input_len": [length, length, length + more],
            "output_len": 32,
        },
        correction=load_correction(),
    )
    for name in TIMES:
        assert (table[name][1:] >= table[name][0] * (1 - 1e-6)).all(), name


def _setup(model, engine):
    chosen, profile = as_model(model), get_engine(engine)
    names = FormatNames(weight="", kv="", activation="")
    formats = formats_of(chosen, names, profile)
    return Setup(model=chosen, layout=Layout(), formats=formats, engine=profile)


def _devices(setup, card, size):
    device, index = get_accelerator(card), np.zeros(size, dtype=np.intp)
    case = DeviceColumns.of([device]).take(index, setup.ranks)
    return case.at(CaseShares(load_correction(), [device]).of(setup.engine, index))


@settings(deadline=None, max_examples=25)
@given(model=models, card=cards, engine=engines, batch=six, length=six, decode=st.booleans())
def test_a_pass_is_the_sum_of_its_operators(model, card, engine, batch, length, decode):
    setup = _setup(model, engine)
    devices = _devices(setup, card, 6)
    sequences, tokens = np.array(batch, float), np.array(length, float)
    if decode:
        step = decode_pass(sequences, tokens, 1.0 + tokens, tokens)
    else:
        step = prefill_pass(sequences, tokens, tokens, np.ones(6))
    whole = pass_cost(setup.decoder, step, devices.rates, devices.energies, setup.engine)
    parts = operator_costs(setup.decoder, step, devices.rates, setup.engine)
    again = summed(parts, step, devices.rates, devices.energies, setup.engine)
    for field in fields(whole):
        np.testing.assert_allclose(
            getattr(whole, field.name), getattr(again, field.name), rtol=1e-9, atol=1e-15,
            err_msg=field.name,
        )  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(
    model=models, card=cards, batch=st.integers(1, 300), context=st.integers(1, 20_000),
    steps=st.integers(1, 1_000),
)  # fmt: skip
def test_mean_decode_step_stands_for_all_steps(model, card, batch, context, steps):
    """Within 7%: where the number of items stops setting the pace of attention there is a kink."""
    setup = _setup(model, "vllm")

    def cost_s(step, size):
        devices = _devices(setup, card, size)
        cost = pass_cost(setup.decoder, step, devices.rates, devices.energies, setup.engine)
        return cost.time_s

    one, every = np.ones(1), np.ones(steps)
    mean_s = cost_s(decode_pass(batch * one, context * one, steps * one, 100.0 * one), 1)[0]
    each = decode_pass(batch * every, context + np.arange(steps), every, 100.0 * every)
    assert steps * mean_s == pytest.approx(cost_s(each, steps).sum(), rel=0.07)
