# SPDX-License-Identifier: Apache-2.0
"""Bytes and seconds of collectives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.physics.collectives import (
    all_gather_bytes,
    all_reduce_bytes,
    all_to_all_bytes,
    collective_time_s,
)


def test_all_reduce_over_nvlink_by_hand():
    # 64 tokens x 4096 x 2 B = 524 288 B on each of 8 ranks: 2 * 7/8 of it = 917 504 B
    # sent by each, at 450 GB/s one way: 2.0389 us, behind 6 us of synchronisation.
    sent = all_reduce_bytes(64 * 4096 * 2, 8)
    assert sent == 917_504
    time_s = collective_time_s(sent, link_bytes_per_s=450e9, latency_s=6e-6)
    assert time_s == pytest.approx(8.0389e-6, rel=1e-5)


def test_gather_and_dealing_out_by_hand():
    assert all_gather_bytes(8000, 4) == 6000  # a quarter is there already
    assert all_to_all_bytes(8000, 4) == 6000  # a quarter stays


@given(st.integers(1, 10**9))
def test_one_rank_sends_nothing(size):
    assert all_reduce_bytes(size, 1) == 0.0
    assert all_gather_bytes(size, 1) == 0.0


@given(st.integers(1, 10**9))
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(size):
    ranks = np.arange(1, 65)
    twice = 2.0 * all_gather_bytes(size, ranks)
    np.testing.assert_allclose(all_reduce_bytes(size, ranks), twice)
    assert (np.diff(all_reduce_bytes(size, ranks)) > 0).all()
