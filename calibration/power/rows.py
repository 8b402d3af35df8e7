# SPDX-License-Identifier: Apache-2.0
"""Which published powers are the mean power of a working board, and how to make them so.

Sources measure different things: a rig with idle cards in it, a run with its loading, a
node with its CPUs. What their notes state is undone here, by rule and not by judgement of
single rows; what cannot be undone keeps the reason and no figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RIG_IDLE_W = 25.0
"""Idle of one RTX 3090 of the rig: 303 W for one card held at 220 W and three idle ones
(27.7 W each); 22.3 W by NVML on another RTX 3090 (chuyishang/inference-energy)."""

LOADED_SHARE = 0.8
"""Share of a llama-bench run that its five repetitions must fill: the mean power of runs
that mostly load the model is near idle (16 to 40 W of 120 below a tenth)."""

_RUN = re.compile(r"run (\d+(?:\.\d+)?) s\b")
_RIG = "of the rig; power_w = per card (sum of 4 cards / 4)"
_NO_BF16 = ("v100", "p100", "t4", "p4", "p40", "m40")
_NO_BOARD = {
    "alejandroldz": "energy of CPU and RAM models is inside",
    "dfki": "energy of CPU, DRAM and the data centre is inside",
    "nlr_genai": "power of CPUs is inside",
    "mlperf": "power at the wall of the whole system",
}


@dataclass(frozen=True, slots=True)
class BoardPower:
    """Mean power of one board at work in watts, None with a reason where it is not known.

    Multiply the row's energy by `factor` too: it holds the same error.
    """

    power_w: float | None
    factor: float
    reason: str = ""


def board_power(row: Mapping[str, Any]) -> BoardPower:
    """Power of one row as that of a board; see the module.

    Parameters
    ----------
    row : mapping
        Columns `source`, `notes`, `power_w`, `num_gpus`, `ttft_s`, `tpot_s`,
        `output_tokens`, `gpu`, `weight_dtype`; missing ones count as unknown.
    """
    source, notes = str(row.get("source") or ""), str(row.get("notes") or "")
    power = _number(row, "power_w")
    if power is None or power <= 0.0:
        return BoardPower(None, 1.0, "no power stated")
    if source in _NO_BOARD:
        return BoardPower(None, 1.0, _NO_BOARD[source])
    if _RIG in notes:
        cards = _number(row, "num_gpus") or 1.0
        return _scaled(power, (4.0 * power - (4.0 - cards) * RIG_IDLE_W) / cards)
    if source == "strix_lhl":
        return _llama_bench(row, notes, power)
    if source == "wilkins" and (_number(row, "num_gpus") or 1.0) > 1.0:
        return BoardPower(None, 1.0, "layers in turn on several boards, the others idle")
    if str(row.get("weight_dtype")) == "bf16" and str(row.get("gpu")).startswith(_NO_BF16):
        return BoardPower(None, 1.0, "bf16 emulated on a device that lacks it")
    if "n_gpus 8 vs tp 4" in notes:
        return BoardPower(None, 1.0, "boards counted that may stand idle")
    return BoardPower(power, 1.0)


def _scaled(stated_w: float, board_w: float) -> BoardPower:
    return BoardPower(board_w, board_w / stated_w)


def _llama_bench(row: Mapping[str, Any], notes: str, power: float) -> BoardPower:
    run = _RUN.search(notes)
    prompt_s, step_s = _number(row, "ttft_s"), _number(row, "tpot_s")
    busy_s = prompt_s or (step_s or 0.0) * (_number(row, "output_tokens") or 0.0)
    if run is None or 5.0 * busy_s < LOADED_SHARE * float(run[1]):
        return BoardPower(None, 1.0, "power averaged over loading too")
    return BoardPower(power, 1.0)


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    try:
        number = float(value) if value is not None else float("nan")
    except (TypeError, ValueError):  # a missing value of pandas
        return None
    return number if number == number else None
