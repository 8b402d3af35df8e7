# SPDX-License-Identifier: Apache-2.0
"""What a few rows of one machine say of it: kriging of the log ratio around what is known.

The log ratio of measured to predicted, of a case x on one device under one engine, is

    y(x) = u(device) + u(model) + c(device, x) + c(model, x) + noise

with levels u of the machine and of a model on it, and curves c that wander as settings do:
a Gaussian process around zero (Rasmussen, Williams, "Gaussian Processes for Machine
Learning", 2006, chapter 2) whose covariance of two cases is

    (a^2 + b^2 [same model] + (c^2 + d^2 [same model]) exp(-r D)) exp(-r W)

for settings D and words W octaves apart (`calibration.own_cases`). So a row at batch 1 says
less of batch 256 than of batch 2, two rows give a slope, and another model takes the device's
share alone. The posterior is exact linear algebra over own rows. Rows far off the rest count
less (Student's t with `TAIL` degrees of freedom, by iterated weights: Lange, Little, Taylor,
J. Am. Stat. Assoc. 84, 1989). Nothing here depends on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from calibration.own_cases import Cases, same_model, thinned, word_octaves
from calibration.staged import KINDS
from roofline.physics.kernel import FloatArray

TAIL = 5.0
"""As in `calibration.mixed`: a row four deviations off counts a third."""

ITERATIONS = 40

ROUGH_ROWS = 8.0
"""Rows that the spread which `PRIORS` expect counts as, beside what own rows show of it."""

WILDEST = 5.0
"""Deviations from what the other rows say beyond which a row says no more of the spread."""

WILD = 0.25
"""A row with less weight than this (over four deviations off) is named as one."""

LARGEST = {"ttft": 1.4, "tpot": 2.5, "power": 2.5}
"""Log ratios of own rows are cut here. A first token four times late is a queue's: it was
found at one load of a server and not at the next."""

MOST_ROWS = 200
"""Own rows of a device and engine that the algebra is done over; more are merged with rows next
to them."""

CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Prior:
    """Standard deviations of log ratios, and how fast curves forget.

    Parameters
    ----------
    device, curve : float
        Level and curve that all models of the machine share.
    model, model_curve : float
        Those of one model.
    noise : float
        Of a measurement made again.
    decay : float
        Per octave.
    unsure : float
        Deviation that no own row takes away from an interval.
    """

    device: float
    curve: float
    model: float
    model_curve: float
    noise: float
    decay: float
    unsure: float

    @property
    def shared(self) -> float:
        """Variance of what own rows can tell."""
        return self.device**2 + self.curve**2 + self.model**2 + self.model_curve**2

    @property
    def total(self) -> float:
        """Variance of a single new row."""
        return self.shared + self.noise**2


PRIORS: Mapping[str, Mapping[str, Mapping[str, Prior]]] = {
    "unseen": {
        "served": {
            "ttft": Prior(0.12, 0.20, 0.30, 0.40, 0.08, 0.07, 0.32),
            "tpot": Prior(0.14, 0.11, 0.30, 0.10, 0.03, 0.12, 0.15),
            "power": Prior(0.08, 0.11, 0.10, 0.10, 0.03, 0.05, 0.10),
        },
        "local": {
            "ttft": Prior(0.06, 0.20, 0.35, 0.20, 0.03, 0.03, 0.30),
            "tpot": Prior(0.05, 0.05, 0.30, 0.07, 0.04, 0.045, 0.15),
            "power": Prior(0.03, 0.03, 0.03, 0.03, 0.035, 0.06, 0.05),
        },
        "other": {
            "ttft": Prior(0.30, 0.25, 0.40, 0.06, 0.06, 0.05, 0.40),
            "tpot": Prior(0.30, 0.12, 0.20, 0.04, 0.03, 0.025, 0.25),
            "power": Prior(0.08, 0.11, 0.10, 0.10, 0.03, 0.05, 0.10),
        },
    },
    "seen": {
        "served": {
            "ttft": Prior(0.08, 0.11, 0.10, 0.38, 0.075, 0.085, 0.20),
            "tpot": Prior(0.05, 0.07, 0.25, 0.11, 0.03, 0.12, 0.15),
            "power": Prior(0.06, 0.10, 0.08, 0.08, 0.035, 0.07, 0.10),
        },
        "local": {
            "ttft": Prior(0.06, 0.14, 0.20, 0.20, 0.07, 0.07, 0.30),
            "tpot": Prior(0.05, 0.06, 0.25, 0.06, 0.045, 0.06, 0.15),
            "power": Prior(0.03, 0.033, 0.025, 0.022, 0.04, 0.10, 0.05),
        },
        "other": {
            "ttft": Prior(0.03, 0.14, 0.06, 0.09, 0.10, 0.20, 0.40),
            "tpot": Prior(0.05, 0.05, 0.16, 0.055, 0.03, 0.10, 0.25),
            "power": Prior(0.06, 0.10, 0.08, 0.08, 0.035, 0.07, 0.10),
        },
    },
}
"""By whether the device was fitted on, kind of engine and target.

From errors of 8,159 published rows whose device was left out (unseen) or whose deployment was
(seen), of machines of one source each, on 2026-11-22: what served best to predict rows of a
machine from 1 to 12 others of it (mean of log(error^2 + 0.03^2), one row of the same deployment
counting most), on folds of devices, which agreed. Then rounded, and the level of a model raised
by two, that of llama.cpp's machines halved, in view of the curves in
`benchmarks/data/learning_curve.json`: fitted ones shrank a row's ratio by more within its own
deployment, and let one row move other models, at a median over machines that rose with the
first rows. `unsure` is such that 86 to 94% of the rows asked about lie inside 90% intervals,
where they did before any own row. TTFT of unseen servers and "other" engines: more of the model's
level and less of the machine's curve since the physics knows launches. Power of "other" was
not measured and is that of "served".
"""


def prior_of(engine: str, target: str, *, seen: bool) -> Prior:
    """Prior of a target under an engine; `seen` where the device was fitted on."""
    kinds = PRIORS["seen" if seen else "unseen"]
    return kinds[KINDS.get(engine, "other")][target]


def covariance(one: Cases, two: Cases, prior: Prior) -> FloatArray:
    """Covariance of log ratios of cases without noise, shape ``(n_one, n_two)``."""
    pick = np.ix_(one.place, two.place)
    alike = same_model(one.words, two.words)
    words = np.exp(-prior.decay * word_octaves(one.words, two.words))
    level = words * (prior.device**2 + prior.model**2 * alike)
    curve = words * (prior.curve**2 + prior.model_curve**2 * alike)
    apart = np.zeros((one.place.size, two.place.size))
    for left, right in zip(one.octaves.T, two.octaves.T, strict=True):
        apart += np.abs(left[:, None] - right[None, :])
    found: FloatArray = level[pick] + curve[pick] * np.exp(-prior.decay * apart)
    return found


@dataclass(frozen=True, slots=True)
class Posterior:
    """What rows of one device and engine say of a target.

    Parameters
    ----------
    cases : Cases
        Of the rows.
    prior : Prior
    pull : ndarray, shape (n,)
        Weights of the rows' covariances in a shift.
    inverse : ndarray, shape (n, n)
        Of the covariance of what was measured.
    rough : float
        Variance of rows around what the others say, over what the prior expects of it.
    trust : ndarray, shape (n,)
        Weight of each row; less than one for rows far off.
    """

    cases: Cases
    prior: Prior
    pull: FloatArray
    inverse: FloatArray
    rough: float
    trust: FloatArray

    def shifts(self, cases: Cases) -> tuple[FloatArray, FloatArray]:
        """What is to be added to log predictions, and the factor on the half width of intervals.

        The factor is the deviation of a new measurement over that without own rows; beyond
        one where rows disagree.
        """
        parts = [self._shifts(part) for part in _chunks(cases)]
        if not parts:
            return np.zeros(0), np.zeros(0)
        shift, factor = (np.concatenate(each) for each in zip(*parts, strict=True))
        return shift, factor

    def _shifts(self, cases: Cases) -> tuple[FloatArray, FloatArray]:
        prior, cross = self.prior, covariance(cases, self.cases, self.prior)
        known = np.einsum("ij,ij->i", cross @ self.inverse, cross)
        left = np.maximum(prior.total - known, prior.noise**2)
        unsure = prior.unsure**2
        factor = np.sqrt((self.rough * left + unsure) / (prior.total + unsure))
        return cross @ self.pull, factor

    @property
    def device(self) -> tuple[float, float]:
        """Level that any model of the machine is shifted by in the rows' mode; its variance."""
        level = self.prior.device**2
        ones = float(self.inverse.sum())
        return level * float(self.pull.sum()), max(level - level**2 * ones, 0.0)


def _chunks(cases: Cases) -> Iterator[Cases]:
    for start in range(0, cases.place.size, CHUNK):
        yield cases.take(slice(start, start + CHUNK))


def posterior(y: FloatArray, cases: Cases, prior: Prior, *, target: str = "tpot") -> Posterior:
    """Posterior of one device and engine.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Log of measured over predicted.
    cases : Cases
    prior : Prior
    target : str
    """
    y = np.clip(np.asarray(y, float), -LARGEST[target], LARGEST[target])
    known = covariance(cases, cases, prior)
    found, plain = _weighed(y, known, prior), _inverse(known + prior.noise**2 * np.eye(y.size))
    left_out = np.minimum((plain @ y) ** 2 / np.diag(plain), WILDEST**2)
    rough = (float(left_out.sum()) + ROUGH_ROWS) / (y.size + ROUGH_ROWS)
    inverse, trust = found
    return Posterior(cases, prior, inverse @ y, inverse, rough, trust)


def _weighed(y: FloatArray, known: FloatArray, prior: Prior) -> tuple[FloatArray, FloatArray]:
    """Inverse covariance of what was measured, rows far off counting less; their weights."""
    own, trust = prior.noise**2, np.ones(y.size)
    for _ in range(ITERATIONS):
        inverse, before = _inverse(known + np.diag(own / trust)), trust
        rest = own / trust * (inverse @ y)
        trust = (TAIL + 1.0) / (TAIL + rest**2 / own)
        if np.abs(np.log(trust / before)).max() < 1e-4:
            break
    return inverse, before


def _inverse(matrix: FloatArray) -> FloatArray:
    found: FloatArray = np.asarray(np.linalg.inv(matrix), float)
    return found


def merged(y: FloatArray, cases: Cases) -> tuple[FloatArray, Cases]:
    """At most about `MOST_ROWS` rows: the median of those that are next to each other."""
    groups = thinned(cases, MOST_ROWS)
    if len(groups) == y.size:
        return y, cases
    octaves = np.array([cases.octaves[rows].mean(axis=0) for rows in groups])
    place = np.array([cases.place[rows[0]] for rows in groups])
    return np.array([np.median(y[rows]) for rows in groups]), Cases(cases.words, place, octaves)


def points_json(y: FloatArray, cases: Cases, prior: Prior) -> dict[str, Any]:
    """What a posterior is made from, as plain types."""
    place, octaves = cases.place, np.round(cases.octaves, 3)
    kept = Cases(cases.words, place, octaves)
    ratios = [round(float(each), 5) for each in y]
    return {"log_ratio": ratios, "prior": list(astuple(prior)), **kept.to_json()}


def read_points(raw: Mapping[str, Any], target: str) -> Posterior:
    """Posterior from what `points_json` wrote."""
    y, prior = np.array(raw["log_ratio"], float), Prior(*map(float, raw["prior"]))
    return posterior(y, Cases.from_json(raw), prior, target=target)
