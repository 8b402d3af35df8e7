# SPDX-License-Identifier: Apache-2.0
"""State-space layers and linear attention: work and traffic of a fixed-size state."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.kernel import FloatArray


def decode_state_flops(state_elements: ArrayLike) -> FloatArray:
    """FLOPs of one token's state update and read-out in one layer.

    Per state element: decay (1), rank-one update (2), read-out (2), and for the delta
    rule the correction (1): six. They run on the vector units. Dao and Gu,
    "Transformers are SSMs", ICML 2024, section 6; Yang et al., "Gated Delta Networks", 2024.
    """
    result: FloatArray = 6.0 * np.asarray(state_elements, float)
    return result


def chunked_flops_per_token(
    *, num_heads: int, key_dim: int, value_dim: int, num_key_heads: int, chunk_size: int
) -> float:
    """Matrix FLOPs per token of the chunk-parallel prefill form.

    Per token and head, with chunk length c: scores inside the chunk (causal, ``c / 2``
    keys on average) ``2 (c/2) d_k`` per key head and ``2 (c/2) d_v`` per head, state
    read-out ``2 d_k d_v`` and state update ``2 d_k d_v``. Dao and Gu 2024, section 6.
    """
    inside = chunk_size * (num_key_heads * key_dim + num_heads * value_dim)
    return float(inside + 4.0 * num_heads * key_dim * value_dim)
