# SPDX-License-Identifier: Apache-2.0
"""What a pass over the layers is asked, and what the device of each case can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roofline.physics.kernel import FloatArray
from roofline.physics.shares import Shares
from specs.accelerator import APIS
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
    integer_ops_per_s : ndarray
        Lane instructions on integers.
    api : ndarray of int
        Interface that launches kernels, an index into ``specs.accelerator.APIS``.
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
    integer_ops_per_s: FloatArray
    api: NDArray[np.intp]
    links: Mapping[int, LinkRates]
    shares: Shares | None = None
    is_host: FloatArray | float = 0.0

    def gap_s(self, engine: Engine) -> FloatArray | float:
        """Further time per kernel by the interface of each case's device."""
        return self.by_api(engine.gap_s)

    def by_api(self, stated: tuple[tuple[str, float], ...]) -> FloatArray | float:
        """A constant of an engine as the interface of each case's device has it."""
        if not stated:
            return 0.0
        values = dict(stated)
        found: FloatArray = np.array([values.get(api, 0.0) for api in APIS])[self.api]
        return found

    def launched(self, step: Pass, engine: Engine) -> FloatArray | float:
        """1 where the kernels of a pass are launched one by one, 0 where a graph replays them."""
        if not (step.decode and engine.graph_decode):
            return 1.0
        return self.by_api(tuple((api, 1.0) for api in engine.eager_apis))

    def shares_under(self, engine: Engine) -> Shares | None:
        """Shares that apply under an engine: none on the ideal machine."""
        return None if engine.overlaps else self.shares

    def during(self, step: Pass) -> Rates:
        """Rates with as much of the last-level cache as a full pass has per token."""
        if isinstance(step.full_frac, float):
            return self
        return replace(self, cache_bytes=self.cache_bytes * step.full_frac)


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
    full_frac : ndarray or float
        Tokens over those of the full passes that this one, the mean of them and of a
        shorter last one, stands for. Tiles, waves and what spills are those of full passes.
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
    full_frac: FloatArray | float = 1.0


def prefill_pass(
    sequences: FloatArray,
    input_tokens: FloatArray,
    cross_tokens: FloatArray,
    passes: FloatArray,
    cached_tokens: FloatArray | float = 0.0,
    *,
    chunk_tokens: FloatArray | float | None = None,
) -> Pass:
    """Return the mean pass of a prefill of `sequences` prompts cut into `passes`.

    `input_tokens` are new, after `cached_tokens` of a reused prefix. A prompt cut into
    k chunks of c tokens reads its cache k times, of mean length ``(k + 1) c / 2`` plus
    the prefix; the queries see what they would see uncut. With `chunk_tokens`, the size of
    all chunks but the last, k passes cost k times what a pass does whatever its size, and
    as much per token as a full one: more than in chunks of the mean size, which spill less,
    so that no prompt gets cheaper by a token that opens another chunk.
    """
    tokens = sequences * input_tokens / passes
    full_frac: FloatArray | float = 1.0
    if chunk_tokens is not None and (passes > 1.0).any():
        # A hair more, so that a full pass comes out a hair less: rounding must not open a tile.
        full_frac = np.where(passes > 1.0, tokens / chunk_tokens * (1.0 + 1e-12), 1.0)
    per_prompt = np.maximum(passes / sequences, 1.0)
    chunk = input_tokens / per_prompt
    return Pass(
        tokens=tokens,
        sequences=sequences / passes,
        cached_tokens=cached_tokens + (input_tokens - chunk) / 2.0,
        new_tokens=chunk,
        span_cached=np.zeros_like(tokens) + cached_tokens,
        span_new=input_tokens,
        cross_tokens=sequences * cross_tokens / passes,
        cross_context=cross_tokens,
        decode=False,
        full_frac=full_frac,
    )


def decode_pass(
    sequences: FloatArray, context: FloatArray, steps: FloatArray, cross_tokens: FloatArray
) -> Pass:
    """Return the mean of `steps` decode steps after `context` cached tokens."""
    one = np.ones_like(sequences)
    return Pass(
        tokens=sequences,
        sequences=sequences,
        cached_tokens=context,
        new_tokens=one,
        span_cached=context,
        span_new=np.maximum(steps, 1.0),
        cross_tokens=np.zeros_like(sequences),
        cross_context=cross_tokens,
        decode=True,
    )
