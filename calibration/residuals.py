# SPDX-License-Identifier: Apache-2.0
"""Fits the residual model of one target to rows of measurements beside predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from calibration.dataset import LABELS, log_ratios
from calibration.mixed import PartialPooling
from calibration.split import folds
from calibration.staged import (
    EFFECTS,
    KINDS,
    SHARED,
    Block,
    Staged,
    shares_of,
    trees_of,
    word_columns,
)
from calibration.trees import Trees, grow, mean_of
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

INNER_FOLDS = 3

LEAST_GAIN = 0.03
"""Trees that do not bring the median error down by as much of it do not count."""

COUNTED = {
    "known device": ["is_gpu", "is_model", "is_weights"],
    "unseen device": ["is_gpu"],
    "unseen model": ["is_model"],
}
"""Splits that trees are damped by, and of what there has to be more than one."""

Taught = tuple[FloatArray, FloatArray, FloatArray]
"""Features of shape ``(n_features, n)``, what they are to tell, and the weight of each row."""


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


def fit_staged(rows: pd.DataFrame, name: str) -> Staged:
    """Fit one target on `rows`.

    Parameters
    ----------
    rows : DataFrame
        From `dataset.joined` without a correction.
    name : {"ttft", "tpot"}
    """
    told = target(rows, name)
    good = told.notna().to_numpy() & trusted(rows)
    rows, y = rows[good].reset_index(drop=True), told[good].to_numpy(float)
    if rows.empty:
        return Staged({}, {}, {}, {}, ())
    taught = _features(rows), y, weights(rows)
    unseen = {split: left_out(rows, taught, split) for split in COUNTED}
    damping = dampings(rows, y, unseen)
    rest = y - _known_shares(rows, damping) * unseen["known device"]
    blocks = drawn_effects(rows, rest, taught[2], name)
    return Staged(
        grown(rows, taught), damping, _values(rows, "is_gpu"), _values(rows, "is_model"), blocks
    )


def _known_shares(
    rows: pd.DataFrame, damping: Mapping[str, tuple[float, float, float]]
) -> FloatArray:
    """Share of trees that each row gets where its device and model were seen."""
    pairs = zip(rows["is_engine"].astype(str), rows["is_era"].astype(str), strict=True)
    return np.array([shares_of(damping, engine, era)[0] for engine, era in pairs])


def _values(rows: pd.DataFrame, column: str) -> dict[str, tuple[str, ...]]:
    """Values of a column by engine."""
    groups = rows.groupby("is_engine")[column]
    return {str(engine): tuple(sorted(set(part))) for engine, part in groups}


def grown(rows: pd.DataFrame, taught: Taught) -> dict[str, Trees]:
    """Trees by kind of engine, and by engine where a kind has several.

    An engine's answer is the mean of its own trees' and its kind's: its own alone know less
    of other devices, its kind's alone less of itself.
    """
    features, y, weight = taught
    engines = rows["is_engine"].to_numpy(str)
    kinds = np.array([KINDS.get(engine, "") for engine in engines])
    found: dict[str, Trees] = {}
    for kind in sorted(set(KINDS.values())):
        mine = np.flatnonzero(kinds == kind)
        if mine.size < LEAST_ROWS:
            continue
        common = found[kind] = grow(features[:, mine], y[mine], weight[mine])
        names = sorted(set(engines[mine]))
        for name in names if len(names) > 1 else ():
            own = mine[engines[mine] == name]
            if own.size >= LEAST_ROWS:
                found[name] = mean_of(common, grow(features[:, own], y[own], weight[own]))
    return found


def answers(trees: Mapping[str, Trees], rows: pd.DataFrame, features: FloatArray) -> FloatArray:
    """What trees answer for rows, 0 where there are none for an engine."""
    found = np.zeros(len(rows))
    for engine, place in rows.groupby("is_engine").indices.items():
        mine = trees.get(trees_of(trees, str(engine)))
        if mine is not None:
            found[place] = mine.predict(features[:, place])
    return found


def left_out(rows: pd.DataFrame, taught: Taught, split: str) -> FloatArray:
    """Answers of trees for rows that they did not see; 0 where nothing else is left."""
    found = np.zeros(len(rows))
    for fitted, left in folds(rows, split, count=INNER_FOLDS, seed=1):
        features, y, weight = taught
        part = features[:, fitted], y[fitted], weight[fitted]
        trees = grown(rows[fitted], part)
        found[left] = answers(trees, rows[left], features[:, left])
    return found


def dampings(
    rows: pd.DataFrame, y: FloatArray, unseen: Mapping[str, FloatArray]
) -> dict[str, tuple[float, float, float]]:
    """Share of the trees' answer that served each engine and era best on rows left out.

    Best is the median of the absolute errors, which is what is published. An engine measured
    on n devices (models, deployments) keeps n / (n + 1) of it.

    Parameters
    ----------
    unseen : mapping of str to ndarray
        By split of `COUNTED`: from `left_out`.
    """
    engines = {str(name): place for name, place in rows.groupby("is_engine").indices.items()}
    eras = rows["is_engine"].astype(str) + "|" + rows["is_era"].astype(str)
    for name, place in rows.groupby(eras).indices.items():
        if len(place) >= LEAST_ROWS and rows["is_gpu"].iloc[place].nunique() > 1:
            engines[str(name)] = place
    found = {}
    for name, place in engines.items():
        whole = rows.iloc[engines[name.partition("|")[0]]]
        known, device, model = (
            _best_share(y[place], unseen[split][place]) * _trust(whole, columns)
            for split, columns in COUNTED.items()
        )
        # What carries over to no device and no model is noise where both are known, too.
        found[name] = known * (device + model > 0.0), device, model
    return found


def _best_share(y: FloatArray, unseen: FloatArray) -> float:
    shares = np.linspace(0.0, 1.0, 11)
    losses = np.median(np.abs(y - shares[:, None] * unseen), axis=1)
    best = int(np.argmin(losses))
    return float(shares[best]) if losses[best] < (1.0 - LEAST_GAIN) * losses[0] else 0.0


def _trust(rows: pd.DataFrame, columns: list[str]) -> float:
    count = len(rows[columns].drop_duplicates())
    return count / (count + 1.0)


def drawn_effects(
    rows: pd.DataFrame, rest: FloatArray, weight: FloatArray, name: str
) -> tuple[Block, ...]:
    """Effects of groups for what trees leave, drawn around what all rows share."""
    kinds = rows["is_engine"].map(KINDS)
    chosen = kinds.isin(SHARED[name]).to_numpy()
    if not chosen.any():
        return ()
    by = [tuple(f"is_{each}" for each in block) for block in EFFECTS[name]]
    model = PartialPooling(by, iterations=6).fit(rows[chosen], rest[chosen], weight[chosen])
    drawn = zip(EFFECTS[name], model.effects_, strict=True)
    shared = (
        _constant(block, rows[kinds.eq(kind)], model.intercept_)
        for kind, block in SHARED[name].items()
    )
    return (*(Block(block, kept.prior, kept.levels) for block, kept in drawn), *shared)


def _constant(by: tuple[str, ...], rows: pd.DataFrame, effect: float) -> Block:
    """A block whose levels, those of the rows, have one effect."""
    if rows.empty:
        return Block(by, 0.0, {})
    levels = rows[[f"is_{name}" for name in by]].astype(str).agg("|".join, axis=1)
    sizes = levels.value_counts()
    return Block(by, 0.0, {str(name): (effect, 0.0, int(size)) for name, size in sizes.items()})


def predict_rows(model: Staged, rows: pd.DataFrame) -> FloatArray:
    """Expected log ratio of rows."""
    labels, place, numbers = described(rows)
    return model.predict(labels, place, numbers)
