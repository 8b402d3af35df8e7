# SPDX-License-Identifier: Apache-2.0
"""Partial pooling: log-multipliers that groups share as far as the data let them differ.

Answers: by what factor is each part of a prediction (compute, memory, links, overhead, in
prefill and in decode) to be multiplied, for everything, for an engine, for an
architecture family, for a device. Every group's multiplier is drawn towards that of
the level above by a ridge penalty, so a group without data has none of its own and
what it inherits is that of its family. Robust to outliers by a soft-L1 loss on the
log ratio. Gauss-Newton with iteratively reweighted least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

Predict = Callable[[FloatArray], FloatArray]
"""Log-multipliers of shape ``(n, n_parts)`` -> log predictions of shape ``(n,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of grouping.

    `codes` has shape ``(n,)``: the group of each observation, -1 for none. `spread` is the
    prior standard deviation of a group's log-multiplier, per part, shape ``(n_parts,)``.
    """

    name: str
    groups: tuple[str, ...]
    codes: IntArray
    spread: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledFit:
    """Fitted log-multipliers: level name -> array of shape ``(n_groups, n_parts)``.

    `offsets` are those of the nuisance groups (sources), in the fit alone. `scale` is
    the robust spread of what is left, in log units.
    """

    levels: dict[str, FloatArray]
    groups: dict[str, tuple[str, ...]]
    offsets: FloatArray
    scale: float

    def of(self, level: str, group: str) -> FloatArray | None:
        """Log-multipliers of one group, None if it was not in the data."""
        names = self.groups[level]
        return self.levels[level][names.index(group)] if group in names else None


def log_multipliers(levels: Sequence[Level], values: Sequence[FloatArray]) -> FloatArray:
    """Sum over levels of each observation's group; shape ``(n, n_parts)``."""
    total = np.zeros((levels[0].codes.shape[0], values[0].shape[1]))
    for level, theta in zip(levels, values, strict=True):
        known = level.codes >= 0
        total[known] += theta[level.codes[known]]
    return total


def jacobian(predict: Predict, logs: FloatArray, step: float = 1e-3) -> FloatArray:
    """Give d log prediction / d log multiplier, by central differences; shape ``(n, n_parts)``."""
    columns = []
    for part in range(logs.shape[1]):
        up, down = logs.copy(), logs.copy()
        up[:, part] += step
        down[:, part] -= step
        columns.append((predict(up) - predict(down)) / (2.0 * step))
    return np.stack(columns, axis=1)


def fit_pooled(
    predict: Predict,
    log_measured: FloatArray,
    levels: Sequence[Level],
    *,
    weights: FloatArray,
    offset_codes: IntArray | None = None,
    offset_spread: float = 0.15,
    noise: float = 0.1,
    iterations: int = 12,
    start: Sequence[FloatArray] | None = None,
) -> PooledFit:
    """Fit log-multipliers at every level at once.

    Parameters
    ----------
    predict : callable
        From log-multipliers ``(n, n_parts)`` to log predictions ``(n,)``.
    log_measured, weights : ndarray, shape (n,)
    levels : sequence of Level
        From the widest to the narrowest.
    offset_codes : ndarray of int, shape (n,), optional
        Nuisance group of each observation (source and metric); -1 for none.
    offset_spread, noise : float
        Prior spread of the offsets; scale at which a residual counts as an outlier.
    start : sequence of ndarray, optional
        Values to start from, one array per level.

    Notes
    -----
    Minimises ``sum_i w_i 2 s^2 (sqrt(1 + (r_i / s)^2) - 1) / s^2 + sum (theta / spread)^2``
    with ``s = noise``.
    """
    parts = levels[0].spread.shape[0]
    values = [np.zeros((len(level.groups), parts)) for level in levels]
    if start is not None:
        values = [np.array(given, float) for given in start]
    codes = np.full(log_measured.shape, -1) if offset_codes is None else offset_codes
    offsets = np.zeros(int(codes.max(initial=-1)) + 1)
    spreads = np.concatenate(
        [np.tile(level.spread, len(level.groups)) for level in levels]
        + [np.full(offsets.size, offset_spread)]
    )
    residual = np.zeros_like(log_measured)
    for _ in range(iterations):
        logs = log_multipliers(levels, values)
        residual = log_measured - predict(logs) - _offset(offsets, codes)
        design = _design(jacobian(predict, logs), levels, codes)
        current = np.concatenate([*(theta.ravel() for theta in values), offsets])
        change = _step(design, residual, current, spreads, weights, noise)
        values, offsets = _apply(change, values, offsets)
        if np.abs(change).max(initial=0.0) < 1e-4:
            break
    scale = float(1.4826 * np.median(np.abs(residual)))
    return PooledFit(
        levels={level.name: theta for level, theta in zip(levels, values, strict=True)},
        groups={level.name: level.groups for level in levels},
        offsets=offsets,
        scale=scale,
    )


def _offset(offsets: FloatArray, codes: IntArray) -> FloatArray:
    if not offsets.size:
        return np.zeros(codes.shape)
    return np.where(codes >= 0, offsets[np.maximum(codes, 0)], 0.0)


def _step(
    design: sparse.csr_array,
    residual: FloatArray,
    current: FloatArray,
    spreads: FloatArray,
    weights: FloatArray,
    noise: float,
) -> FloatArray:
    """One damped Gauss-Newton step over all parameters."""
    robust = weights / np.sqrt(1.0 + (residual / noise) ** 2) / noise**2
    weighted = design.multiply(robust[:, None]).tocsr()
    normal = (design.T @ weighted).toarray()
    gradient = weighted.T @ residual - current / spreads**2
    normal[np.diag_indices(spreads.size)] += 1.0 / spreads**2
    return np.clip(np.linalg.solve(normal, gradient), -0.5, 0.5)


def _design(slopes: FloatArray, levels: Sequence[Level], codes: IntArray) -> sparse.csr_array:
    """Derivative of each observation by every parameter, offsets last."""
    count, parts = slopes.shape
    rows, columns, entries = [], [], []
    at = 0
    for level in levels:
        known = np.flatnonzero(level.codes >= 0)
        first = at + level.codes[known] * parts
        rows.append(np.repeat(known, parts))
        columns.append((first[:, None] + np.arange(parts)).ravel())
        entries.append(slopes[known].ravel())
        at += len(level.groups) * parts
    known = np.flatnonzero(codes >= 0)
    rows.append(known)
    columns.append(at + codes[known])
    entries.append(np.ones(known.size))
    at += int(codes.max(initial=-1)) + 1
    where = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(entries), where), shape=(count, at))


def _apply(
    change: FloatArray, values: Sequence[FloatArray], offsets: FloatArray
) -> tuple[list[FloatArray], FloatArray]:
    new, at = [], 0
    for theta in values:
        new.append(theta + change[at : at + theta.size].reshape(theta.shape))
        at += theta.size
    return new, offsets + change[at:]
