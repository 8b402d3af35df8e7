# SPDX-License-Identifier: Apache-2.0
"""How much own rows help: a simulation on devices that nothing was fitted on.

Each device is left out with its kernels and all its sources, as in `calibration.evaluate`;
then some of its rows play a user's own. Half of a device's deployments' rows are asked about
and stay the same while own rows are added from the other half, spread over deployments.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.evaluate import Say, fitted_correction, kernels_without, priced_rows
from calibration.own import NAMES, Prior, level, narrowed, posterior, prior_of
from calibration.residuals import trusted
from calibration.split import folds
from calibration.staged import KINDS
from calibration.tune import residuals
from roofline.physics.kernel import FloatArray
from specs.errors import RooflineError

COUNTS = (0, 1, 3, 10, 30, 100)
"""Numbers of own rows."""

FOLDS, DRAWS = 5, 8

LEAST_ASKED = 5
"""Fewer rows to ask about say little of an error."""

TARGETS = ("ttft", "tpot", "power")

Names = list[tuple[str, ...]]


def left_out(rows: pd.DataFrame, *, columns: Sequence[str], say: Say | None = None) -> pd.DataFrame:
    """Log ratios of `rows` to predictions that never saw their device, with labels."""
    parts = []
    for number, (fitted, left) in enumerate(folds(rows, "unseen device", count=FOLDS)):
        if say is not None:
            say(f"leaving devices out: fold {number + 1} of {FOLDS}")
        test = rows[left]
        kernels = kernels_without(sorted(set(test["is_gpu"])))
        correction = fitted_correction(rows[fitted], kernels=kernels)
        told = residuals(test[list(columns)], correction).set_index(test.index)
        parts.append(told.assign(tp=test["tp"], source=test["source"]))
    return pd.concat(parts).sort_index()


def learning_curve(told: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Errors by number of own rows.

    Parameters
    ----------
    told : DataFrame
        From `left_out`.
    draws : int
        Times that each device's rows are dealt anew.

    Returns
    -------
    DataFrame
        ``target``, ``kind`` of engine, ``gpu``, ``engine``, ``draw``, ``own_rows``,
        ``most`` (the most of `COUNTS` that this device could give), ``error`` (median of the
        absolute errors of the rows asked about), ``width`` (mean factor on their intervals).
    """
    out = []
    for name in TARGETS:
        for gpu, engine, part in _machines(told, name):
            prior = prior_of(engine, name, seen=False)
            y, names = _known(part, name)
            for draw in range(draws):
                random = np.random.default_rng([seed, draw, part.index[0]])
                asked, pool = _dealt(part, random)
                if asked.size < LEAST_ASKED:
                    break
                counts = [count for count in COUNTS if count <= pool.size]
                for count in counts:
                    moved, width = _answer(y, names, pool[:count], asked, prior)
                    error = np.abs(np.expm1(moved - y[asked]))
                    out.append(
                        {
                            "target": name,
                            "kind": KINDS.get(engine, "other"),
                            "gpu": gpu,
                            "engine": engine,
                            "draw": draw,
                            "own_rows": count,
                            "most": counts[-1],
                            "error": float(np.median(error)),
                            "width": width,
                        }
                    )
    return pd.DataFrame(out)


def _machines(told: pd.DataFrame, name: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    known = told[told[name].notna()]
    for pair, part in known.groupby(["is_gpu", "is_engine"], sort=True):
        gpu, engine = map(str, pair)
        yield gpu, engine, part


def _known(part: pd.DataFrame, name: str) -> tuple[FloatArray, Names]:
    labels = part[[f"is_{label}" for label in NAMES]]
    return part[name].to_numpy(float), list(labels.itertuples(index=False, name=None))


def _dealt(part: pd.DataFrame, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows asked about, and rows to learn from: deployments in turn, a row of each."""
    order = random.permutation(len(part))
    half = len(part) // 2
    asked, rest = order[:half], order[half:]
    deployment = part[[f"is_{label}" for label in NAMES]].astype(str).agg("|".join, axis=1)
    deployment = deployment + "|" + part["tp"].astype(str)
    turn = deployment.iloc[rest].groupby(deployment.iloc[rest]).cumcount().to_numpy()
    return asked, rest[np.argsort(turn, kind="stable")]


def _answer(
    y: FloatArray, names: Names, own: np.ndarray, asked: np.ndarray, prior: Prior
) -> tuple[FloatArray, float]:
    """What own rows add to the log ratio of rows asked about; mean factor on their width."""
    if not own.size:
        return np.zeros(asked.size), 1.0
    found = posterior(y[own], [names[row] for row in own], prior)
    moved = np.zeros(asked.size)
    for block, levels in enumerate(found.levels):
        for place, row in enumerate(asked):
            moved[place] += levels.get(level(names[row], block), (0.0,))[0]
    flat = {"|".join(key): value for key, value in found.narrow.items()}
    return moved, float(np.mean([narrowed(flat, names[row]) for row in asked]))


def one_row(told: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Errors of all other rows of a (model, format, device, engine) of which one is known.

    Returns
    -------
    DataFrame
        A row per other row: ``target``, ``kind``, ``mode``, ``gpu``, ``engine``, absolute
        errors ``before`` (nothing known), ``error`` (the one row known) and ``scaled`` (the
        prediction scaled by the one row's own ratio).
    """
    out = []
    for name in TARGETS:
        for gpu, engine, machine in _machines(told, name):
            prior = prior_of(engine, name, seen=False)
            keys = ["is_mode", "is_model", "is_weights", "tp"]
            for _, part in machine.groupby(keys, dropna=False):
                if len(part) < 2:
                    continue
                y, names = _known(part, name)
                random = np.random.default_rng([seed, part.index[0]])
                own = random.integers(len(part))
                asked = np.delete(np.arange(len(part)), own)
                moved, _ = _answer(y, names, np.array([own]), asked, prior)
                out += [
                    {
                        "target": name,
                        "kind": KINDS.get(engine, "other"),
                        "mode": names[0][0],
                        "gpu": gpu,
                        "engine": engine,
                        "before": float(np.abs(np.expm1(-y[row]))),
                        "error": float(np.abs(np.expm1(shift - y[row]))),
                        "scaled": float(np.abs(np.expm1(y[own] - y[row]))),
                    }
                    for row, shift in zip(asked, moved, strict=True)
                ]
    return pd.DataFrame(out)


def summary(curve: pd.DataFrame) -> list[dict[str, Any]]:
    """Curves over machines that could give as many own rows: the same ones along each curve.

    Errors are means over a machine's draws, then median and mean over machines.
    """
    out = []
    for most in COUNTS[3:]:
        part = curve[(curve["most"] >= most) & (curve["own_rows"] <= most)]
        each = part.groupby(["target", "kind", "gpu", "engine", "own_rows"])[["error", "width"]]
        for keys, group in each.mean().groupby(["target", "kind", "own_rows"]):
            target, kind, count = map(str, keys)
            out.append(
                {
                    "target": target,
                    "kind": kind,
                    "machines_with": most,
                    "machines": len(group),
                    "own_rows": int(count),
                    "median_error": round(float(group["error"].median()), 4),
                    "mean_error": round(float(group["error"].mean()), 4),
                    "width": round(float(group["width"].mean()), 3),
                }
            )
    return out


def one_row_summary(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Median errors with one own row of the same model, format, device and engine."""
    out = []
    groups: list[tuple[str, str, str, pd.DataFrame]] = [
        (str(target), "all", "all", part) for target, part in found.groupby("target")
    ]
    latency = found[found["target"].ne("power")]
    groups.append(("any latency", "all", "all", latency))
    for keys, part in found.groupby(["target", "kind", "mode"]):
        target, kind, mode = map(str, keys)
        groups.append((target, kind, mode, part))
    for target, kind, mode, part in groups:
        out.append(
            {
                "target": target,
                "kind": kind,
                "mode": mode,
                "rows": len(part),
                "machines": int(part.groupby(["gpu", "engine"]).ngroups),
                "median_before": round(float(part["before"].median()), 4),
                "median_error": round(float(part["error"].median()), 4),
                "median_scaled": round(float(part["scaled"].median()), 4),
            }
        )
    return out


def simulate(measurements: pd.DataFrame, *, say: Say | None = None) -> dict[str, Any]:
    """Everything that the simulation has to say, as plain types."""
    rows = priced_rows(measurements)
    told = left_out(rows, columns=list(measurements.columns), say=say)
    told = told[trusted(rows)]
    if say is not None:
        say("dealing own rows")
    return {
        "command": "python -m calibration.tune --curve --measurements FIGURES --out FILE",
        "folds": FOLDS,
        "draws": DRAWS,
        "rows": len(told),
        "curve": summary(learning_curve(told)),
        "one_row": one_row_summary(one_row(told)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the simulation's result."""
    from calibration.tables import read_measurements

    parser = argparse.ArgumentParser(prog="python -m calibration.tune", description=__doc__)
    parser.add_argument("--curve", action="store_true", required=True, help="simulate")
    parser.add_argument("--measurements", type=Path, nargs="+", required=True, metavar="F")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        table = read_measurements(args.measurements)
    except RooflineError as error:
        print(f"calibration.tune: {error}", file=sys.stderr)
        return 2
    result = simulate(table, say=lambda text: print(text, file=sys.stderr, flush=True))
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0
