# SPDX-License-Identifier: Apache-2.0
"""Tabular models: how long one ``predict`` takes over rows, trees, depth and features.

Every estimator is fitted once on random data of a smooth target with noise, so that its
trees grow as deep as they are let, and then predicts 1 to 100 000 rows. XGBoost takes
part where it is installed. The number of nodes is counted in the fitted model: beside
rows x trees x depth it decides whether the trees stay in cache.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from profiler.models import require

ROWS = (1, 10, 100, 1000, 10_000, 100_000)
FIT_ROWS = 4000
FEATURES = (10, 100)

ENSEMBLES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "XGBRegressor": ((50, 3), (50, 6), (50, 10), (200, 6), (800, 6)),
    "RandomForestRegressor": ((50, 6), (200, 6), (50, 12)),
    "HistGradientBoostingRegressor": ((50, 6), (200, 6)),
}
"""Trees and depth, by estimator."""

OTHERS = ("MLPRegressor", "Ridge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One estimator and the number of rows that it predicts in one call."""

    estimator: str
    n_features: int
    rows: int
    n_trees: int | None = None
    depth: int | None = None

    @property
    def engine(self) -> str:
        """Library that runs it."""
        return "xgboost" if self.estimator.startswith("XGB") else "scikit-learn"

    @property
    def columns(self) -> dict[str, Any]:
        """What identifies it, in columns of a measurement."""
        names = ("estimator", "n_features", "rows", "n_trees", "depth")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def title(self) -> str:
        """Short name for progress and tables."""
        trees = f" {self.n_trees} trees of depth {self.depth}" if self.n_trees else ""
        return f"{self.estimator}{trees}, {self.n_features} features, {self.rows} rows"


def tabular_grid() -> list[Case]:
    """Return every case whose library is installed; a fitted model's cases stand together."""
    require("sklearn", extra="calibrate")
    return list(_cases(with_xgboost=importlib.util.find_spec("xgboost") is not None))


def _cases(*, with_xgboost: bool) -> Iterator[Case]:
    for n_features in FEATURES:
        for estimator, sizes in ENSEMBLES.items():
            if estimator.startswith("XGB") and not with_xgboost:
                continue
            for n_trees, depth in sizes:
                for rows in ROWS:
                    yield Case(
                        estimator=estimator,
                        n_features=n_features,
                        rows=rows,
                        n_trees=n_trees,
                        depth=depth,
                    )
        for estimator in OTHERS:
            for rows in ROWS:
                yield Case(estimator=estimator, n_features=n_features, rows=rows)


def case_of(columns: Mapping[str, Any]) -> Case:
    """Return the case that stands in the columns of a measurement."""
    return Case(
        estimator=columns["estimator"],
        n_features=columns["n_features"],
        rows=columns["rows"],
        n_trees=columns.get("n_trees"),
        depth=columns.get("depth"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted estimator: predicts an array, and the nodes of all its trees."""

    predict: Callable[[Any], Any]
    n_nodes: int | None


def call_of(case: Case, *, threads: int) -> tuple[Callable[[], Any], int | None]:
    """Return the call that predicts `case.rows` rows once, and the nodes of its trees."""
    import numpy as np

    fitted = _fitted(case.estimator, case.n_features, case.n_trees, case.depth, threads)
    rows = np.random.default_rng(1).standard_normal((case.rows, case.n_features))
    asked = rows.astype(np.float32)
    return lambda: fitted.predict(asked), fitted.n_nodes


@lru_cache(maxsize=1)
def _fitted(
    estimator: str, n_features: int, n_trees: int | None, depth: int | None, threads: int
) -> Fitted:
    """Fit once; the cases of one model follow each other."""
    import numpy as np

    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((FIT_ROWS, n_features)).astype(np.float32)
    noise = 0.5 * generator.standard_normal(FIT_ROWS)
    wanted = inputs[:, 0] * inputs[:, 1] + np.sin(3 * inputs[:, 2]) + noise
    if estimator.startswith("XGB"):
        return _xgboost(inputs, wanted, n_trees, depth, threads)
    return _sklearn(estimator, inputs, wanted, n_trees, depth, threads)


def _xgboost(
    inputs: Any, wanted: Any, n_trees: int | None, depth: int | None, threads: int
) -> Fitted:
    import xgboost

    settings = {"max_depth": depth, "eta": 0.1, "nthread": threads, "tree_method": "hist"}
    booster = xgboost.train(settings, xgboost.DMatrix(inputs, wanted), num_boost_round=n_trees)
    n_nodes = sum(tree.count("\n") for tree in booster.get_dump())
    return Fitted(predict=booster.inplace_predict, n_nodes=n_nodes)


def _sklearn(
    estimator: str, inputs: Any, wanted: Any, n_trees: int | None, depth: int | None, threads: int
) -> Fitted:
    import warnings

    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    makers: dict[str, Callable[[], Any]] = {
        "RandomForestRegressor": lambda: RandomForestRegressor(
            n_estimators=n_trees,
            max_depth=depth,
            max_features=1 / 3,  # fits faster, predicts alike
            n_jobs=threads,
            random_state=0,
        ),
        "HistGradientBoostingRegressor": lambda: HistGradientBoostingRegressor(
            max_iter=n_trees, max_depth=depth, early_stopping=False, random_state=0
        ),
        "MLPRegressor": lambda: MLPRegressor(
            hidden_layer_sizes=(128, 128), max_iter=5, random_state=0
        ),
        "Ridge": Ridge,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the network need not converge to be timed
        model = makers[estimator]().fit(inputs, wanted)
    return Fitted(predict=model.predict, n_nodes=_nodes(model))


def _nodes(model: Any) -> int | None:
    if hasattr(model, "estimators_"):
        return sum(int(tree.tree_.node_count) for tree in model.estimators_)
    if hasattr(model, "_predictors"):
        return sum(len(tree.nodes) for step in model._predictors for tree in step)
    return None
