# SPDX-License-Identifier: Apache-2.0
"""The closed loop: Little's law, the empty queue, saturation, never faster than the device."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.physics.batching import ROUNDS, Durations, closed_loop, rhythm

REQUEST_S = 0.005
CASES = {
    "steps": st.integers(0, 4000),
    "prompt_tokens": st.integers(1, 20_000),
    "chunk_tokens": st.sampled_from([0, 2048, 8192]),
    "token_s": st.floats(1e-7, 1e-3),
    "least_s": st.floats(1e-4, 0.1),
    "growth_s": st.floats(0.0, 1e-2),
    "spread_frac": st.sampled_from([0.0, 0.2, 1.0]),
    "mixes": st.booleans(),
}
RUNNING = np.unique(np.round(2.0 ** np.arange(0.0, 10.0, 0.5)))


def loop(running, *, steps, prompt_tokens, chunk_tokens, token_s, least_s, growth_s,
         spread_frac, mixes, waiting=0.0, held_steps=0.0):  # fmt: skip
    """A machine whose passes take ``least + token_s`` each token, and steps that grow."""
    running = np.atleast_1d(np.asarray(running, float))
    one = np.ones_like(running)
    chunks = prompt_tokens / chunk_tokens * one if chunk_tokens else 0.0 * one
    beat = rhythm(
        running=running,
        waiting=waiting * one,
        steps=steps * one,
        spread_frac=spread_frac * one,
        prompt_tokens=prompt_tokens * one,
        chunks=chunks,
        held_steps=held_steps * one,
        mixes=mixes,
    )

    def prefill_s(prompts):
        return least_s * np.maximum(np.ceil(prompts * chunks), 1.0) + token_s * (
            prompts * prompt_tokens
        )

    batched = np.clip((1.0 - 1e-9) / np.maximum(chunks, 1e-12), 1.0, running)
    durations = Durations(
        request_s=REQUEST_S,
        prompt_s=prefill_s(one),
        batched=batched,
        batched_s=prefill_s(batched),
        step_s=least_s + growth_s * beat.decoding,
        caches_s=growth_s * beat.decoding,
        token_s=token_s * one,
    )
    return beat, durations, closed_loop(beat, durations)


@settings(deadline=None, max_examples=100)
@given(held_steps=st.floats(0.1, 100.0), **CASES)
def test_to_hold_prompts_back_hardly_shortens_their_wait(held_steps, **case):
    _, _, at_once = loop(RUNNING, **case)
    _, _, held = loop(RUNNING, held_steps=held_steps, **case)
    # Those held back do not decode beside the others, which a saturated device feels.
    assert (held.ttft_s >= at_once.ttft_s * 0.8).all()
    # Nobody decodes beside a single client, so nothing is waited for.
    assert held.ttft_s[0] == pytest.approx(at_once.ttft_s[0])


def test_what_a_held_prompt_waits_by_hand():
    # Two clients whose lengths spread widely: 100 steps of 10 ms, 1 prompt of 10 ms each.
    case = {"steps": 100, "prompt_tokens": 1, "chunk_tokens": 0, "token_s": 1e-9,
            "least_s": 0.01, "growth_s": 0.0, "spread_frac": 1.0, "mixes": True}  # fmt: skip
    _, _, at_once = loop(2.0, **case)
    _, _, held = loop(2.0, held_steps=20.0, **case)
    # 20 steps of 10 ms, less for the few whose neighbour ends with them. The opening burst,
    # which nothing holds back, is paid for when the run drains.
    assert (held.ttft_s - at_once.ttft_s)[0] == pytest.approx(0.2, rel=0.05)


def equal_prompts(mixes, prompt_tokens):
    """64 equal prompts, 8 to a pass of 0.1 s; 100 steps of 10 ms."""
    one = np.ones(1)
    beat = rhythm(running=64.0 * one, waiting=0.0 * one, steps=100.0 * one,
                  spread_frac=0.0 * one, prompt_tokens=prompt_tokens * one, chunks=one / 8.0,
                  mixes=mixes)  # fmt: skip
    durations = Durations(request_s=0.0, prompt_s=0.0125 * one, batched=8.0 * one,
                          batched_s=0.1 * one, step_s=0.01 * one, caches_s=0.0 * one,
                          token_s=0.0 * one)  # fmt: skip
    return beat, closed_loop(beat, durations)


@settings(deadline=None, max_examples=100)
@given(**CASES, waiting=st.floats(0.0, 1000.0))
def test_little_holds_queue_included(waiting, **case):
    _, _, state = loop(RUNNING, waiting=waiting, **case)
    inside = state.requests_per_s * (state.ttft_s + case["steps"] * state.tpot_s)
    np.testing.assert_allclose(inside, RUNNING + waiting, rtol=1e-9)


@settings(deadline=None, max_examples=100)
@given(**CASES)
def test_one_request_alone_is_never_interrupted(**case):
    _, durations, state = loop(1.0, **case)
    assert state.ttft_s[0] == pytest.approx(durations.prompt_s[0] + REQUEST_S, rel=1e-9)
    assert state.tpot_s[0] == pytest.approx(durations.step_s[0], rel=1e-9)


@settings(deadline=None, max_examples=200)
@given(**CASES)
def test_nothing_is_faster_than_the_device(**case):
    beat, durations, state = loop(RUNNING, **case)
    assert (state.tpot_s >= durations.step_s * (1 - 1e-12)).all()
    assert (state.ttft_s >= durations.prompt_s * (1 - 1e-12)).all()
    assert (beat.decoding <= RUNNING * (1 + 1e-12)).all()
    # A device that decodes R at once and never waits: R requests per `steps` full steps.
    full_s = case["least_s"] + case["growth_s"] * RUNNING
    assert (state.requests_per_s * case["steps"] * full_s <= RUNNING * (1 + 1e-9)).all()


@settings(deadline=None, max_examples=100)
@given(**CASES)
def test_prompts_do_not_outrun_their_prefill(**case):
    _, durations, state = loop(RUNNING, **case)
    each_s = np.minimum(durations.batched_s / durations.batched, durations.prompt_s)
    # 15%: the mean of a run that opens with a burst; the last round meets nobody.
    assert (state.requests_per_s * each_s <= 1.15).all()


@settings(deadline=None, max_examples=100)
@given(**CASES, factor=st.floats(1.0, 10.0))
def test_slower_parts_never_help(factor, **case):
    slower = {**case, "token_s": case["token_s"] * factor, "least_s": case["least_s"] * factor}
    before, after = loop(RUNNING, **case)[2], loop(RUNNING, **slower)[2]
    assert (after.requests_per_s <= before.requests_per_s * (1 + 1e-9)).all()
    assert (after.ttft_s >= before.ttft_s * (1 - 1e-9)).all()


def test_a_burst_of_prompts_by_hand():
    # 64 prompts of 1024 tokens, all equal, prefill first: 8 per pass of 8192, 0.1 s each
    # pass. They always come together: 8 passes = 0.8 s; pass i ends 0.1 i: mean 0.45 s.
    # Then all decode in step, 100 steps of 10 ms; the first wait for the last: TPOT is
    # 10 ms + (0.8 - 0.45) / 100.
    beat, state = equal_prompts(mixes=False, prompt_tokens=1024.0)
    assert beat.decoding[0] == 64.0
    assert state.ttft_s[0] == pytest.approx(0.45)
    assert state.tpot_s[0] == pytest.approx(0.0135)
    assert state.requests_per_s[0] == pytest.approx(64 / 1.8)


def test_chunks_that_ride_on_steps_by_hand():
    # The same where chunks ride on steps (a prompt of so many tokens that decoding takes
    # no room from it): after the burst, 8 requests end with each of 8 steps running, so
    # seven groups of eight find a step in progress, which carries prompts with the same
    # weight: 0.01 + 7/8 * 0.09 = 0.08875 s; then their own: 0.1 s. The burst: 0.45 s.
    _, state = equal_prompts(mixes=True, prompt_tokens=1e9)
    assert state.later_ttft_s[0] == pytest.approx(0.1 + 0.875 * 0.08875, rel=1e-6)
    mean_s = state.later_ttft_s[0] + (0.45 - state.later_ttft_s[0]) / ROUNDS
    assert state.ttft_s[0] == pytest.approx(mean_s, rel=1e-6)


def test_a_queue_for_the_cache_by_hand():
    # 10 run, 30 wait; nothing but decode: 100 steps of 10 ms = 1 s each. A request waits
    # for three turns of 1 s.
    _, _, state = loop(10.0, waiting=30.0, steps=100, prompt_tokens=1, chunk_tokens=0,
                       token_s=1e-12, least_s=0.01, growth_s=0.0, spread_frac=0.0,
                       mixes=True)  # fmt: skip
    assert state.later_ttft_s[0] == pytest.approx(3.0, rel=0.05)
    assert state.requests_per_s[0] == pytest.approx(10.0, rel=0.05)
