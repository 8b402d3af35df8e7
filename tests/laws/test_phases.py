# SPDX-License-Identifier: Apache-2.0
"""Phases against sums written out: growing decode, operators, tensor parallelism, fusion."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.devices import DeviceColumns
from roofline.phase_costs import Setup
from roofline.physics.layout import Layout
from roofline.physics.passes import decode_pass, prefill_pass
from roofline.physics.phases import pass_cost, summed
from roofline.physics.step import operator_costs
from roofline.setups import FormatNames, as_model, formats_of
from specs.catalogue import get_accelerator
from specs.engine import get_engine, list_engines

DRAWN = tomllib.loads(Path(__file__).with_name("drawn.toml").read_text(encoding="utf-8"))
MODELS = (*DRAWN["models"], "mistralai/Mistral-7B-v0.1")
CARDS = DRAWN["cards"]

models, cards = st.sampled_from(MODELS), st.sampled_from(CARDS)
engines = st.sampled_from(list_engines())


def setup_for(model, engine, **degrees):
    chosen, profile = as_model(model), engine if not isinstance(engine, str) else get_engine(engine)
    names = FormatNames(weight="", kv="", activation="")
    return Setup(
        model=chosen,
        layout=Layout(**degrees),
        formats=formats_of(chosen, names, profile),
        engine=profile,
    )


def rates_of(setup, card, size, **changes):
    device = replace(get_accelerator(card), **changes)
    return DeviceColumns.of([device]).take(np.zeros(size, dtype=np.intp), setup.ranks)


def cost_of(setup, devices, step):
    return pass_cost(setup.decoder, step, devices.rates, devices.energies, setup.engine)


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, batch=st.integers(1, 300),
    context=st.integers(1, 20_000), steps=st.integers(1, 2_000),
)  # fmt: skip
def test_mean_decode_step_is_the_sum_of_all_steps(model, card, engine, batch, context, steps):
    """The quadrature of decode: never above the sum, and within 0.5% of it.

    Where a whole phase changes sides on the way the mean step is up to 15% below: on the
    ideal machine, whose operators overlap (the floor is lower than it need be), and
    where the host is outrun at first and not at last, without captured graphs.
    """
    setup = setup_for(model, engine)
    one = np.ones(1)
    mean = cost_of(
        setup,
        rates_of(setup, card, 1),
        decode_pass(batch * one, context * one, steps * one, 100.0 * one),
    )
    every = np.ones(steps)
    each = cost_of(
        setup,
        rates_of(setup, card, steps),
        decode_pass(batch * every, context + np.arange(steps), every, 100.0 * every),
    )
    exact_s, priced_s = each.time_s.sum(), steps * mean.time_s[0]
    assert priced_s <= exact_s * (1 + 1e-9)
    steady = setup.engine.graph_decode and not setup.engine.overlaps
    assert priced_s >= exact_s * (1 - (5e-3 if steady else 0.15))
    assert steps * mean.flops[0] == pytest.approx(each.flops.sum(), rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    model=models, card=cards, engine=engines, tp=st.sampled_from([1, 2]),
    batch=st.lists(st.integers(1, 300), min_size=5, max_size=5),
    length=st.lists(st.integers(1, 9_000), min_size=5, max_size=5),
    decode=st.booleans(),
)  # fmt: skip
def test_a_pass_is_the_sum_of_its_operators(model, card, engine, tp, batch, length, decode):
    """Two ways to the same number: sums of bundles, and operators laid out one by one."""
    if model == "gpt2-xl":
        tp = 1  # 25 heads
    setup = setup_for(model, engine, tp=tp)
    devices = rates_of(setup, card, 5)
    sequences, tokens = np.array(batch, float), np.array(length, float)
    if decode:
        step = decode_pass(sequences, tokens, 1.0 + tokens, tokens)
    else:
        step = prefill_pass(sequences, tokens, tokens, np.ones(5))
    whole = cost_of(setup, devices, step)
    parts = operator_costs(setup.decoder, step, devices.rates, setup.engine)
    again = summed(parts, step, devices.rates, devices.energies, setup.engine)
    for field in fields(whole):
        np.testing.assert_allclose(
            getattr(whole, field.name), getattr(again, field.name), rtol=1e-9, atol=1e-15,
            err_msg=field.name,
        )  # fmt: skip
    assert (parts.flops >= 0).all()
    assert (parts.moved_bytes >= 0).all()
    floor_s = np.maximum(parts.count @ parts.compute_s, parts.count @ parts.memory_s)
    assert (whole.time_s >= floor_s * (1 - 1e-9)).all()  # no faster than either resource


@settings(deadline=None, max_examples=60)
@given(
    model=models, engine=engines, batch=st.integers(1, 300), length=st.integers(1, 9_000),
    decode=st.booleans(),
)  # fmt: skip
def test_doubling_tensor_parallelism_never_moves_fewer_bytes_in_total(
    model, engine, batch, length, decode
):
    # Of cards without a cache: two caches hold more than one.
    one, tokens = np.ones(1), length * np.ones(1)
    last = None
    for tp in (1, 2, 4, 8, 16):
        setup = setup_for(model, engine, tp=tp)
        devices = rates_of(setup, "h100-sxm5-80gb", 1, cache_bytes=0.0)
        if decode:
            step = decode_pass(batch * one, tokens, one, tokens)
        else:
            step = prefill_pass(batch * one, tokens, tokens, one)
        cost = cost_of(setup, devices, step)
        total = tp * np.concatenate([cost.moved_bytes, cost.sent_bytes, cost.flops])
        if last is not None:
            assert (total >= last * (1 - 1e-12)).all()
        last = total


@settings(deadline=None, max_examples=40)
@given(
    model=models, card=cards, engine=engines, batch=st.integers(1, 300),
    length=st.integers(1, 9_000), decode=st.booleans(),
    fusion=st.sampled_from(["fuses_qkv", "fuses_gate_up", "fuses_norm", "fuses_attention"]),
)  # fmt: skip
def test_fusion_never_moves_more_bytes(model, card, engine, batch, length, decode, fusion):
    one, tokens = np.ones(1), length * np.ones(1)
    costs = []
    for fuses in (True, False):
        setup = setup_for(model, replace(get_engine(engine), **{fusion: fuses}))
        # What a cache keeps of two products apart it may not keep of both as one.
        devices = rates_of(setup, card, 1, cache_bytes=0.0)
        if decode:
            step = decode_pass(batch * one, tokens, one, tokens)
        else:
            step = prefill_pass(batch * one, tokens, tokens, one)
        costs.append(cost_of(setup, devices, step))
    fused, apart = costs
    assert fused.moved_bytes[0] <= apart.moved_bytes[0] * (1 + 1e-12)
    np.testing.assert_allclose(fused.sent_bytes, apart.sent_bytes, rtol=1e-12)
    if fusion in ("fuses_qkv", "fuses_gate_up"):
        # Norms and softmax on their own cost vector work that is not counted as FLOPs.
        np.testing.assert_allclose(fused.flops, apart.flops, rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(model=models, card=cards, engine=engines, length=st.integers(1, 9_000))
def test_a_prompt_in_chunks_is_never_less_work(model, card, engine, length):
    # Without the pass that unpacks weights above a number of tokens, which chunks may avoid.
    setup = setup_for(model, replace(get_engine(engine), dequantise_above_tokens=0))
    chunks = np.array([1.0, 2.0, 3.0, 7.0, 20.0])
    one, tokens = np.ones(5), length * np.ones(5)
    cost = cost_of(
        setup,
        rates_of(setup, card, 5, cache_bytes=0.0),
        prefill_pass(one, tokens, tokens, chunks),
    )
    moved, flops = cost.moved_bytes * chunks, cost.flops * chunks
    np.testing.assert_allclose(flops, flops[0], rtol=1e-9)
    assert (np.diff(moved) >= -1e-9 * moved[:-1]).all()


@pytest.mark.parametrize(("kind", "added_s"), [("cpu", 12e-3), ("gpu", 0.0)])
@pytest.mark.parametrize("decode", [True, False])
def test_launches_add_where_the_processor_that_computes_launches(kind, added_s, decode):
    # GPT-2 has 12 layers: at 1 ms of host time each, 12 ms. Reading its 249 MB at 3.35 GB/s
    # takes 74 ms, behind which a host that is another processor is done with them.
    bare = replace(get_engine("transformers"), host_launch_s=0.0, host_layer_s=0.0)
    busy = replace(bare, host_layer_s=1e-3)
    one, context = np.ones(1), np.full(1, 100.0)
    step = decode_pass(one, context, 10 * one, 0 * one)
    if not decode:
        step = prefill_pass(one, context, 0 * one, one)
    times = []
    for engine in (bare, busy):
        setup = setup_for("gpt2", replace(engine, kernel_floor_s=0.0, attention_floor_s=0.0))
        devices = rates_of(setup, "h100-sxm5-80gb", 1, kind=kind, mem_bytes_per_s=3.35e9)
        times.append(cost_of(setup, devices, step).time_s[0])
    assert times[1] - times[0] == pytest.approx(added_s, abs=1e-12)  # rounding of the sums


def test_floors_of_a_processor_that_launches_are_its_launches():
    floor_s = 9e-6
    step = decode_pass(*np.array([[1.0], [100.0], [10.0], [0.0]]))
    overheads_s = []
    for launch_s in (0.0, floor_s, 2 * floor_s):
        engine = replace(
            get_engine("transformers"), host_layer_s=0.0, host_step_s=0.0, host_launch_s=launch_s,
            kernel_floor_s=floor_s, attention_floor_s=floor_s,
        )  # fmt: skip
        setup = setup_for("gpt2", engine)
        devices = rates_of(setup, "h100-sxm5-80gb", 1, kind="cpu")
        overheads_s.append(cost_of(setup, devices, step).overhead_s[0])
    assert overheads_s[0] > 100 * floor_s  # 12 layers of more than 8 kernels
    assert overheads_s == pytest.approx([overheads_s[0], overheads_s[0], 2 * overheads_s[0]])


def test_passes_take_their_time_in_a_cache_where_the_engine_states_their_rate():
    # GPT-2 in fp32, 100 tokens; bytes per token and layer: two norms with their additions
    # 2 * 5 * 768 * 4, activation 2 * 3072 * 4, cache 2 * 768 * 4: 61 440, times 12 layers and
    # 100 tokens 73 728 000. Embedding 100 * 2 * 768 * 4, last norm 4 * 768 * 4, sampling
    # 8 * 50257: 74 756 744 in all, at 1 GB/s times the share.
    one = np.ones(1)
    step = prefill_pass(one, 100 * one, 0 * one, one)
    times = []
    for frac in (0.5, 0.25):
        engine = replace(
            get_engine("transformers"), pass_frac=frac, host_launch_s=0.0, host_layer_s=0.0
        )
        setup = setup_for("gpt2", engine)
        devices = rates_of(
            setup, "h100-sxm5-80gb", 1, kind="cpu", mem_bytes_per_s=1e9, cache_bytes=1e9
        )
        times.append(cost_of(setup, devices, step).time_s[0])
    assert times[1] - times[0] == pytest.approx(74_756_744 * (4 - 2) / 1e9, rel=1e-6)


def test_a_cache_appended_to_by_concatenation_moves_three_times():
    # 12 layers of keys and values of 768 in fp32: 73 728 bytes per token. Ten steps from
    # 100 tokens see 101 to 110, the mean is 105.5; written anew it is read and written more.
    one = np.ones(1)
    step = decode_pass(one, 100 * one, 10 * one, 0 * one)
    moved = []
    for copies in (False, True):
        setup = setup_for("gpt2", replace(get_engine("transformers"), copies_cache=copies))
        devices = rates_of(setup, "h100-sxm5-80gb", 1)
        moved.append(cost_of(setup, devices, step).moved_bytes[0])
    assert moved[1] - moved[0] == pytest.approx(2 * 105.5 * 73_728, rel=1e-6)
