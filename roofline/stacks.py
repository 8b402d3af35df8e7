# SPDX-License-Identifier: Apache-2.0
"""Setups side by side: their cases are priced in one go.

A table of many models, formats and degrees has few cases of each. Pricing takes the
same few hundred array operations for one case as for a thousand, so setups with the
same ``stack_key`` are priced together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roofline.phase_costs import Setup
from roofline.physics.memory import CacheKind, Footprint
from roofline.physics.stacking import AmountStack, PlanStack, aligned

_FOOTPRINT_AMOUNTS = (
    "weights_bytes",
    "state_bytes_per_sequence",
    "act_bytes_per_token",
    "logit_bytes_per_sequence",
)


@dataclass(frozen=True, slots=True)
class _FootprintStack:
    """Footprints, caches that grow alike beside each other."""

    sizes: AmountStack[Footprint]
    caches: tuple[AmountStack[CacheKind], ...]

    @classmethod
    def of(cls, sizes: Sequence[Footprint]) -> _FootprintStack:
        caches = aligned([each.caches for each in sizes], lambda kind: (kind.window, kind.cross))
        return cls(
            AmountStack.of(sizes, _FOOTPRINT_AMOUNTS),
            tuple(AmountStack.of(kinds, ("count", "bytes_per_token")) for kinds in caches),
        )

    def take(self, index: NDArray[np.intp]) -> Footprint:
        caches = tuple(stack.take(index) for stack in self.caches)
        return replace(self.sizes.take(index), caches=caches)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is compiled of setups, stacked."""

    tensor_ranks: NDArray[np.int64]
    decoder: PlanStack
    encoder: PlanStack | None
    sizes: _FootprintStack

    @classmethod
    def of(cls, setups: Sequence[Setup]) -> _Parts:
        encoders = [setup.encoder for setup in setups if setup.encoder is not None]
        return cls(
            np.array([setup.layout.tp for setup in setups], dtype=np.int64),
            PlanStack.of([setup.decoder for setup in setups]),
            PlanStack.of(encoders) if encoders else None,
            _FootprintStack.of([setup.sizes for setup in setups]),
        )

    def take(self, like: Setup, index: NDArray[np.intp]) -> Setup:
        setup = replace(like)
        # What its properties would compile from one model, they find already there.
        vars(setup)["tensor_ranks"] = self.tensor_ranks[index]
        vars(setup)["decoder"] = self.decoder.take(index)
        vars(setup)["encoder"] = None if self.encoder is None else self.encoder.take(index)
        vars(setup)["sizes"] = self.sizes.take(index)
        return setup


@dataclass(frozen=True, slots=True)
class SetupStack:
    """Setups with the same ``stack_key``; ``take`` deals them out to cases."""

    setups: tuple[Setup, ...]
    parts: tuple[_Parts, _Parts] | None

    @classmethod
    def of(cls, setups: Sequence[Setup]) -> SetupStack:
        """Stack setups, and their ideals; kept for tables that ask for the same again."""
        if len(setups) == 1:
            return cls(tuple(setups), None)
        # A kept stack holds its setups, so that no other can take on their identity.
        key = tuple(map(id, setups))
        kept = _STACKS.get(key)
        if kept is None:
            if len(_STACKS) >= MOST_KEPT:
                _STACKS.clear()
            parts = _Parts.of(setups), _Parts.of([setup.ideal for setup in setups])
            kept = _STACKS[key] = cls(tuple(setups), parts)
        return kept

    def take(self, index: NDArray[np.intp]) -> Setup:
        """One setup whose amounts are those of setup ``index[i]`` for case i."""
        if self.parts is None:
            return self.setups[0]
        own, ideal = self.parts
        setup = own.take(self.setups[0], index)
        vars(setup)["ideal"] = ideal.take(self.setups[0].ideal, index)
        return setup


MOST_KEPT = 1000
_STACKS: dict[tuple[int, ...], SetupStack] = {}
