# SPDX-License-Identifier: Apache-2.0
"""How many experts a batch wakes: by hand, by simulation, and the table against the sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.physics.moe import distinct_experts, distinct_experts_exact, expert_probabilities

shapes = st.sampled_from([(8, 2), (16, 1), (64, 6), (128, 8), (256, 8), (384, 8), (512, 10)])
skews = st.sampled_from([0.0, 0.3, 0.6, 1.2, 2.0])


def test_four_tokens_of_mixtral_by_hand():
    # An expert of 8 is missed by one token with 1 - 2/8 = 3/4, by four with 81/256:
    #   8 * (1 - 81/256) = 5.46875
    assert distinct_experts(4, num_experts=8, topk=2) == 5.46875
    assert distinct_experts_exact(4, num_experts=8, topk=2) == pytest.approx(5.46875, rel=1e-12)


def test_uniform_routing_against_drawing_experts():
    # 20 tokens, 3 of 12 experts each: 12 * (1 - (3/4)**20) = 11.962
    draws = np.random.default_rng(0).random((4000, 20, 12)).argsort(axis=2)[:, :, :3]
    woken = np.mean([len(np.unique(batch)) for batch in draws[:, :4].reshape(4000, -1)])
    # 4000 draws of a spread of about 1.2: standard error 0.02
    assert distinct_experts(4, num_experts=12, topk=3) == pytest.approx(woken, abs=0.06)


def test_probabilities_are_a_distribution():
    p = expert_probabilities(64, skew=0.6)
    assert p.sum() == pytest.approx(1.0)
    assert (np.diff(p) < 0).all()
    np.testing.assert_allclose(expert_probabilities(64, skew=0.0), 1 / 64)


@settings(deadline=None, max_examples=40)
@given(shape=shapes, skew=skews)
def test_the_table_is_within_half_a_percent_and_never_wakes_too_many(shape, skew):
    num_experts, topk = shape
    tokens = np.unique(np.round(2.0 ** np.arange(0.0, 18.0, 0.05)))
    exact = distinct_experts_exact(tokens, num_experts=num_experts, topk=topk, skew=skew)
    table = distinct_experts(tokens, num_experts=num_experts, topk=topk, skew=skew)
    np.testing.assert_allclose(table, exact, rtol=5e-3)
    # Linear between points of a concave function: from below.
    assert (table <= exact * (1 + 1e-12)).all()


@settings(deadline=None, max_examples=40)
@given(shape=shapes, skew=skews)
def test_bounds_and_growth(shape, skew):
    num_experts, topk = shape
    tokens = np.arange(0.0, 400.0)
    woken = distinct_experts(tokens, num_experts=num_experts, topk=topk, skew=skew)
    assert woken[0] == 0.0
    assert woken[1] == pytest.approx(topk, rel=1e-9)
    assert (woken <= np.minimum(tokens * topk, num_experts) * (1 + 1e-9)).all()
    assert (np.diff(woken) >= 0).all()
    per_token = woken[1:] / tokens[1:]
    assert (np.diff(per_token) <= 1e-12).all()  # batching shares experts


@settings(deadline=None, max_examples=20)
@given(shape=shapes)
def test_skew_wakes_fewer(shape):
    num_experts, topk = shape
    woken = [
        distinct_experts_exact(16.0, num_experts=num_experts, topk=topk, skew=skew)
        for skew in (0.0, 0.3, 0.6, 1.2)
    ]
    assert (np.diff(woken) <= 1e-9).all()
