# SPDX-License-Identifier: Apache-2.0
"""The closed loop: Little's law, the empty queue, saturation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.physics.batching import closed_loop

seconds = st.floats(1e-4, 10.0)


def loop(running, *, steps, prefill_s, stall_frac, step_s, growth, waiting=0.0):
    """A closed loop whose step grows by a share `growth` per sequence beyond the first."""
    running = np.atleast_1d(np.asarray(running, float))
    low = np.maximum(running / 2.0, 1.0)
    one = np.ones_like(running)
    return closed_loop(
        running=running,
        waiting=waiting * one,
        steps=steps * one,
        prefill_s=prefill_s * one,
        stall_s=prefill_s * stall_frac * one,
        step_low_s=step_s * (1.0 + growth * (low - 1.0)),
        step_high_s=step_s * (1.0 + growth * (running - 1.0)),
        low=low,
    )


CASES = {
    "steps": st.integers(0, 5000),
    "prefill_s": seconds,
    "stall_frac": st.floats(0.05, 1.0),
    "step_s": seconds,
    "growth": st.floats(0.0, 1.0),
}
RUNNING = np.unique(np.round(2.0 ** np.arange(0.0, 11.0, 0.5)))


@settings(deadline=None, max_examples=60)
@given(**CASES, waiting=st.floats(0.0, 1000.0))
def test_little_holds_queue_included(waiting, **case):
    state = loop(RUNNING, waiting=waiting, **case)
    inside = state.requests_per_s * (state.ttft_s + case["steps"] * state.tpot_s)
    # Bisection stops at 1e-12 of the fastest rate, which may be 1e5 times the answer.
    np.testing.assert_allclose(inside, RUNNING + waiting, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(**CASES)
def test_one_request_alone_is_never_interrupted(**case):
    state = loop(1.0, **case)
    assert state.ttft_s[0] == pytest.approx(case["prefill_s"], rel=1e-6)
    assert state.tpot_s[0] == pytest.approx(case["step_s"], rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(**CASES)
def test_prefills_never_overlap_and_steps_never_outrun_the_device(**case):
    state = loop(RUNNING, **case)
    stall_s = case["prefill_s"] * case["stall_frac"]
    full_s = case["step_s"] * (1.0 + case["growth"] * (RUNNING - 1.0))
    assert (state.requests_per_s * stall_s <= 1.0 + 1e-9).all()
    assert (state.requests_per_s * case["steps"] * full_s <= RUNNING * (1.0 + 1e-6)).all()
    assert (state.ttft_s >= case["prefill_s"] * (1.0 - 1e-9)).all()
    assert (state.tpot_s >= case["step_s"] * (1.0 - 1e-9)).all()


@settings(deadline=None, max_examples=60)
@given(**CASES)
def test_more_in_flight_is_never_less_throughput(**case):
    rate = loop(RUNNING, **case).requests_per_s
    assert (np.diff(rate) >= -1e-6 * rate[:-1]).all()


def test_prefill_bound_loop_by_hand():
    # 64 requests of one output token each, prefill 0.1 s, nothing hidden: the loop is a
    # queue in front of one server: 10 requests/s, and by Little 64 / 10 = 6.4 s each.
    state = loop(64.0, steps=0, prefill_s=0.1, stall_frac=1.0, step_s=0.01, growth=0.0)
    assert state.requests_per_s[0] == pytest.approx(10.0, rel=1e-6)
    assert state.ttft_s[0] == pytest.approx(6.4, rel=1e-6)


def test_decode_bound_loop_by_hand():
    # Prefill so short that it hardly counts: 32 requests x 1 token per 20 ms step:
    #   100 steps of 0.02 s = 2 s each -> 32 / 2 = 16 requests/s.
    state = loop(32.0, steps=100, prefill_s=1e-9, stall_frac=1.0, step_s=0.02, growth=0.0)
    # Half a step of waiting is 0.5 * 0.02 * 31/32 of 2 s: 0.5% fewer.
    assert state.requests_per_s[0] == pytest.approx(32 / 2.0096875, rel=1e-6)
    assert state.decoding[0] == pytest.approx(32 * 2.0 / 2.0096875, rel=1e-6)
