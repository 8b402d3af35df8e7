# SPDX-License-Identifier: Apache-2.0
"""Collective operations: alpha-beta times on one node or across nodes.

`bytes_total` is the size of the buffer on one rank, as benchmarks of collectives state
it; links are one-directional per device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.physics.kernel import FloatArray


def all_reduce_bytes(buffer_bytes: ArrayLike, ranks: ArrayLike) -> FloatArray:
    """Bytes that each rank sends in a bandwidth-optimal all-reduce.

    ``2 (n - 1) / n`` buffers: reduce-scatter, then all-gather. Patarasuk and Yuan,
    "Bandwidth optimal all-reduce algorithms", JPDC 69(2), 2009.
    """
    n = np.asarray(ranks, float)
    result: FloatArray = np.asarray(buffer_bytes, float) * (2.0 * (n - 1.0) / n)
    return result


def all_gather_bytes(gathered_bytes: ArrayLike, ranks: ArrayLike) -> FloatArray:
    """Bytes that each rank receives to hold all of `gathered_bytes`: ``(n - 1) / n``."""
    n = np.asarray(ranks, float)
    result: FloatArray = np.asarray(gathered_bytes, float) * ((n - 1.0) / n)
    return result


def all_to_all_bytes(buffer_bytes: ArrayLike, ranks: ArrayLike) -> FloatArray:
    """Bytes that each rank sends to others when its buffer is dealt out evenly."""
    return all_gather_bytes(buffer_bytes, ranks)


def collective_time_s(
    sent_bytes: ArrayLike,
    *,
    link_bytes_per_s: ArrayLike,
    latency_s: ArrayLike,
) -> FloatArray:
    """Latency plus bytes over the link: the alpha-beta model.

    Hockney, "The communication challenge for MPP", Parallel Computing 20(3), 1994.
    `latency_s` is that of the whole collective, synchronisation included.
    """
    rate = np.asarray(link_bytes_per_s, float)
    time_s: FloatArray = np.asarray(latency_s, float) + np.asarray(sent_bytes, float) / rate
    return time_s
