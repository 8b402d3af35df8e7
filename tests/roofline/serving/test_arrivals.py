# SPDX-License-Identifier: Apache-2.0
"""Lengths and gaps have the means they should have."""

import numpy as np
import pytest

from roofline.serving.arrivals import PROMPTS_PER_CLIENT, closed_loop, lengths, poisson


def test_lengths_are_uniform_between_a_share_and_the_nominal():
    drawn = lengths(1000, 20_000, shortest_frac=0.8)
    assert drawn.min() == 800
    assert drawn.max() == 1000
    assert drawn.mean() == pytest.approx(900, rel=0.01)
    assert (lengths(1000, 5) == 1000).all()


def test_a_closed_loop_has_ten_prompts_per_client():
    traffic = closed_loop(7, input_tokens=10, output_tokens=5)
    assert len(traffic.input_tokens) == 7 * PROMPTS_PER_CLIENT
    assert len(closed_loop(7, input_tokens=10, output_tokens=5, prompts=3).input_tokens) == 3


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_rate_and_spread_asked_for(burstiness):
    traffic = poisson(4.0, input_tokens=1, output_tokens=1, prompts=50_000, burstiness=burstiness)
    gaps = np.diff(traffic.sent_s)
    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    # A gamma distribution of shape k: coefficient of variation 1 / sqrt(k).
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


def test_the_same_seed_is_the_same_traffic():
    one, two = (poisson(1.0, input_tokens=9, output_tokens=9, prompts=9) for _ in range(2))
    np.testing.assert_array_equal(one.sent_s, two.sent_s)
