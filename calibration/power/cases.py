# SPDX-License-Identifier: Apache-2.0
"""Rows of measured power as the power law sees them, at the pace that was measured.

Reads what ``calibration.dataset.joined`` returns: activities at analytic times, which the
ratio of measured to predicted times turns into those of the run that drew the power.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calibration.power.law import facts_of
from roofline.physics.kernel import FloatArray
from roofline.physics.power import Activity, PowerFacts
from roofline.residual import PROMPT_HOST_S, STEP_HOST_S
from specs.catalogue import get_accelerator

ASSUMED_OUTPUT_TOKENS = 128.0
"""Where a row states none (`calibration.dataset.ASSUMED_TOKENS`)."""

Names = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRows:
    """Measured boards; arrays of shape ``(n,)``, activities and shares at measured times.

    `in_prefill` and `in_decode` are shares of wall time; the rest is idle.
    """

    facts: PowerFacts
    prefill: Activity
    decode: Activity
    in_prefill: FloatArray
    in_decode: FloatArray
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
            in_prefill=self.in_prefill[index],
            in_decode=self.in_decode[index],
            power_w=self.power_w[index],
            device=self.device[index],
            source=self.source[index],
        )


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `table` that were priced and have a measured power."""
    good = table["reason"].eq("") & (table["measured_power_w"] > 0)
    return table[good]


def rows_of(table: pd.DataFrame, *, measured_pace: bool = True) -> PowerRows:
    """Rows of a joined table, all `usable`; without `measured_pace` at predicted times."""
    one = np.ones(len(table))
    prefill_pace, decode_pace = _paces(table) if measured_pace else (one, one)
    in_prefill, in_decode = _shares(table, prefill_pace, decode_pace, measured_pace)
    limit_w = pd.to_numeric(table["power_limit_w"]).fillna(np.inf).to_numpy(float)
    devices = [get_accelerator(name) for name in table["is_gpu"]]

    def activity(phase: str, pace: FloatArray) -> Activity:
        return Activity(
            memory_frac=_column(table, f"x_{phase}_memory_share") / pace,
            compute_frac=_column(table, f"x_{phase}_peak_share") / pace,
        )

    return PowerRows(
        facts=facts_of(devices, limit_w),
        prefill=activity("prompt", prefill_pace),
        decode=activity("step", decode_pace),
        in_prefill=in_prefill,
        in_decode=in_decode,
        power_w=_column(table, "measured_power_w"),
        device=table["is_gpu"].to_numpy(str),
        source=table["source"].to_numpy(str),
    )


def _column(table: pd.DataFrame, name: str) -> FloatArray:
    return table[name].to_numpy(float)


def _ratio(table: pd.DataFrame, metric: str) -> pd.Series:
    """Measured over predicted, NaN where not measured."""
    ratio: pd.Series = table[f"measured_{metric}"] / table[f"predicted_{metric}"]
    return ratio.where(ratio > 0)


def _paces(table: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Measured over predicted time of prefill and decode step; of the whole where that is all.

    TTFT of a served request is mostly queueing and says nothing of the pace of its prefill.
    """
    whole = _ratio(table, "e2e_s").fillna(1.0 / _ratio(table, "throughput"))
    decode = _ratio(table, "tpot_s").fillna(whole).fillna(1.0)
    alone = _ratio(table, "ttft_s").where(table["mode"].ne("serving"), 1.0)
    return alone.fillna(decode).to_numpy(float), decode.to_numpy(float)


def _shares(
    table: pd.DataFrame, prefill_pace: FloatArray, decode_pace: FloatArray, measured: bool
) -> tuple[FloatArray, FloatArray]:
    """Shares of wall time in prefill and in decode."""
    steps = (table["output_tokens"].fillna(ASSUMED_OUTPUT_TOKENS) - 1.0).clip(lower=0.0)
    # The numbers that describe a case hold the times of its phases: undo their logs.
    prefill_s = PROMPT_HOST_S / np.expm1(_column(table, "x_prompt_host")) * prefill_pace
    step_s = STEP_HOST_S / np.expm1(_column(table, "x_step_host")) * decode_pace
    decoding = 2.0 ** _column(table, "x_running")
    replicas = _column(table, "p_running_batch") / decoding
    serving = table["mode"].eq("serving").to_numpy()
    slower = _ratio(table, "e2e_s").fillna(1.0 / _ratio(table, "throughput"))
    slower = slower.fillna(pd.Series(decode_pace, index=table.index))
    rate = _column(table, "p_requests_per_s") / replicas / (slower if measured else 1.0)
    decode_s = step_s * steps.to_numpy(float)
    prefill = np.where(serving, rate * prefill_s, prefill_s / (prefill_s + decode_s))
    decode = np.where(serving, rate * decode_s / decoding, 1.0 - prefill)
    prefill, decode = _of_phase(table, prefill, decode)
    whole = np.maximum(prefill + decode, 1.0)
    return prefill / whole, decode / whole


def _of_phase(
    table: pd.DataFrame, prefill: FloatArray, decode: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """All of one phase where only that one was measured, as ``joined`` pairs power."""
    ttft, tpot = table["measured_ttft_s"].notna(), table["measured_tpot_s"].notna()
    prompt_only = ttft & ~tpot & ~(table["output_tokens"] > 1)
    decode_only = tpot & ~ttft & table["measured_e2e_s"].isna()
    choices = [prompt_only, decode_only]
    return np.select(choices, [1.0, 0.0], prefill), np.select(choices, [0.0, 1.0], decode)
