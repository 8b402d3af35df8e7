# SPDX-License-Identifier: Apache-2.0
"""Groups of measurements that are furthest off, by name, with the reason where one was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.evaluate import reportable

REASONS = Path(__file__).parent / "data" / "worst.json"

BY = ("source", "is_gpu", "is_engine")
METRICS = ("ttft_s", "tpot_s", "e2e_s", "throughput")
LEAST_ROWS = 10


def worst_groups(
    rows: pd.DataFrame, predicted: pd.DataFrame, plain: pd.DataFrame, *, count: int = 10
) -> list[dict[str, Any]]:
    """Source, device and engine of the groups with the largest median factor.

    A row's factor is the mean over its times and rates of the size of log(predicted /
    measured): too fast and too slow count alike. `bias` is the median of predicted over
    measured time.
    """
    told = rows[reportable(rows, "unseen device")]
    table = told[list(BY)].assign(
        factor=np.exp(_factor(told, predicted).abs().mean(axis=1)),
        plain=np.exp(_factor(told, plain).abs().mean(axis=1)),
        bias=np.exp(_factor(told, predicted).mean(axis=1)),
    )
    table = table.dropna()
    found = table.groupby(list(BY)).agg(
        rows=("factor", "size"),
        factor=("factor", "median"),
        plain=("plain", "median"),
        bias=("bias", "median"),
    )
    found = found[found["rows"] >= LEAST_ROWS].sort_values("factor", ascending=False).head(count)
    said = reasons()
    lines: list[dict[Any, Any]] = found.reset_index().to_dict("records")
    return [{**line, "reason": said.get(_name(line), "not found")} for line in lines]


def _factor(rows: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Log of predicted over measured time; of rates, the other way round."""
    found = {}
    for metric in METRICS:
        measured = rows[f"measured_{metric}"].astype(float)
        value = predicted.loc[rows.index, metric].astype(float)
        sign = -1.0 if metric == "throughput" else 1.0
        found[metric] = sign * np.log(value / measured.where(measured > 0))
    return pd.DataFrame(found)


def _name(line: Mapping[Any, Any]) -> str:
    return " | ".join(str(line[name]) for name in BY)


def reasons() -> dict[str, str]:
    """Reasons that were found, by ``source | device | engine``."""
    found: dict[str, str] = json.loads(REASONS.read_text(encoding="utf-8"))
    return found
