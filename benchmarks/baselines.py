# SPDX-License-Identifier: Apache-2.0
"""Simple baselines that a learned correction has to beat, fitted on the same folds.

Each scales the plain roofline by factors that it reads off the rows it may see, except
`regression`, which knows no physics at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from calibration.dataset import log_ratios
from roofline.physics.kernel import FloatArray
from specs.catalogue import get_accelerator
from specs.errors import RooflineError
from specs.hub import get_model
from specs.precision import get_precision

Baseline = Callable[[pd.DataFrame, pd.DataFrame, str], pd.Series]
"""Of rows to fit on, rows to predict (both priced plainly) and a metric: predicted figures."""

REGRESSION = {"max_iter": 80, "learning_rate": 0.1, "min_samples_leaf": 20, "random_state": 0}

LEAST_ROWS = 40
"""Of fewer rows no regression is made; its answers are NaN."""


def _scaled(rows: pd.DataFrame, metric: str, log_factor: pd.Series | float) -> pd.Series:
    found: pd.Series = rows[f"predicted_{metric}"].astype(float) * np.exp(log_factor)
    return found


def one_factor(fitted: pd.DataFrame, asked: pd.DataFrame, metric: str) -> pd.Series:
    """The plain roofline times the median of measured over predicted."""
    return _scaled(asked, metric, log_ratios(fitted, metric).median())


def factor_per_engine(fitted: pd.DataFrame, asked: pd.DataFrame, metric: str) -> pd.Series:
    """One factor for each engine; the overall one for an engine without rows."""
    ratio = log_ratios(fitted, metric)
    factors = ratio.groupby(fitted["engine"]).median()
    return _scaled(asked, metric, asked["engine"].map(factors).astype(float).fillna(ratio.median()))


@lru_cache(maxsize=2048)
def _specs(gpu: str) -> tuple[float, ...]:
    """Logs of peak (16 bit, else the largest), bandwidth, power, memory and units."""
    device = get_accelerator(gpu)
    peaks = device.peak_flops_per_s
    peak = peaks.get("bf16") or peaks.get("fp16") or max(peaks.values())
    numbers = (peak, device.mem_bytes_per_s, device.tdp_w, device.mem_bytes, device.unit_count)
    return tuple(float(np.log(max(number, 1.0))) for number in numbers)


def nearest_device(fitted: pd.DataFrame, asked: pd.DataFrame, metric: str) -> pd.Series:
    """The factor of the nearest device that was measured under the same engine.

    Nearest in the logs of peak, bandwidth and power; an engine without rows gets the
    overall factor.
    """
    ratio = log_ratios(fitted, metric).dropna()
    factor = pd.Series(ratio.median(), index=asked.index)
    known = fitted.loc[ratio.index]
    medians = ratio.groupby([known["engine"], known["gpu"]]).median()
    by_engine = {str(name): part.droplevel(0) for name, part in medians.groupby(level=0)}
    for (engine, gpu), part in asked.groupby(["engine", "gpu"]):
        mine = by_engine.get(str(engine))
        if mine is not None:
            away = [_distance(str(gpu), str(other)) for other in mine.index]
            factor[part.index] = mine.iloc[int(np.argmin(away))]
    return _scaled(asked, metric, factor)


def _distance(one: str, other: str) -> float:
    return float(np.linalg.norm(np.subtract(_specs(one)[:3], _specs(other)[:3])))


@lru_cache(maxsize=2048)
def _shape(model: str) -> tuple[float, ...]:
    """Logs of parameters, parameters at work per token, layers and width."""
    try:
        found = get_model(model, offline=True)
    except RooflineError:
        return (np.nan,) * 4
    numbers = (found.params, found.active_params, found.num_layers, found.hidden_size)
    return tuple(float(np.log(number)) for number in numbers)


@lru_cache(maxsize=64)
def _weight_bytes(name: str) -> float:
    try:
        return float(get_precision(name).bytes_per_element) if name else np.nan
    except RooflineError:
        return np.nan


ENGINES = (
    "llama.cpp", "llamafile", "ollama", "openvino", "optimum-habana", "sglang", "tgi",
    "transformers", "trtllm", "vllm",
)  # fmt: skip


def raw_columns(rows: pd.DataFrame) -> FloatArray:
    """Specifications, shapes and settings as stated; the engine as numbers of its name."""
    settings = ("num_gpus", "tp", "batch_size", "concurrency", "input_tokens", "output_tokens",
                "cached_tokens")  # fmt: skip
    columns = [
        np.array([_specs(name) for name in rows["gpu"]]).T,
        np.array([_shape(name) for name in rows["model"]]).T,
        np.array([[_weight_bytes(name) for name in rows["weight_dtype"].fillna("")]]),
        np.log1p(np.array([rows[name].to_numpy(float) for name in settings])),
        np.array([rows["engine"].eq(name).to_numpy(float) for name in ENGINES]),
        rows["mode"].eq("serving").to_numpy(float)[None],
        (rows["power_limit_w"].to_numpy(float))[None],
    ]
    # Unknown is a value of its own: a column may be empty throughout.
    table: FloatArray = np.nan_to_num(np.concatenate(columns).T, nan=-1.0)
    return table


def regression(fitted: pd.DataFrame, asked: pd.DataFrame, metric: str) -> pd.Series:
    """Boosted trees from specifications and shapes to the log of the figure itself."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    measured = fitted[f"measured_{metric}"].astype(float)
    known = (measured > 0).to_numpy()
    if known.sum() < LEAST_ROWS:
        return pd.Series(np.nan, index=asked.index)
    model = HistGradientBoostingRegressor(**REGRESSION)
    with threadpool_limits(limits=1):
        model.fit(raw_columns(fitted[known]), np.log(measured[known]))
        return pd.Series(np.exp(model.predict(raw_columns(asked))), index=asked.index)


BASELINES: dict[str, Baseline] = {
    "one factor": one_factor,
    "factor per engine": factor_per_engine,
    "nearest device": nearest_device,
    "regression": regression,
}


def by_baselines(
    fitted: pd.DataFrame, asked: pd.DataFrame, metrics: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Predicted figures of rows by every baseline, a column per metric."""
    return {
        name: pd.DataFrame({metric: baseline(fitted, asked, metric) for metric in metrics})
        for name, baseline in BASELINES.items()
    }
