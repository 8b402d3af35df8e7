# SPDX-License-Identifier: Apache-2.0
"""Fit the power law on boards, and leave whole devices out to say how well it carries over.

Every device weighs the same, and within it every source by the root of its rows: thousands
of rows of one board must not decide about the others. Priors hold the exponents near one
(the energies are physical) and let the data choose the levels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from calibration.power.law import Activity, FloatArray, PowerFacts, PowerLaw

PRIOR = PowerLaw(
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

Names = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRows:
    """Measured boards; arrays of shape ``(n,)``, activities at measured times."""

    facts: PowerFacts
    prefill: Activity
    decode: Activity
    prefill_share: FloatArray
    power_w: FloatArray
    device: Names
    source: Names

    def take(self, index: NDArray[np.intp]) -> PowerRows:
        """Return some of the rows."""

        def cut(part: PowerFacts | Activity) -> dict[str, FloatArray]:
            return {f.name: getattr(part, f.name)[index] for f in fields(part)}

        return PowerRows(
            facts=PowerFacts(**cut(self.facts)),
            prefill=Activity(**cut(self.prefill)),
            decode=Activity(**cut(self.decode)),
            prefill_share=self.prefill_share[index],
            power_w=self.power_w[index],
            device=self.device[index],
            source=self.source[index],
        )


def predict_w(law: PowerLaw, rows: PowerRows) -> FloatArray:
    """Power of the rows by the law."""
    return law.mean_w(rows.facts, rows.prefill, rows.decode, rows.prefill_share)


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


def fit_power(rows: PowerRows) -> PowerLaw:
    """Constants that explain the rows, near `PRIOR` where they do not tell."""
    from scipy.optimize import least_squares

    names = [field.name for field in fields(PowerLaw)]
    start = np.log([getattr(PRIOR, name) for name in names])
    spread = np.array([SPREAD[name] for name in names])
    root = np.sqrt(EVIDENCE * weights_of(rows.device, rows.source))
    measured = np.log(rows.power_w)

    def misfit(logs: FloatArray) -> FloatArray:
        law = PowerLaw(**dict(zip(names, np.exp(logs).tolist(), strict=True)))
        ratio = (np.log(predict_w(law, rows)) - measured) / NOISE
        # soft L1, as a residual
        robust = np.sign(ratio) * np.sqrt(2.0 * (np.sqrt(1.0 + ratio**2) - 1.0))
        return np.concatenate([root * robust, (logs - start) / spread])

    found = least_squares(misfit, start, max_nfev=40)
    return PowerLaw(**dict(zip(names, np.exp(found.x).tolist(), strict=True)))


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


def thinned(rows: PowerRows, most: int = 120, seed: int = 0) -> PowerRows:
    """Return at most so many rows of each device and source: the fit is as good and quicker."""
    random = np.random.default_rng(seed)
    kept: list[NDArray[np.intp]] = []
    for name in np.unique(rows.device):
        for origin in np.unique(rows.source[rows.device == name]):
            mine = np.flatnonzero((rows.device == name) & (rows.source == origin))
            kept.append(random.permutation(mine)[:most])
    return rows.take(np.sort(np.concatenate(kept)))


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
