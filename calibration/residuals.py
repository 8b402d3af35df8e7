# SPDX-License-Identifier: Apache-2.0
"""Fits the residual model of one target to rows of measurements beside predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calibration.dataset import LABELS, log_ratios
from calibration.mixed import PartialPooling
from calibration.split import folds
from calibration.staged import EFFECTS, KINDS, Block, Staged, word_columns
from calibration.trees import Trees, grow
from roofline.physics.kernel import FloatArray
from roofline.residual import NUMBERS, Labels

LIMIT = 2.5
"""Log ratios beyond it (a factor of twelve) are cut: such rows are no matter of degree."""

CROWD_POWER = 0.6
"""A group of n alike rows counts ``n ** (1 - 0.6)``: a hundred points of one deployment say
more than one, and far from a hundred times as much."""

DECODE_SHARE = 0.7
"""Least share of decoding in a request's time for its latency to stand for TPOT."""

LEAST_TRUST = 0.5
"""Sources trusted less are reported on and not fitted on: their method is not documented."""

LEAST_ROWS = 60
"""A kind of engine with fewer rows gets no trees."""

INNER_FOLDS = 4


def target(rows: pd.DataFrame, name: str) -> pd.Series:
    """Log of measured over analytic for ``"ttft"`` or ``"tpot"``, NaN where not known.

    Where a row has no TPOT, but a latency or a rate of a static batch that is mostly
    decoding, that stands for it.
    """
    if name == "ttft":
        return log_ratios(rows, "ttft_s").clip(-LIMIT, LIMIT)
    own = log_ratios(rows, "tpot_s")
    steps = (rows["p_e2e_s"] - rows["p_ttft_s"]) / rows["p_e2e_s"]
    mostly = steps > DECODE_SHARE
    own = own.fillna(log_ratios(rows, "e2e_s").where(mostly))
    rate = -log_ratios(rows, "throughput")
    own = own.fillna(rate.where(mostly & rows["mode"].eq("static")))
    return own.clip(-LIMIT, LIMIT)


def weights(rows: pd.DataFrame) -> FloatArray:
    """Weight of each row: less where a deployment is crowded."""
    keys = ["source", "is_gpu", "is_engine", "is_model", "is_weights"]
    crowd = rows.groupby(keys, dropna=False)["is_gpu"].transform("size").to_numpy(float)
    found: FloatArray = crowd**-CROWD_POWER
    return found


def trusted(rows: pd.DataFrame) -> np.ndarray:
    """Rows that may be fitted on."""
    if "trust" not in rows:
        return np.ones(len(rows), dtype=bool)
    found: np.ndarray = rows["trust"].to_numpy(float) >= LEAST_TRUST
    return found


def described(rows: pd.DataFrame) -> tuple[list[Labels], np.ndarray, FloatArray]:
    """Distinct labels, the place of each row's, and numbers of rows."""
    columns = [f"is_{name}" for name in LABELS]
    groups = rows.groupby(columns, sort=False, dropna=False)
    place = groups.ngroup().to_numpy()
    first = rows[columns].drop_duplicates()
    labels = [Labels(**dict(zip(LABELS, each, strict=True))) for each in first.to_numpy()]
    numbers = rows[[f"x_{name}" for name in NUMBERS]].to_numpy(float).T
    return labels, place, numbers


def _features(rows: pd.DataFrame) -> FloatArray:
    labels, place, numbers = described(rows)
    return np.concatenate([numbers, word_columns(labels)[:, place]])


def fit_staged(rows: pd.DataFrame, name: str, *, effects: bool = True) -> Staged:
    """Fit one target on `rows`.

    Parameters
    ----------
    rows : DataFrame
        From `dataset.joined` without a correction.
    name : {"ttft", "tpot"}
    effects : bool
        Whether models and devices get effects of their own.
    """
    told = target(rows, name)
    good = told.notna().to_numpy() & trusted(rows)
    rows, y = rows[good].reset_index(drop=True), told[good].to_numpy(float)
    if rows.empty:
        return Staged({}, {}, {}, ())
    weight, features = weights(rows), _features(rows)
    kinds = rows["is_engine"].map(KINDS).fillna("").to_numpy()
    trees: dict[str, Trees] = {}
    damping: dict[str, float] = {}
    known, unseen = np.zeros(len(rows)), np.zeros(len(rows))
    for kind in sorted(set(KINDS.values())):
        mine = np.flatnonzero(kinds == kind)
        if mine.size < LEAST_ROWS:
            continue
        trees[kind] = grow(features[:, mine], y[mine], weight[mine])
        part, taught = rows.iloc[mine], (features[:, mine], y[mine], weight[mine])
        known[mine] = _left_out(part, taught, "known device")
        unseen[mine] = _left_out(part, taught, "unseen device")
        damping.update(dampings(part, y[mine], unseen[mine], weight[mine]))
    blocks = _effects(rows, y - known, weight) if effects else ()
    seen = {
        str(engine): tuple(sorted(set(part["is_gpu"])))
        for engine, part in rows.groupby("is_engine")
    }
    return Staged(trees, damping, seen, blocks)


def _left_out(
    rows: pd.DataFrame, told: tuple[FloatArray, FloatArray, FloatArray], split: str
) -> FloatArray:
    """Predictions of trees for rows that they did not see; 0 where nothing else is left."""
    features, y, weight = told
    found = np.zeros(len(rows))
    for fitted, left in folds(rows, split, count=INNER_FOLDS, seed=1):
        if fitted.sum() >= LEAST_ROWS:
            trees = grow(features[:, fitted], y[fitted], weight[fitted])
            found[left] = trees.predict(features[:, left])
    return found


def dampings(
    rows: pd.DataFrame, y: FloatArray, unseen: FloatArray, weight: FloatArray
) -> dict[str, float]:
    """Share of the trees' answer that served each engine best on devices left out.

    An engine measured on n devices keeps n / (n + 1) of that share.
    """
    found = {}
    shares = np.linspace(0.0, 1.0, 11)
    for engine, place in rows.groupby("is_engine").indices.items():
        losses = [
            np.average(np.abs(y[place] - share * unseen[place]), weights=weight[place])
            for share in shares
        ]
        count = rows["is_gpu"].iloc[place].nunique()
        found[str(engine)] = float(shares[int(np.argmin(losses))]) * count / (count + 1.0)
    return found


def _effects(rows: pd.DataFrame, rest: FloatArray, weight: FloatArray) -> tuple[Block, ...]:
    by = [tuple(f"is_{name}" for name in block) for block in EFFECTS]
    model = PartialPooling(by, iterations=6).fit(rows, rest, weight)
    return tuple(
        Block(block, kept.prior, kept.levels)
        for block, kept in zip(EFFECTS, model.effects_, strict=True)
    )


def predict_rows(model: Staged, rows: pd.DataFrame) -> FloatArray:
    """Expected log ratio of rows."""
    labels, place, numbers = described(rows)
    return model.predict(labels, place, numbers)


def levels_used(model: Staged, label: Labels) -> Sequence[tuple[str, int]]:
    """Groups of a label that the model has an effect of, with the rows behind them."""
    found = [(" ".join(block.by), model.rows_behind(label, block.by)) for block in model.blocks]
    return [(name, rows) for name, rows in found if rows]
