# SPDX-License-Identifier: Apache-2.0
"""Mean power of a phase from two utilisations: numpy only, one small JSON file.

    law = load_power()
    facts = facts_of(accelerators, limit_w)
    decode_w = law.phase_w(facts, Activity(memory_frac=mbu, compute_frac=mfu))

Above idling a device draws a standby part while kernels run, a part with its memory
traffic and a part with its arithmetic,

    D = a + b * k_m**g * u_m**p + c * k_c**h * u_c**q        (share of limit - idle)

where u are the shares of bandwidth and dense peak in use and k what each would draw at its
full rate by the energies of its memory kind and process node, as a share of the same room.
So an unseen board has coefficients from its datasheet. What is wanted beyond the limit is
not drawn. Fitted on boards of sixteen kinds; the card is in the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.devices import byte_energy_j, idle_w, rate_of
from roofline.physics.constants import ENERGY_BF16_J_PER_FLOP
from specs.accelerator import Accelerator
from specs.errors import SpecDataError

FloatArray = NDArray[np.float64]

ARTIFACT = Path(__file__).parent.parent / "artifacts" / "power.json"
SCHEMA = 1

HELD_FRAC = 0.98
"""Mean power of boards that run into their limit, over the limit: 0.95 to 1.00 (NVML over
sweeps of limits on RTX 3090, RTX PRO 6000 and in `ml.energy`'s H100 and B200 rows)."""

SHARPNESS = 10.0
"""How sharply power meets the limit; boards cross it now and then before they are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFacts:
    """What the law needs of the device of each case; arrays of shape ``(n,)``.

    `memory_room_frac` and `compute_room_frac` are the powers of full-rate traffic and of
    full-rate 16-bit products by the energies of `roofline.physics.constants`, over default
    limit less idle.
    """

    idle_w: FloatArray
    tdp_w: FloatArray
    limit_w: FloatArray
    memory_room_frac: FloatArray
    compute_room_frac: FloatArray
    hbm: FloatArray
    shared: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What one rank does in a phase, at the pace of the default power limit.

    Parameters
    ----------
    memory_frac : ndarray
        Bytes moved over the time of the phase, over the peak bandwidth (MBU).
    compute_frac : ndarray
        Time of all products at their own dense peaks over the time of the phase (MFU).
    """

    memory_frac: FloatArray
    compute_frac: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """Fitted constants. `standby` is a for GDDR boards, others by their factors."""

    standby: float
    standby_hbm_factor: float
    standby_shared_factor: float
    memory: float
    memory_room_power: float
    memory_power: float
    compute: float
    compute_room_power: float
    compute_power: float

    def demand_w(self, facts: PowerFacts, activity: Activity) -> FloatArray:
        """Power wanted where no limit held it; rises with both utilisations."""
        standby = (
            self.standby
            * self.standby_hbm_factor**facts.hbm
            * self.standby_shared_factor**facts.shared
        )
        memory = self.memory * facts.memory_room_frac**self.memory_room_power
        compute = self.compute * facts.compute_room_frac**self.compute_room_power
        share = (
            standby
            + memory * np.maximum(activity.memory_frac, 0.0) ** self.memory_power
            + compute * np.maximum(activity.compute_frac, 0.0) ** self.compute_power
        )
        result: FloatArray = facts.idle_w + (facts.tdp_w - facts.idle_w) * share
        return result

    def phase_w(self, facts: PowerFacts, activity: Activity) -> FloatArray:
        """Mean power of a phase, between idle and the limit."""
        return held_w(self.demand_w(facts, activity), facts)

    def mean_w(
        self, facts: PowerFacts, prefill: Activity, decode: Activity, prefill_share: ArrayLike
    ) -> FloatArray:
        """Mean over a run of which prefill takes `prefill_share` of the busy time."""
        share = np.asarray(prefill_share, float)
        decode_w = self.phase_w(facts, decode)
        return share * self.phase_w(facts, prefill) + (1.0 - share) * decode_w

    def to_dict(self) -> dict[str, float]:
        """Constants by name, as the artifact holds them."""
        return asdict(self)


def activity_of(
    moved_bytes: ArrayLike, at_peak_s: ArrayLike, time_s: ArrayLike, mem_bytes_per_s: ArrayLike
) -> Activity:
    """Activity of a phase of one rank: its bytes and products over the time it really takes.

    `at_peak_s` is the time of all products at their own dense peaks (`PhaseCost`); `time_s`
    the best known time of the phase, corrected if there is a correction, unthrottled.
    """
    time = np.maximum(np.asarray(time_s, float), 1e-12)
    return Activity(
        memory_frac=np.asarray(moved_bytes, float) / (time * np.asarray(mem_bytes_per_s, float)),
        compute_frac=np.asarray(at_peak_s, float) / time,
    )


def held_w(demand_w: FloatArray, facts: PowerFacts) -> FloatArray:
    """Power drawn where `demand_w` is wanted: a soft minimum with the limit, idle at least.

    ``L (1 + (P / L)**-k)**(-1/k)`` with L a little below the limit.
    """
    limit = np.maximum(np.minimum(facts.limit_w, facts.tdp_w), 1e-9)
    level = HELD_FRAC * limit
    ratio = np.maximum(demand_w / level, 1e-6)
    held = level * (1.0 + ratio**-SHARPNESS) ** (-1.0 / SHARPNESS)
    # No limit takes a device below idle.
    result: FloatArray = np.maximum(held, facts.idle_w)
    return result


def facts_of(accelerators: Sequence[Accelerator], limit_w: ArrayLike = np.inf) -> PowerFacts:
    """Facts of the device of each case, limits in watts (infinite for the default)."""
    rows = np.array([_row(device) for device in accelerators]).reshape(len(accelerators), 6).T
    tdp = rows[1]
    limit = np.minimum(np.broadcast_to(np.asarray(limit_w, float), tdp.shape), tdp)
    return PowerFacts(
        idle_w=rows[0],
        tdp_w=tdp,
        limit_w=limit,
        memory_room_frac=rows[2],
        compute_room_frac=rows[3],
        hbm=rows[4],
        shared=rows[5],
    )


def _row(device: Accelerator) -> tuple[float, ...]:
    idle = idle_w(device)
    room = max(device.tdp_w - idle, 1e-9)
    return (
        idle,
        device.tdp_w,
        device.mem_bytes_per_s * byte_energy_j(device) / room,
        max(rate_of(device, "bf16"), rate_of(device, "fp16")) * _flop_j(device) / room,
        float(device.mem_kind.lower().startswith("hbm")),
        float(device.kind in ("igpu", "cpu")),
    )


def _flop_j(device: Accelerator) -> float:
    """Energy of a 16-bit FLOP by process node, interpolated."""
    nodes = np.array(sorted(ENERGY_BF16_J_PER_FLOP))
    values = np.array([ENERGY_BF16_J_PER_FLOP[node] for node in nodes])
    return float(np.exp(np.interp(np.log(device.process_nm or 7.0), np.log(nodes), np.log(values))))


def from_dict(data: Mapping[str, Any]) -> PowerLaw:
    """Constants as `PowerLaw.to_dict` wrote them.

    Raises
    ------
    SpecDataError
        Another schema, or constants missing or unknown.
    """
    constants = data.get("constants")
    if data.get("schema") != SCHEMA or not isinstance(constants, Mapping):
        raise SpecDataError(
            f"power constants have schema {data.get('schema')!r}; {SCHEMA} is read."
        )
    try:
        return PowerLaw(**{name: float(value) for name, value in constants.items()})
    except TypeError as error:
        raise SpecDataError(f"power constants do not fit ({error}); fit them anew.") from None


@lru_cache(maxsize=4)
def load_power(path: Path = ARTIFACT) -> PowerLaw:
    """Shipped constants, or those of another file."""
    return from_dict(json.loads(path.read_text(encoding="utf-8")))
