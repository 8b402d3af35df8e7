# SPDX-License-Identifier: Apache-2.0
"""Fitted coordinates by level: device, family, kind of matrix unit, population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.operators.facts import kind_of
from calibration.operators.laws import LAWS, FloatArray

ANY = "*"
"""Key of what holds for every family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Coordinates of one law, the rows they were fitted on, and how well they fit.

    `eager` says that the times hold the host's launches, so the floors are the host's.
    """

    coordinates: FloatArray
    rows: int
    spread: float
    eager: bool = False


def power_lift(law: str, headroom: float) -> FloatArray:
    """Shift of the coordinates by the power limit: the odds of `e_c` follow `headroom`.

    ``e_c / (1 - e_c)`` proportional to headroom. A fixed form without a fitted constant.
    """
    lift = np.zeros(len(LAWS[law].params))
    if "e_c" in LAWS[law].names:
        lift[LAWS[law].names.index("e_c")] = np.log(headroom)
    return lift


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Coordinates of one operator's law at three levels, and offsets of engines."""

    law: str
    powered: bool
    population: FloatArray
    kinds: Mapping[str, FloatArray]
    families: Mapping[str, FloatArray]
    devices: Mapping[str, Fit]
    engines: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)

    def coordinates(
        self, device: str, family: str, engine: str = "", *, headroom: float = 1.0
    ) -> FloatArray:
        """Coordinates for a device: its own, else its family's, else the population's.

        `headroom` of the device's power limit moves the plateau of what was not measured.
        """
        if device in self.devices:
            base = self.devices[device].coordinates
        else:
            kind = self.kinds.get(kind_of(family), self.population)
            base = self.families.get(family, kind)
            base = base + self._lift(headroom)
        if engine not in self.engines:
            return base
        offsets = self.engines[engine]
        for key in (device, family, kind_of(family)):
            if key in offsets:
                return base + offsets[key]
        return base + offsets[ANY]

    def _lift(self, headroom: float) -> FloatArray:
        return power_lift(self.law, headroom) if self.powered else np.zeros_like(self.population)

    def level(self, device: str, family: str) -> str:
        """Which level answers for a device."""
        if device in self.devices:
            return "device"
        if family in self.families:
            return "family"
        return "kind" if kind_of(family) in self.kinds else "population"
