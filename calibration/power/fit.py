# SPDX-License-Identifier: Apache-2.0
"""Fit the power law on boards, and leave whole devices out to say how well it carries over.

Every device weighs the same, and within it every source by the root of its rows: thousands
of rows of one board must not decide about the others. Priors hold the exponents near one
(the energies are physical) and let the data choose the levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd

from calibration.power.cases import Names, PowerRows, rows_of, usable
from calibration.power.law import SCHEMA
from roofline.physics.kernel import FloatArray
from roofline.physics.power import PowerConstants, phase_power_w

PRIOR = PowerConstants(
    standby=0.20,
    standby_hbm_factor=1.0,
    standby_shared_factor=1.65,
    memory=1.16,
    memory_room_power=1.0,
    memory_power=1.0,
    compute=1.16,
    compute_room_power=1.0,
    compute_power=0.9,
)
"""Where the fit starts. Standby: the constant left when kernel power is regressed on rates,
0.05 to 0.30; shared packages keep more awake (`roofline.physics.constants.ACTIVE_FRAC`)."""

SPREAD = {
    "standby": 0.7,
    "standby_hbm_factor": 0.4,
    "standby_shared_factor": 0.3,
    "memory": 0.4,
    "memory_room_power": 0.1,
    "memory_power": 0.07,
    "compute": 0.5,
    "compute_room_power": 0.1,
    "compute_power": 0.1,
}
"""Prior standard deviations of the logs, by constant."""

NOISE = 0.1
"""Log ratio at which a row counts as an outlier."""

EVIDENCE = 60.0
"""Rows that a device counts for against the priors."""


def predict_w(constants: PowerConstants, rows: PowerRows) -> FloatArray:
    """Power of the rows by the law: idle, and what each phase adds in its time."""
    facts, idle_w = rows.facts, rows.facts.idle_w
    prefill_w = phase_power_w(constants, facts, rows.prefill)
    decode_w = phase_power_w(constants, facts, rows.decode)
    result: FloatArray = (
        idle_w + (prefill_w - idle_w) * rows.in_prefill + (decode_w - idle_w) * rows.in_decode
    )
    return result


def weights_of(device: Names, source: Names) -> FloatArray:
    """Weights of rows that sum to one per device; sources by the root of their rows."""
    weights = np.zeros(device.size)
    for name in np.unique(device):
        mine = device == name
        for origin in np.unique(source[mine]):
            rows = mine & (source == origin)
            weights[rows] = 1.0 / np.sqrt(rows.sum())
        weights[mine] /= weights[mine].sum()
    return weights


def fit_power(rows: PowerRows) -> PowerConstants:
    """Constants that explain the rows, near `PRIOR` where they do not tell."""
    from scipy.optimize import least_squares

    names = [field.name for field in fields(PowerConstants)]
    start = np.log([getattr(PRIOR, name) for name in names])
    spread = np.array([SPREAD[name] for name in names])
    root = np.sqrt(EVIDENCE * weights_of(rows.device, rows.source))
    measured = np.log(rows.power_w)

    def misfit(logs: FloatArray) -> FloatArray:
        law = PowerConstants(**dict(zip(names, np.exp(logs).tolist(), strict=True)))
        ratio = (np.log(predict_w(law, rows)) - measured) / NOISE
        # soft L1, as a residual
        robust = np.sign(ratio) * np.sqrt(2.0 * (np.sqrt(1.0 + ratio**2) - 1.0))
        return np.concatenate([root * robust, (logs - start) / spread])

    found = least_squares(misfit, start, max_nfev=40)
    return PowerConstants(**dict(zip(names, np.exp(found.x).tolist(), strict=True)))


def leave_devices_out(rows: PowerRows, tested: PowerRows | None = None) -> FloatArray:
    """Power of every row by constants that never saw its device.

    `tested` are the same rows with other activities, such as those at predicted times.
    """
    tested = tested or rows
    result = np.zeros_like(rows.power_w)
    for name in np.unique(rows.device):
        out = np.flatnonzero(rows.device == name)
        law = fit_power(rows.take(np.flatnonzero(rows.device != name)))
        result[out] = predict_w(law, tested.take(out))
    return result


def one_factor(plain_w: FloatArray, rows: PowerRows) -> FloatArray:
    """Baseline: `plain_w` times the median ratio of the other devices, within idle and limit."""
    logs = np.log(rows.power_w / plain_w)
    result = np.zeros_like(plain_w)
    medians = {name: np.median(logs[rows.device == name]) for name in np.unique(rows.device)}
    for name in medians:
        out = rows.device == name
        factor = np.exp(np.median([value for other, value in medians.items() if other != name]))
        low, high = rows.facts.idle_w, rows.facts.limit_w
        result[out] = np.clip(plain_w * factor, low, high)[out]
    return result


def leave_out(table: pd.DataFrame) -> pd.DataFrame:
    """Power of every row by constants that never saw its device, beside baselines.

    Parameters
    ----------
    table : DataFrame
        From ``calibration.dataset.joined``; rows without power are passed over.

    Returns
    -------
    DataFrame
        ``device``, ``source``, ``measured_w``; ``plain`` (as priced in `table`),
        ``one_factor``, ``law`` at measured times and ``law_predicted_times``, in watts;
        the index is that of `table`.
    """
    used = usable(table)
    rows = rows_of(used)
    plain_w = used["predicted_power_w"].to_numpy(float)
    return pd.DataFrame(
        {
            "device": rows.device,
            "source": rows.source,
            "measured_w": rows.power_w,
            "plain": plain_w,
            "one_factor": one_factor(plain_w, rows),
            "law": leave_devices_out(rows),
            "law_predicted_times": leave_devices_out(rows, rows_of(used, measured_pace=False)),
        },
        index=used.index,
    )


METHODS = ("plain", "one_factor", "law", "law_predicted_times")


def errors_of(left_out: pd.DataFrame) -> pd.DataFrame:
    """Absolute errors in percent of what `leave_out` returns, one column per method."""
    measured = left_out["measured_w"]
    return pd.DataFrame({name: (left_out[name] / measured - 1.0).abs() for name in METHODS}) * 100.0


def fit_from(table: pd.DataFrame, *, day: str = "") -> dict[str, Any]:
    """Content of the artifact: constants fitted on all rows of `table`, and its card.

    Parameters
    ----------
    table : DataFrame
        From ``calibration.dataset.joined``, with the kernel shares that predictions use.
    day : str
        ISO date of the card; today's by default.
    """
    rows = rows_of(usable(table))
    constants = {name: float(f"{value:.5g}") for name, value in asdict(fit_power(rows)).items()}
    left_out = leave_out(table)
    return {
        "schema": SCHEMA,
        "constants": constants,
        "card": _card(rows, left_out, day or date.today().isoformat()),
    }


def _card(rows: PowerRows, left_out: pd.DataFrame, day: str) -> dict[str, Any]:
    errors, device = errors_of(left_out), left_out["device"]
    by_device = errors.groupby(device).median()
    shown = [rows.device.astype(object), rows.source.astype(object), rows.power_w.round(3)]
    text = pd.DataFrame(dict(zip("dsp", shown, strict=True))).to_csv(index=False)

    def rounded(values: Mapping[Any, float] | pd.Series) -> dict[str, float]:
        return {str(name): round(float(value), 1) for name, value in values.items()}

    return {
        "date": day,
        "data_sha256": sha256(text.encode()).hexdigest(),
        "rows": len(left_out),
        "devices": int(device.nunique()),
        "rows_per_device": {
            str(name): int(n) for name, n in device.value_counts(sort=False).items()
        },
        "split": "one device left out, all its sources; fitted at measured times",
        "median_error_percent_of_rows": rounded(errors.median()),
        "mean_error_percent_of_rows": rounded(errors.mean()),
        "mean_of_device_medians_percent": rounded(by_device.mean()),
        "median_of_device_medians_percent": rounded(by_device.median()),
        "device_medians_percent": {
            method: rounded(by_device[method]) for method in ("plain", "law")
        },
    }
