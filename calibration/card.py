# SPDX-License-Identifier: Apache-2.0
"""Card of a correction: what it was fitted on, how wrong it is, how to make it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_METRICS = {
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "e2e_s": "request latency",
    "throughput": "throughput",
    "power_w": "mean power per GPU",
    "energy_per_output_token_j": "energy per output token",
}


def card_of(artifact: Mapping[str, Any], *, name: str = "correction") -> str:
    """Card as Markdown, from an artifact of `calibration.fit.fit` or `tune`."""
    meta = artifact["meta"]
    parts = [
        f"# Card of {name}.json",
        "What remains of measured over analytic times and powers, learned from published "
        "measurements by `calibration.fit`; "
        + (
            "constants of kernels were fitted with it."
            if "operators" in artifact
            else "constants of kernels lie in `operators.json`, with a card of their own."
        ),
        _facts(meta) + _kernels(artifact.get("operators")),
        *_errors(meta["errors"]),
        _coverage(meta["coverage"]),
        _rows(meta["rows_by_engine"]),
        _sources(meta.get("sources", ())),
        *_own(artifact),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(meta: Mapping[str, Any]) -> str:
    return (
        f"- fitted on {meta['date']}, {meta['rows_fitted']:,} of {meta['rows']:,} rows "
        f"(the others report only: their source does not document its method), "
        f"{meta['devices']} devices, {meta['models']} models\n"
        f"- data: SHA-256 `{meta['data_sha256']}` of the table as CSV\n"
        f"- command: `{meta['command']}`"
    )


def _kernels(operators: Mapping[str, Any] | None) -> str:
    """What constants of kernels were fitted on, where the artifact holds them."""
    if operators is None:
        return ""
    meta = operators["meta"]
    kept = f"; as shipped: {', '.join(meta['kept'])}" if meta["kept"] else ""
    return (
        f"\n- kernels: {meta['rows']:,} rows of {', '.join(meta['devices'])} (SHA-256 "
        f"`{meta['data_hash']}...`); fitted: {', '.join(meta['fitted'])}{kept}"
    )


def _errors(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    out = []
    for split, rows in sorted(errors.items()):
        lines = [
            (
                _METRICS[row["metric"]],
                f"{row['rows']:,}",
                f"{row['devices']}",
                _percent(row["kernels_median"]),
                _percent(row["corrected_median"]),
                _percent(row["corrected_mean"]),
            )
            for row in rows
        ]
        head = ("figure", "rows", "devices", "uncorrected, median", "median", "mean")
        out.append(
            f"## Absolute error, {split}\n\nGroups left out whole of everything that is fitted; "
            f"uncorrected is the roofline with the constants of kernels alone.\n\n"
            + _table(head, lines)
        )
    return out


def _coverage(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        (
            _METRICS[row["metric"]],
            f"{row['rows']:,}",
            f"{row['devices']}",
            _percent(row["inside"]),
            _percent(row["inside_by_device"]),
            f"{row['median_width']:.2f}",
        )
        for row in rows
    ]
    if not lines:
        return ""
    head = ("figure", "rows", "devices", "inside", "inside, mean of devices", "high over low")
    return (
        "## Intervals of 90%, unseen device\n\nShare of measurements inside intervals that were "
        "made without their device.\n\n" + _table(head, lines)
    )


def _rows(counts: Mapping[str, int]) -> str:
    lines = [(name, f"{count:,}") for name, count in counts.items()]
    return "## Rows fitted on\n\n" + _table(("engine", "rows"), lines)


def _sources(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"## Sources\n\n{', '.join(names)}; each row of the table names its place and licence."


def _own(artifact: Mapping[str, Any]) -> list[str]:
    rows = artifact.get("own_rows", ())
    if not rows:
        return []
    counts: dict[str, int] = {}
    for row in rows:
        place = f"{row.get('gpu', '')}, {row.get('engine', '')}"
        counts[place] = counts.get(place, 0) + 1
    lines = [(place, f"{count:,}") for place, count in sorted(counts.items())]
    notes = [
        f"- {place.replace('|', ', ')}: {text}"
        for place, texts in artifact.get("own_notes", {}).items()
        for text in texts
    ]
    text = "## Rows of your own\n\n" + _table(("device, engine", "rows"), lines)
    return [text, "\n".join(notes)]


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(each) + " |" for each in (head, rule, *rows))
