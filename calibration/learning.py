# SPDX-License-Identifier: Apache-2.0
"""How much own rows help: a simulation on devices that nothing was fitted on.

Each device is left out with its kernels and all its sources, as in `calibration.evaluate`;
then some of its rows play a user's own: a machine is one device under one engine as one source
measured it. Half of a machine's rows are asked about and stay the same while own rows are
added from the other half, spread over deployments.
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

from calibration.evaluate import Say, fitted_correction, priced_rows, unseen_fold
from calibration.intervals import LEAST_DEVICES, quantiles
from calibration.intervals_of import group_of
from calibration.own import Prior, posterior, prior_of
from calibration.own_cases import Cases
from calibration.residuals import target, trusted
from calibration.split import folds
from calibration.staged import KINDS
from calibration.tune import cases_of, residuals
from roofline.physics.kernel import FloatArray
from specs.errors import RooflineError

COUNTS = (0, 1, 3, 10, 30, 100)
"""Numbers of own rows."""

FOLDS, DRAWS = 5, 8

LEAST_ASKED = 5
"""Fewer rows to ask about say little of an error."""

TARGETS = ("ttft", "tpot", "power")

MACHINE = ["target", "kind", "gpu", "engine", "source", "own_rows"]

DEPLOYMENT = ("is_mode", "is_model", "is_weights", "tp")
"""What, beside the machine, one own row and the rows it answers for share."""


def left_out(rows: pd.DataFrame, *, columns: Sequence[str], say: Say | None = None) -> pd.DataFrame:
    """Log ratios of `rows` to predictions that never saw their device, with labels.

    ``plain_ttft`` and ``plain_tpot`` are those to predictions without a residual.
    """
    parts = []
    for number, (fitted, left) in enumerate(folds(rows, "unseen device", count=FOLDS)):
        if say is not None:
            say(f"leaving devices out: fold {number + 1} of {FOLDS}")
        test = rows[left]
        train, kernels = unseen_fold(rows, fitted, left, columns=columns)
        correction = fitted_correction(train, kernels=kernels)
        told = residuals(test[list(columns)], correction).set_index(test.index)
        parts.append(told.assign(tp=test["tp"], source=test["source"]))
    told = pd.concat(parts).sort_index()
    return told.assign(plain_ttft=target(rows, "ttft"), plain_tpot=target(rows, "tpot"))


def learning_curve(told: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Errors by number of own rows.

    Parameters
    ----------
    told : DataFrame
        From `left_out`.
    draws : int
        Times that each machine's rows are dealt anew.

    Returns
    -------
    DataFrame
        ``target``, ``kind`` of engine, ``gpu``, ``engine``, ``source``, ``draw``, ``own_rows``,
        ``most`` (the most of `COUNTS` that this machine could give), ``error`` (median of the
        absolute errors of the rows asked about), ``width`` (mean factor on the half widths of
        their intervals), ``inside`` (share of them inside).
    """
    out = []
    for name in TARGETS:
        for machine, part in _machines(told, name):
            prior = prior_of(machine["engine"], name, seen=False)
            y, cases = part[name].to_numpy(float), cases_of(part, name)
            ends = _ends(told, name, part)
            for draw in range(draws):
                random = np.random.default_rng([seed, draw, part.index[0]])
                asked, pool = _dealt(part, random)
                if asked.size < LEAST_ASKED:
                    break
                counts = [count for count in COUNTS if count <= pool.size]
                for count in counts:
                    own = pool[:count]
                    moved, factor = _answer(y[own], cases.take(own), cases.take(asked), prior, name)
                    rest, (low, high) = y[asked] - moved, ends[asked].T * factor
                    out.append(
                        {
                            "target": name,
                            **machine,
                            "draw": draw,
                            "own_rows": count,
                            "most": counts[-1],
                            "error": float(np.median(np.abs(np.expm1(-rest)))),
                            "width": float(factor.mean()),
                            "inside": float(np.mean((rest >= low) & (rest <= high))),
                        }
                    )
    return pd.DataFrame(out)


def _machines(told: pd.DataFrame, name: str) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    known = told[told[name].notna()]
    for keys, part in known.groupby(["is_gpu", "is_engine", "source"], sort=True):
        gpu, engine, source = map(str, keys)
        kind = KINDS.get(engine, "other")
        yield {"kind": kind, "gpu": gpu, "engine": engine, "source": source}, part


def _ends(told: pd.DataFrame, name: str, part: pd.DataFrame) -> FloatArray:
    """Ends of the intervals of rows, from the errors of all other devices, shape ``(n, 2)``."""
    others = told[told[name].notna() & told["is_gpu"].ne(part["is_gpu"].iloc[0])]
    pairs = zip(others["is_engine"], others["is_mode"], strict=True)
    groups = np.array([group_of(engine, mode) for engine, mode in pairs], dtype=object)
    ends = np.zeros((len(part), 2))
    for mode, place in part.groupby("is_mode").indices.items():
        mine = others[groups == group_of(str(part["is_engine"].iloc[0]), str(mode))]
        few = mine["is_gpu"].nunique() < LEAST_DEVICES
        used = others if few else mine
        if len(used):
            ends[place] = quantiles(used[name].to_numpy(float), used["is_gpu"].tolist())
    return ends


def _deployments(part: pd.DataFrame) -> pd.Series:
    texts = part[list(DEPLOYMENT)].astype(object).where(part[list(DEPLOYMENT)].notna(), "")
    joined = ["|".join(map(str, each)) for each in texts.itertuples(index=False, name=None)]
    return pd.Series(joined, index=part.index)


def _dealt(part: pd.DataFrame, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows asked about, and rows to learn from: deployments in turn, a row of each."""
    order = random.permutation(len(part))
    half = len(part) // 2
    asked, rest = order[:half], order[half:]
    deployment = _deployments(part).iloc[rest]
    turn = deployment.groupby(deployment).cumcount().to_numpy()
    return asked, rest[np.argsort(turn, kind="stable")]


def _answer(
    y: FloatArray, own: Cases, asked: Cases, prior: Prior, name: str
) -> tuple[FloatArray, FloatArray]:
    """What own rows add to the log ratio of rows asked about; factors on their half widths."""
    if not y.size:
        return np.zeros(asked.place.size), np.ones(asked.place.size)
    return posterior(y, own, prior, target=name).shifts(asked)


def one_row(told: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Errors of all other rows of a (model, format, device, engine) of which one is known.

    Returns
    -------
    DataFrame
        A row per other row and draw of the known one: ``target``, ``kind``, ``mode``, ``gpu``,
        ``engine``, ``source``, ``draw``, absolute errors ``before`` (nothing known), ``error``
        (the one row known), ``scaled`` (the prediction scaled by the one row's own ratio) and
        ``plain_scaled`` (the prediction without a residual, scaled so).
    """
    out = []
    for name in TARGETS:
        for machine, whole in _machines(told, name):
            prior = prior_of(machine["engine"], name, seen=False)
            plain = whole.get(f"plain_{name}", whole[name]).to_numpy(float)
            y, cases = whole[name].to_numpy(float), cases_of(whole, name)
            deployment = _deployments(whole)
            for each in deployment.groupby(deployment).indices.values():
                place = np.asarray(each)
                random = np.random.default_rng([seed, whole.index[place[0]]])
                count = min(draws, place.size) if place.size > 1 else 0
                for draw, known in enumerate(random.permutation(place)[:count]):
                    asked = place[place != known]
                    own = np.array([known])
                    moved, _ = _answer(y[own], cases.take(own), cases.take(asked), prior, name)
                    errors = {
                        "before": -y[asked],
                        "error": moved - y[asked],
                        "scaled": y[known] - y[asked],
                        "plain_scaled": plain[known] - plain[asked],
                    }
                    found = {key: np.abs(np.expm1(rest)) for key, rest in errors.items()}
                    mode = whole["is_mode"].iloc[known]
                    part = pd.DataFrame({"target": name, **machine, "mode": mode, **found})
                    out.append(part.assign(draw=draw))
    return pd.concat(out, ignore_index=True)


def summary(curve: pd.DataFrame) -> list[dict[str, Any]]:
    """Curves over machines that could give as many own rows: the same ones along each curve.

    Errors are means over a machine's draws, then median and mean over machines; ``width`` and
    ``inside``, the share of rows inside their 90% intervals, are means.
    """
    out = []
    for most in COUNTS[3:]:
        part = curve[(curve["most"] >= most) & (curve["own_rows"] <= most)]
        each = part.groupby(MACHINE)[["error", "width", "inside"]]
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
                    "inside": round(float(group["inside"].mean()), 3),
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
                "rows": int(part["draw"].eq(0).sum()),
                "machines": int(part.groupby(["gpu", "engine", "source"]).ngroups),
                "median_before": round(float(part["before"].median()), 4),
                "median_error": round(float(part["error"].median()), 4),
                "median_scaled": round(float(part["scaled"].median()), 4),
                "median_plain_scaled": round(float(part["plain_scaled"].median()), 4),
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
