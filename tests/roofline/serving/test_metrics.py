# SPDX-License-Identifier: Apache-2.0
"""Percentiles, rates and goodput of a run written down by hand."""

import numpy as np
import pytest

from roofline.serving.metrics import Outcome, percentiles, summary


def outcome():
    """Three requests over 10 s, the last with a single token."""
    return Outcome(
        sent_s=np.array([0.0, 1.0, 2.0]),
        first_s=np.array([1.0, 3.0, 10.0]),
        end_s=np.array([5.0, 4.0, 10.0]),
        input_tokens=np.array([10.0, 10.0, 10.0]),
        output_tokens=np.array([5.0, 11.0, 1.0]),
        busy_s=9.0,
        decode_s=5.0,
        decode_steps=10.0,
        decode_tokens=14.0,
    )


def test_times_and_rates_by_hand():
    run = outcome()
    np.testing.assert_allclose(run.ttft_s, [1.0, 2.0, 8.0])
    np.testing.assert_allclose(run.tpot_s, [1.0, 0.1, np.nan])
    np.testing.assert_allclose(run.e2e_s, [5.0, 3.0, 8.0])
    assert run.output_tok_per_s == pytest.approx(1.7)
    assert run.requests_per_s == pytest.approx(0.3)
    assert run.mean_in_flight == pytest.approx(1.6)
    assert run.mean_decoding == pytest.approx(1.4)


def test_goodput_counts_who_meets_every_objective():
    run = outcome()
    assert run.goodput_per_s() == pytest.approx(0.3)
    assert run.goodput_per_s(ttft_s=2.0) == pytest.approx(0.2)
    assert run.goodput_per_s(ttft_s=2.0, tpot_s=0.5) == pytest.approx(0.1)
    assert run.goodput_per_s(e2e_s=1.0) == 0.0


def test_percentiles_leave_out_who_has_no_value():
    found = percentiles(np.array([1.0, 3.0, np.nan]), (50, 100))
    assert found == {"mean": 2.0, "p50": 2.0, "p100": 3.0}
    assert np.isnan(percentiles(np.array([np.nan]))["p50"])
    assert summary(outcome())["ttft_s"]["p50"] == 2.0
