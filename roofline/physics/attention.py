# SPDX-License-Identifier: Apache-2.0
"""What softmax attention multiplies and moves, in prefill and in decode.

Prefill of ``q`` tokens after ``p`` cached ones and decode of ``q`` tokens one by one
see the same (query, key) pairs, so one closed form serves both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.kernel import FloatArray


def mean_context_tokens(
    cached_tokens: ArrayLike, new_tokens: ArrayLike, *, window: int | None = None
) -> FloatArray:
    """Mean number of keys that each of the new tokens attends to, itself included.

    Parameters
    ----------
    cached_tokens : array_like, shape (...)
        Tokens already in the cache, p. At least 0.
    new_tokens : array_like, shape (...)
        Tokens processed now, causally, q. At least 1.
    window : int or None
        Most keys that a query sees; None for all.

    Returns
    -------
    ndarray, shape (...)
        ``(1/q) * sum_{i=1..q} min(p + i, window)``, exactly.

    Notes
    -----
    Without a window the sum is arithmetic: ``p + (q + 1) / 2``. With one, the first
    ``a = clip(window - p, 0, q)`` terms are arithmetic and the others equal the window.
    The same number is the mean context of `q` decode steps after `p` tokens, so the
    work of a growing decode is summed exactly.
    """
    p: FloatArray = np.asarray(cached_tokens, float)
    q: FloatArray = np.asarray(new_tokens, float)
    if window is None:
        return p + (q + 1.0) / 2.0
    growing = np.clip(window - p, 0.0, q)
    total = growing * p + growing * (growing + 1.0) / 2.0 + (q - growing) * window
    return total / q


def resident_context_tokens(
    cached_tokens: ArrayLike, new_tokens: ArrayLike, *, window: int | None = None
) -> FloatArray:
    """Keys that a pass over `new_tokens` queries reads at least once, each once.

    ``p + q`` without a window, ``min(p, window - 1) + q`` with one.
    """
    p: FloatArray = np.asarray(cached_tokens, float)
    q: FloatArray = np.asarray(new_tokens, float)
    if window is None:
        return p + q
    return np.minimum(p, window - 1.0) + q


def attention_flops(
    pairs: ArrayLike, *, num_heads: ArrayLike, head_dim: float, v_head_dim: float
) -> FloatArray:
    """Matrix FLOPs of scores and of the weighted sum.

    ``2 * pairs * heads * (d_qk + d_v)``: each (query, key) pair costs a dot product of
    width d_qk and an accumulation of width d_v, per query head, whatever the number of
    KV heads. Softmax is left out: it runs on other units.
    """
    heads = np.asarray(num_heads, float)
    result: FloatArray = 2.0 * np.asarray(pairs, float) * heads * (head_dim + v_head_dim)
    return result


def kv_bytes(
    tokens: ArrayLike, *, elements_per_token: ArrayLike, bytes_per_element: ArrayLike
) -> FloatArray:
    """Bytes of keys and values of `tokens` tokens in one layer on one rank."""
    result: FloatArray = (
        np.asarray(tokens, float) * np.asarray(elements_per_token, float) * bytes_per_element
    )
    return result


def kv_heads_per_rank(num_kv_heads: int, tp: int) -> int:
    """KV heads that one of `tp` ranks stores: heads are copied once TP exceeds them."""
    return max(1, -(-num_kv_heads // tp))
