# SPDX-License-Identifier: Apache-2.0
"""Mixture of experts: how many experts a batch wakes, and how unevenly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.kernel import FloatArray

_GRID_TOKENS = np.concatenate(([0.0], 2.0 ** np.arange(0.0, 24.0, 0.25)))


def expert_probabilities(num_experts: int, *, skew: float) -> FloatArray:
    """Chance that a token's single draw falls on each expert, most popular first.

    A power law ``p_i ~ (i + 1)**-skew`` over experts; `skew` 0 is uniform.
    Shape ``(num_experts,)``, sums to one.
    """
    weights = np.arange(1, num_experts + 1, dtype=float) ** -skew
    result: FloatArray = weights / weights.sum()
    return result


@lru_cache(maxsize=1024)
def _inclusion(num_experts: int, topk: int, skew: float) -> FloatArray:
    """Chance that a token picks each expert among its `topk` distinct ones.

    Inclusion probabilities ``pi_i = 1 - exp(-lambda * p_i)`` with ``lambda`` set so that
    they sum to `topk` (the exponential-order sampling form): exact for uniform routing.
    """
    if topk >= num_experts:
        return np.ones(num_experts)
    p = expert_probabilities(num_experts, skew=skew)
    low, high = 0.0, 1.0
    while (1.0 - np.exp(-high * p)).sum() < topk:
        high *= 2.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        if (1.0 - np.exp(-middle * p)).sum() < topk:
            low = middle
        else:
            high = middle
    result: FloatArray = 1.0 - np.exp(-high * p)
    return result


def distinct_experts_exact(
    tokens: ArrayLike, *, num_experts: int, topk: int, skew: float = 0.0
) -> FloatArray:
    """Expected number of different experts that `tokens` tokens are sent to.

    Parameters
    ----------
    tokens : array_like, shape (...)
        Tokens routed together. At least 0.
    num_experts, topk : int
        Experts, and distinct experts chosen per token.
    skew : float
        Exponent of the popularity power law; 0 for uniform routing.

    Returns
    -------
    ndarray, shape (...)
        ``sum_i 1 - (1 - pi_i)**tokens``, between ``topk`` (one token) and `num_experts`.

    Notes
    -----
    Tokens are routed independently. Uniform routing gives ``pi = topk / num_experts``,
    the familiar ``E (1 - (1 - k/E)**T)``. Real routers are correlated within a text, so
    this is an upper estimate for few requests.
    """
    tokens = np.asarray(tokens, float)
    pi = _inclusion(num_experts, topk, float(skew))
    stays_idle = np.power.outer(1.0 - pi, tokens)  # (num_experts, ...)
    result: FloatArray = num_experts - stays_idle.sum(axis=0)
    return result


@lru_cache(maxsize=1024)
def _distinct_table(num_experts: int, topk: int, skew: float) -> FloatArray:
    return distinct_experts_exact(_GRID_TOKENS, num_experts=num_experts, topk=topk, skew=skew)


def distinct_experts(
    tokens: ArrayLike, *, num_experts: int, topk: int, skew: float = 0.0
) -> FloatArray:
    """`distinct_experts_exact` from a table of quarter octaves: within 0.5%, and fast.

    Uniform routing uses the closed form.
    """
    tokens = np.asarray(tokens, float)
    if skew == 0.0 or topk >= num_experts:
        idle = max(1.0 - topk / num_experts, 0.0)
        return np.where(tokens > 0, num_experts * (1.0 - np.power(idle, tokens)), 0.0)
    table = _distinct_table(num_experts, topk, float(skew))
    awake: FloatArray = np.interp(tokens, _GRID_TOKENS, table)
    return awake
