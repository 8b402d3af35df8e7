# SPDX-License-Identifier: Apache-2.0
"""The event simulation: conservation, queueing laws, cases worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.serving.arrivals import closed_loop, poisson
from roofline.serving.policies import POLICIES, Limits
from roofline.serving.simulate import simulate
from specs.errors import InvalidInputError, UnknownNameError

policies = st.sampled_from(sorted(POLICIES))


def machine(token_s=1e-4, least_s=0.01, cached_s=1e-8):
    """Passes of ``max(least, tokens)`` and a read of the caches."""

    def step_time_s(prompt, context, decoding, cached):
        return max(least_s, (prompt + decoding) * token_s) + cached_s * decoding * cached

    return step_time_s


def by_hand(policy, **change):
    """4 clients, 1 round, prompts of 100 tokens, 3 tokens out, 10 ms steps, 1 s prompts."""
    limits = Limits(policy=policy, chunk_tokens=200, **change)

    def step_time_s(prompt, context, decoding, cached):
        return 0.01 + prompt / 100.0

    traffic = closed_loop(4, input_tokens=100, output_tokens=3, prompts=4)
    return simulate(traffic, limits, step_time_s)


def test_prefill_first_by_hand():
    # Two prompts per pass: first tokens at 2.01 and 4.02; then two steps for all.
    run = by_hand("prefill-first")
    np.testing.assert_allclose(run.ttft_s, [2.01, 2.01, 4.02, 4.02])
    np.testing.assert_allclose(run.e2e_s, 4.04)


def test_mixed_chunks_by_hand():
    # The first two decode in the second pass, which has 198 tokens of room: 100 + 98 of
    # the others' prompts, 1.99 s; the last 2 tokens ride on the third step, 0.03 s.
    run = by_hand("mixed-chunk")
    np.testing.assert_allclose(run.ttft_s, [2.01, 2.01, 4.0, 4.03])
    np.testing.assert_allclose(run.end_s, [4.03, 4.03, 4.04, 4.05])


def test_a_full_cache_makes_others_wait():
    # Room for two of 100 + 3 / 2 tokens: the second pair starts when the first has ended.
    run = by_hand("prefill-first", kv_tokens=210.0)
    np.testing.assert_allclose(run.ttft_s, [2.01, 2.01, 4.04, 4.04])
    run = by_hand("prefill-first", max_sequences=2)
    np.testing.assert_allclose(run.ttft_s, [2.01, 2.01, 4.04, 4.04])


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_prompt_is_held_back_while_others_decode(policy):
    # Two clients, two rounds, steps of 10 ms: 2 and 5 tokens out of the first two requests.
    # The third is sent at 0.02 s while the second has 3 steps left, and is held for 2 of them.
    limits = Limits(policy=policy, held_steps=2)
    traffic = replace(
        closed_loop(2, input_tokens=1, output_tokens=2, prompts=3),
        output_tokens=np.array([2, 5, 2]),
    )
    run = simulate(traffic, limits, lambda *_: 0.01)
    np.testing.assert_allclose(run.ttft_s, [0.01, 0.01, 0.03])
    # Nobody is held where nothing decodes.
    alone = closed_loop(1, input_tokens=1, output_tokens=2, prompts=3)
    np.testing.assert_allclose(simulate(alone, limits, lambda *_: 0.01).ttft_s, 0.01)


@settings(deadline=None, max_examples=40)
@given(
    policy=policies, concurrency=st.integers(1, 40), prompt=st.integers(1, 5000),
    output=st.integers(1, 300), shortest=st.sampled_from([1.0, 0.8, 0.1]),
    request_s=st.sampled_from([0.0, 0.005]),
)  # fmt: skip
def test_laws_of_a_closed_loop(policy, concurrency, prompt, output, shortest, request_s):
    traffic = closed_loop(
        concurrency, input_tokens=prompt, output_tokens=output, shortest_frac=shortest
    )
    limits = Limits(policy=policy, chunk_tokens=2048, request_s=request_s)
    run = simulate(traffic, limits, machine())
    # Little's law: never more in flight than clients, and fewer only while it drains.
    assert run.mean_in_flight <= concurrency * (1 + 1e-9)
    assert run.busy_s <= run.duration_s * (1 + 1e-9)
    # No prompt is faster than its own passes, no token than a step of its own.
    alone_s = np.maximum(np.ceil(run.input_tokens / 2048) * 0.01, run.input_tokens * 1e-4)
    assert (run.ttft_s >= (alone_s + request_s) * (1 - 1e-9)).all()
    assert (run.end_s - run.first_s >= (run.output_tokens - 1) * 0.01 * (1 - 1e-9)).all()
    # Throughput: all tokens went through a device of 1e4 tokens per second.
    assert (run.input_tokens + run.output_tokens - 1).sum() * 1e-4 <= run.busy_s * (1 + 1e-9)
    assert run.decode_tokens == (run.output_tokens - 1).sum()


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_alone_is_the_isolated_request(policy):
    traffic = closed_loop(1, input_tokens=1000, output_tokens=101)
    run = simulate(traffic, Limits(policy=policy, request_s=0.005), machine(cached_s=0.0))
    np.testing.assert_allclose(run.ttft_s, 0.105)
    np.testing.assert_allclose(run.tpot_s, 0.01)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_an_idle_open_loop_is_the_isolated_request(policy):
    traffic = poisson(0.01, input_tokens=1000, output_tokens=11, prompts=50)
    run = simulate(traffic, Limits(policy=policy), machine(cached_s=0.0))
    # 0.2 s of work every 100 s: one in 500 meets another.
    assert np.median(run.ttft_s) == pytest.approx(0.1)
    assert np.median(run.tpot_s) == pytest.approx(0.01)


def test_one_server_queue_is_pollaczek_khinchine():
    # Single-token requests that fill a pass each: M/D/1 with 0.1 s service, load 0.5:
    # mean wait rho / (2 (1 - rho)) * service = 0.05 s, as W = lambda E[s^2] / (2 (1 - rho)).
    traffic = poisson(5.0, input_tokens=1000, output_tokens=1, prompts=20_000)
    run = simulate(traffic, Limits(policy="prefill-first", chunk_tokens=1000), machine())
    assert run.ttft_s.mean() - 0.1 == pytest.approx(0.05, rel=0.05)


@settings(deadline=None, max_examples=20)
@given(policy=policies, prompt=st.integers(10, 3000), output=st.integers(10, 300))
def test_more_clients_are_never_less_throughput(policy, prompt, output):
    rates = [
        simulate(
            closed_loop(clients, input_tokens=prompt, output_tokens=output),
            Limits(policy=policy, chunk_tokens=4096),
            machine(),
        ).output_tok_per_s
        for clients in (1, 2, 4, 8, 16, 32)
    ]
    # 2%: a group of clients may just miss a pass.
    assert (np.diff(rates) >= -0.02 * np.array(rates[:-1])).all()


def test_a_faster_arrival_rate_is_never_a_shorter_queue():
    waits = []
    for rate in (0.5, 1.0, 2.0, 4.0):
        traffic = poisson(rate, input_tokens=1000, output_tokens=50, prompts=1000)
        waits.append(simulate(traffic, Limits(), machine()).ttft_s.mean())
    assert (np.diff(waits) >= 0.0).all()


def test_clumps_wait_longer_than_a_steady_stream():
    waits = []
    for burstiness in (0.2, 1.0, 5.0):
        traffic = poisson(3.0, input_tokens=1000, output_tokens=50, prompts=2000,
                          burstiness=burstiness)  # fmt: skip
        waits.append(simulate(traffic, Limits(), machine()).ttft_s.mean())
    assert waits[0] > waits[1] > waits[2]


def test_what_cannot_be_is_refused():
    traffic = closed_loop(2, input_tokens=100, output_tokens=10)
    with pytest.raises(InvalidInputError, match="does not fit"):
        simulate(traffic, Limits(kv_tokens=50.0), machine())
    with pytest.raises(UnknownNameError, match="mixed-chunk"):
        simulate(traffic, Limits(policy="lottery"), machine())
    with pytest.raises(InvalidInputError, match="above 0"):
        poisson(0.0, input_tokens=1, output_tokens=1, prompts=1)
    with pytest.raises(InvalidInputError, match="no token"):
        closed_loop(1, input_tokens=0, output_tokens=1)
