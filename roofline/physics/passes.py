# SPDX-License-Identifier: Apache-2.0
"""What a pass over the layers is asked, and what the device of each case can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roofline.physics.kernel import FloatArray
from roofline.physics.shares import Shares
from specs.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRates:
    """What a group of ranks communicates over; arrays of shape ``(n,)``.

    `ranks` is their number, `floor_s` the time of an empty collective, `reduce_frac` the
    bytes of an all-reduce as a share of the ring's where the switch adds.
    """

    ranks: FloatArray
    bytes_per_s: FloatArray
    floor_s: FloatArray
    reduce_frac: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the device of each case can do; arrays of shape ``(n,)`` but for the peaks.

    Parameters
    ----------
    peak_flops_per_s : ndarray, shape (n_arithmetic, n)
        Rows as in ``plan.ARITHMETIC``; a precision the device lacks carries the rate of
        what runs instead.
    mem_bytes_per_s, cache_bytes, unit_count : ndarray
    links : mapping of int to LinkRates
        By number of ranks.
    shares : Shares or None
        What kernels reach of it, by class of operator; None: what the engine's profile says.
    is_host : ndarray
        1 where the device is the processor that launches (a CPU), which then waits for
        nobody: launches add to the work. 0 where a host launches beside it.
    """

    peak_flops_per_s: FloatArray
    mem_bytes_per_s: FloatArray
    cache_bytes: FloatArray
    unit_count: FloatArray
    links: Mapping[int, LinkRates]
    shares: Shares | None = None
    is_host: FloatArray | float = 0.0

    def shares_under(self, engine: Engine) -> Shares | None:
        """Shares that apply under an engine: none on the ideal machine."""
        return None if engine.overlaps else self.shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What goes through the layers in one pass, per replica; arrays of shape ``(n,)``.

    Parameters
    ----------
    tokens, sequences : ndarray
        Tokens processed by the pass; sequences whose last position is sampled.
    cached_tokens, new_tokens : ndarray
        Per sequence: tokens already cached, and tokens of this pass (1 in decode).
    span_cached, span_new : ndarray
        The stretch that the pass is the mean of: a whole prompt cut into chunks, or all
        steps of a decode phase. Queries see ``mean_context_tokens(span_cached, span_new)``.
    cross_tokens, cross_context : ndarray
        Encoder tokens first seen now, and encoder tokens per sequence.
    decode : bool
        One query per sequence; latent attention absorbs.
    """

    tokens: FloatArray
    sequences: FloatArray
    cached_tokens: FloatArray
    new_tokens: FloatArray
    span_cached: FloatArray
    span_new: FloatArray
    cross_tokens: FloatArray
    cross_context: FloatArray
    decode: bool
