# SPDX-License-Identifier: Apache-2.0
"""Times below the hard floor: measurements with the reason found, predictions as bugs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.scoreboard import FLOORS, below_floor

EXPLAINED = Path(__file__).parent / "data" / "below_floor.json"

ROUNDING = 1e-6


def rules() -> list[dict[str, Any]]:
    """Reasons by source, metric and beginning of the model's name."""
    found: list[dict[str, Any]] = json.loads(EXPLAINED.read_text(encoding="utf-8"))
    return found


def explanation(row: pd.Series) -> str:
    """Why a measurement lies below the floor; empty if nobody has found out."""
    for rule in rules():
        if (
            rule["source"] == row["source"]
            and rule["metric"] == row["metric"]
            and str(row["model"]).startswith(rule["model"])
        ):
            return str(rule["reason"])
    return ""


def unexplained(result: pd.DataFrame) -> pd.DataFrame:
    """Rows below the floor that no explanation names."""
    found = below_floor(result)
    return found[[not explanation(row) for _, row in found.iterrows()]]


def predicted_below_floor(rows: pd.DataFrame, predicted: pd.DataFrame) -> int:
    """Predicted times that lie below the hard floor of their own row: each one is a bug."""
    count = 0
    for metric in FLOORS:
        floor = rows[f"floor_{metric}"].astype(float)
        count += int((predicted[metric].astype(float) < floor * (1.0 - ROUNDING)).sum())
    return count
