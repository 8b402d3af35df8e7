# SPDX-License-Identifier: Apache-2.0
"""The scoreboard as a page: coverage, errors by group, what lies below the floor and why.

python -m benchmarks.card --measurements FILE.parquet --out benchmarks/SCOREBOARD.md
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.scoreboard import (
    FLOOR_SLACK_FRAC,
    FLOORS,
    METRICS,
    below_floor,
    compare,
    coverage,
    errors_of,
    load,
    summary,
)
from specs.catalogue import get_accelerator
from specs.errors import RooflineError

EXPLAINED = Path(__file__).parent / "data" / "below_floor.json"

HEAD = """# Scoreboard: the plain roofline against measurements

Written by `python -m benchmarks.card --measurements FILE.parquet`; do not edit. The table of
measurements has {rows} rows (sha256 {digest}), read {date}. No learned correction is applied:
this is the baseline that one has to beat.

What the figures are: error = |predicted / measured - 1|. The engine profiles carry default
constants from kernel timings, vendors' figures and published experience; a few were set with
these very rows in view (the pace of llama.cpp's block products, the host time of eager
frameworks, active power of shared packages), so this is not a held-out error, and nothing
was fitted. The log ratio is ln(predicted / measured): below zero, the prediction is too fast
(too low for power).
"""


def explanation(row: pd.Series) -> str:
    """Why a measurement lies below the floor; empty if nobody has found out."""
    for rule in json.loads(EXPLAINED.read_text(encoding="utf-8")):
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


def _device_class(slug: object) -> str:
    try:
        device = get_accelerator(str(slug))
    except RooflineError:
        return "unknown"
    if device.kind != "gpu":
        return device.kind
    return "data-centre GPU" if device.mem_kind.startswith("hbm") else "other GPU"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _table(rows: list[dict[str, Any]], least: int) -> list[str]:
    lines = [
        "| group | metric | n | not expressed | median % | mean % | log ratio |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        if row["n"] >= least:
            lines.append(
                f"| {row['group']} | {row['metric']} | {row['n']:,} | {row['n_not_expressed']:,} | "
                f"{_percent(row['median_ape_percent'])} | {_percent(row['mean_ape_percent'])} | "
                f"{row['mean_log_ratio']:+.2f} |"
            )
    return lines


def _worst(result: pd.DataFrame, metric: str, least: int = 20) -> list[str]:
    """The ten groups that are furthest off, by (source, engine, mode)."""
    errors = errors_of(result, metric).dropna()
    part = result.loc[errors.index].assign(error=np.abs(np.expm1(errors)) * 100, log=errors)
    groups = part.groupby(["source", "engine", "mode"])
    table = groups.agg(n=("error", "size"), median=("error", "median"), log=("log", "median"))
    table = table[table["n"] >= least].sort_values("median", ascending=False).head(10)
    lines = ["| source | engine | mode | n | median % | log ratio |", "|---|---|---|--:|--:|--:|"]
    for row in table.reset_index().to_dict("records"):
        lines.append(
            f"| {row['source']} | {row['engine']} | {row['mode']} | {int(row['n']):,} | "
            f"{row['median']:,.1f} | {row['log']:+.2f} |"
        )
    return lines


def _floor_section(result: pd.DataFrame) -> list[str]:
    found = below_floor(result)
    lines = [
        "## Measurements below the hard floor",
        "",
        f"A measurement more than {100 * FLOOR_SLACK_FRAC:.0f}% below the floor of the ideal "
        "machine is impossible as stated. Each is named here with the reason; one without a "
        "reason is a bug of ours.",
        "",
        "| source | metric | rows | worst floor / measured | reason |",
        "|---|---|--:|--:|---|",
    ]
    if len(found):
        found = found.assign(
            reason=[explanation(row) or "NOT EXPLAINED" for _, row in found.iterrows()]
        )
        for (source, metric, reason), part in found.groupby(["source", "metric", "reason"]):
            worst = part["floor_over_measured"].max()
            lines.append(f"| {source} | {metric} | {len(part)} | {worst:,.2f} | {reason} |")
    checked = sum(
        int((result[f"measured_{m}"].notna() & (result.reason == "")).sum()) for m in FLOORS
    )
    lines += ["", f"{len(found)} of {checked:,} measured times."]
    return lines


def page(result: pd.DataFrame, digest: str) -> str:
    """Whole page as Markdown."""
    said = coverage(result)
    date = datetime.now(UTC).date().isoformat()
    lines = [HEAD.format(rows=f"{len(result):,}", digest=digest[:16], date=date)]
    lines += [
        "## Coverage",
        "",
        f"{said['expressed']:,} of {said['rows']:,} rows that carry a time or a rate can be "
        f"expressed as a scenario ({100 * said['expressed_frac']:.1f}%). The rest, by reason:",
        "",
        "| rows | reason |",
        "|--:|---|",
    ]
    lines += [f"| {count:,} | {reason} |" for reason, count in said["reasons"].items()]
    lines += ["", "## Overall", "", *_table(summary(result, []), 1)]
    result = result.assign(device=[_device_class(slug) for slug in result["gpu"]])
    lines += ["", "## By kind of device and mode", ""]
    lines += _table(summary(result, ["device", "mode"])[_overall(result) :], 20)
    profile = result["profile"]
    lines += ["", "## By engine profile and mode", ""]
    lines += _table(
        summary(result.assign(profile=profile), ["profile", "mode"])[_overall(result) :], 20
    )
    lines += ["", *_floor_section(result), "", "## Furthest off", ""]
    for metric in METRICS:
        lines += [f"### {metric}", "", *_worst(result, metric), ""]
    return "\n".join(lines).rstrip() + "\n"


WORDS = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "e2e_s": "request latency",
    "throughput": "throughput",
    "power_w": "mean power per GPU",
    "energy_per_output_token_j": "energy per output token",
}

README = Path(__file__).parents[1] / "README.md"


def readme_section(result: pd.DataFrame) -> str:
    """What the README says of our errors: medians overall, and where they come from."""
    said = coverage(result)
    lines = [
        f"Against {said['expressed']:,} published measurements of others, on every kind of device, "
        "with no learned correction:",
        "",
        "| figure | measurements | median error | bias (predicted / measured) |",
        "|---|--:|--:|--:|",
    ]
    for row in summary(result, []):
        bias = float(np.exp(errors_of(result, row["metric"]).median()))
        lines.append(
            f"| {WORDS[row['metric']]} | {row['n']:,} | {row['median_ape_percent']:.0f}% | "
            f"{bias:.2f} |"
        )
    found = below_floor(result)
    lines += [
        "",
        "These are errors of the plain roofline, before any correction, over engines of three "
        "years, loaded and idle; `benchmarks/SCOREBOARD.md` has them by device, engine and "
        f"mode, what could not be expressed and why, and the {len(found)} times that lie below "
        "the hard floor, each with the reason. A few of the default constants were set with "
        "these rows in view, so this is not a held-out error. For measurements of your own, "
        "`python -m benchmarks.scoreboard --measurements FILE` (`benchmarks/scoreboard.py`) "
        "prints the same.",
    ]
    return "\n".join(lines)


def renew_readme(result: pd.DataFrame) -> None:
    """Rewrite the section of the README between its scoreboard marks."""
    text = README.read_text(encoding="utf-8")
    head, open_mark, rest = text.partition("<!-- scoreboard -->\n")
    _, close_mark, tail = rest.partition("<!-- /scoreboard -->")
    section = readme_section(result) + "\n"
    README.write_text(head + open_mark + section + close_mark + tail, encoding="utf-8")


def _overall(result: pd.DataFrame) -> int:
    """Rows that `summary` gives before the first group."""
    return len(summary(result, []))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="card", description="The scoreboard as a page.")
    parser.add_argument("--measurements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--readme", action="store_true", help="renew the README's section too")
    args = parser.parse_args(argv)
    try:
        result = compare(load(args.measurements))
    except RooflineError as error:
        print(f"card: {error}", file=sys.stderr)
        return 2
    digest = hashlib.sha256(args.measurements.read_bytes()).hexdigest()
    args.out.write_text(page(result, digest), encoding="utf-8")
    if args.readme:
        renew_readme(result)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
