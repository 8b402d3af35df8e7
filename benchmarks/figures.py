# SPDX-License-Identifier: Apache-2.0
"""Our own tidy table of measured figures: how it is built, and how it is read.

    python -m benchmarks.figures --measurements FILE.parquet --out benchmarks/data/figures

One CSV per source, one row per measured point, SI units, columns of `COLUMNS`. Every row is
clean, says what a prediction needs in columns (nothing hides in remarks), and lies above the
hard floor. It is a selection: of each deployment a few points, spread over batch and lengths,
always the same ones. ``sources.toml`` beside the tables says what each source means by its
figures, what was left out of it and why; settings that a benchmark's launch scripts state and
its tables do not come from `benchmarks.recipes`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measured import CHECKPOINT, DATA, GGUF_ENGINES, scenarios_of, weight_format
from benchmarks.recipes import with_recipes
from benchmarks.scoreboard import METRICS, below_floor, compare, load
from calibration.power.rows import board_power
from calibration.tables import read_measurements
from specs.errors import InvalidInputError, RooflineError

FIGURES = DATA / "figures"

ASKED = (
    "model", "gpu", "num_gpus", "tp", "pp", "ep", "dp", "power_limit_w", "engine", "engine_raw",
    "engine_version", "epoch", "weight_dtype", "kv_dtype", "mode", "batch_size", "concurrency",
    "request_rate", "input_tokens", "cached_tokens", "output_tokens",
    "length_spread_frac", "prompt_known", "context_from_zero", "no_burst",
    "max_batched_tokens", "held_steps",
)  # fmt: skip
MEASURED = (
    "ttft_s", "tpot_s", "e2e_s", "prefill_tok_s", "decode_tok_s", "total_tok_s", "power_w",
    "energy_per_output_token_j",
)  # fmt: skip
COLUMNS = (*ASKED, *MEASURED, "n_samples", "source", "source_ref", "license")
TEXTS = (
    "model", "gpu", "engine", "engine_raw", "engine_version", "epoch", "weight_dtype",
    "kv_dtype", "mode", "source", "source_ref", "license",
)  # fmt: skip
FLAGS = ("prompt_known", "context_from_zero", "no_burst")

GROUP = ("source", "model", "gpu", "engine_raw", "weight_dtype", "tp")

MOST_PER_GROUP = 16
"""Rows of one group."""

MOST_PER_SOURCE, MOST_FRAC, SMALL_SOURCE = 1400, 0.75, 400
"""Rows of one source, and the share that is taken of a source of more than so many: a sample,
not somebody's whole collection. Of a larger one, groups give their rows in turn, and every
device keeps one."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATES = (
    re.compile(r"(20[12]\d)[-.](0[1-9]|1[0-2])(?!\d)"),
    re.compile(r"(?<!\d)(20[12]\d)(0[1-9]|1[0-2])[0-3]\d(?!\d)"),
)
_DATE_WORDS = (
    re.compile(r"\w{3} (?P<month>[A-Z][a-z]{2}) +\d+ [\d:]+ (?P<year>20[12]\d)"),
    re.compile(r"\((?P<month>[A-Z][a-z]{2})[a-z]* (?P<year>20[12]\d)\)"),
)
_INDEX = re.compile(r"(?:via )?(?:\w+ )?id \d{6,}(?: quoting [^|]*|, )?|\(\)", re.I)
"""Numbers of pages in somebody's index, which no reader can look up."""

_DEPTH = re.compile(r"_d(\d+)$")
"""Tokens in the cache before decoding, as references of `decode_places` end."""

_RUN = re.compile(r" https://github\.com/\S+/actions/runs/(\d+)/attempts/(\d+)")
_READ = re.compile(r"\(?,? ?accessed [\d-]+\)?")


@lru_cache(maxsize=4)
def load_sources(folder: Path = FIGURES) -> dict[str, dict[str, Any]]:
    """What each source is, by its name in the column ``source``; ``left_out`` is not one."""
    found = tomllib.loads((folder / "sources.toml").read_text(encoding="utf-8"))
    found.pop("left_out", None)
    return found


def load_figures(folder: Path = FIGURES) -> pd.DataFrame:
    """The whole table, all sources together, ready for `benchmarks.scoreboard.compare`.

    Columns are `COLUMNS` and ``trust``: 1 where the source says how it measured, 0 where it
    does not (``method`` in ``sources.toml``).

    Raises
    ------
    InvalidInputError
        The folder holds no tables.
    """
    if not any(folder.glob("*.csv")):
        raise InvalidInputError(
            f"{folder} holds no tables of figures; build them with python -m benchmarks.figures."
        )
    whole = read_measurements([folder])
    kinds = dict.fromkeys(TEXTS, "string") | dict.fromkeys(FLAGS, "bool")
    kinds |= {name: "float" for name in (*COLUMNS, "trust") if name not in kinds}
    if "trust" not in whole:
        whole["trust"] = 1.0
    return whole[[*COLUMNS, "trust"]].astype(kinds)


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of outside sources with the corrections that ``sources.toml`` states.

    Rows that were read wrongly are left out, figures that a source does not measure as we
    define them are emptied, times of whole requests moved to their own column, and power
    scaled where its error is known. Not for `load_figures`, which are corrected already.
    """
    for name, source in load_sources().items():
        for place in source.get("drop", ()):
            wrong = (table["source"] == name) & table["source_ref"].str.contains(place, regex=False)
            table = table[~wrong]
    numbers = [*MEASURED, "input_tokens", "output_tokens"]
    table = table.assign(**{name: pd.to_numeric(table[name]).astype(float) for name in numbers})
    for name, source in load_sources().items():
        rows = table["source"] == name
        table.loc[rows, list(source.get("blank", ()))] = np.nan
        for place, columns in source.get("blank_places", {}).items():
            table.loc[rows & table["source_ref"].str.startswith(place), columns] = np.nan
        _decode_apart(table, rows, source)
        if source.get("tpot_means") == "whole request":
            whole_s = table["tpot_s"] * table["output_tokens"]
            table["e2e_s"] = table["e2e_s"].fillna(whole_s.where(rows))
            table.loc[rows, "tpot_s"] = np.nan
        for column in ("power_w", "energy_per_output_token_j"):
            table.loc[rows, column] *= float(source.get("power_scale", 1.0))
    return _board_powers(table)


def _decode_apart(table: pd.DataFrame, rows: pd.Series, source: dict[str, Any]) -> None:
    """Rates of decoding alone as TPOT, and the cache that it began with as context (in place)."""
    for place, start in source.get("decode_places", {}).items():
        mine = rows & table["source_ref"].str.startswith(place) & table["ttft_s"].isna()
        if not mine.any():
            continue
        table.loc[mine, "tpot_s"] = table["tpot_s"].fillna(1.0 / table["decode_tok_s"])
        table.loc[mine, ["decode_tok_s", "total_tok_s"]] = np.nan
        if "context_from_zero" not in table.columns:
            table["context_from_zero"] = pd.Series(pd.NA, index=table.index, dtype="boolean")
        if start == "as stated":
            continue
        depth = table["source_ref"].str.extract(_DEPTH, expand=False).astype(float)
        depth = depth.fillna(0.0) if start == "empty" else depth
        table.loc[mine & (depth > 0.0), "input_tokens"] = depth
        table.loc[mine & (depth == 0.0), "context_from_zero"] = True


def _board_powers(table: pd.DataFrame) -> pd.DataFrame:
    """Power and energy as those of a board at work, empty where they are of something else."""
    rows = table.index[table["power_w"].notna()]
    records: list[dict[Any, Any]] = table.loc[rows].to_dict("records")
    found = [board_power(row) for row in records]
    factors = [np.nan if each.power_w is None else each.factor for each in found]
    for column in ("power_w", "energy_per_output_token_j"):
        table.loc[rows, column] *= np.array(factors)
    return table


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """All rows of an outside table that our table may hold, in its columns."""
    table = corrected(table[table["source"].isin(load_sources())]).reset_index(drop=True)
    result = compare(table)
    scenarios = scenarios_of(table)
    good = (result["reason"] == "") & result[[f"measured_{m}" for m in METRICS]].notna().any(axis=1)
    good &= ~result.index.isin(below_floor(result).index)
    rows = [
        _row(row, asked)
        for row, asked in zip(
            table[good].astype(object).to_dict("records"),
            scenarios[good].to_dict("records"),
            strict=True,
        )
    ]
    ours = pd.DataFrame(rows, columns=list(COLUMNS))
    if not rows:
        return ours
    same = _same_scenario(scenarios_of(ours), scenarios[good].reset_index(drop=True))
    return ours[same].drop_duplicates([c for c in COLUMNS if c != "source_ref"])


def _same_scenario(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.Series:
    """Rows that ask the same of the predictor as the row they were made from."""
    same = pd.Series(True, index=theirs.index)
    for name in theirs.columns:
        left, right = ours[name], theirs[name]
        if pd.api.types.is_numeric_dtype(left) and pd.api.types.is_numeric_dtype(right):
            same &= np.isclose(left.astype(float), right.astype(float), rtol=1e-5, equal_nan=True)
        else:
            same &= (left == right) | (left.isna() & right.isna())
    return same


def _row(row: dict[Any, Any], asked: dict[Any, Any]) -> dict[str, Any]:
    """One outside row and its scenario as a row of ours."""
    serving = row["mode"] == "serving"
    version = _text(row.get("engine_version"))
    requests = row["batch_size"]
    split = {name: asked[name] or None for name in ("tp", "pp", "ep", "dp")}
    return {
        **{name: _figure(row.get(name)) or None for name in MEASURED},
        **split,
        "model": asked["model"],
        "gpu": asked["gpu"],
        "num_gpus": asked["num_gpus"],
        "power_limit_w": asked["power_limit_w"] if np.isfinite(asked["power_limit_w"]) else None,
        "engine": asked["engine"],
        "engine_raw": _text(row["engine"]),
        # The registry that an image comes from says nothing of the version.
        "engine_version": version.rpartition(":")[2] if "/" in version else version,
        "epoch": epoch_of(row, asked["engine"]),
        "weight_dtype": _weight(row, asked),
        "kv_dtype": asked["kv_dtype"],
        "mode": row["mode"],
        "batch_size": None if serving else asked["batch"],
        "concurrency": asked["concurrency"] if serving and not pd.isna(requests) else None,
        "request_rate": _figure(row.get("request_rate")),
        "input_tokens": _figure(row["input_tokens"]) if asked["prompt_known"] else None,
        "cached_tokens": asked["cached_len"],
        "output_tokens": _figure(row["output_tokens"]),
        "length_spread_frac": _figure(asked["spread_frac"]),
        **{name: asked[name] for name in FLAGS},
        "n_samples": row.get("n_repeats"),
        "source": row["source"],
        "source_ref": reference_of(str(row["source_ref"])),
        "license": licence_of(str(row["license"])),
    }


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _figure(value: Any) -> float | None:
    """Six digits: more than any source measures."""
    if value is None or pd.isna(value):
        return None
    return float(f"{float(value):.6g}")


def _weight(row: dict[str, Any], asked: dict[str, Any]) -> str:
    """Weight format of the row in our names."""
    if asked["engine"] in GGUF_ENGINES and asked["weight_dtype"]:
        return str(asked["weight_dtype"])
    amd = str(row["gpu"]).startswith(("mi", "radeon", "rx-"))
    return weight_format(str(row["weight_dtype"]), amd) or CHECKPOINT


def licence_of(text: str) -> str:
    """Licence of the figures without remarks; of posts there is none."""
    return "unstated" if "unlicensed" in text else re.split(r"[ (;]", text.strip())[0]


def reference_of(text: str) -> str:
    """Where in the source, short: the first of several, as short as it still leads there."""
    text = _RUN.sub(r" run \1/\2", text.split("|")[0])
    text = _READ.sub("", _INDEX.sub("", text)).replace("via a curated summary", "")
    text = text.replace("()", "").replace("( ", "(")
    text = text.replace("packages/app/cypress/fixtures/api/", ".../")
    return re.sub(r"\s+", " ", text).strip()


def epoch_of(row: dict[str, Any], profile: str) -> str:
    """Year, or year and quarter, of the engine's version or of the measurement.

    A date in the row's remarks, its reference or its version; else the release of the
    version; else the year of the source. Empty where none can be told.
    """
    version = _text(row.get("engine_version"))
    for text in (_text(row.get("notes")), version, reference_of(_text(row.get("source_ref")))):
        if found := _quarter(text):
            return found
    rules = json.loads((DATA / "engine_epochs.json").read_text(encoding="utf-8"))["rules"]
    number = version.rpartition(":")[2]
    for engine, pattern, quarter in rules:
        if engine == profile and re.match(pattern, number):
            return str(quarter)
    return str(load_sources()[row["source"]]["epoch"])


def _quarter(text: str) -> str:
    for pattern in _DATES:
        if found := pattern.search(text):
            return f"{found[1]}-Q{(int(found[2]) + 2) // 3}"
    for pattern in _DATE_WORDS:
        found = pattern.search(text)
        if found and found["month"] in _MONTHS:
            return f"{found['year']}-Q{_MONTHS.index(found['month']) // 3 + 1}"
    return ""


def select(rows: pd.DataFrame) -> pd.DataFrame:
    """A few rows of each group, spread over batch, lengths, power limit and what is measured.

    Which ones depends on a hash of the row alone, so that the table does not change when
    others are added to its source.
    """
    rows = rows.assign(_order=[_hash(row) for row in rows.to_dict("records")])
    rows = rows.sort_values("_order")
    most = rows["source"].map(_quotas(rows["source"].value_counts()))
    stratum = rows.groupby([*GROUP, *_strata(rows)], dropna=False)
    # First one row of every stratum, then a second one...
    rows = rows.assign(_turn=stratum.cumcount()).sort_values(["_turn", "_order"])
    group = rows.groupby(list(GROUP), dropna=False)
    rows = rows.assign(_rank=group.cumcount())
    rows = rows[rows["_rank"] < MOST_PER_GROUP]
    first = rows.sort_values(["_rank", "_order"]).groupby(["source", "gpu"]).cumcount() == 0
    rows = rows.assign(_later=~first).sort_values(["_later", "_rank", "_order"])
    rows = rows[rows.groupby("source").cumcount() < most.loc[rows.index]]
    return rows.sort_values([*GROUP[:4], "_order"])[list(COLUMNS)]


def _quotas(counts: pd.Series) -> dict[Any, float]:
    """Rows that each source gives, from those it has."""
    share = counts.where(counts <= SMALL_SOURCE, (counts * MOST_FRAC).round())
    quotas: dict[Any, float] = share.clip(upper=MOST_PER_SOURCE).to_dict()
    return quotas


def _strata(rows: pd.DataFrame) -> list[pd.Series]:
    """Bins by powers of two of load and lengths, and which figures there are."""
    load_of = rows["batch_size"].fillna(rows["concurrency"])
    numbers = (load_of, rows["input_tokens"], rows["output_tokens"], rows["power_limit_w"])
    bins = [np.log2(pd.to_numeric(column).clip(lower=1.0)).round() for column in numbers]
    return [*bins, rows["power_w"].notna(), rows["tpot_s"].notna(), rows["mode"]]


def _hash(row: dict[Any, Any]) -> str:
    text = "|".join(str(row[name]) for name in (*ASKED, "source", "source_ref"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(rows: pd.DataFrame, out: Path) -> dict[str, int]:
    """One file per source; returns how many rows each has. Files of other sources go."""
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("*.csv"):
        path.unlink()
    counts = {}
    for source, part in rows.groupby("source"):
        part.to_csv(out / f"{source}.csv", index=False, float_format="%.6g", lineterminator="\n")
        counts[str(source)] = len(part)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="figures", description="Build the table of figures.")
    parser.add_argument("--measurements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        rows = with_recipes(select(tidy(load(args.measurements))))
    except RooflineError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    for source, count in write(rows, args.out).items():
        print(f"{count:6d}  {source}")
    print(f"{len(rows):6d}  rows, {rows['gpu'].nunique()} devices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
