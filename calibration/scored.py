# SPDX-License-Identifier: Apache-2.0
"""How wrong a correction is on measurements, beside the plain roofline on the same rows.

Rows that the correction was fitted on flatter it; `calibration.evaluate` leaves groups out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from calibration.correct import LearnedCorrection
from calibration.dataset import joined, scenario_columns
from calibration.evaluate import absolute_errors
from calibration.intervals_of import METRIC_OF, METRICS
from calibration.tune import Placing
from specs.errors import InvalidInputError

QUANTITY_OF = {metric: quantity for quantity, metric in METRIC_OF.items()}

BY = {"engine": "is_engine", "device": "is_gpu", "mode": "is_mode", "size": "size"}
"""Groups that errors are told by."""

SIZES = (4e9, 16e9, 80e9)
_SIZE_WORDS = ("under 4B", "4B to 16B", "16B to 80B", "over 80B")


def size_words(shapes: pd.Series) -> pd.Series:
    """Size class of models by their shape names (`roofline.residual.shape_of`)."""
    params = pd.to_numeric(shapes.str.extract(r"-([\d.e+]+)B$", expand=False)) * 1e9
    place = np.searchsorted(SIZES, params.to_numpy(float), side="right")
    return pd.Series([_SIZE_WORDS[each] for each in place], index=shapes.index)


def scored(
    measurements: pd.DataFrame, correction: LearnedCorrection, *, place: Placing | None = None
) -> dict[str, Any]:
    """Errors by metric, overall and by group.

    Parameters
    ----------
    measurements : DataFrame
    correction : LearnedCorrection
    place : callable, optional
        See `calibration.tune.Placing`. By default all names are the catalogue's.

    Returns
    -------
    dict
        ``rows`` priced, ``not_priced`` by reason, ``errors``: a record per metric and group
        with rows, median error ``uncorrected`` and ``corrected``, ``corrected_mean``, share
        ``inside`` the interval and its median ``width`` (high over low).

    Raises
    ------
    InvalidInputError
        No row can be priced.
    """
    scenarios = scenario_columns(measurements)
    if place is not None:
        scenarios = place(scenarios)
    plain = joined(measurements, scenarios=scenarios)
    rows = joined(measurements, scenarios=scenarios, correction=correction)
    rows = rows.join(plain[[name for name in plain if str(name).startswith("is_")]])
    good = rows["reason"].eq("")
    reasons = rows["reason"][~good].value_counts()
    if not good.any():
        raise InvalidInputError(
            f"none of {len(rows)} rows can be priced: {reasons.index[0]}; "
            f"`roofline records list` shows rows."
        )
    rows, plain = rows[good].reset_index(drop=True), plain[good].reset_index(drop=True)
    rows["size"] = size_words(rows["is_model"])
    errors = []
    for metric in METRICS:
        before = absolute_errors(plain, plain[f"predicted_{metric}"], metric)
        after = absolute_errors(rows, rows[f"predicted_{metric}"], metric)
        known = before.notna() & after.notna()
        inside, width = _inside(rows, metric)
        told = pd.DataFrame({"before": before, "after": after, "inside": inside, "width": width})[
            known
        ]
        if not len(told):
            continue
        errors.append({"metric": metric, "by": "all", "group": "all", **_record(told)})
        for name, column in BY.items():
            errors += [
                {"metric": metric, "by": name, "group": str(group), **_record(part)}
                for group, part in told.groupby(rows.loc[told.index, column])
            ]
    return {
        "rows": len(rows),
        "not_priced": {str(text): int(count) for text, count in reasons.items()},
        "errors": errors,
    }


def _inside(rows: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """Whether each measurement lies in its interval, and how wide that is."""
    quantity = QUANTITY_OF[metric]
    value, low, high = (rows[f"p_{end}{quantity}"] for end in ("", "low_", "high_"))
    # A total of input and output lies in its interval where the output's rate does.
    ratio = rows[f"measured_{metric}"].astype(float) / rows[f"predicted_{metric}"]
    return (ratio >= low / value) & (ratio <= high / value), high / low


def _record(told: pd.DataFrame) -> dict[str, Any]:
    return {
        "rows": len(told),
        "uncorrected": round(float(told["before"].median()), 4),
        "corrected": round(float(told["after"].median()), 4),
        "corrected_mean": round(float(told["after"].mean()), 4),
        "inside": round(float(told["inside"].mean()), 4),
        "width": round(float(told["width"].median()), 3),
    }
