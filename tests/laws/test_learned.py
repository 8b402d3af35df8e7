# SPDX-License-Identifier: Apache-2.0
"""Laws hold with the correction that ships: bounds, order of intervals, and what follows."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.correct import shipped
from calibration.staged import KINDS
from roofline.devices import idle_w
from roofline.predict import predict, predict_table
from roofline.residual import QUANTITIES, STANDINGS
from specs.catalogue import get_accelerator
from specs.engine import get_engine

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = (*DRAWN["models"], DRAWN["encoder"])
CARDS = (*DRAWN["cards"], *DRAWN["unusual_cards"])
TIMES = ("ttft_s", "tpot_s", "e2e_s")
SLACK = 1e-9

models, cards = st.sampled_from(MODELS), st.sampled_from(CARDS)
engines = st.sampled_from(
    ["vllm", "sglang", "trtllm", "tgi", "transformers", "llama.cpp", "openvino", "optimum-habana"]
)


def four(low, high):
    return st.lists(st.integers(low, high), min_size=4, max_size=4)


workloads = st.fixed_dictionaries(
    {
        "input_len": four(1, 20_000),
        "output_len": four(1, 3_000),
        "engine_year": st.sampled_from([2022.0, 2024.0, np.nan]),
    }
)
amounts = st.tuples(st.sampled_from(["batch", "concurrency"]), four(1, 2000))


def _priced(**columns):
    table = predict_table(columns, errors="column", correction=shipped())
    good = table["error"] == ""
    return {name: values[good] for name, values in table.items()}, good


@settings(deadline=None, max_examples=60)
@given(
    model=models, card=cards, engine=engines, weight=st.sampled_from(["", "fp8", "int4"]),
    tp=st.sampled_from([1, 2, 4]), workload=workloads, amount=amounts, share=st.floats(0.3, 1.5),
)  # fmt: skip
def test_bounds_and_intervals(model, card, engine, weight, tp, workload, amount, share):
    device = get_accelerator(card)
    table, good = _priced(
        model=model, gpu=card, engine=engine, weight_dtype=weight, tp=tp,
        power_limit_w=share * device.tdp_w, **{amount[0]: amount[1]}, **workload,
    )  # fmt: skip
    if not good.any():
        return
    for name, values in table.items():
        if name not in ("error", "max_batch", "kv_capacity_tokens"):
            assert np.isfinite(values).all(), name
    for name in TIMES:
        assert (table[f"floor_{name}"] <= table[name] * (1 + SLACK)).all(), name
        assert (table[f"low_{name}"] >= table[f"floor_{name}"] * (1 - SLACK)).all(), name
    for name in QUANTITIES:
        low, value, high = table[f"low_{name}"], table[name], table[f"high_{name}"]
        assert (low <= value * (1 + SLACK)).all(), name
        assert (value <= high * (1 + SLACK)).all(), name
        assert (low >= 0.0).all(), name
    generates = table["floor_tpot_s"] > 0.0
    steps = (np.array(workload["output_len"])[good] - 1.0) * generates
    np.testing.assert_allclose(table["e2e_s"], table["ttft_s"] + steps * table["tpot_s"], rtol=1e-9)
    cap_w = max(min(share, 1.0) * device.tdp_w, min(idle_w(device), share * device.tdp_w))
    least_w = min(idle_w(device), cap_w)
    ends = ("power_mean_w", "low_power_mean_w", "high_power_mean_w")
    for name in ("power_prefill_w", "power_decode_w", *ends):
        assert (table[name] >= least_w * (1 - SLACK)).all(), name
        assert (table[name] <= max(cap_w, idle_w(device)) * (1 + SLACK)).all(), name


@settings(deadline=None, max_examples=30)
@given(model=models, card=cards, engine=engines, workload=workloads, amount=amounts)
def test_rates_follow_times_as_they_do_without_a_correction(model, card, engine, workload, amount):
    columns = {"model": model, "gpu": card, "engine": engine, amount[0]: amount[1], **workload}
    table, good = _priced(**columns)
    out = np.array(workload["output_len"])[good] * (table["floor_tpot_s"] > 0.0)
    total = np.array(workload["input_len"])[good] + out
    rate = table["requests_per_s"]
    np.testing.assert_allclose(table["output_tok_per_s"], rate * out, rtol=1e-9)
    np.testing.assert_allclose(table["total_tok_per_s"], rate * total, rtol=1e-9)
    # Little: requests under way are what they were, rates fall as latency grows.
    under_way = table["output_tok_per_s"] * table["e2e_s"]
    analytic = table["analytic_output_tok_per_s"] * table["analytic_e2e_s"]
    np.testing.assert_allclose(under_way, analytic, rtol=1e-9)


@settings(deadline=None, max_examples=20)
@given(
    data=st.data(), tp=st.sampled_from([1, 2]), workload=workloads, amount=amounts,
)  # fmt: skip
def test_a_table_equals_its_rows(data, tp, workload, amount):
    rows = [{name: data.draw(each) for name, each in (("model", models), ("gpu", cards),
            ("engine", engines))} for _ in range(4)]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    asked = {**columns, amount[0]: amount[1], **workload}
    whole = predict_table({**asked, "tp": tp}, errors="column", correction=shipped())
    for place in range(4):
        row = {n: v[place] if isinstance(v, list) else v for n, v in asked.items()}
        alone = predict_table({**row, "tp": tp}, errors="column", correction=shipped())
        assert alone.pop("error")[0] == whole["error"][place]
        if whole["error"][place] == "":
            for name, values in alone.items():
                assert values[0] == pytest.approx(whole[name][place], rel=1e-9), name


@pytest.mark.parametrize(
    ("card", "engine"), [("tpu-v5e", "vllm"), ("gaudi2", "sglang"), ("gtx-1080-ti", "trtllm")]
)
def test_a_device_of_an_unknown_family_is_extrapolated_to(card, engine):
    assert card not in shipped().models["tpot"].seen[engine]
    found = predict("meta-llama/Llama-3.1-8B", card, engine=engine, correction=shipped())
    assert found.interval.standing == "extrapolated"
    near = predict("meta-llama/Llama-3.1-8B", "h100-sxm5-80gb", engine=engine, correction=shipped())
    assert near.interval.standing == "measured here"
    for name in ("ttft_s", "tpot_s"):
        widths = [each.interval.high[name] / getattr(each, name) for each in (found, near)]
        assert widths[0] > widths[1]
        # of an order with what it started from
        assert 0.2 < getattr(found, name) / found.interval.analytic[name] < 5.0


def test_an_engine_that_was_not_measured_is_priced_by_kernels_alone():
    engine = replace(get_engine("vllm"), name="home-made")
    assert engine.name not in KINDS
    table, good = _priced(model="gpt2-xl", gpu=["h100-sxm5-80gb", "rtx-4090"], engine=engine)
    assert good.all()
    for name in TIMES:
        np.testing.assert_allclose(table[name], table[f"analytic_{name}"], rtol=1e-9)
    assert [STANDINGS[int(each)] for each in table["standing"]] == ["extrapolated"] * 2
    assert "home-made is not corrected" in shipped().basis(get_accelerator("rtx-4090"), engine)


def test_the_ideal_machine_stays_as_it_is():
    columns = {"model": "gpt2-xl", "gpu": list(CARDS), "engine": "ideal", "batch": 3}
    plain = predict_table(columns)
    table = predict_table(columns, correction=shipped())
    for name, values in plain.items():
        np.testing.assert_array_equal(table[name], values, err_msg=name)
    assert (table["standing"] == -1).all()
