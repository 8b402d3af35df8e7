# SPDX-License-Identifier: Apache-2.0
"""Constants of one law on one device: robust regression of the log ratio, with a prior.

Minimises, over the law's unbounded coordinates x,

    mean_i rho(log(t_i(x) / measured_i) / s) * N + sum_j ((x_j - prior_j) / spread_j)**2

with rho the soft-L1 loss, ``s`` the noise to expect between versions of an engine, and
N an effective number of rows: kernels of one table are not independent, so a thousand of
them do not drown the prior. scipy is imported when something is fitted.
"""

from __future__ import annotations

import numpy as np

from calibration.operators.kernels import Sample
from calibration.operators.laws import LAWS, FloatArray, Law
from calibration.operators.levels import Fit

NOISE = 0.08
"""Log spread of one kernel between versions of an engine: 0.03 to 0.15."""

EFFECTIVE_ROWS = 200.0
"""Rows that a table counts for against the prior."""

WARM_WEIGHT = 0.2
"""Weight of a kernel whose operands lie in a warm cache, as they seldom do in serving."""


def predicted_s(law: Law, coordinates: FloatArray, sample: Sample) -> FloatArray:
    """Seconds of a sample's rows by the law at `coordinates`."""
    return law.time_s(law.constants(coordinates), sample.terms)


def log_error(law: Law, coordinates: FloatArray, sample: Sample) -> FloatArray:
    """``log(predicted / measured)`` per row."""
    result: FloatArray = np.log(predicted_s(law, coordinates, sample) / sample.seconds)
    return result


def fit_sample(
    sample: Sample,
    *,
    prior: FloatArray | None = None,
    spread: FloatArray | None = None,
    start: FloatArray | None = None,
) -> Fit:
    """Fit the sample's law around a prior; the law's own weak one by default."""
    from scipy.optimize import least_squares

    law = LAWS[sample.law]
    centre = law.prior() if prior is None else prior
    width = law.spread() if spread is None else spread
    weight = np.where(sample.cold, 1.0, WARM_WEIGHT)
    scale = np.sqrt(EFFECTIVE_ROWS * weight / max(float(weight.sum()), 1.0))

    def residuals(x: FloatArray) -> FloatArray:
        error = log_error(law, x, sample) / NOISE
        # Soft-L1 by hand, so that the prior keeps its square.
        robust = np.sign(error) * np.sqrt(2.0 * (np.sqrt(1.0 + error**2) - 1.0))
        joined: FloatArray = np.concatenate([scale * robust, (x - centre) / width])
        return joined

    begin = centre if start is None else start
    solution = least_squares(residuals, begin, method="trf", max_nfev=60, x_scale=1.0)
    error = log_error(law, solution.x, sample)
    return Fit(
        coordinates=np.asarray(solution.x, float),
        rows=len(sample),
        spread=float(np.median(np.abs(error)) * 1.4826),
        eager=sample.eager,
    )
