# SPDX-License-Identifier: Apache-2.0
"""Which requests come, how long they are, and when they are sent.

Closed loop: a number of clients, each sending its next request when its last one ends.
Open loop: requests are sent at given times, whatever the replica does with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specs.errors import InvalidInputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PROMPTS_PER_CLIENT = 10
"""Prompts of a benchmark per request in flight: the custom of the engines' own serving
benchmarks and of the public sweeps made with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests in the order in which they are sent.

    Parameters
    ----------
    input_tokens, output_tokens : ndarray of int, shape (n,)
    concurrency : int
        Requests in flight at most, the first ones sent at once; 0 for an open loop.
    sent_s : ndarray, shape (n,)
        When each is sent, ascending, in an open loop; empty in a closed loop.

    Raises
    ------
    InvalidInputError
        No request, a request without tokens, or times that do not match the requests.
    """

    input_tokens: IntArray
    output_tokens: IntArray
    concurrency: int
    sent_s: FloatArray

    def __post_init__(self) -> None:
        count = len(self.input_tokens)
        if not count or len(self.output_tokens) != count:
            raise InvalidInputError(
                f"{count} prompts and {len(self.output_tokens)} outputs; give one or more of both."
            )
        if self.input_tokens.min() < 1 or self.output_tokens.min() < 1:
            raise InvalidInputError("a request has no token; give at least 1 in and 1 out.")
        if self.concurrency < 1 and len(self.sent_s) != count:
            raise InvalidInputError(
                f"{len(self.sent_s)} times for {count} requests; give one each, or a concurrency."
            )


def lengths(
    nominal_tokens: int, count: int, *, shortest_frac: float = 1.0, seed: int = 0
) -> IntArray:
    """Lengths drawn uniformly between a share of the nominal one and the nominal one.

    Parameters
    ----------
    nominal_tokens, count : int
    shortest_frac : float
        Shortest over nominal, in (0, 1]; 1 makes all equal.
    seed : int
    """
    shortest = max(1, int(nominal_tokens * shortest_frac))
    if shortest >= nominal_tokens:
        return np.full(count, nominal_tokens, dtype=np.int64)
    return np.random.default_rng(seed).integers(shortest, nominal_tokens + 1, count)


def closed_loop(
    concurrency: int,
    *,
    input_tokens: int,
    output_tokens: int,
    prompts: int = 0,
    shortest_frac: float = 1.0,
    seed: int = 0,
) -> Traffic:
    """Clients that send their next request when the last one ends.

    `prompts` in all; 0 is `PROMPTS_PER_CLIENT` for each client. The first prompt of every
    client is sent at once, which is the opening burst of such a benchmark.
    """
    count = prompts or PROMPTS_PER_CLIENT * concurrency
    return Traffic(
        input_tokens=lengths(input_tokens, count, shortest_frac=shortest_frac, seed=seed),
        output_tokens=lengths(output_tokens, count, shortest_frac=shortest_frac, seed=seed + 1),
        concurrency=concurrency,
        sent_s=np.zeros(0),
    )


def poisson(
    requests_per_s: float,
    *,
    input_tokens: int,
    output_tokens: int,
    prompts: int,
    shortest_frac: float = 1.0,
    burstiness: float = 1.0,
    seed: int = 0,
) -> Traffic:
    """Requests at random times, whatever becomes of those before.

    Gaps are gamma distributed with shape `burstiness`: 1 is a Poisson process, below it
    requests come in clumps, above it they are more even.
    """
    if not requests_per_s > 0.0 or not burstiness > 0.0:
        raise InvalidInputError(
            f"{requests_per_s:g} requests/s with burstiness {burstiness:g}; give values above 0."
        )
    generator = np.random.default_rng(seed + 2)
    gaps_s = generator.gamma(burstiness, 1.0 / (requests_per_s * burstiness), prompts)
    return Traffic(
        input_tokens=lengths(input_tokens, prompts, shortest_frac=shortest_frac, seed=seed),
        output_tokens=lengths(output_tokens, prompts, shortest_frac=shortest_frac, seed=seed + 1),
        concurrency=0,
        sent_s=np.cumsum(gaps_s),
    )
