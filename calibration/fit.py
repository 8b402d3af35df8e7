# SPDX-License-Identifier: Apache-2.0
"""Fits the correction that ships: residual models, power, intervals, and what to say of them.

roofline calibrate fit --measurements FILE... [--kernels DIR] --out correction.json
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.correct import SCHEMA, LearnedCorrection
from calibration.evaluate import (
    Say,
    absolute_errors,
    fitted_correction,
    out_of_fold,
    priced_rows,
    reportable,
)
from calibration.intervals import LEAST_DEVICES, coverage, table
from calibration.intervals import LEAST_ROWS as LEAST_SCORED
from calibration.intervals_of import METRICS
from calibration.operators.apply import load_operators, to_dict
from calibration.operators.bridge import OperatorCorrection
from calibration.operators.fit import refitted
from calibration.residuals import trusted
from specs.errors import InvalidInputError

LEAST_ROWS = 200
"""Fewer rows fit nothing that carries over; `roofline calibrate tune` is made for them."""

SPLITS = {"interpolated": "unseen device", "measured here": "known device"}
"""Split whose errors make the intervals of each standing."""


def fit(
    measurements: pd.DataFrame, *, kernels: Path | None = None, say: Say | None = None
) -> dict[str, Any]:
    """Fit everything and return the artifact's content.

    Parameters
    ----------
    measurements : DataFrame
        Columns as `calibration.dataset` reads them; ``trust`` below a half marks rows to
        report on and not to fit on.
    kernels : Path, optional
        Folder of measured kernels (`calibration.operators.tables`) that the laws of operators
        are fitted on, here and in each fold without the devices left out. They are then part
        of the artifact. Without it, and for operators that it lacks, the shipped laws count.
    say : callable, optional
        Called with what is being done.

    Raises
    ------
    InvalidInputError
        Too few rows or devices can be priced, or no operator can be fitted on `kernels`.
    """
    laws = None if kernels is None else refitted(kernels, load_operators(), say=say)
    known = None if laws is None else OperatorCorrection(laws)
    rows = priced_rows(measurements, known)
    _check_enough(rows[trusted(rows)])
    left_out = {
        split: out_of_fold(rows, split, columns=list(measurements.columns), kernels=known, say=say)
        for split in SPLITS.values()
    }
    fitted = fitted_correction(rows, kernels=known)
    sure = trusted(rows)
    intervals = {
        standing: table(rows[sure], left_out[split][sure]) for standing, split in SPLITS.items()
    }
    return {
        "schema": SCHEMA,
        "targets": {name: model.to_json() for name, model in fitted.models.items()},
        "power": None if fitted.constants is None else _short(asdict(fitted.constants)),
        "intervals": intervals,
        "families": {name: list(each) for name, each in fitted.families.items()},
        "meta": _meta(measurements, rows, fitted, left_out),
        **({} if laws is None else {"operators": to_dict(laws)}),
    }


def _check_enough(rows: pd.DataFrame) -> None:
    """Refuse rows that fit nothing, or no interval, before minutes are spent on them."""
    if len(rows) < LEAST_ROWS:
        raise InvalidInputError(
            f"only {len(rows)} rows can be fitted on, {LEAST_ROWS} are needed; "
            f"`roofline calibrate tune` adds a few rows of your own to the shipped correction."
        )
    told = [rows["is_gpu"][rows[f"measured_{metric}"] > 0.0] for metric in METRICS]
    if not any(len(gpus) >= LEAST_SCORED and gpus.nunique() >= LEAST_DEVICES for gpus in told):
        raise InvalidInputError(
            f"no figure has {LEAST_SCORED} rows on {LEAST_DEVICES} devices or more, so that "
            f"nothing would say how sure predictions are; `roofline calibrate tune` adds rows of "
            f"few devices to the shipped correction."
        )


def _short(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}


def _meta(
    measurements: pd.DataFrame,
    rows: pd.DataFrame,
    fitted: LearnedCorrection,
    left_out: Mapping[str, pd.DataFrame],
) -> dict[str, Any]:
    digest = hashlib.sha256(measurements.to_csv(index=False).encode()).hexdigest()
    unseen = left_out["unseen device"]
    own = "--kernels KERNELS " if "fitted" in fitted.kernels.laws.meta else ""
    return {
        "date": datetime.date.today().isoformat(),
        "data_sha256": digest,
        "command": f"roofline calibrate fit --measurements FIGURES {own}--out correction.json",
        "rows": len(rows),
        "rows_fitted": int(trusted(rows).sum()),
        "devices": int(rows["is_gpu"].nunique()),
        "models": int(rows["is_model"].nunique()),
        "sources": sorted(set(rows["source"])) if "source" in rows else [],
        **fitted.meta,
        "errors": {split: errors(rows, found, split) for split, found in left_out.items()},
        "coverage": json.loads(coverage(rows, unseen).round(4).to_json(orient="records")),
    }


def errors(rows: pd.DataFrame, found: pd.DataFrame, split: str) -> list[dict[str, Any]]:
    """Median and mean errors by metric, with kernel constants alone and corrected."""
    told, out = reportable(rows, split), []
    for metric in METRICS:
        before = absolute_errors(rows, rows[f"predicted_{metric}"], metric)
        after = absolute_errors(rows, found[metric], metric)
        good = told & before.notna().to_numpy() & after.notna().to_numpy()
        if good.any():
            out.append(
                {
                    "metric": metric,
                    "rows": int(good.sum()),
                    "devices": int(rows["is_gpu"][good].nunique()),
                    "kernels_median": round(float(np.median(before[good])), 4),
                    "corrected_median": round(float(np.median(after[good])), 4),
                    "corrected_mean": round(float(np.mean(after[good])), 4),
                }
            )
    return out


def to_text(artifact: Mapping[str, Any]) -> str:
    """Text of an artifact."""
    return json.dumps(artifact, separators=(",", ":"), sort_keys=True) + "\n"
