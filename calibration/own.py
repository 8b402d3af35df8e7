# SPDX-License-Identifier: Apache-2.0
"""What a few rows of one machine say of it: drawn effects, drawn towards what is known.

The log ratio of measured to predicted of a row of one device under one engine is

    y = u(device) + u(mode) + u(model) + u(model, weights) + noise

Each u is a draw around zero; its variance, and that of the noise, is a constant of the kind
of engine (`PRIORS`), so that one row has an answer. With normal draws the posterior is exact
(Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, section 5.4); rows far off the rest
count less (Student's t with `TAIL` degrees of freedom, by iterated weights: Lange, Little,
Taylor, J. Am. Stat. Assoc. 84, 1989). Nothing here depends on the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.staged import KINDS
from roofline.physics.kernel import FloatArray

TAIL = 5.0
"""As in `calibration.mixed`: a row four deviations off counts a third."""

ITERATIONS = 40

CROWD_POWER = 0.5
"""n rows of one deployment count as the root of n: their errors lean the same way."""

NOISE_ROWS = 8.0
"""Rows that the noise of `PRIORS` counts as, beside the noise that own rows show."""

WILD = 0.25
"""A row with less weight than this (over four deviations off) is named as one."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Variances of log ratios: of the effects, in the order of `correct.OWN`, and noise."""

    effects: tuple[float, ...]
    noise: float

    @property
    def total(self) -> float:
        """Variance of a single new row."""
        return sum(self.effects) + self.noise


def _prior(*deviations: float) -> Prior:
    squares = tuple(each**2 for each in deviations)
    return Prior(squares[:-1], squares[-1])


PRIORS: Mapping[str, Mapping[str, Mapping[str, Prior]]] = {}
"""By whether the device was fitted on, kind of engine and target: standard deviations of
device, mode, model, weight format, and noise."""


def prior_of(engine: str, target: str, *, seen: bool) -> Prior:
    """Prior of a target under an engine."""
    kinds = PRIORS["seen" if seen else "unseen"]
    return kinds[KINDS.get(engine, "other")][target]


@dataclass(frozen=True, slots=True)
class Posterior:
    """What rows of one device and engine say.

    Parameters
    ----------
    levels : tuple of mapping
        By block: level to (effect, variance, rows).
    narrow : mapping of str to float
        Level (`join` of two up to all names) to how wide an interval is over that without rows.
    noise : float
        Variance.
    weight : ndarray
        Of each row, 1 and less.
    """

    levels: tuple[Mapping[str, tuple[float, float, int]], ...]
    narrow: Mapping[str, float]
    noise: float
    weight: FloatArray


def posterior(y: FloatArray, names: Sequence[tuple[str, ...]], prior: Prior) -> Posterior:
    """Posterior of the effects of one device and engine.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Log of measured over predicted.
    names : sequence of tuples of str
        Level of each row in each block of `prior.effects`; levels of a block are distinct
        from those of another by their place.
    prior : Prior

    Returns
    -------
    Posterior
        ``narrow`` is keyed by tuples of levels joined by a tab: the row's whole tuple, and
        each beginning of it, for cases whose further levels have no rows.
    """
    places, columns, variances = _columns(names, prior)
    design = np.zeros((y.size, len(columns)))
    for block in places:
        design[np.arange(y.size), block] = 1.0
    crowd = design.sum(axis=0)[places[-1]] ** -CROWD_POWER
    noise, trust = prior.noise, np.ones(y.size)
    effects, covariance = np.zeros(len(columns)), np.diag(variances)
    for _ in range(ITERATIONS):
        weight = crowd * trust / noise
        precision = design.T @ (weight[:, None] * design) + np.diag(1.0 / variances)
        covariance = np.linalg.inv(precision)
        before, effects = effects, covariance @ (design.T @ (weight * y))
        rest = y - design @ effects
        trust = (TAIL + 1.0) / (TAIL + rest**2 / noise)
        noise = _noise(rest, crowd * trust, crowd, prior.noise)
        if np.abs(effects - before).max() < 1e-7:
            break
    levels: list[dict[str, tuple[float, float, int]]] = [{} for _ in prior.effects]
    counts = design.sum(axis=0)
    for number, (block, name) in enumerate(columns):
        found = float(effects[number]), float(covariance[number, number]), int(counts[number])
        levels[block][name] = found
    narrow = _narrow(names, places, covariance, prior, noise)
    return Posterior(tuple(levels), narrow, float(noise), trust)


def _columns(
    names: Sequence[tuple[str, ...]], prior: Prior
) -> tuple[list[np.ndarray], list[tuple[int, str]], FloatArray]:
    """Column of each row in each block; block and name of each column; its variance."""
    columns: list[tuple[int, str]] = []
    places = []
    for block in range(len(prior.effects)):
        mine = sorted({each[block] for each in names})
        start = len(columns)
        columns += [(block, name) for name in mine]
        places.append(np.array([start + mine.index(each[block]) for each in names]))
    variances = np.array([prior.effects[block] for block, _ in columns])
    return places, columns, np.maximum(variances, 1e-8)


def _noise(rest: FloatArray, trusted: FloatArray, weight: FloatArray, prior: float) -> float:
    total = float((trusted * rest**2).sum()) + NOISE_ROWS * prior
    return total / (float(weight.sum()) + NOISE_ROWS)


def _narrow(
    names: Sequence[tuple[str, ...]],
    places: list[np.ndarray],
    covariance: FloatArray,
    prior: Prior,
    noise: float,
) -> dict[str, float]:
    """Deviation of a new case over that without rows, by the levels that it shares."""
    found: dict[str, float] = {}
    for row, each in enumerate(names):
        for known in range(1, 2 ** len(each)):
            shared = [block for block in range(len(each)) if known >> block & 1]
            key = shared_key([each[b] if b in shared else "" for b in range(len(each))])
            if key in found:
                continue
            mine = np.array([places[block][row] for block in shared])
            unknown = sum(v for b, v in enumerate(prior.effects) if b not in shared)
            variance = float(covariance[np.ix_(mine, mine)].sum()) + unknown + noise
            found[key] = float(np.sqrt(variance / prior.total))
    return found


def shared_key(levels: Sequence[str]) -> str:
    """Key of the levels that a case shares with rows; empty where it shares none."""
    return "\t".join(levels)
