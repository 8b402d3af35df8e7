# SPDX-License-Identifier: Apache-2.0
"""How wrong predictions are on groups that no fit has seen, beside simpler ones.

All methods answer for the same rows from the same folds (`calibration.split`): the plain
roofline, the kernel constants alone, the full correction, and `benchmarks.baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmarks.baselines import by_baselines
from benchmarks.measured import GGUF_ENGINES
from calibration.dataset import METRICS, joined
from calibration.evaluate import (
    FOLDS,
    Say,
    absolute_errors,
    kernels_without,
    out_of_fold,
    priced_rows,
    reportable,
)
from calibration.residuals import trusted
from calibration.split import SPLITS, folds

METHODS = (
    "plain", "one factor", "factor per engine", "nearest device", "regression", "kernels",
    "corrected",
)  # fmt: skip
SERVERS = ("vllm", "sglang", "trtllm")

Mask = Callable[[pd.DataFrame], "pd.Series[bool]"]


def _data_centre(rows: pd.DataFrame) -> pd.Series:
    return rows["is_engine"].isin(SERVERS) & rows["is_memory"].eq("hbm") & rows["is_kind"].eq("gpu")


def _local(rows: pd.DataFrame) -> pd.Series:
    return (
        rows["is_engine"].isin(GGUF_ENGINES)
        & rows["is_kind"].isin(("gpu", "igpu"))
        & rows["is_memory"].ne("hbm")
    )


def _static(rows: pd.DataFrame) -> pd.Series:
    return rows["mode"].eq("static")


def _documented(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(trusted(rows), index=rows.index)


def _all(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(True, index=rows.index)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that one line of a table is about.

    `metrics` are tried in turn: a row counts with the first that it measured.
    """

    title: str
    metrics: tuple[str, ...]
    chosen: Mask


GROUPS = (
    Group("TPOT, data-centre GPUs, vLLM / SGLang / TensorRT-LLM", ("tpot_s",), _data_centre),
    Group(
        "- dense models", ("tpot_s",), lambda r: _data_centre(r) & r["is_experts"].eq("dense")
    ),
    Group("- mixtures of experts", ("tpot_s",),
          lambda r: _data_centre(r) & r["is_experts"].eq("moe")),
    Group("TTFT, the same", ("ttft_s",), _data_centre),
    Group("- static batches", ("ttft_s",), lambda r: _data_centre(r) & _static(r)),
    Group("- serving", ("ttft_s",), lambda r: _data_centre(r) & ~_static(r)),
    Group("TPOT, consumer / workstation / Apple, llama.cpp", ("tpot_s",), _local),
    Group("- documented sources alone", ("tpot_s",), lambda r: _local(r) & _documented(r)),
    Group("TTFT, the same, all sources", ("ttft_s",), _local),
    Group("E2E latency or throughput, static, all engines", ("e2e_s", "throughput"), _static),
    Group("- latency", ("e2e_s",), _static),
    Group("- throughput", ("throughput",), _static),
    Group("- data-centre GPUs, the three servers", ("e2e_s", "throughput"),
          lambda r: _static(r) & _data_centre(r)),
    Group("Mean power per GPU", ("power_w",), _all),
    Group("Energy per output token", ("energy_per_output_token_j",), _all),
    Group("TPOT, all rows", ("tpot_s",), _all),
    Group("TTFT, all rows", ("ttft_s",), _all),
    Group("All latencies and rates, documented sources alone",
          ("e2e_s", "tpot_s", "ttft_s", "throughput"), _documented),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached in a group of a split, in percent."""

    split: str
    group: str
    must: float
    aim: float


TARGETS = (
    Target("unseen device", GROUPS[0].title, 13, 8),
    Target("unseen device", GROUPS[3].title, 22, 12),
    Target("unseen device", GROUPS[6].title, 9, 6),
    Target("unseen device", GROUPS[9].title, 13, 8),
    Target("unseen device", "Mean power per GPU", 8, 4),
    Target("unseen device", "Energy per output token", 15, 9),
    Target("known device", "TPOT, all rows", 8, 4),
    Target("known device", "TTFT, all rows", 18, 8),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """Predicted figures of the same rows by every method, of one split."""

    split: str
    rows: pd.DataFrame
    by_method: Mapping[str, pd.DataFrame]

    def errors(self, group: Group) -> pd.DataFrame:
        """Absolute error over measured of the group's rows, a column per method.

        Rows of devices (or models) with fewer than five rows are left out, and rows for
        which one of the methods has no answer.
        """
        told = reportable(self.rows, self.split) & group.chosen(self.rows).to_numpy()
        found = pd.DataFrame(index=self.rows.index)
        for name, predicted in self.by_method.items():
            error = pd.Series(np.nan, index=self.rows.index)
            for metric in group.metrics:
                error = error.fillna(absolute_errors(self.rows, predicted[metric], metric))
            found[name] = error
        return found[told].dropna()


@dataclass(frozen=True, slots=True)
class Figures:
    """Errors of one group of one split, in percent, by method."""

    split: str
    title: str
    rows: int
    devices: int
    median: Mapping[str, float] = field(default_factory=dict)
    mean: Mapping[str, float] = field(default_factory=dict)
    by_device: Mapping[str, float] = field(default_factory=dict)


def _by_method(values: pd.Series) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def figures_of(answers: Answers, group: Group) -> Figures:
    """Median and mean over rows, and median of the devices' medians."""
    errors = 100.0 * answers.errors(group)
    gpu = answers.rows.loc[errors.index, "is_gpu"]
    return Figures(
        split=answers.split,
        title=group.title,
        rows=len(errors),
        devices=int(gpu.nunique()),
        median=_by_method(errors.median()),
        mean=_by_method(errors.mean()),
        by_device=_by_method(errors.groupby(gpu).median().median()),
    )


@dataclass(frozen=True, slots=True)
class Study:
    """Rows of the table, and what every method answers for them in every split."""

    rows: pd.DataFrame
    plain: pd.DataFrame
    answers: Mapping[str, Answers]


def study(table: pd.DataFrame, *, count: int = FOLDS, say: Say | None = None) -> Study:
    """Price a table of measurements by every method, each group from a fold without it."""
    rows = priced_rows(table)
    columns = list(table.columns)
    plain = joined(rows[columns])
    plain.index = rows.index
    answers = {}
    for split in SPLITS:
        corrected = out_of_fold(rows, split, columns=columns, count=count, say=say)
        if say is not None:
            say(f"{split}: baselines")
        found = {"plain": _predicted(plain), **_baselines(plain, split, count)}
        found["kernels"] = _kernels_alone(rows, split, columns, count)
        answers[split] = Answers(split, rows, {**found, "corrected": corrected[list(METRICS)]})
    return Study(rows, plain, answers)


def _predicted(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: rows[f"predicted_{name}"].astype(float) for name in METRICS})


def _baselines(plain: pd.DataFrame, split: str, count: int) -> dict[str, pd.DataFrame]:
    sure, parts = trusted(plain), []
    # Labels come from the fit's rows; plain rows carry the same ones.
    for fitted, left in folds(plain, split, count=count):
        parts.append(by_baselines(plain[fitted & sure], plain[left], METRICS))
    return {name: pd.concat([part[name] for part in parts]).sort_index() for name in parts[0]}


def _kernels_alone(rows: pd.DataFrame, split: str, columns: list[str], count: int) -> pd.DataFrame:
    """Kernel constants without the residual; of other devices, where devices are left out."""
    if split != "unseen device":
        return _predicted(rows)
    parts = []
    for _, left in folds(rows, split, count=count):
        test = rows[left]
        kernels = kernels_without(sorted(set(test["is_gpu"])))
        parts.append(_predicted(joined(test[columns], kernels=kernels)).set_index(test.index))
    return pd.concat(parts).sort_index()
