# SPDX-License-Identifier: Apache-2.0
"""Partial pooling: a log ratio as a sum of effects of groups, each drawn towards zero.

    y = intercept + sum over blocks of u[level] + numbers @ beta + nuisance + noise

A block is a combination of labels (engine; engine and era; family; model and engine...); its
levels are draws from a normal distribution around zero whose variance is estimated with
the rest, so that a block whose levels differ little is drawn to zero and a level with few
rows takes little of its own. A level never seen adds nothing and widens the answer by its
block's variance. Nuisance blocks (which source measured it) are fitted and left out of
predictions: how somebody measured is no property of a machine.

Fitted by expectation-maximisation of the variances with exact Gaussian posteriors of the
effects, rows far off given less weight (Student's t with `TAIL` degrees of freedom).
References: Gelman and Hill, "Data Analysis Using Regression and Multilevel/Hierarchical
Models", 2007, chapters 12 and 13; Dempster, Laird, Rubin, J. R. Stat. Soc. B 39, 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, hstack

from roofline.physics.kernel import FloatArray

TAIL = 5.0
"""Degrees of freedom of the noise: a row four deviations off counts a third."""

LEVEL_TAIL = 3.0
"""Degrees of freedom of the effects of groups: most machines run as they should, and one
that does not (a missing driver, a throttled card) is far off and must not move the rest."""

START_VARIANCE = 0.03
WEAK_VARIANCE, WEAK_LEVELS = 0.01, 2.0
"""Prior of a block's variance: as if so many levels had shown it. Log ratios of groups of
kernels and engines differ by a tenth."""

INTERCEPT_VARIANCE = 0.25
NUMBER_VARIANCE = 0.01
"""Of the effect of one standard deviation of a number."""

LEAST_NOISE = 4e-4
CLIP = 3.0
"""Numbers count up to so many standard deviations from their mean: beyond the range of the
data an effect stays what it was at its edge."""


@dataclass
class Effects:
    """Levels of one block, by name: effect, variance of it, rows behind it."""

    by: tuple[str, ...]
    prior: float
    levels: dict[str, tuple[float, float, int]] = field(default_factory=dict)


def level_names(rows: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Level of each row in a block."""
    names = rows[by[0]].astype(str)
    for column in by[1:]:
        names = names + "|" + rows[column].astype(str)
    return names


class PartialPooling:
    """Regression with drawn effects of groups; scikit-learn's contract.

    Parameters
    ----------
    blocks, nuisance : sequence of tuples of str
        Columns whose combination makes a block's levels.
    numbers : sequence of str
        Numeric columns.
    noise_by : str
        Column by whose values the noise differs.
    iterations : int
    """

    def __init__(
        self,
        blocks: Sequence[tuple[str, ...]],
        numbers: Sequence[str] = (),
        nuisance: Sequence[tuple[str, ...]] = (),
        noise_by: str = "is_engine",
        iterations: int = 8,
    ) -> None:
        self.blocks = blocks
        self.numbers = numbers
        self.nuisance = nuisance
        self.noise_by = noise_by
        self.iterations = iterations

    def fit(
        self, rows: pd.DataFrame, y: FloatArray, sample_weight: FloatArray | None = None
    ) -> PartialPooling:
        """Fit effects and variances."""
        y = np.asarray(y, float)
        weight = np.ones(y.size) if sample_weight is None else np.asarray(sample_weight, float)
        self._fit_scale(rows, weight)
        matrix, column_block, names = self._design(rows)
        noise_code, noise_names = pd.factorize(rows[self.noise_by].astype(str))
        effects, spread, variances, noise = self._iterate(
            matrix, column_block, y, weight, np.asarray(noise_code)
        )
        self._counts = np.asarray((matrix != 0).sum(axis=0)).ravel().astype(int).tolist()
        self._keep(effects, spread, variances, names)
        seen = np.bincount(noise_code, minlength=len(noise_names))
        self.noise_ = {
            str(name): float(value)
            for name, value, count in zip(noise_names, noise, seen, strict=True)
            if count
        }
        self.noise_any_ = float(np.average(noise, weights=seen))
        return self

    def _fit_scale(self, rows: pd.DataFrame, weight: FloatArray) -> None:
        values = rows[list(self.numbers)].to_numpy(float)
        self.mean_ = np.average(values, axis=0, weights=weight) if self.numbers else np.zeros(0)
        spread = np.average((values - self.mean_) ** 2, axis=0, weights=weight) ** 0.5
        self.scale_ = np.maximum(spread, 1e-6) if self.numbers else np.zeros(0)

    def _scaled(self, rows: pd.DataFrame) -> FloatArray:
        values = (rows[list(self.numbers)].to_numpy(float) - self.mean_) / self.scale_
        clipped: FloatArray = np.clip(values, -CLIP, CLIP)
        return clipped

    def _design(self, rows: pd.DataFrame) -> tuple[csr_matrix, np.ndarray, list[list[str]]]:
        size = len(rows)
        parts, blocks, names = [], [], []
        for number, by in enumerate((*self.blocks, *self.nuisance)):
            codes, levels = pd.factorize(level_names(rows, by))
            parts.append(csr_matrix((np.ones(size), (np.arange(size), codes)), (size, len(levels))))
            blocks += [number] * len(levels)
            names.append([str(level) for level in levels])
        if self.numbers:
            parts.append(csr_matrix(self._scaled(rows)))
            blocks += [len(names)] * len(self.numbers)
        parts.append(csr_matrix(np.ones((size, 1))))
        blocks.append(len(names) + 1)
        return hstack(parts).tocsr(), np.array(blocks), names

    def _iterate(
        self,
        matrix: csr_matrix,
        block: np.ndarray,
        y: FloatArray,
        weight: FloatArray,
        noise_code: np.ndarray,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        drawn = len(self.blocks) + len(self.nuisance)
        variances = np.full(drawn + 2, START_VARIANCE)
        variances[drawn], variances[drawn + 1] = NUMBER_VARIANCE, INTERCEPT_VARIANCE
        noise = np.full(int(noise_code.max()) + 1, START_VARIANCE)
        trust, level_trust = np.ones(y.size), np.ones(block.size)
        for _ in range(self.iterations):
            row_weight = weight * trust / noise[noise_code]
            weighed = matrix.multiply(row_weight[:, None]).tocsr()
            precision = (weighed.T @ matrix).toarray()
            precision[np.diag_indices_from(precision)] += level_trust / variances[block]
            covariance = np.linalg.inv(precision)
            effects = covariance @ (weighed.T @ y)
            rest = y - matrix @ effects
            trust = (TAIL + 1.0) / (TAIL + rest**2 / noise[noise_code])
            noise = _noise(rest, weight * trust, weight, noise_code, noise.size)
            spread = np.diag(covariance)
            for number in range(drawn):
                mine = block == number
                square = effects[mine] ** 2 + spread[mine]
                level_trust[mine] = (LEVEL_TAIL + 1.0) / (LEVEL_TAIL + square / variances[number])
                total = (level_trust[mine] * square).sum() + WEAK_LEVELS * WEAK_VARIANCE
                variances[number] = max(total / (mine.sum() + WEAK_LEVELS), 1e-6)
        return effects, spread, variances, noise

    def _keep(
        self,
        effects: FloatArray,
        spread: FloatArray,
        variances: FloatArray,
        names: list[list[str]],
    ) -> None:
        self.effects_: list[Effects] = []
        self.nuisance_: list[Effects] = []
        start = 0
        counts = self._counts
        for number, by in enumerate((*self.blocks, *self.nuisance)):
            stop = start + len(names[number])
            kept = Effects(tuple(by), float(variances[number]))
            for place, level in zip(range(start, stop), names[number], strict=True):
                kept.levels[level] = float(effects[place]), float(spread[place]), counts[place]
            (self.effects_ if number < len(self.blocks) else self.nuisance_).append(kept)
            start = stop
        self.coefficients_ = effects[start:-1]
        self.coefficient_variances_ = spread[start:-1]
        self.intercept_ = float(effects[-1])

    def predict(self, rows: pd.DataFrame, return_std: bool = False) -> Any:
        """Expected log ratio, and its standard deviation for a single new row."""
        mean = np.full(len(rows), self.intercept_)
        noise = rows[self.noise_by].astype(str).map(self.noise_).fillna(self.noise_any_)
        variance = noise.to_numpy(float, copy=True)
        for block in self.effects_:
            codes, levels = pd.factorize(level_names(rows, block.by))
            unseen = (0.0, block.prior, 0)
            found = np.array([block.levels.get(str(level), unseen)[:2] for level in levels])
            mean += found[codes, 0]
            variance += found[codes, 1]
        if self.numbers:
            scaled = self._scaled(rows)
            mean += scaled @ self.coefficients_
            variance += scaled**2 @ self.coefficient_variances_
        return (mean, np.sqrt(variance)) if return_std else mean


def _noise(
    rest: FloatArray, trusted: FloatArray, weight: FloatArray, code: np.ndarray, size: int
) -> FloatArray:
    """Noise variance of each group, drawn a little to that of all."""
    total = np.bincount(code, weights=trusted * rest**2, minlength=size)
    count = np.bincount(code, weights=weight, minlength=size)
    everywhere = total.sum() / max(count.sum(), 1e-9)
    drawn: FloatArray = (total + 3.0 * everywhere) / (count + 3.0)
    return np.maximum(drawn, LEAST_NOISE)
