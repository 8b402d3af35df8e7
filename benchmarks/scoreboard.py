# SPDX-License-Identifier: Apache-2.0
"""Predicted against measured: how wrong we are, by group and overall.

    python -m benchmarks.scoreboard --measurements FILE.parquet [--by gpu,engine,mode] [--json]

The table has the columns of a tidy end-to-end data set: model, gpu, num_gpus, tp, pp,
ep, dp, engine, weight_dtype, kv_dtype, mode, batch_size, input_tokens, output_tokens,
and measured ttft_s, tpot_s, e2e_s, decode_tok_s, total_tok_s, power_w,
energy_per_output_token_j. All rows are priced in one call.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.needs import leave_without
from specs.errors import InvalidInputError, RooflineError

try:
    import numpy as np
    import pandas as pd

    from benchmarks.measured import LATENCIES, THROUGHPUTS, scenarios_of
    from calibration.dataset import SCENARIO, joined, log_ratios, pair_figures
except ImportError as missing:
    leave_without(missing, module=__name__)

METRICS = ("ttft_s", "tpot_s", "e2e_s", "throughput", "power_w", "energy_per_output_token_j")
FLOORS = ("ttft_s", "tpot_s", "e2e_s")
FLOOR_SLACK_FRAC = 0.03
"""A measurement may lie this far below the floor before it is a finding: clocks boost a
little above the rated one, and sources round."""

_FLAGS = ("context_from_zero", "prompt_known", "no_burst")
_PRICED = (
    "ttft_s",
    "later_ttft_s",
    "tpot_s",
    "e2e_s",
    "output_tok_per_s",
    "total_tok_per_s",
    "power_prefill_w",
    "power_decode_w",
    "power_mean_w",
    "energy_per_output_token_j",
    "fits",
    "floor_ttft_s",
    "floor_tpot_s",
    "floor_e2e_s",
    "bound_prefill",
    "bound_decode",
)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Measured and predicted side by side.

    Returns the rows of `table` with ``reason`` (empty where expressed) and, per metric M,
    ``measured_M``, ``predicted_M`` and for latencies ``floor_M``; NaN where not comparable.
    """
    table = table.reset_index(drop=True)
    scenarios = scenarios_of(table)
    wanted = [name for name in (*SCENARIO, *_FLAGS) if name not in scenarios.columns]
    scenarios = scenarios.reindex(columns=[*scenarios.columns, *wanted])
    able = scenarios["reason"] == ""
    said = {name: scenarios[name] == True for name in _FLAGS}  # noqa: E712 - NaN elsewhere
    asked = table.assign(reason=scenarios["reason"], **said)
    priced = joined(asked, scenarios, describe=False)
    result = table.copy()
    result["reason"] = priced["reason"].map(_short).where(able, scenarios["reason"])
    result["profile"] = scenarios["engine"]
    for name in _PRICED:
        result[f"p_{name}"] = priced[f"p_{name}"].astype(float)
    return pair_figures(
        result,
        known=said["prompt_known"],
        apart=said["no_burst"],
        counted=pd.Series(True, index=result.index),
    )


def _short(message: str) -> str:
    """What kind of thing could not be expressed, without its particulars."""
    for mark, reason in (
        ("is not shipped", "model unknown"),
        ("no model", "model unknown"),
        ("weight file", "model unknown"),
        ("no file", "model unknown"),
        ("no accelerator is called", "device unknown"),
        ("may mean", "device named ambiguously"),
        ("lacks", "device facts incomplete"),
        ("does not divide", "parallelism that the model's shapes do not allow"),
        ("matrix arithmetic", "precision that the device lacks"),
    ):
        if mark in message:
            return reason
    return message.split(";")[0][:90]


def errors_of(result: pd.DataFrame, metric: str) -> pd.Series:
    """Log ratio predicted / measured, NaN where not comparable."""
    return -log_ratios(result, metric)


def summary(result: pd.DataFrame, by: list[str]) -> list[dict[str, Any]]:
    """Per group and metric: n, median and mean absolute percentage error, mean log ratio."""
    groups: list[tuple[Any, pd.DataFrame]] = [("all", result)]
    if by:
        groups += [(_label(key), part) for key, part in result.groupby(by, dropna=False)]
    rows = []
    for label, part in groups:
        for metric in METRICS:
            log_ratio = errors_of(part, metric).dropna()
            stated = int(part[f"measured_{metric}"].notna().sum())
            if not stated:
                continue
            relative = np.abs(np.expm1(log_ratio)) * 100.0
            rows.append(
                {
                    "group": label,
                    "metric": metric,
                    "n": len(log_ratio),
                    "n_not_expressed": stated - len(log_ratio),
                    "median_ape_percent": float(relative.median()) if len(relative) else None,
                    "mean_ape_percent": float(relative.mean()) if len(relative) else None,
                    "mean_log_ratio": float(log_ratio.mean()) if len(log_ratio) else None,
                }
            )
    return rows


def _label(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return " / ".join(str(part) for part in parts)


def coverage(result: pd.DataFrame) -> dict[str, Any]:
    """Rows that carry a latency or throughput, how many are expressed, and why not."""
    carries = result[[*LATENCIES, *THROUGHPUTS]].notna().any(axis=1)
    part = result[carries]
    expressed = part["reason"] == ""
    reasons = part.loc[~expressed, "reason"].value_counts()
    return {
        "rows": len(part),
        "expressed": int(expressed.sum()),
        "expressed_frac": float(expressed.mean()) if len(part) else None,
        "reasons": {str(reason): int(count) for reason, count in reasons.items()},
    }


def below_floor(result: pd.DataFrame) -> pd.DataFrame:
    """Measurements faster than the hard floor allows, worst first."""
    found = []
    for metric in FLOORS:
        ratio = result[f"floor_{metric}"] / result[f"measured_{metric}"]
        rows = (ratio > 1.0 + FLOOR_SLACK_FRAC) & (result["reason"] == "")
        columns = ["source", "source_ref", "model", "gpu", "engine", "weight_dtype", "mode"]
        part = result.loc[rows, [name for name in columns if name in result]].copy()
        part["metric"], part["floor_over_measured"] = metric, ratio[rows]
        found.append(part)
    return pd.concat(found).sort_values("floor_over_measured", ascending=False)


def load(path: Path) -> pd.DataFrame:
    """Read a table of measurements; rows that carry a warning are left out.

    Raises
    ------
    InvalidInputError
        No such file, or not a table of ours.
    """
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as a table ({error}); give a Parquet or CSV file."
        ) from None
    missing = {"model", "gpu", "engine", "mode", "batch_size", "tpot_s"} - set(table.columns)
    if missing:
        raise InvalidInputError(f"{path} lacks the columns {', '.join(sorted(missing))}.")
    if "clean" in table.columns:
        table = table[table["clean"].astype(bool)]
    return table


def as_text(result: pd.DataFrame, rows: list[dict[str, Any]]) -> str:
    """Readable summary."""
    said = coverage(result)
    lines = [
        f"{said['expressed']} of {said['rows']} rows with a time or a rate are expressed "
        f"({100 * (said['expressed_frac'] or 0):.1f}%)."
    ]
    lines += [f"  {count:6d}  {reason}" for reason, count in list(said["reasons"].items())[:25]]
    lines.append("")
    lines.append(
        f"{'group':44s} {'metric':26s} {'n':>6s} {'not':>6s} {'median%':>8s} {'mean%':>9s} "
        f"{'log':>7s}"
    )
    for row in rows:
        if row["median_ape_percent"] is not None:
            lines.append(
                f"{row['group'][:44]:44s} {row['metric']:26s} {row['n']:6d} "
                f"{row['n_not_expressed']:6d} {row['median_ape_percent']:8.1f} "
                f"{row['mean_ape_percent']:9.1f} {row['mean_log_ratio']:7.2f}"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="scoreboard", description="Predicted against measured.")
    parser.add_argument("--measurements", type=Path, required=True)
    parser.add_argument("--by", default="", help="columns to group by, such as gpu,engine,mode")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    try:
        table = load(args.measurements)
        by = [name for name in args.by.split(",") if name]
        unknown = [name for name in by if name not in table.columns]
        if unknown:
            raise InvalidInputError(
                f"--by names {', '.join(unknown)}; columns are {', '.join(table.columns)}."
            )
        result = compare(table)
    except RooflineError as error:
        print(f"scoreboard: {error}", file=sys.stderr)
        return 2
    rows = summary(result, by)
    if args.json:
        floor = below_floor(result)
        print(
            json.dumps(
                {
                    "coverage": coverage(result),
                    "groups": rows,
                    "below_floor": json.loads(floor.to_json(orient="records")),
                },
                indent=1,
            )
        )
    else:
        print(as_text(result, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
