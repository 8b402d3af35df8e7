# SPDX-License-Identifier: Apache-2.0
"""Tabular models: the cases are what they say, and predict the rows that were asked."""

import numpy as np
import pytest

from profiler.tabular import Case, call_of, case_of, tabular_grid

pytest.importorskip("sklearn")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "trees", "depth"),
    [
        ("RandomForestRegressor", 7, 3),
        ("HistGradientBoostingRegressor", 5, 3),
        ("XGBRegressor", 6, 3),
        ("Ridge", None, None),
        ("MLPRegressor", None, None),
    ],
)
def test_a_case_predicts_its_rows_with_its_trees(estimator, trees, depth):
    if estimator.startswith("XGB"):
        pytest.importorskip("xgboost")
    case = Case(estimator=estimator, n_features=10, rows=13, n_trees=trees, depth=depth)
    call, n_nodes = call_of(case, threads=1)
    assert np.asarray(call()).shape == (13,)
    if trees is None:
        assert n_nodes is None
    else:
        # Noisy data fill trees: at least half of the 2^(depth + 1) - 1 nodes of full ones.
        assert trees * 15 / 2 < n_nodes <= trees * 15


def test_cases_survive_the_columns_of_a_measurement():
    for case in tabular_grid():
        assert case_of(case.columns) == case


def test_the_grid_reaches_from_one_row_to_a_hundred_thousand():
    rows = {case.rows for case in tabular_grid()}
    assert (min(rows), max(rows)) == (1, 100_000)
