# SPDX-License-Identifier: Apache-2.0
"""How tokens fell on experts in the measured MoE tables.

Their collector draws expert loads from a power law between 1 and 0.8 of the tokens,
scales them to ``tokens * topk`` and times the expert-parallel rank with the most;
"balanced" deals tokens out evenly. Drawn again here, a few times, with a fixed seed.
"""

from __future__ import annotations

import numpy as np

from calibration.operators.laws import FloatArray

DRAWS = 5


def rank_load(
    tokens: float, topk: float, experts: float, ranks: float, skew: float
) -> tuple[float, float]:
    """Pairs on the busiest rank, and its experts with any token.

    Parameters
    ----------
    tokens, topk, experts, ranks : float
        Tokens routed, experts per token, experts in all, ranks they are dealt to.
    skew : float
        Exponent of the power law; 0 for balanced.
    """
    total, count = tokens * topk, int(experts)
    local = max(1, count // max(int(ranks), 1))
    if skew <= 0.0:
        pairs = total * local / count
        return max(pairs, 1.0), min(float(local), max(pairs, 1.0))
    loads = _loads(total, tokens, count, skew)
    whole = loads[:, : local * (count // local)].reshape(DRAWS, -1, local)
    busiest = whole.sum(axis=2).argmax(axis=1)
    chosen = whole[np.arange(DRAWS), busiest]
    awake = float((chosen >= 0.5).sum(axis=1).mean())
    return max(float(chosen.sum(axis=1).mean()), 1.0), max(awake, 1.0)


def _loads(total: float, tokens: float, count: int, skew: float) -> FloatArray:
    """Loads of `count` experts, shape (DRAWS, count), summing to `total`, none above `tokens`."""
    u = np.random.default_rng(0).random((DRAWS, count))
    top = max(0.8 * tokens, 1.0 + 1e-6)
    power = 1.0 - skew
    near_one = abs(power) < 1e-9
    drawn = top**u if near_one else ((top**power - 1.0) * u + 1.0) ** (1.0 / power)
    loads = drawn / drawn.sum(axis=1, keepdims=True) * total
    for _ in range(3):
        loads = np.minimum(loads, tokens)
        loads *= total / loads.sum(axis=1, keepdims=True)
    result: FloatArray = np.minimum(loads, tokens)
    return result
