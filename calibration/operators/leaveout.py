# SPDX-License-Identifier: Apache-2.0
"""How wrong each form is on a device, and on a family, that its constants never saw.

Every constant of a fold comes from `pool` of that fold's training samples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.operators.fitting import predicted_s
from calibration.operators.kernels import Sample
from calibration.operators.laws import LAWS, FloatArray
from calibration.operators.levels import Fit, Pool
from calibration.operators.pooling import first_fits, pool

FORMS = ("plain", "constant", "population", "family", "engine", "power")
"""Plain roofline; one efficiency and a floor; the law with the constants of the
population, of the family, with engine offsets, and (what ships) the family's with the
headroom of the power limit, without engine offsets."""

UNSEEN = "(unseen)"
FEWEST_COLD = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Median absolute percentage errors on one device left out, by form.

    `own` is the law fitted on the device itself; `gpu` and `family` map forms to errors
    with that device, or its whole family, out of the fit; `rows` are those scored.
    """

    operator: str
    device: str
    family: str
    rows: int
    own: float
    gpu: Mapping[str, float]
    family_out: Mapping[str, float]
    bias: float


def median_ape(predicted: FloatArray, sample: Sample) -> float:
    """Median absolute percentage error over rows read from memory, or all if few are."""
    error = np.abs(predicted / sample.seconds - 1.0)
    if int(sample.cold.sum()) >= FEWEST_COLD:
        error = error[sample.cold]
    return float(100.0 * np.median(error))


def split(samples: Sequence[Sample], held: Sample, *, by: str) -> list[Sample]:
    """Return the training samples of the fold that holds out `held`'s device or family."""
    if by == "gpu":
        return [sample for sample in samples if sample.device != held.device]
    return [sample for sample in samples if sample.family != held.family]


def by_engine(sample: Sample, constants: Callable[[str], FloatArray]) -> FloatArray:
    """Seconds of a sample's rows, coordinates looked up engine by engine."""
    law = LAWS[sample.law]
    result = np.empty(len(sample))
    for engine in np.unique(sample.engine):
        rows = np.flatnonzero(sample.engine == engine)
        result[rows] = predicted_s(law, constants(str(engine)), sample.take(rows))
    return result


def leave_out(samples: Sequence[Sample]) -> list[Score]:
    """Scores of every device of one operator; devices without any others are skipped."""
    first = first_fits(samples)
    rivals = [sample.as_constant() for sample in samples]
    rival_first = first_fits(rivals)
    whole = pool(samples, first, engines=False)
    scores = []
    for sample, rival in zip(samples, rivals, strict=True):
        errors: dict[str, dict[str, float]] = {}
        bias = float("nan")
        for by in ("gpu", "family"):
            train = split(samples, sample, by=by)
            if not train:
                errors[by] = {}
                continue
            others = split(rivals, rival, by=by)
            errors[by], error = _fold(sample, train, first, rival, others, rival_first)
            bias = error if by == "gpu" else bias
        law = LAWS[sample.law]
        own = predicted_s(law, whole.coordinates(sample.device, sample.family), sample)
        scores.append(
            Score(
                operator=sample.operator,
                device=sample.device,
                family=sample.family,
                rows=len(sample),
                own=median_ape(own, sample),
                gpu=errors["gpu"],
                family_out=errors["family"],
                bias=bias,
            )
        )
    return scores


def _fold(
    sample: Sample,
    train: Sequence[Sample],
    first: Mapping[str, Fit],
    rival: Sample,
    others: Sequence[Sample],
    rival_first: Mapping[str, Fit],
) -> tuple[dict[str, float], float]:
    """Errors of every form on one sample, and the median log bias of the last form."""
    law = LAWS[sample.law]
    plain = pool(train, first, powered=False)
    power = pool(train, first, engines=False)
    constant = pool(others, rival_first, engines=False)

    def coordinates(fitted: Pool, engine: str = "") -> FloatArray:
        return fitted.coordinates(UNSEEN, sample.family, engine, headroom=sample.headroom)

    simple = LAWS["constant"]
    final_s = predicted_s(law, coordinates(power), sample)
    seconds = {
        "plain": sample.plain_s,
        "constant": predicted_s(simple, coordinates(constant), rival),
        "population": predicted_s(law, plain.population, sample),
        "family": predicted_s(law, coordinates(plain), sample),
        "engine": by_engine(sample, lambda engine: coordinates(plain, engine)),
        "power": final_s,
    }
    bias = float(np.median(np.log(final_s / sample.seconds)))
    return {form: median_ape(value, sample) for form, value in seconds.items()}, bias
