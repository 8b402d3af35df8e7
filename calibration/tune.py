# SPDX-License-Identifier: Apache-2.0
"""A user's own measurements move a correction for their device and engine.

    roofline calibrate tune --measurements mine.parquet
    python -m calibration.tune --curve --measurements FIGURES --out curve.json

The artifact keeps the rows themselves: each call prices all of them with what ships and
krigs their log ratios around it (`calibration.own`), so that tuning twice is tuning once
with all rows, in any order. Predictions for other devices and engines stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from calibration.correct import LearnedCorrection, from_dict
from calibration.dataset import SCENARIO, Recorder, joined, log_ratios, scenario_columns
from calibration.own import WILD, Posterior, merged, points_json, prior_of, read_points
from calibration.own_cases import WORDS, Cases, described, octaves_of
from calibration.residuals import target
from roofline.physics.kernel import FloatArray
from roofline.predict import predict_table
from roofline.residual import NUMBERS, TARGETS
from specs.errors import InvalidInputError

OWN_KEYS = ("own", "own_points", "own_notes", "own_rows")
"""Parts of an artifact that come from a user's own rows."""

ASKED = (
    "model", "gpu", "engine", "mode", "weight_dtype", "kv_dtype", "num_gpus", "tp", "pp", "ep",
    "dp", "batch_size", "concurrency", "request_rate", "input_tokens", "cached_tokens",
    "output_tokens", "length_spread_frac", "power_limit_w", "epoch", "prompt_known",
    "context_from_zero", "no_burst", "max_batched_tokens", "held_steps",
)  # fmt: skip
MEASURED = (
    "ttft_s", "tpot_s", "e2e_s", "decode_tok_s", "total_tok_s", "power_w",
    "energy_per_output_token_j",
)  # fmt: skip
"""Columns that are kept of an own row: what it is priced by, and its figures."""

FEW_ROWS = 3
"""Fewer rows of a device and engine cannot contradict each other."""

FAR = 3.0
"""Deviations of the expected spread of devices beyond which a shift is named."""

LOOSE = 2.0
"""How much noisier than published rows own ones may be before it is said."""


Placing = Callable[[pd.DataFrame], pd.DataFrame]
"""Puts nouns into the columns ``gpu`` and ``engine`` of scenarios, for names that only its
caller knows: a device that was measured and is in no catalogue."""


def tune(
    artifact: Mapping[str, Any], rows: pd.DataFrame, *, place: Placing | None = None
) -> dict[str, Any]:
    """Add a user's own rows to an artifact.

    Parameters
    ----------
    artifact : mapping
        From `calibration.fit.fit` or an earlier `tune`.
    rows : DataFrame
        Measurements, one or more; rows that are in the artifact already count once.
    place : callable, optional
        See `Placing`. By default all names are the catalogue's.

    Returns
    -------
    dict
        A new artifact. ``own_notes`` says by device and engine what is doubtful.

    Raises
    ------
    InvalidInputError
        No row has a figure that can be compared with a prediction.
    """
    shipped = {name: part for name, part in artifact.items() if name not in OWN_KEYS}
    kept = _distinct([*artifact.get("own_rows", ()), *compact(rows)])
    base = from_dict(shipped)
    told = residuals(pd.DataFrame(kept), base, place=place)
    if told[list(TARGETS)].isna().all(axis=None):
        reasons = sorted({str(text) for text in told["reason"] if text})
        raise InvalidInputError(
            f"none of {len(kept)} rows can be compared with a prediction: "
            f"{reasons[0] if reasons else 'no TTFT, TPOT, latency, rate or power in them'}; "
            f"`roofline records list` shows rows."
        )
    return {**shipped, "own_rows": kept, **learned(told, base)}


def compact(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What is kept of measurements: known values of `ASKED` and `MEASURED`."""
    names = [name for name in (*ASKED, *MEASURED) if name in rows]
    return [
        {str(name): _plain(v) for name, v in row.items() if pd.notna(v) and v != ""}
        for row in rows[names].astype(object).to_dict("records")
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _distinct(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows without repetitions, in an order of their own."""
    texts = sorted({json.dumps(row, sort_keys=True) for row in rows})
    return [json.loads(text) for text in texts]


def residuals(
    rows: pd.DataFrame, base: LearnedCorrection, *, place: Placing | None = None
) -> pd.DataFrame:
    """Log of measured over predicted of rows, by target, with what `cases_of` reads of them.

    Columns ``is_gpu``, ``is_engine``, ``is_`` of `WORDS`, ``devices``, ``x_`` of ``NUMBERS``,
    `TARGETS` and ``reason``.
    """
    rows = rows.reindex(columns=[*ASKED, *MEASURED])
    scenarios = scenario_columns(rows)
    if place is not None:
        scenarios = place(scenarios)
    priced = joined(rows, scenarios=scenarios, correction=base)
    told = _described(scenarios.reset_index(drop=True), base)
    told["reason"] = priced["reason"]
    told["ttft"], told["tpot"] = target(priced, "ttft"), target(priced, "tpot")
    told["power"] = log_ratios(priced, "power_w")
    return told


def _described(scenarios: pd.DataFrame, base: LearnedCorrection) -> pd.DataFrame:
    """Scenarios as a correction is told of them."""
    recorder: Any = Recorder(base)
    columns = {name: scenarios[name].to_numpy() for name in SCENARIO}
    predict_table(columns, errors="column", correction=recorder)
    names = ("is_gpu", "is_engine", *(f"is_{word}" for word in WORDS))
    words = np.full((len(scenarios), len(names)), "", dtype=object)
    numbers = np.full((len(scenarios), len(NUMBERS) + 1), np.nan)
    for keys, seen in recorder.seen:
        labels = keys.labels()
        each, devices = described(keys, labels)
        texts = [(label.gpu, label.engine, *text) for label, text in zip(labels, each, strict=True)]
        words[keys.rows] = np.array(texts, dtype=object)[keys.place]
        numbers[keys.rows] = np.column_stack([devices[keys.place], seen.T])
    told = pd.DataFrame(words, columns=list(names))
    numbered = pd.DataFrame(numbers, columns=["devices", *(f"x_{name}" for name in NUMBERS)])
    return pd.concat([told, numbered], axis=1)


def cases_of(told: pd.DataFrame, name: str) -> Cases:
    """Rows of `residuals` as cases of a target."""
    words = list(told[[f"is_{word}" for word in WORDS]].itertuples(index=False, name=None))
    numbers = told[[f"x_{each}" for each in NUMBERS]].to_numpy(float).T
    return Cases.of(words, octaves_of(name, numbers, told["devices"].to_numpy(float)))


def learned(told: pd.DataFrame, base: LearnedCorrection) -> dict[str, Any]:
    """What own rows say, from `residuals`: points, levels of machines, notes."""
    own: dict[str, list[dict[str, Any]]] = {}
    points: dict[str, dict[str, Any]] = {}
    notes: dict[str, list[str]] = {}
    for name in TARGETS:
        levels: dict[str, list[float]] = {}
        for pair, mine, kept in _groups(told, name, base):
            place, found = "|".join(pair), read_points(kept, name)
            effect, variance = found.device
            levels[place] = [round(effect, 5), round(variance, 6), mine.size]
            points.setdefault(name, {})[place] = kept
            notes.setdefault(place, []).extend(_doubts(name, mine, found))
        if levels:
            own[name] = [{"by": ["gpu", "engine"], "prior": 0.0, "levels": levels}]
    for place, texts in notes.items():
        texts[:0] = _few(told, place)
    return {
        "own": own,
        "own_points": points,
        "own_notes": {place: texts for place, texts in notes.items() if texts},
    }


def _groups(
    told: pd.DataFrame, name: str, base: LearnedCorrection
) -> Iterator[tuple[tuple[str, str], FloatArray, dict[str, Any]]]:
    """Log ratios of each device and engine, and the points that a posterior is made from."""
    known = told[told[name].notna()]
    for pair, part in known.groupby(["is_gpu", "is_engine"], sort=True):
        gpu, engine = map(str, pair)
        seen = gpu in base.models["tpot"].seen.get(engine, ())
        y = part[name].to_numpy(float)
        prior = prior_of(engine, name, seen=seen)
        yield (gpu, engine), y, points_json(*merged(y, cases_of(part, name)), prior)


def _few(told: pd.DataFrame, place: str) -> list[str]:
    gpu, engine = place.split("|")
    mine = told["is_gpu"].eq(gpu) & told["is_engine"].eq(engine)
    count = int((mine & told[list(TARGETS)].notna().any(axis=1)).sum())
    if count >= FEW_ROWS:
        return []
    return [f"only {count}: an error in {'it' if count == 1 else 'one'} would not show"]


def _doubts(name: str, y: FloatArray, found: Posterior) -> list[str]:
    """What is to be said of rows of one device and engine."""
    texts = []
    what = "power" if name == "power" else name.upper()
    wild = int((found.trust < WILD).sum())
    if wild:
        texts.append(f"{what} of {wild} of {y.size} lies far off the others and counts little")
    ratio = float(np.sqrt(found.rough))
    if ratio > LOOSE:
        texts.append(f"{what} rows disagree, {ratio:.1f} times as much as published ones do")
    middle = float(np.median(y))
    if abs(middle) > FAR * np.sqrt(found.prior.shared):
        word = "higher" if middle > 0 else "lower"
        texts.append(
            f"{what} is {np.exp(abs(middle)):.1f} times {word} than expected: check drivers, "
            f"clocks and what was measured"
        )
    return texts


def main(argv: Sequence[str] | None = None) -> int:
    """Print the learning curve."""
    from calibration.learning import main as curve

    return curve(argv)


if __name__ == "__main__":
    raise SystemExit(main())
