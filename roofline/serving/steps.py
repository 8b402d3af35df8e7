# SPDX-License-Identifier: Apache-2.0
"""How long one engine step of a model on a device lasts, tabled for the simulation.

`simulate` asks for tens of thousands of steps, so the physics is priced once on a grid
of tokens and contexts and read by linear interpolation: kernels are flat or linear in
both between the nodes, so that little is lost. Of a correction, steps take what kernels
reach and what boards draw; its residual multiplies whole phases, queueing included, and is
no factor of a step.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from roofline.correction import CaseShares, Correction
from roofline.devices import CaseDevices, DeviceColumns
from roofline.phase_costs import Setup, Work, limited
from roofline.physics.kernel import FloatArray
from roofline.physics.memory import sequence_cache_bytes
from roofline.pricing import memory_of
from roofline.serving.arrivals import Traffic
from roofline.serving.metrics import Outcome
from roofline.serving.policies import Limits, policy_of
from roofline.serving.simulate import simulate
from specs.accelerator import Accelerator
from specs.errors import InvalidInputError

_CONTEXTS = (0.0, 2.0**9, 2.0**11, 2.0**13, 2.0**15, 2.0**17)
_SPLITS = (64.0, 16.0, 4.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Grid:
    """A function of two numbers, linear between nodes; rows have abscissas of their own."""

    rows: tuple[float, ...]
    columns: tuple[tuple[float, ...], ...]
    values: tuple[tuple[float, ...], ...]

    def at(self, row: float, column: float) -> float:
        """Value at a point; beyond the ends the outermost pieces go on."""
        high = min(max(bisect_right(self.rows, row), 1), len(self.rows) - 1)
        low = high - 1
        share = (row - self.rows[low]) / (self.rows[high] - self.rows[low])
        below = _along(self.columns[low], self.values[low], column)
        return below + share * (_along(self.columns[high], self.values[high], column) - below)


def _along(nodes: tuple[float, ...], values: tuple[float, ...], point: float) -> float:
    high = min(max(bisect_right(nodes, point), 1), len(nodes) - 1)
    low = high - 1
    share = max((point - nodes[low]) / (nodes[high] - nodes[low]), 0.0)
    return values[low] + share * (values[high] - values[low])


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """A `StepTime` of one setup on one device; call it like a function.

    Notes
    -----
    A step that carries prompts and decodes is priced as the prompts with one token per
    decoding sequence added, which share the read of the weights, plus what the decode
    step spends on its own caches (decode at this context less decode at none). The output
    layer of the decoding sequences counts as that of prompt tokens: not at all.
    """

    prefill: _Grid
    decode: _Grid

    def __call__(
        self,
        prefill_tokens: float,
        prefill_context: float,
        decode_sequences: float,
        mean_context: float,
    ) -> float:
        """Seconds of one step."""
        if not prefill_tokens:
            return self.decode.at(decode_sequences, mean_context)
        if not decode_sequences:
            return self.prefill.at(prefill_tokens, prefill_context)
        tokens = prefill_tokens + decode_sequences
        prompts_s = self.prefill.at(tokens, prefill_context * prefill_tokens / tokens)
        decode_s = self.decode.at(decode_sequences, mean_context)
        caches_s = decode_s - self.decode.at(decode_sequences, 0.0)
        return max(prompts_s + caches_s, decode_s)


def step_table(
    setup: Setup,
    accelerator: Accelerator,
    *,
    most_tokens: int,
    most_sequences: int,
    power_limit_w: float = math.inf,
    correction: Correction | None = None,
) -> StepTable:
    """Price steps of up to `most_tokens` prompt tokens and `most_sequences` sequences.

    Raises
    ------
    InvalidInputError
        The model does not generate: it has no serving steps.
    """
    if not setup.generates:
        raise InvalidInputError(f"{setup.model.name} does not generate; predict it as a batch.")
    cases = _Cases(setup, accelerator, correction)
    return StepTable(
        prefill=_prefill_grid(setup, cases, most_tokens + most_sequences, power_limit_w),
        decode=_decode_grid(setup, cases, most_sequences, power_limit_w),
    )


@dataclass(frozen=True, slots=True)
class _Cases:
    """One device as any number of cases of a setup."""

    setup: Setup
    accelerator: Accelerator
    correction: Correction | None

    def of(self, size: int) -> CaseDevices:
        """So many cases."""
        index = np.zeros(size, dtype=np.intp)
        case = DeviceColumns.of([self.accelerator]).take(index, self.setup.ranks)
        return CaseShares(self.correction, [self.accelerator]).put(case, self.setup.engine, index)


def _nodes(most: float, per_octave: int) -> FloatArray:
    """Whole numbers from 1 to at least `most`, evenly spaced in their logarithm."""
    octaves = max(math.ceil(math.log2(max(most, 2.0))), 1)
    found: FloatArray = np.unique(
        np.round(2.0 ** (np.arange(octaves * per_octave + 1) / per_octave))
    )
    return found


def _work(sequences: FloatArray, new: FloatArray, cached: FloatArray, limit_w: float) -> Work:
    return Work(
        batch=sequences,
        serving=np.zeros(sequences.shape, dtype=bool),
        input_tokens=cached + new,
        cached_tokens=cached,
        output_tokens=np.ones_like(sequences),
        power_limit_w=np.full_like(sequences, limit_w),
    )


def _prefill_grid(setup: Setup, cases: _Cases, most: float, limit_w: float) -> _Grid:
    """One pass of tokens at mean contexts: many short prompts, one, one after a prefix."""
    # Whole passes: the simulation cuts prompts itself.
    uncut = replace(setup, engine=replace(setup.engine, prefill_chunk_tokens=0))
    tokens = _nodes(most, 4)
    sequences, new, cached, columns = [], [], [], []
    for count in tokens.tolist():
        splits = [split for split in _SPLITS if split <= count]
        sequences += splits + [1.0] * (len(_CONTEXTS) - 1)
        new += [count / split for split in splits] + [count] * (len(_CONTEXTS) - 1)
        cached += [0.0] * len(splits) + list(_CONTEXTS[1:])
        columns.append(len(splits) + len(_CONTEXTS) - 1)
    asked = _work(np.array(sequences), np.array(new), np.array(cached), limit_w)
    case = cases.of(asked.batch.size)
    cost = limited(uncut.prefill(asked.batch, asked, case), case, asked.power_limit_w)
    contexts = asked.cached_tokens + asked.new_tokens / 2.0
    return _grid(tokens, np.array(columns), contexts, cost.time_s)


def _decode_grid(setup: Setup, cases: _Cases, most: float, limit_w: float) -> _Grid:
    """Decode steps of sequences that all have the mean context."""
    batches = _nodes(most, 4)
    count = len(_CONTEXTS)
    sequences = np.repeat(batches, count)
    context = np.tile(np.array(_CONTEXTS), batches.size)
    asked = _work(sequences, context, np.zeros_like(context), limit_w)
    case = cases.of(sequences.size)
    cost = limited(setup.decode(sequences, asked, case), case, asked.power_limit_w)
    return _grid(batches, np.full(batches.size, count), context, cost.time_s)


def _grid(rows: FloatArray, counts: np.ndarray, columns: FloatArray, values: FloatArray) -> _Grid:
    ends = np.cumsum(counts)[:-1]
    return _Grid(
        tuple(rows.tolist()),
        tuple(tuple(part.tolist()) for part in np.split(columns, ends)),
        tuple(tuple(part.tolist()) for part in np.split(values, ends)),
    )


def serve(
    setup: Setup,
    accelerator: Accelerator,
    traffic: Traffic,
    *,
    power_limit_w: float = math.inf,
    correction: Correction | None = None,
) -> Outcome:
    """Simulate the traffic on one replica of a setup, with its engine's default limits.

    Raises
    ------
    InvalidInputError
        The model does not generate, or a request does not fit the KV cache.
    """
    sequences = traffic.concurrency or len(traffic.input_tokens)
    most = setup.engine.prefill_chunk_tokens or sequences * int(traffic.input_tokens.max())
    limits = limits_of(setup, accelerator, traffic)
    table = step_table(
        setup,
        accelerator,
        most_tokens=most,
        most_sequences=min(sequences, limits.max_sequences or sequences),
        power_limit_w=power_limit_w,
        correction=correction,
    )
    return simulate(traffic, limits, table)


def limits_of(setup: Setup, accelerator: Accelerator, traffic: Traffic) -> Limits:
    """Scheduler limits of an engine's defaults, with the cache that is left on this device.

    The cache's capacity is what its bytes hold at the mean length of these requests: with
    windows or pages, tokens do not all cost the same.
    """
    engine = setup.engine
    length = float(traffic.input_tokens.mean() + traffic.output_tokens.mean() / 2.0)
    one = np.ones(1)
    case = DeviceColumns.of([accelerator]).take(np.zeros(1, dtype=np.intp), setup.ranks)
    asked = _work(one, one * float(traffic.input_tokens.mean()), 0.0 * one, math.inf)
    budget = float(memory_of(setup, asked, case, one).kv_budget_bytes[0])
    each = sequence_cache_bytes(setup.sizes, length, length, block_tokens=engine.kv_block_tokens)
    bytes_each = float(np.max(each))
    tokens = math.inf if bytes_each <= 0.0 else max(budget, 0.0) / bytes_each * length
    return Limits(
        policy=policy_of(engine),
        chunk_tokens=engine.prefill_chunk_tokens,
        max_sequences=engine.max_sequences,
        kv_tokens=tokens,
        held_steps=round(engine.held_steps),
        request_s=engine.request_s,
    )
