# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows whose whole group was left out of everything that is fitted.

Kernel constants, residual models and constants of power are fitted anew without the group:
its kernels, its requests, all its sources; the rows that are fitted on are priced anew with
those constants, and the rows left out as a user's question would be. `out_of_fold` gives every
row its answer from the fold that left it out; tables and intervals are made from that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from calibration.correct import LearnedCorrection
from calibration.dataset import METRICS, joined
from calibration.operators.bridge import OperatorCorrection, load_correction
from calibration.operators.holdout import without
from calibration.power.cases import rows_of, usable
from calibration.power.fit import fit_power
from calibration.residuals import fit_staged, trusted
from calibration.split import LEAST_ROWS, folds
from roofline.physics.kernel import FloatArray
from roofline.physics.power import PowerConstants

FOLDS = 10

TARGETS_FITTED = ("ttft", "tpot")
"""Targets of residual models; latencies and rates of whole requests follow from them."""

NO_INTERVALS = {
    name: {"all": dict.fromkeys(METRICS, (0.0, 0.0))} for name in ("measured here", "interpolated")
}

Say = Callable[[str], None]


def priced_rows(table: pd.DataFrame, kernels: OperatorCorrection | None = None) -> pd.DataFrame:
    """Rows of measurements that can be priced, with the shipped kernel constants or others."""
    rows = joined(table, kernels=kernels or load_correction())
    return rows[rows["reason"].eq("")].reset_index(drop=True)


def kernels_without(
    devices: Sequence[str], kernels: OperatorCorrection | None = None
) -> OperatorCorrection:
    """Kernel constants, the shipped ones or others, as if some devices were never measured."""
    whole = kernels or load_correction()
    measured = {name for pool in whole.laws.pools.values() for name in pool.devices}
    left = sorted(set(devices) & measured)
    return OperatorCorrection(without(whole.laws, left)) if left else whole


def unseen_fold(
    rows: pd.DataFrame,
    fitted: np.ndarray,
    left: np.ndarray,
    *,
    columns: Sequence[str],
    kernels: OperatorCorrection | None = None,
) -> tuple[pd.DataFrame, OperatorCorrection]:
    """Rows to fit on and kernel constants, neither of which knows the devices left out.

    Parameters
    ----------
    rows : DataFrame
        From `priced_rows`, with `kernels`.
    fitted, left : ndarray of bool
        Rows to fit on, and rows of the devices left out.
    columns : sequence of str
        Columns of the table of measurements, as before pricing.
    kernels : OperatorCorrection, optional
        Constants that know all devices; the shipped ones by default.
    """
    whole = kernels or load_correction()
    others = kernels_without(sorted(set(rows["is_gpu"][left])), whole)
    train = rows[fitted]
    if others is whole:
        return train, others
    priced = joined(train[list(columns)], kernels=others)
    return priced.set_index(train.index), others


def power_constants(rows: pd.DataFrame) -> PowerConstants | None:
    """Constants of power fitted to rows; None if too few have power."""
    measured = usable(rows[trusted(rows)])
    return fit_power(rows_of(measured)) if len(measured) >= LEAST_ROWS else None


def families_of(rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Architecture families that each engine was measured on."""
    fitted = rows[trusted(rows)]
    return {
        str(engine): tuple(sorted(set(part["is_family"])))
        for engine, part in fitted.groupby("is_engine")
    }


def fitted_correction(
    rows: pd.DataFrame, *, kernels: OperatorCorrection | None = None, **given: Any
) -> LearnedCorrection:
    """Fit everything but intervals to `rows`, from `priced_rows`."""
    counts = rows[trusted(rows)]["is_engine"].value_counts()
    return LearnedCorrection(
        models={name: fit_staged(rows, name) for name in TARGETS_FITTED},
        intervals=given.get("intervals", NO_INTERVALS),
        constants=power_constants(rows),
        kernels=kernels or load_correction(),
        own={},
        families=families_of(rows),
        meta={"rows_by_engine": {str(name): int(count) for name, count in counts.items()}},
    )


def out_of_fold(
    rows: pd.DataFrame,
    split: str,
    *,
    columns: Sequence[str],
    count: int = FOLDS,
    kernels: OperatorCorrection | None = None,
    say: Say | None = None,
) -> pd.DataFrame:
    """Predicted figures of rows, each from a correction that never saw its group.

    Parameters
    ----------
    rows : DataFrame
        From `priced_rows`, with `kernels`.
    split : str
        Of ``split.SPLITS``.
    columns : sequence of str
        Columns of the table of measurements, as before pricing.
    kernels : OperatorCorrection, optional
        Kernel constants that know all devices; the shipped ones by default.

    Returns
    -------
    DataFrame
        A column per metric and ``standing``; index of `rows`.
    """
    parts = []
    for number, (fitted, left) in enumerate(folds(rows, split, count=count)):
        if say is not None:
            say(f"{split}: fold {number + 1} of {count}")
        test, train, others = rows[left], rows[fitted], kernels
        if split == "unseen device":
            train, others = unseen_fold(rows, fitted, left, columns=columns, kernels=kernels)
        correction = fitted_correction(train, kernels=others)
        priced = joined(test[list(columns)], correction=correction)
        found = pd.DataFrame({name: priced[f"predicted_{name}"] for name in METRICS})
        found["standing"] = priced["p_standing"]
        parts.append(found.set_index(test.index))
    return pd.concat(parts).sort_index()


def absolute_errors(rows: pd.DataFrame, predicted: pd.Series, metric: str) -> pd.Series:
    """Absolute error over measured, NaN where not comparable."""
    measured = rows[f"measured_{metric}"].astype(float)
    return (predicted.astype(float) / measured - 1.0).abs().where(measured > 0)


def reportable(rows: pd.DataFrame, split: str) -> np.ndarray:
    """Rows of groups that are large enough to be reported on."""
    column = "is_model" if split == "unseen model" else "is_gpu"
    sizes: FloatArray = rows.groupby(column)[column].transform("size").to_numpy(float)
    return sizes >= LEAST_ROWS
