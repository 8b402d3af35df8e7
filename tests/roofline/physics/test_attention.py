# SPDX-License-Identifier: Apache-2.0
"""Pairs, contexts and cache bytes of attention, against sums written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.physics.attention import (
    attention_flops,
    kv_bytes,
    kv_heads_per_rank,
    mean_context_tokens,
    resident_context_tokens,
)

windows = st.none() | st.integers(1, 300)


def test_mean_context_with_a_window_by_hand():
    # 2 cached, 4 new, window 5: contexts 3, 4, 5, 5 -> 17 / 4
    assert mean_context_tokens(2, 4, window=5) == 4.25
    # without: 3, 4, 5, 6 -> 18 / 4
    assert mean_context_tokens(2, 4) == 4.5


@given(p=st.integers(0, 400), q=st.integers(1, 400), window=windows)
def test_mean_context_is_the_sum_written_out(p, q, window):
    seen = [min(p + i, window or p + q) for i in range(1, q + 1)]
    assert mean_context_tokens(p, q, window=window) == pytest.approx(sum(seen) / q, rel=1e-12)


@given(p=st.integers(0, 400), q=st.integers(1, 400), window=windows)
def test_resident_keys_are_those_that_some_query_sees(p, q, window):
    # Query i (1-based) sits at position p + i and sees the last `window` up to itself.
    first = p + 1 if window is None else max(p + 1 - window + 1, 1)
    expected = p + q if window is None else p + q - first + 1
    assert resident_context_tokens(p, q, window=window) == expected


@given(p=st.integers(0, 400), q=st.integers(1, 400), window=windows)
def test_a_query_sees_no_more_than_is_resident(p, q, window):
    mean = mean_context_tokens(p, q, window=window)
    assert mean <= resident_context_tokens(p, q, window=window)


def test_prefill_pairs_with_grouped_queries_by_hand():
    # Llama-3.1-8B, one layer, prompt of 1000: 1000 * 1001 / 2 = 500 500 pairs;
    # 2 FLOP * 500 500 pairs * 32 query heads * (128 + 128) = 8 200 192 000
    pairs = 1000 * mean_context_tokens(0, 1000)
    assert pairs == 500_500
    assert attention_flops(pairs, num_heads=32, head_dim=128, v_head_dim=128) == 8_200_192_000
    # its cache: 1000 tokens * 8 KV heads * 256 elements * 2 B = 4 096 000 B
    assert kv_bytes(1000, elements_per_token=8 * 256, bytes_per_element=2) == 4_096_000


def test_kv_heads_are_copied_once_tensor_parallelism_exceeds_them():
    assert [kv_heads_per_rank(8, tp) for tp in (1, 2, 4, 8, 16, 32)] == [8, 4, 2, 1, 1, 1]
    assert kv_heads_per_rank(1, 8) == 1  # multi-query


def test_arrays_broadcast():
    context = mean_context_tokens(np.arange(3)[:, None], np.arange(1, 5)[None], window=3)
    assert context.shape == (3, 4)
