# SPDX-License-Identifier: Apache-2.0
"""Folds by whole groups: what is left out shares nothing of the group with what is fitted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

SPLITS = {
    "unseen device": ("is_gpu",),
    "unseen model": ("is_model",),
    "known device": ("source", "is_model", "is_gpu", "is_engine", "is_weights", "tp"),
}
"""Columns whose values are left out whole. A known device is one that other deployments were
measured on: other models, formats or degrees, or by other people."""

LEAST_ROWS = 5
"""A device or model with fewer rows is fitted on, not reported on."""


def folds(
    rows: pd.DataFrame, split: str, *, count: int = 10, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows to fit on, rows left out) as masks; groups are dealt to `count` folds.

    Groups are dealt by size, largest first, to the fold that is smallest so far, so that no
    fold leaves out most of the data.
    """
    parts = [rows[name].astype(object).where(rows[name].notna(), "") for name in SPLITS[split]]
    key = pd.Series(["|".join(map(str, each)) for each in zip(*parts, strict=True)], rows.index)
    sizes = key.value_counts()
    order = np.random.default_rng(seed).permutation(len(sizes))
    sizes = sizes.iloc[order].sort_values(ascending=False, kind="stable")
    count = min(count, len(sizes))
    filled = np.zeros(count)
    fold_of = {}
    for group, size in sizes.items():
        fold_of[group] = int(np.argmin(filled))
        filled[fold_of[group]] += size
    fold = key.map(fold_of).to_numpy()
    for number in range(count):
        yield fold != number, fold == number
