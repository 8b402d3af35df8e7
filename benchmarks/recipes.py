# SPDX-License-Identifier: Apache-2.0
"""Settings of benchmarks that their launch scripts state and their tables of results do not.

``data/recipes.toml`` holds the rules; `with_recipes` puts what they say into the columns of a
table of figures.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from typing import Any

import pandas as pd

from benchmarks.measured import DATA

SETTINGS = ("kv_dtype", "max_batched_tokens", "held_steps")


@lru_cache(maxsize=1)
def load_recipes() -> dict[str, Any]:
    """The rules, as the file has them."""
    return tomllib.loads((DATA / "recipes.toml").read_text(encoding="utf-8"))


def with_recipes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `SETTINGS` filled in where a rule says them and the row does not."""
    table = table.copy()
    for name in SETTINGS:
        if name not in table:
            table[name] = None
        table[name] = table[name].astype(object)
    for index, row in table.iterrows():
        rule = rule_of(row.to_dict())
        for name in SETTINGS:
            if rule is not None and name in rule and _empty(row[name]):
                table.at[index, name] = rule[name]
    return table


def rule_of(row: dict[Any, Any]) -> dict[str, Any] | None:
    """The first rule that fits a row of figures; None if there is none."""
    recipes = load_recipes()
    if row["source"] not in recipes["sources"] or row["mode"] != "serving":
        return None
    if abs(float(row["length_spread_frac"]) - recipes["spread_frac"]) > 1e-3:
        return None
    return next((rule for rule in recipes["rule"] if _fits(rule, row)), None)


def _fits(rule: dict[str, Any], row: dict[Any, Any]) -> bool:
    texts = {"engine": "engine", "gpu": "gpu", "model": "model", "weights": "weight_dtype"}
    if not all(
        re.match(rule[name], str(row[column])) for name, column in texts.items() if name in rule
    ):
        return False
    if "lengths" in rule:
        mean = load_recipes()["nominal_over_mean"]
        stated = (row["input_tokens"], row["output_tokens"])
        near = zip(stated, rule["lengths"], strict=True)
        if not all(abs(float(mine) / (mean * nominal) - 1.0) < 0.02 for mine, nominal in near):
            return False
    least, most = rule.get("concurrency", (0, float("inf")))
    tp = 1.0 if pd.isna(row["tp"]) else float(row["tp"])
    return bool(least <= float(row["concurrency"]) <= most and tp <= rule.get("most_tp", tp))


def _empty(value: Any) -> bool:
    return bool(value is None or pd.isna(value) or value == "")
