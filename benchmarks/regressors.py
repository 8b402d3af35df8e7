# SPDX-License-Identifier: Apache-2.0
"""Regressors of the residual, compared by whole devices left out.

    python -m benchmarks.regressors --out benchmarks/data/regressors.json

All see the same numbers and words of the same rows and answer with the log of measured over
analytic (`calibration.residuals.target`); they differ in form alone. Slow, and therefore run
apart from the card, which prints what this command wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.figures import load_figures
from calibration.dataset import joined, log_ratios
from calibration.evaluate import FOLDS, priced_rows, reportable, unseen_fold
from calibration.residuals import (
    described,
    fit_staged,
    predict_rows,
    target,
    trusted,
    weights,
)
from calibration.split import folds
from calibration.staged import FEATURES, word_columns
from roofline.physics.kernel import FloatArray

SPLIT = "unseen device"

GP_ROWS = 600
"""A Gaussian process on all rows would take hours."""

RISING = {"prompt_host": 1, "prompt_fixed": 1, "step_host": 1}
"""Numbers that the ratio can only grow with: what a host adds beside the device."""


def features(rows: pd.DataFrame) -> FloatArray:
    """Numbers and words of rows, shape ``(n, n_features)``."""
    labels, place, numbers = described(rows)
    return np.concatenate([numbers, word_columns(labels)[:, place]]).T


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    signs = [RISING.get(name, 0) for name in FEATURES]
    return HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=25,
        l2_regularization=10.0, monotonic_cst=signs, random_state=0,
    )  # fmt: skip


def _forest() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(60, min_samples_leaf=5, max_features=0.4, random_state=0)


def _process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(0.25) * RBF(5.0) + WhiteKernel(0.05)
    return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=0)


def _network() -> Any:
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(
        hidden_layer_sizes=(32, 16), alpha=1.0, max_iter=80, early_stopping=True, random_state=0
    )


def models() -> dict[str, Callable[[], Any]]:
    """Unfitted regressors by name."""
    from sklearn.ensemble import StackingRegressor
    from sklearn.linear_model import BayesianRidge, Ridge, RidgeCV

    def stack() -> Any:
        parts = [("ridge", _scaled(Ridge(30.0))), ("boosting", _boosting()), ("forest", _forest())]
        return StackingRegressor(parts, RidgeCV(), cv=4)

    return {
        "ridge": lambda: _scaled(Ridge(30.0)),
        "Bayesian ridge": lambda: _scaled(BayesianRidge()),
        "boosting, monotone": _boosting,
        "random forest": _forest,
        f"Gaussian process on {GP_ROWS} rows": lambda: _scaled(_process()),
        "MLP 32-16": lambda: _scaled(_network()),
        "stack of ridge, boosting, forest": stack,
    }


def _answer(
    name: str, make: Callable[[], Any], train: pd.DataFrame, test: pd.DataFrame, what: str
) -> FloatArray:
    """Expected log ratios of `test` by one regressor."""
    y = target(train, what)
    train = train[y.notna().to_numpy()]
    value, weight = y.dropna().to_numpy(), weights(train)
    table = features(train)
    if "process" in name:
        chosen = np.random.default_rng(0).choice(len(table), GP_ROWS, p=weight / weight.sum())
        table, value = table[chosen], value[chosen]
    model = make()
    plain = name in ("boosting, monotone", "random forest")
    given = {"sample_weight": weight} if plain else {}
    model.fit(table, value, **given)
    found: FloatArray = model.predict(features(test))
    return found


def _parts(rows: pd.DataFrame, columns: list[str]) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows to fit on and rows left out, priced by kernel constants without their devices."""
    found = []
    for fitted, left in folds(rows, SPLIT, count=FOLDS):
        train, kernels = unseen_fold(rows, fitted & trusted(rows), left, columns=columns)
        test = joined(rows.loc[left, columns], kernels=kernels)
        found.append((train, test.set_index(rows.index[left])))
    return found


def compare(
    table: pd.DataFrame, targets: tuple[str, ...] = ("tpot", "ttft")
) -> list[dict[str, Any]]:
    """Errors of every regressor for TTFT and TPOT of devices left out, in percent."""
    from threadpoolctl import threadpool_limits

    rows = priced_rows(table)
    parts, out = _parts(rows, list(table.columns)), []
    told = reportable(rows, SPLIT)
    served = rows["is_engine"].isin(("vllm", "sglang", "trtllm")) & rows["is_memory"].eq("hbm")
    ways: dict[str, Callable[[], Any] | None] = {"none": None, **models(), "ours": None}
    for what in targets:
        metric = f"{what}_s"
        truth = pd.concat([log_ratios(test, metric) for _, test in parts]).sort_index()
        for name, make in ways.items():
            found = []
            with threadpool_limits(limits=1):
                for train, test in parts:
                    if name == "ours":
                        ours = fit_staged(train, what)
                        answer = predict_rows(ours, test)
                    elif make is None:
                        answer = np.zeros(len(test))
                    else:
                        answer = _answer(name, make, train, test, what)
                    found.append(pd.Series(answer, index=test.index))
            error = 100.0 * np.expm1(pd.concat(found).sort_index() - truth).abs()[told]
            line = {"target": what, "regressor": name, **_summary(error, rows, served)}
            out.append(line)
            print(f"{what} {name}: {line['median']:.1f}%", file=sys.stderr)
    return out


def _summary(error: pd.Series, rows: pd.DataFrame, served: pd.Series) -> dict[str, Any]:
    error = error.dropna()
    gpu = rows.loc[error.index, "is_gpu"]
    part = error[served.loc[error.index]]
    return {
        "rows": len(error),
        "devices": int(gpu.nunique()),
        "median": round(float(error.median()), 2),
        "mean": round(float(error.mean()), 2),
        "by_device": round(float(error.groupby(gpu).median().median()), 2),
        "data_centre_median": round(float(part.median()), 2),
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="regressors", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    found = {
        "command": "python -m benchmarks.regressors --out benchmarks/data/regressors.json",
        "split": SPLIT,
        "folds": FOLDS,
        "results": compare(load_figures()),
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
