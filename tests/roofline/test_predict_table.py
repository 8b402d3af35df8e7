# SPDX-License-Identifier: Apache-2.0
"""The table is the scalar call, element by element, in any order and any length."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofline
from roofline.predict import CHUNK, predict_table
from specs.engine import get_engine, list_engines
from specs.errors import InvalidInputError, RooflineError, UnknownNameError

MODELS = (
    "meta-llama/Llama-3.1-8B",
    "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-V3",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "google/flan-t5-xl",
    "google-bert/bert-base-uncased",
    "gpt2-xl",
)
CARDS = ("h100-sxm5-80gb", "a100-sxm4-80gb", "rtx-4090", "mi300x", "l4")

row = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "gpu": st.sampled_from(CARDS),
        "engine": st.sampled_from(("", *list_engines())),
        "weight_dtype": st.sampled_from(["", "bf16", "fp8", "int4"]),
        "input_len": st.integers(1, 20_000),
        "output_len": st.integers(1, 2_000),
        "amount": st.integers(1, 600),
        "serving": st.booleans(),
        "power_limit_w": st.sampled_from([150.0, 300.0, float("inf")]),
    }
)
rows = st.lists(row, min_size=1, max_size=12)


def columns_of(cases):
    table = {name: [case[name] for case in cases] for name in cases[0]}
    amount, serving = np.array(table.pop("amount")), np.array(table.pop("serving"))
    return {**table, "batch": amount * ~serving, "concurrency": amount * serving}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12, err_msg=name)


@settings(deadline=None, max_examples=30)
@given(cases=rows)
def test_a_table_is_its_rows_one_by_one(cases):
    table = roofline.predict_table(columns_of(cases))
    for index, case in enumerate(cases):
        alone = roofline.predict_table(columns_of([case]))
        assert_same(alone, {name: values[index : index + 1] for name, values in table.items()})


@settings(deadline=None, max_examples=30)
@given(cases=rows, seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(cases, seed):
    order = np.random.default_rng(seed).permutation(len(cases))
    table = roofline.predict_table(columns_of(cases))
    shuffled = roofline.predict_table(columns_of([cases[i] for i in order]))
    assert_same(shuffled, {name: values[order] for name, values in table.items()})


@settings(deadline=None, max_examples=15)
@given(case=row)
def test_the_scalar_call_is_the_table(case):
    columns = {name: values[0] for name, values in columns_of([case]).items()}
    table = roofline.predict_table({name: [value] for name, value in columns.items()})
    limit = columns.pop("power_limit_w")
    estimate = roofline.predict(
        **{name: value for name, value in columns.items() if value},
        power_limit_w=None if np.isinf(limit) else limit,
    )
    for name in ("ttft_s", "tpot_s", "e2e_s", "mfu", "mbu", "energy_per_total_token_j"):
        assert getattr(estimate, name) == pytest.approx(table[name][0], rel=1e-12), name
    assert estimate.floor.e2e_s == pytest.approx(table["floor_e2e_s"][0], rel=1e-12)
    assert estimate.memory.total_bytes == pytest.approx(table["total_bytes"][0], rel=1e-12)
    assert estimate.power_w.mean == pytest.approx(table["power_mean_w"][0], rel=1e-12)


@pytest.mark.parametrize("engine", list_engines())
@pytest.mark.parametrize("mode", ["batch", "concurrency"])
def test_chunk_boundaries_do_not_show(engine, mode):
    size = CHUNK + 7
    rng = np.random.default_rng(0)
    columns = {
        mode: rng.integers(1, 300, size),
        "input_len": rng.integers(1, 4000, size),
        "output_len": rng.integers(1, 1000, size),
    }
    same = {"model": "Qwen/Qwen3-30B-A3B", "gpu": "h100-sxm5-80gb", "engine": engine}
    whole = roofline.predict_table({**same, **columns})
    for part in (slice(0, 3), slice(CHUNK - 2, CHUNK + 2), slice(CHUNK, None)):
        cut = {name: values[part] for name, values in columns.items()}
        piece = roofline.predict_table({**same, **cut})
        assert_same(piece, {name: values[part] for name, values in whole.items()})


def test_many_cards_in_one_call():
    table = roofline.predict_table({"model": "gpt2-xl", "gpu": CARDS})
    for index, card in enumerate(CARDS):
        alone = roofline.predict_table({"model": "gpt2-xl", "gpu": card})
        assert_same(alone, {name: values[index : index + 1] for name, values in table.items()})


def test_bad_rows_are_named_and_others_priced():
    columns = {
        "model": ["gpt2-xl", "gpt2-xl", "no-such-model-at-all", "gpt2-xl"],
        "gpu": ["l4", "no-such-card", "l4", "l4"],
        "batch": [1, 1, 1, -3],
    }
    table = roofline.predict_table(columns, errors="column")
    assert list(table["error"] != "") == [False, True, True, True]
    assert list(np.isnan(table["ttft_s"])) == [False, True, True, True]
    alone = roofline.predict_table({"model": "gpt2-xl", "gpu": "l4", "batch": 1})
    assert table["ttft_s"][0] == pytest.approx(alone["ttft_s"][0], rel=1e-12)
    with pytest.raises(RooflineError):
        roofline.predict_table(columns)


def test_what_is_asked_must_be_a_column():
    with pytest.raises(InvalidInputError, match="input_len"):
        roofline.predict_table({"model": "gpt2-xl", "gpu": "l4", "input_lenn": 5})
    with pytest.raises(InvalidInputError, match="different lengths"):
        roofline.predict_table({"model": ["gpt2-xl"] * 2, "gpu": ["l4"] * 3})
    with pytest.raises(InvalidInputError, match="gpu"):
        roofline.predict_table({"model": "gpt2-xl"})
    with pytest.raises(UnknownNameError):
        roofline.predict_table({"model": "gpt2-xl", "gpu": "no-such-card"})


def test_activations_alone_can_be_too_large():
    # An encoder has no cache: what limits its batch is the pass.
    estimate = roofline.predict(
        "google-bert/bert-base-uncased", "l4", engine="ideal", batch=600, input_len=20_000
    )
    assert not estimate.memory.fits
    assert "does not fit as asked: needs" in estimate.warnings[0]
    assert 1 <= estimate.memory.max_batch < 600


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_len": None},
        {"output_len": [1, 2]},
        {"weight_dtype": 8},
        {"power_limit_w": float("nan")},
        {"batch": True},
        {"input_len": 1.5},
    ],
)
def test_wrong_types_are_told_in_one_line(wrong):
    with pytest.raises(roofline.RooflineError) as error:
        roofline.predict("gpt2", "l4", **wrong)
    assert next(iter(wrong)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("table", [None, [{"model": "gpt2"}], 3])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(roofline.RooflineError, match="DataFrame"):
        roofline.predict_table(table)


SERVED = {"model": "gpt2", "gpu": "L4", "engine": "vllm", "concurrency": 8,
          "input_len": 900, "output_len": 200, "spread_frac": 0.2}  # fmt: skip


def test_tokens_per_pass_are_those_of_an_engine_that_carries_so_many():
    asked = predict_table({**SERVED, "max_batched_tokens": [0, 8192, 1024]})
    whole = replace(get_engine("vllm"), prefill_chunk_tokens=1024)
    theirs = predict_table({**SERVED, "engine": [whole]})
    for name, values in asked.items():
        assert values[0] == values[1], name
        assert values[2] == theirs[name][0], name
    assert asked["ttft_s"][2] != asked["ttft_s"][0]


def test_held_steps_are_waited_for_by_prompts_that_others_decode_beside():
    table = predict_table({**SERVED, "held_steps": [0.0, 10.0]})
    waited_s = np.diff(table["later_ttft_s"])[0]
    # The few whose neighbours end with them wait for nothing.
    assert waited_s == pytest.approx(10.0 * table["tpot_s"][0], rel=0.15)
    alone = predict_table({**SERVED, "concurrency": 1, "held_steps": [0.0, 10.0]})
    assert np.diff(alone["ttft_s"])[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("column", "value"),
    [("max_batched_tokens", -1), ("max_batched_tokens", 0.5), ("held_steps", -1.0),
     ("held_steps", float("inf"))],
)  # fmt: skip
def test_what_no_server_can_be_told_is_refused(column, value):
    with pytest.raises(InvalidInputError, match=column):
        predict_table({**SERVED, column: value})
