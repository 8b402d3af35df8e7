# SPDX-License-Identifier: Apache-2.0
"""Tables of measurements, read from whatever keeps them, as `calibration.dataset` wants them.

CSV, Parquet, JSON and JSON lines; folders of part-files as the profiler's store writes them;
folders of CSV files with a ``sources.toml`` beside them that says which sources to trust.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from specs.errors import InvalidInputError

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")

SOURCES = "sources.toml"

USABLE = ("ok", "noisy", "throttled", "partial")
"""Qualities of measured points whose figures may be used; a figure that is missing is empty."""

NEEDED = ("model", "gpu", "mode")


def read_measurements(paths: Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """Read measurements of requests from files and folders, one below the other.

    Parameters
    ----------
    paths : iterable of path
        Files of `SUFFIXES`, or folders of them. Hidden files and those whose names begin with
        an underscore are no part of a folder.

    Returns
    -------
    DataFrame
        Columns of the files. ``trust`` is 0 for sources that a ``sources.toml`` calls
        anecdotal, else 1, where any row has one. Failed points and measurements of kernels
        and tabular models are left out; why a point lacks a figure is in ``quality_reason``.

    Raises
    ------
    InvalidInputError
        A path that does not exist, is no table, or holds no measurement of a request.
    """
    named = [Path(path) for path in paths]
    tables = [_usable(table) for path in named for table in _tables(path)]
    tables = [table for table in tables if len(table)]
    if not tables:
        raise InvalidInputError(
            f"no measurement of requests in {', '.join(map(str, named)) or 'no path at all'}; "
            f"`roofline records list` shows what was measured."
        )
    # Columns without a value would decide the type of the whole.
    whole = pd.concat([table.dropna(axis=1, how="all") for table in tables], ignore_index=True)
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        if name not in whole:
            whole[name] = None
    if "trust" in whole:
        whole["trust"] = whole["trust"].astype(float).fillna(1.0)
    return whole


def _tables(path: Path) -> list[pd.DataFrame]:
    if not path.exists():
        raise InvalidInputError(f"no file or folder {path}; check the path.")
    if not path.is_dir():
        return [read_table(path)]
    files = sorted(
        each
        for each in path.iterdir()
        if each.suffix.lower() in SUFFIXES and not each.name.startswith((".", "_"))
    )
    tables = [read_table(each) for each in files]
    if (path / SOURCES).exists():
        trust = trust_of(path / SOURCES)
        for table in tables:
            if "source" in table:
                table["trust"] = table["source"].map(trust).astype(float).fillna(1.0)
    return tables


def trust_of(path: Path) -> dict[str, float]:
    """Trust in each source of a ``sources.toml``: 1 if its method is documented, else 0.

    Raises
    ------
    InvalidInputError
        The file is no TOML.
    """
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as TOML ({error}).") from None
    return {
        name: float(source["method"] == "documented")
        for name, source in found.items()
        if isinstance(source, dict) and "method" in source
    }


def read_table(
    path: Path, *, needed: Sequence[str] = NEEDED, what: str = "measurements"
) -> pd.DataFrame:
    """Read one file of `SUFFIXES` that has all columns `needed`.

    Raises
    ------
    InvalidInputError
        It is none, cannot be read, or lacks a column; `what` it should hold is then named.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = pd.read_parquet(path)
        elif suffix == ".csv":
            # "NA" and "None" are words here; only an empty cell is unknown.
            table = pd.read_csv(path, keep_default_na=False, na_values=[""], low_memory=False)
        elif suffix in (".json", ".jsonl"):
            table = pd.DataFrame(_objects(path.read_text(encoding="utf-8"), suffix))
        else:
            raise InvalidInputError(
                f"{path} is none of {', '.join(SUFFIXES)}; give one of those, or a folder."
            )
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table ({error}).") from None
    missing = [name for name in needed if name not in table.columns]
    if missing:
        hint = f"it has to have {', '.join(needed)}"
        raise InvalidInputError(
            f"{path} is no table of {what}: it lacks {', '.join(missing)}; "
            f"{hint if needed is not NEEDED else 'see `roofline import`'}."
        )
    return table


def _objects(text: str, suffix: str) -> list[dict[str, Any]]:
    """Rows of JSON as the store writes it: a list, or ``records``; or an object per line."""
    if suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    found = json.loads(text)
    rows = found.get("records", [found]) if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no list of objects")
    return rows


def _usable(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with figures of requests; ``reason`` of a measurement does not keep it from use."""
    if "kind" in table:
        table = table[table["kind"].eq("llm")]
    if "quality" not in table:
        return table
    table = table[table["quality"].isin(USABLE)].rename(columns={"reason": "quality_reason"})
    if "epoch" not in table and "measured_at" in table:
        return table.assign(epoch=table["measured_at"].astype(str).str[:4])
    return table
