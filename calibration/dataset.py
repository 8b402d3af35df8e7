# SPDX-License-Identifier: Apache-2.0
"""Measurements beside what the analytic model says of them, row by row.

A table of measurements has the columns of ``specs.measurement`` (and of the project's own
figures): what was asked, what was measured. `joined` prices all of it in one call, pairs
each measured figure with the predicted one that answers it, and describes each row as a
correction is told of it (`roofline.residual`).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import pandas as pd

from calibration.intervals_of import METRICS
from roofline.correction import Correction
from roofline.physics.kernel import FloatArray
from roofline.physics.power import PowerConstants
from roofline.physics.shares import Shares
from roofline.predict import predict_table
from roofline.residual import NUMBERS, QUANTITIES, TARGETS, Keys, Labels, Residual
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.errors import InvalidInputError

LATENCIES = ("ttft_s", "tpot_s", "e2e_s")

__all__ = [
    "METRICS",
    "joined",
    "log_ratios",
    "pair_figures",
    "paired",
    "positive",
    "scenario_columns",
]

LABELS = tuple(field.name for field in fields(Labels))

_NAMES = ("model", "gpu", "engine", "weight_dtype", "kv_dtype")
_DEGREES = ("num_gpus", "tp", "pp", "ep", "dp")
_NEEDED = ("model", "gpu", "mode")

SCENARIO = (
    *_NAMES, *_DEGREES, "batch", "concurrency", "input_len", "cached_len", "output_len",
    "power_limit_w", "spread_frac", "engine_year", "max_batched_tokens", "held_steps",
)  # fmt: skip
"""Columns that a row is priced by."""

SATURATING_REQUESTS = 4096.0
"""Concurrency that stands for "as many as fit": a serving row that states neither a
concurrency nor a rate was measured at saturation."""

ASSUMED_TOKENS = {"input_len": 256.0, "output_len": 128.0}
"""Lengths where a row states none: decode figures hardly depend on them."""


class Kernels(Protocol):
    """What says which shares of a device kernels reach."""

    def shares(self, accelerator: Accelerator, engine: Engine) -> Shares | None:
        """As ``Correction.shares``."""
        ...


class Recorder:
    """A correction that changes nothing and notes how each case is described to one.

    `kernels` gives what kernels reach, as the correction under study does.
    """

    def __init__(self, kernels: Kernels | None = None) -> None:
        self._kernels = kernels
        self.seen: list[tuple[Keys, FloatArray]] = []

    def shares(self, accelerator: Accelerator, engine: Engine) -> Shares | None:
        """As the correction under study has them."""
        return None if self._kernels is None else self._kernels.shares(accelerator, engine)

    def residual(self, keys: Keys, numbers: FloatArray) -> Residual:
        """Note the cases; multiply by one."""
        self.seen.append((keys, numbers))
        count = numbers.shape[1]
        ones = np.ones((len(QUANTITIES), count))
        standing = np.zeros(count, dtype=np.intp)
        return Residual(ratio=ones[: len(TARGETS)], low=ones, high=ones, standing=standing)

    def power(self) -> PowerConstants | None:
        """Return none: energies are summed as they are."""
        return None

    def basis(self, accelerator: Accelerator, engine: Engine) -> str:
        """Say that nothing was changed."""
        return f"none: {engine.name} on {accelerator.name} as priced"


def scenario_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `SCENARIO` for rows of measurements.

    Raises
    ------
    InvalidInputError
        The table lacks a column that no row can do without.
    """
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise InvalidInputError(
            f"the table of measurements lacks {', '.join(missing)}; its columns are "
            f"{', '.join(map(str, table.columns[:12]))}... See `roofline records show`."
        )
    out = pd.DataFrame(index=table.index)
    for name in _NAMES:
        out[name] = _text(table, name)
    for name in _DEGREES:
        out[name] = _number(table, name).fillna(0.0)
    serving = table["mode"].eq("serving")
    batch = _number(table, "batch_size").fillna(1.0).clip(lower=1.0)
    flight = _number(table, "concurrency").clip(lower=1.0)
    saturated = _number(table, "batch_size").isna() & _number(table, "request_rate").isna()
    flight = flight.fillna(batch.where(~saturated, SATURATING_REQUESTS))
    out["batch"] = batch.where(~serving, 0.0).round()
    out["concurrency"] = flight.where(serving, 0.0).round()
    for name, column in (("input_len", "input_tokens"), ("output_len", "output_tokens")):
        known = _number(table, column).fillna(ASSUMED_TOKENS[name])
        out[name] = known.round().clip(lower=1.0)
    cached = _number(table, "cached_tokens").fillna(0.0)
    out["cached_len"] = cached.where(cached < out["input_len"], 0.0)
    out["power_limit_w"] = _number(table, "power_limit_w").fillna(np.inf)
    out["spread_frac"] = _number(table, "length_spread_frac").fillna(0.0)
    out["engine_year"] = _years(table)
    for name in ("max_batched_tokens", "held_steps"):
        out[name] = _number(table, name).fillna(0.0)
    return out


def _text(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        return pd.Series("", index=table.index)
    return table[name].astype(object).where(table[name].notna(), "").astype(str)


def _number(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[name], errors="coerce").astype(float)


def _years(table: pd.DataFrame) -> pd.Series:
    """Year of the engine's version: ``epoch`` is a year or a quarter, as ``2024-Q3``."""
    text = _text(table, "epoch").str.extract(r"^(20\d\d)", expand=False)
    return pd.to_numeric(text, errors="coerce").astype(float)


def _flag(table: pd.DataFrame, name: str, default: bool) -> pd.Series:
    if name not in table.columns:
        return pd.Series(default, index=table.index)
    text = table[name].astype(str).str.lower()
    return text.eq("true").where(table[name].notna(), default)


def joined(
    table: pd.DataFrame,
    scenarios: pd.DataFrame | None = None,
    *,
    correction: Correction | None = None,
    kernels: Kernels | None = None,
    describe: bool = True,
) -> pd.DataFrame:
    """Measured beside predicted.

    Parameters
    ----------
    table : DataFrame
        Measurements; a row's ``reason``, if it has one, keeps it from being priced.
    scenarios : DataFrame, optional
        Columns of `SCENARIO`; by default read from `table`.
    correction : Correction, optional
        Applied in full. Without it the analytic model is priced, with the kernel shares
        of `kernels` where given, and rows are described for a fit.
    describe : bool
        False leaves the description out, and the analytic model as it is.

    Returns
    -------
    DataFrame
        `table` with ``reason`` (empty where priced); all priced columns with the prefix
        ``p_``; per metric M ``measured_M``, ``predicted_M``, for latencies ``floor_M``;
        where described also columns of `LABELS` (prefix ``is_``) and of ``NUMBERS``
        (prefix ``x_``).
    """
    table = table.reset_index(drop=True)
    asked = scenario_columns(table) if scenarios is None else scenarios.reset_index(drop=True)
    reason = _text(table, "reason")
    recorder = Recorder(kernels) if correction is None and describe else None
    able = np.flatnonzero(reason.eq("").to_numpy())
    columns = {name: asked[name].to_numpy()[able] for name in SCENARIO}
    used: Any = correction or recorder
    priced = predict_table(columns, errors="column", correction=used)
    reason.iloc[able] = [str(text) for text in priced.pop("error")]
    # What is not priced stays empty: these columns are written by place.
    parts: dict[str, Any] = {}
    for name, values in priced.items():
        whole = np.full(len(table), np.nan)
        whole[able] = values
        parts[f"p_{name}"] = whole
    if recorder is not None:
        parts.update(_described(recorder, able, len(table)))
    _price_from_zero(parts, table, columns, able, used)
    result = pd.concat([table.drop(columns="reason", errors="ignore"), pd.DataFrame(parts)], axis=1)
    result["reason"] = reason
    return paired(result.copy())


def _described(recorder: Recorder, able: np.ndarray, size: int) -> dict[str, np.ndarray]:
    words = {f"is_{name}": np.full(size, "", dtype=object) for name in LABELS}
    numbers = np.full((len(NUMBERS), size), np.nan)
    for keys, seen in recorder.seen:
        rows = able[keys.rows]
        numbers[:, rows] = seen
        labels = keys.labels()
        for name in LABELS:
            each = np.array([getattr(label, name) for label in labels], dtype=object)
            words[f"is_{name}"][rows] = each[keys.place]
    return {**words, **{f"x_{name}": row for name, row in zip(NUMBERS, numbers, strict=True)}}


def _price_from_zero(
    parts: dict[str, Any], table: pd.DataFrame, columns: dict[str, Any], able: np.ndarray, used: Any
) -> None:
    """Rows whose decode was timed from an empty cache: price that decode by itself."""
    chosen = _flag(table, "context_from_zero", False).to_numpy()[able]
    if not chosen.any():
        return
    part = {name: values[chosen] for name, values in columns.items()}
    count = int(chosen.sum())
    part["input_len"], part["cached_len"] = np.ones(count), np.zeros(count)
    aside: Any = Recorder(used) if isinstance(used, Recorder) else used
    priced = predict_table(part, errors="column", correction=aside)
    for name, values in priced.items():
        if name.removeprefix("low_").removeprefix("high_").removeprefix("analytic_") in (
            "tpot_s",
            "floor_tpot_s",
            "power_decode_w",
        ):
            parts[f"p_{name}"][able[chosen]] = values


def positive(column: pd.Series) -> pd.Series:
    """Numbers above zero; NaN for all else."""
    values = pd.to_numeric(column, errors="coerce").astype(float)
    return values.where(values > 0)


def paired(result: pd.DataFrame) -> pd.DataFrame:
    """Pick the predicted figure that answers each measured one (adds columns in place)."""
    for name in (*LATENCIES, "decode_tok_s", "total_tok_s", "power_w", "output_tokens"):
        if name not in result.columns:
            result[name] = np.nan
    if "energy_per_output_token_j" not in result.columns:
        result["energy_per_output_token_j"] = np.nan
    priced = result["reason"].eq("")
    known = _flag(result, "prompt_known", True) & priced
    apart = _flag(result, "no_burst", False)
    return pair_figures(result, known=known, apart=apart, counted=priced)


def pair_figures(
    result: pd.DataFrame, *, known: pd.Series, apart: pd.Series, counted: pd.Series
) -> pd.DataFrame:
    """Add ``measured_M``, ``predicted_M`` and ``floor_M`` to rows with ``p_`` columns.

    Parameters
    ----------
    result : DataFrame
        Measured figures beside priced ones.
    known, apart : Series of bool
        Whether the prompt's length is known; whether the opening burst is not in latencies.
    counted : Series of bool
        Rows whose output rate counts as measured while serving, their prompt known or not.
    """
    for name in LATENCIES:
        measured = positive(result[name])
        result[f"measured_{name}"] = measured if name == "tpot_s" else measured.where(known)
        result[f"predicted_{name}"] = result[f"p_{name}"]
        result[f"floor_{name}"] = result[f"p_floor_{name}"]
    result["predicted_ttft_s"] = result["p_later_ttft_s"].where(apart, result["p_ttft_s"])
    total, decode = positive(result["total_tok_s"]), positive(result["decode_tok_s"])
    serving = result["mode"].eq("serving")
    own_step = positive(result["tpot_s"]).notna() & ~serving
    # A total below the output alone is no total: some sources divide by another time.
    use_total = total.notna() & known & ~(total < decode)
    use_output = ~use_total & decode.notna() & ~own_step & (known | (serving & counted))
    result["measured_throughput"] = total.where(use_total, decode.where(use_output))
    result["predicted_throughput"] = result["p_total_tok_per_s"].where(
        use_total, result["p_output_tok_per_s"]
    )
    _pair_power(result, known)
    return result


def _pair_power(result: pd.DataFrame, known: pd.Series) -> None:
    """Power of the phase that was measured: prompt only, decode only, or the whole."""
    ttft, tpot = positive(result["ttft_s"]).notna(), positive(result["tpot_s"]).notna()
    prompt_only = ttft & ~tpot & ~(positive(result["output_tokens"]) > 1)
    decode_only = tpot & ~ttft & positive(result["e2e_s"]).isna()
    power = result["p_power_mean_w"].where(~prompt_only, result["p_power_prefill_w"])
    result["predicted_power_w"] = power.where(~decode_only, result["p_power_decode_w"])
    result["measured_power_w"] = positive(result["power_w"])
    energy = positive(result["energy_per_output_token_j"])
    result["measured_energy_per_output_token_j"] = energy.where(known)
    result["predicted_energy_per_output_token_j"] = result["p_energy_per_output_token_j"]


def log_ratios(result: pd.DataFrame, metric: str) -> pd.Series:
    """Log of measured over predicted, NaN where not comparable; times and energy alike."""
    measured = result[f"measured_{metric}"].astype(float)
    predicted = result[f"predicted_{metric}"].astype(float)
    good = (measured > 0) & (predicted > 0) & result["reason"].eq("")
    ratio = pd.Series(np.nan, index=result.index)
    ratio[good] = np.log(measured[good] / predicted[good])
    return ratio
