# SPDX-License-Identifier: Apache-2.0
"""What the residual model learned: which features it leans on, and how.

Everything is told on rows whose device was left out of the fit: what a model leans on there
is what carries over. Permutation importance: Breiman, "Random Forests", Machine Learning 45,
2001. Effect curves (partial dependence): Friedman, Ann. Stat. 29, 2001. SHAP values by the
package ``shap``, where it is installed: Lundberg et al., Nature Machine Intelligence 2, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.evaluate import Say, priced_rows
from calibration.residuals import (
    COUNTED,
    INNER_FOLDS,
    answers,
    dampings,
    described,
    grown,
    target,
    trusted,
    weights,
)
from calibration.scored import size_words
from calibration.split import folds
from calibration.staged import FEATURES, KINDS, word_columns
from calibration.trees import LEAVES, Trees, grow_model
from roofline.physics.kernel import FloatArray

TARGETS = ("ttft", "tpot")

REPEATS, CURVES, POINTS, MOST_SHAP = 3, 6, 25, 500
"""Shuffles of each feature; effect curves drawn; values on one; rows that SHAP sees."""

NO_SHAP = "no SHAP values: the package shap is missing; pip install 'roofline[explain]'"
NO_FIGURES = "no figures: matplotlib is missing; pip install 'roofline[calibrate]'"


def explain(measurements: pd.DataFrame, out: Path, *, say: Say | None = None) -> dict[str, Any]:
    """Explain the residual model as it comes out of these measurements.

    Parameters
    ----------
    measurements : DataFrame
        As for `calibration.fit.fit`.
    out : Path
        Folder that figures go to.

    Returns
    -------
    dict
        By target: ``importance`` (per feature the rise of the mean absolute log error when
        it is shuffled), ``curves`` (mean log ratio over values of a feature), ``shap`` (mean
        absolute SHAP value), ``errors`` by engine, device and size; ``files``, ``notes``.
    """
    rows = priced_rows(measurements)
    rows = rows[trusted(rows)].reset_index(drop=True)
    found: dict[str, Any] = {name: {} for name in ("importance", "curves", "shap", "errors")}
    notes = [] if find_spec("shap") else [NO_SHAP]
    for name in TARGETS:
        y = target(rows, name)
        part = rows[y.notna()].reset_index(drop=True)
        told = Explained(part, y.dropna().to_numpy(float))
        if say is not None:
            say(f"{name}: leaving devices out, then shuffling {len(FEATURES)} features")
        found["importance"][name] = told.importance()
        top = [row["feature"] for row in found["importance"][name][:CURVES]]
        found["curves"][name] = {feature: told.curve(feature) for feature in top}
        found["errors"][name] = told.errors()
        if find_spec("shap"):
            found["shap"][name] = told.shap()
    files: list[str] = []
    if find_spec("matplotlib"):
        files = draw(found, out)
    else:
        notes.append(NO_FIGURES)
    return {**found, "files": files, "notes": notes}


class Explained:
    """Trees of each kind of engine, grown with devices left out, and the rows they answer.

    Trees are damped by engine as `calibration.residuals` damps them for unseen devices.

    Parameters
    ----------
    rows : DataFrame
        From `evaluate.priced_rows`.
    y : ndarray
        Log of measured over analytic.
    """

    def __init__(self, rows: pd.DataFrame, y: FloatArray) -> None:
        labels, place, numbers = described(rows)
        self.features = np.concatenate([numbers, word_columns(labels)[:, place]])
        self.rows, self.y, self.weight = rows, y, weights(rows)
        self.parts: list[tuple[dict[str, Trees], np.ndarray]] = []
        self.factor = np.ones(y.size)
        for fitted, left in folds(rows, "unseen device", count=INNER_FOLDS):
            part = self.features[:, fitted], y[fitted], self.weight[fitted]
            self.parts.append((grown(rows[fitted], part), np.flatnonzero(left)))
        unseen = dict.fromkeys(COUNTED, self.predict(self.features))
        shares = dampings(rows, y, unseen)
        names = rows["is_engine"] + "|" + rows["is_era"]
        found = [shares.get(name, shares[name.partition("|")[0]]) for name in names]
        self.factor = np.array([device for _, device, _ in found])

    def predict(self, features: FloatArray) -> FloatArray:
        """Answer for each row of the trees that did not see its device."""
        answer = np.zeros(self.y.size)
        for trees, left in self.parts:
            found = answers(trees, self.rows.iloc[left], features[:, left])
            answer[left] = self.factor[left] * found
        return answer

    def _error(self, features: FloatArray) -> float:
        return float(np.average(np.abs(self.y - self.predict(features)), weights=self.weight))

    def importance(self) -> list[dict[str, Any]]:
        """Rise of the error when a feature is shuffled, largest first."""
        random = np.random.default_rng(0)
        before = self._error(self.features)
        out = []
        for number, name in enumerate(FEATURES):
            shuffled = self.features.copy()
            rises = []
            for _ in range(REPEATS):
                shuffled[number] = random.permutation(self.features[number])
                rises.append(self._error(shuffled) - before)
            out.append({"feature": name, "rise": round(float(np.mean(rises)), 5)})
        return sorted(out, key=lambda row: -row["rise"])

    def curve(self, feature: str) -> dict[str, list[float]]:
        """Mean answer when all rows had one value of a feature, over its range of values."""
        number = FEATURES.index(feature)
        low, high = np.quantile(self.features[number], (0.02, 0.98))
        values = np.unique(np.linspace(float(low), float(high), POINTS))
        changed = self.features.copy()
        means = []
        for value in values:
            changed[number] = value
            means.append(float(np.average(self.predict(changed), weights=self.weight)))
        return {
            "value": [round(float(v), 4) for v in values],
            "log_ratio": [round(m, 4) for m in means],
        }

    def shap(self) -> list[dict[str, Any]]:
        """Mean absolute SHAP value of features on a sample of rows, largest first."""
        import shap

        kinds = self.rows["is_engine"].map(KINDS).fillna("").to_numpy()
        total, count = np.zeros(len(FEATURES)), 0
        for kind in sorted(set(KINDS.values())):
            mine = np.flatnonzero(kinds == kind)
            if mine.size < LEAVES * MOST_SHAP // 50:
                continue
            model = grow_model(self.features[:, mine], self.y[mine], self.weight[mine])
            chosen = mine[np.random.default_rng(0).permutation(mine.size)[:MOST_SHAP]]
            values = shap.TreeExplainer(model).shap_values(self.features[:, chosen].T)
            total += np.abs(values).sum(axis=0)
            count += chosen.size
        rows = [
            {"feature": name, "mean_abs": round(float(value / max(count, 1)), 5)}
            for name, value in zip(FEATURES, total, strict=True)
        ]
        return sorted(rows, key=lambda row: -row["mean_abs"])

    def errors(self) -> dict[str, list[dict[str, Any]]]:
        """Median absolute error with the analytic model alone and with trees, by group."""
        table = pd.DataFrame(
            {
                "before": np.abs(np.expm1(-self.y)),
                "after": np.abs(np.expm1(self.predict(self.features) - self.y)),
            }
        )
        groups = {
            "engine": self.rows["is_engine"],
            "device": self.rows["is_gpu"],
            "size": size_words(self.rows["is_model"]),
        }
        return {
            name: [
                {
                    "group": str(group),
                    "rows": len(part),
                    "before": round(float(part["before"].median()), 4),
                    "after": round(float(part["after"].median()), 4),
                }
                for group, part in table.groupby(key.to_numpy())
            ]
            for name, key in groups.items()
        }


def draw(found: Mapping[str, Any], out: Path) -> list[str]:
    """Draw importances and effect curves, a PNG each; return their paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    files = []

    def save(figure: Figure, name: str) -> None:
        FigureCanvasAgg(figure)
        path = out / f"{name}.png"
        figure.savefig(path, dpi=110)
        files.append(str(path))

    for name, rows in found["importance"].items():
        figure = Figure(figsize=(7, 5), layout="constrained")
        _bars(figure.subplots(), rows[:15], "rise", f"{name.upper()}: rise of mean |log error|")
        save(figure, f"{name}_importance")
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots(2, 3).ravel()
        for axis, (feature, curve) in zip(axes, found["curves"][name].items(), strict=False):
            axis.plot(curve["value"], np.exp(curve["log_ratio"]))
            axis.set(xlabel=feature, ylabel="measured / analytic")
        save(figure, f"{name}_effects")
    for name, rows in found["shap"].items():
        figure = Figure(figsize=(7, 5), layout="constrained")
        _bars(figure.subplots(), rows[:15], "mean_abs", f"{name.upper()}: mean |SHAP|, log ratio")
        save(figure, f"{name}_shap")
    return files


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], value: str, title: str) -> None:
    names = [row["feature"] for row in rows][::-1]
    axis.barh(names, [row[value] for row in rows][::-1])
    axis.set_title(title)
