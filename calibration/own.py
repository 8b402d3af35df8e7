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


BLOCKS = ((), ("mode",), ("model",), ("model", "weights"))
"""Labels that, beside device and engine, name the level of each effect."""

NAMES = ("mode", "model", "weights")
"""Labels of a row, in the order that `posterior` takes them."""

_SHARED = ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 2, 3), (0, 1, 2, 3))
"""Effects that a case may share with rows: no weight format without its model."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Variances of log ratios: of the effects, in the order of `BLOCKS`, and of noise."""

    effects: tuple[float, ...]
    noise: float

    @property
    def total(self) -> float:
        """Variance of a single new row."""
        return sum(self.effects) + self.noise


def _prior(*deviations: float) -> Prior:
    squares = tuple(each**2 for each in deviations)
    return Prior(squares[:-1], squares[-1])


PRIORS: Mapping[str, Mapping[str, Mapping[str, Prior]]] = {
    "unseen": {
        "served": {
            "ttft": _prior(0.26, 0.18, 0.34, 0.50, 0.74),
            "tpot": _prior(0.14, 0.06, 0.22, 0.36, 0.30),
            "power": _prior(0.10, 0.08, 0.08, 0.07, 0.16),
        },
        "local": {
            "ttft": _prior(0.12, 0.15, 0.18, 0.40, 0.20),
            "tpot": _prior(0.15, 0.13, 0.24, 0.20, 0.18),
            "power": _prior(0.04, 0.04, 0.04, 0.03, 0.15),
        },
        "other": {
            "ttft": _prior(0.13, 0.13, 0.20, 0.30, 0.28),
            "tpot": _prior(0.13, 0.13, 0.15, 0.20, 0.12),
            "power": _prior(0.10, 0.08, 0.08, 0.07, 0.16),
        },
    },
    "seen": {
        "served": {
            "ttft": _prior(0.06, 0.06, 0.13, 0.10, 0.68),
            "tpot": _prior(0.05, 0.04, 0.20, 0.18, 0.28),
            "power": _prior(0.07, 0.07, 0.07, 0.06, 0.12),
        },
        "local": {
            "ttft": _prior(0.06, 0.06, 0.18, 0.30, 0.24),
            "tpot": _prior(0.08, 0.08, 0.22, 0.16, 0.21),
            "power": _prior(0.03, 0.03, 0.04, 0.03, 0.15),
        },
        "other": {
            "ttft": _prior(0.05, 0.05, 0.08, 0.12, 0.18),
            "tpot": _prior(0.05, 0.05, 0.09, 0.09, 0.12),
            "power": _prior(0.07, 0.07, 0.07, 0.06, 0.12),
        },
    },
}
"""By whether the device was fitted on, kind of engine and target: standard deviations of
device, mode, model, weight format, and noise.

From `calibration.mixed` on the errors of 9,395 published rows whose device was left out
(unseen; 32 to 341 pairs of device and engine per kind but "other", 8) or whose deployment was
(seen), on 2026-11-22: for TPOT of served, unseen, 0.20, 0.08, 0.11, 0.12 and 0.15. Those are
of well-behaved rows; with them one row of one model moved all other models by more than it
should (`calibration.learning`). What devices share was therefore taken less (by 0.7), models
and formats more (1.5 to 4), noise 2 to 4 times (half of it or less for "other"), chosen on the
simulation that `benchmarks/data/learning_curve.json` reports; power of "local" is of one rig
and least. Power of "other" was not measured and is that of "served".
"""


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
        By block: names of the level to (effect, variance, rows).
    narrow : mapping
        Names of a case, empty where it shares none with rows, to the deviation of a new
        measurement over that without rows.
    noise : float
        Variance.
    weight : ndarray
        Of each row; less than one for rows far off.
    """

    levels: tuple[Mapping[tuple[str, ...], tuple[float, float, int]], ...]
    narrow: Mapping[tuple[str, ...], float]
    noise: float
    weight: FloatArray


def posterior(y: FloatArray, names: Sequence[tuple[str, ...]], prior: Prior) -> Posterior:
    """Posterior of the effects of one device and engine.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Log of measured over predicted.
    names : sequence of tuples of str
        `NAMES` of each row.
    prior : Prior
    """
    places, columns = _columns(names)
    variances = np.maximum([prior.effects[block] for block, _ in columns], 1e-8)
    design = np.zeros((y.size, len(columns)))
    for place in places:
        design[np.arange(y.size), place] = 1.0
    counts = design.sum(axis=0)
    crowd = counts[places[-1]] ** -CROWD_POWER
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
    levels: tuple[dict[tuple[str, ...], tuple[float, float, int]], ...]
    levels = tuple({} for _ in BLOCKS)
    for number, (block, name) in enumerate(columns):
        found = float(effects[number]), float(covariance[number, number]), int(counts[number])
        levels[block][name] = found
    narrow = _narrow(names, places, covariance, prior, noise)
    return Posterior(levels, narrow, noise, trust)


def level(names: tuple[str, ...], block: int) -> tuple[str, ...]:
    """Names of a row's level in a block."""
    return tuple(names[NAMES.index(label)] for label in BLOCKS[block])


def _columns(
    names: Sequence[tuple[str, ...]],
) -> tuple[list[np.ndarray], list[tuple[int, tuple[str, ...]]]]:
    """Column of each row in each block; block and level of each column."""
    columns: list[tuple[int, tuple[str, ...]]] = []
    places = []
    for block in range(len(BLOCKS)):
        mine = sorted({level(each, block) for each in names})
        number = {name: len(columns) + count for count, name in enumerate(mine)}
        columns += [(block, name) for name in mine]
        places.append(np.array([number[level(each, block)] for each in names]))
    return places, columns


def _noise(rest: FloatArray, trusted: FloatArray, weight: FloatArray, prior: float) -> float:
    """Variance of the noise, drawn to the prior's."""
    total = float((trusted * rest**2).sum()) + NOISE_ROWS * prior
    return total / (float(weight.sum()) + NOISE_ROWS)


def _narrow(
    names: Sequence[tuple[str, ...]],
    places: list[np.ndarray],
    covariance: FloatArray,
    prior: Prior,
    noise: float,
) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for row, each in enumerate(names):
        for shared in _SHARED:
            key = case_key(each, shared)
            if key in found:
                continue
            mine = np.array([places[block][row] for block in shared])
            unknown = sum(v for block, v in enumerate(prior.effects) if block not in shared)
            variance = float(covariance[np.ix_(mine, mine)].sum()) + unknown + noise
            found[key] = float(np.sqrt(variance / prior.total))
    return found


def case_key(names: tuple[str, ...], shared: Sequence[int]) -> tuple[str, ...]:
    """`NAMES` that a case shares with rows by the effects that it shares."""
    kept = {label for block in shared for label in BLOCKS[block]}
    return tuple(n if label in kept else "" for n, label in zip(names, NAMES, strict=True))


def narrowed(found: Mapping[str, float], names: tuple[str, ...]) -> float:
    """Factor on the half width for a case, from the nearest that `posterior` has; 1 if none.

    `found` is ``Posterior.narrow`` with its keys joined by ``|``.
    """
    if not found:
        return 1.0
    for shared in reversed(_SHARED):
        factor = found.get("|".join(case_key(names, shared)))
        if factor is not None:
            return factor
    return 1.0
