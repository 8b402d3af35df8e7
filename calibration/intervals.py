# SPDX-License-Identifier: Apache-2.0
"""Intervals by conformal prediction with whole devices as the unit.

Errors of rows that were left out of the fit with their device (`evaluate.out_of_fold`) are
the scores: cross-conformal prediction with groups (Dunn, Wasserman, Ramdas,
"Distribution-free prediction sets for two-layer hierarchical models", JASA 118, 2023). Rows
of one device share its error, so n rows of a device count as the root of n. The paper's
guarantee for a tenth left outside needs more than ten devices per group, and with nine
data-centre parts it would answer "anything"; the level is therefore not raised for small n,
and `coverage` states what holds when each device in turn is left out of the quantiles
too. Ends are taken apart, at 5 and 95%, for errors lean to one side: machines run slower
than they could, never faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from calibration.dataset import METRICS
from calibration.intervals_of import group_of
from roofline.physics.kernel import FloatArray
from roofline.residual import COMPOSED_SLACK

LEVEL = 0.90

LEAST_DEVICES, LEAST_ROWS = 5, 40
"""A group with fewer borrows from the group that contains it."""

NARROWEST = 0.03
"""No end is nearer than the noise of repeated measurements."""


def scores(rows: pd.DataFrame, predicted: pd.DataFrame, metric: str) -> pd.Series:
    """Log of measured over predicted, NaN where not comparable."""
    measured = rows[f"measured_{metric}"].astype(float)
    value = predicted[metric].astype(float)
    good = (measured > 0) & (value > 0)
    return pd.Series(np.log(measured.where(good) / value.where(good)), index=rows.index)


def groups(rows: pd.DataFrame) -> pd.Series:
    """Group of each row."""
    pairs = zip(rows["is_engine"], rows["is_mode"], strict=True)
    return pd.Series([group_of(engine, mode) for engine, mode in pairs], index=rows.index)


def quantiles(score: FloatArray, device: Sequence[str]) -> tuple[float, float]:
    """Ends of the interval of log errors; n rows of a device count as the root of n."""
    codes, _ = pd.factorize(np.asarray(device))
    weight = np.bincount(codes)[codes].astype(np.float64) ** -0.5
    share = (1.0 + LEVEL) / 2.0
    low = -weighted_quantile(-score, weight, share)
    high = weighted_quantile(score, weight, share)
    return min(low, -NARROWEST), max(high, NARROWEST)


def weighted_quantile(values: FloatArray, weight: FloatArray, level: float) -> float:
    """Smallest value that at least `level` of the weight lies at or below."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    place = min(int(np.searchsorted(share, level - 1e-12)), order.size - 1)
    return float(values[order[place]])


def table(rows: pd.DataFrame, predicted: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Ends by group and metric; group ``"all"`` for those with too few devices."""
    found: dict[str, dict[str, list[float]]] = {}
    group = groups(rows)
    for name in ("all", *sorted(group.unique())):
        mine = np.ones(len(rows), dtype=bool) if name == "all" else group.eq(name).to_numpy()
        for metric in METRICS:
            score = scores(rows, predicted, metric)[mine].dropna()
            devices = rows.loc[score.index, "is_gpu"]
            if score.size < LEAST_ROWS or devices.nunique() < LEAST_DEVICES:
                continue
            ends = quantiles(score.to_numpy(), devices.tolist())
            found.setdefault(name, {})[metric] = [round(end, 4) for end in ends]
    return found


def coverage(rows: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Share of measurements inside intervals made without their device.

    Returns
    -------
    DataFrame
        By metric: rows, devices, share inside by rows and with devices counting alike,
        median width (high over low).
    """
    group, out = groups(rows), []
    ends = {metric: _cross_ends(rows, group, scores(rows, predicted, metric)) for metric in METRICS}
    for metric in METRICS:
        score = scores(rows, predicted, metric)
        low, high = ends[metric] if metric not in COMPOSED else _composed(rows, ends, metric)
        good = score.notna() & low.notna()
        if not good.any():
            continue
        inside = ((score >= low) & (score <= high))[good].astype(float)
        devices = rows["is_gpu"][good]
        out.append(
            {
                "metric": metric,
                "rows": int(good.sum()),
                "devices": int(devices.nunique()),
                "inside": float(inside.mean()),
                "inside_by_device": float(inside.groupby(devices).mean().mean()),
                "median_width": float(np.exp((high - low)[good].median())),
            }
        )
    return pd.DataFrame(out)


COMPOSED = ("e2e_s", "throughput")
"""Metrics of whole requests: their interval follows from those of TTFT and TPOT."""

_Ends = tuple[pd.Series, pd.Series]


def _composed(rows: pd.DataFrame, ends: Mapping[str, _Ends], metric: str) -> _Ends:
    """Ends of a latency or rate, as a prediction composes them."""
    first = (rows["p_ttft_s"] / rows["p_e2e_s"]).clip(upper=1.0)
    low, high = (
        pd.Series(COMPOSED_SLACK * np.log(first * np.exp(prompt) + (1 - first) * np.exp(step)))
        for prompt, step in zip(ends["ttft_s"], ends["tpot_s"], strict=True)
    )
    return (low, high) if metric == "e2e_s" else (-high, -low)


def _cross_ends(rows: pd.DataFrame, group: pd.Series, score: pd.Series) -> _Ends:
    """Ends for every row, from the errors of all other devices of its group."""
    low, high = pd.Series(np.nan, index=rows.index), pd.Series(np.nan, index=rows.index)
    known = score.dropna().index
    for name in group.unique():
        mine = rows.index[group.eq(name).to_numpy()]
        told = known[group[known].eq(name).to_numpy()]
        few = rows.loc[told, "is_gpu"].nunique() <= LEAST_DEVICES or told.size < LEAST_ROWS
        wide = known if few else told
        gpus, device = rows.loc[wide, "is_gpu"], rows.loc[mine, "is_gpu"]
        for gpu in device.unique():
            others = wide[gpus.ne(gpu).to_numpy()]
            if others.size >= LEAST_ROWS:
                ends = quantiles(score[others].to_numpy(), gpus[others].tolist())
                test = mine[device.eq(gpu).to_numpy()]
                low[test], high[test] = ends
    return low, high
