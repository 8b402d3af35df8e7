# SPDX-License-Identifier: Apache-2.0
"""More work never takes less time, and sharing it never takes more."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roofline.predict import predict_table
from specs.catalogue import get_accelerator
from specs.engine import get_engine, list_engines

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = (*DRAWN["models"], "state-spaces/mamba-1.4b-hf")
CARDS = DRAWN["cards"]

models, cards = st.sampled_from(MODELS), st.sampled_from(CARDS)
engines = st.sampled_from(list_engines())
CHUNKING = [name for name in list_engines() if get_engine(name).prefill_chunk_tokens]


def grows(values, slack=1e-9):
    return (np.diff(values) >= -slack * values[:-1]).all()


def untiled(engine):
    return replace(get_engine(engine), tile_weight_frac=0.0)


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, batch=st.integers(1, 64),
    start=st.integers(1, 10_000), step=st.integers(1, 300), output_len=st.integers(2, 2000),
)  # fmt: skip
def test_a_longer_prompt_is_never_faster(model, card, engine, batch, start, step, output_len):
    lengths = start + step * np.arange(40)
    columns = {"model": model, "gpu": card, "batch": batch,
               "input_len": lengths, "output_len": output_len}  # fmt: skip
    table = predict_table({**columns, "engine": engine})
    for name in ("ttft_s", "tpot_s", "e2e_s", "floor_ttft_s", "floor_e2e_s"):
        assert grows(table[name]), name


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=st.sampled_from(CHUNKING), chunks=st.integers(1, 9),
    rest=st.floats(0.0, 1.0), stages=st.sampled_from([1, 2, 4]),
)  # fmt: skip
@example(model="state-spaces/mamba-1.4b-hf", card="l4", engine="vllm", chunks=1, rest=0.5, stages=2)
def test_a_token_that_opens_a_chunk_costs_something(model, card, engine, chunks, rest, stages):
    chunk = get_engine(engine).prefill_chunk_tokens
    lengths = chunks * chunk + np.array([-1, 0, 1, 2, 2 + int(rest * (chunk - 3)), chunk - 1])
    table = predict_table(
        {"model": model, "gpu": card, "engine": engine, "pp": stages, "input_len": lengths},
        errors="column",
    )
    if table["error"][0]:  # more stages than the model can be cut into
        return
    # A pass that waits for its launches lasts as long as these, to the last digits but two.
    assert grows(table["ttft_s"], slack=1e-7)
    assert table["ttft_s"][2] > table["ttft_s"][1]


@settings(deadline=None, max_examples=30)
@given(
    model=models, card=cards, engine=engines, batch=st.integers(1, 300),
    input_len=st.integers(1, 10_000), step=st.integers(1, 300),
)  # fmt: skip
def test_more_tokens_out_are_never_faster(model, card, engine, batch, input_len, step):
    table = predict_table(
        {"model": model, "gpu": card, "engine": engine, "batch": batch,
         "input_len": input_len, "output_len": 1 + step * np.arange(40)}
    )  # fmt: skip
    for name in ("ttft_s", "tpot_s", "e2e_s", "floor_tpot_s", "floor_e2e_s"):
        assert grows(table[name]), name
    assert (np.diff(table["e2e_s"]) > 0).all()


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, start=st.integers(1, 300), step=st.integers(1, 20),
    input_len=st.integers(1, 3_000), output_len=st.integers(2, 2000),
)  # fmt: skip
def test_a_larger_batch_is_never_faster(model, card, engine, start, step, input_len, output_len):
    batch = start + step * np.arange(40)
    columns = {"model": model, "gpu": card, "batch": batch,
               "input_len": input_len, "output_len": output_len}  # fmt: skip
    table = predict_table({**columns, "engine": engine})
    assert grows(table["ttft_s"])
    assert grows(table["tpot_s"])


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, input_len=st.integers(1, 20_000),
    output_len=st.integers(2, 2000),
)  # fmt: skip
def test_a_batch_is_never_slower_than_its_parts_in_turn(model, card, engine, input_len, output_len):
    # Without a cache (several prompts may spill from one that each of them fits) and
    # without tiles and waves, which may divide one batch better than another. In plain
    # weights: unpacking quantised ones in a pass of its own costs a batch what one skips.
    device = replace(get_accelerator(card), cache_bytes=0.0)
    batch = np.array([1, 2, 3, 5, 8, 13, 32, 100, 256, 1000])
    table = predict_table(
        {"model": model, "gpu": [device], "engine": [untiled(engine)], "batch": batch,
         "weight_dtype": "bf16",
         "input_len": input_len, "output_len": output_len}
    )  # fmt: skip
    for name in ("ttft_s", "tpot_s", "e2e_s", "floor_ttft_s", "floor_tpot_s", "floor_e2e_s"):
        assert (table[name] <= batch * table[name][0] * (1 + 1e-9)).all(), name


@settings(deadline=None, max_examples=30)
@given(
    model=models, card=cards, engine=engines, input_len=st.integers(1, 8_000),
    output_len=st.integers(2, 2000),
)  # fmt: skip
def test_a_cached_prefix_never_costs_time(model, card, engine, input_len, output_len):
    cached = np.unique(np.linspace(0, input_len - 1, 20).astype(int))
    table = predict_table(
        {"model": model, "gpu": card, "engine": engine, "cached_len": cached,
         "input_len": input_len, "output_len": output_len}
    )  # fmt: skip
    assert grows(table["ttft_s"][::-1])
    np.testing.assert_allclose(table["tpot_s"], table["tpot_s"][0], rtol=1e-12)
