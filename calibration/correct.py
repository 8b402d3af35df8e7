# SPDX-License-Identifier: Apache-2.0
"""The learned correction as one JSON file, read with numpy alone.

    predict(..., correction=shipped())

The file holds the residual models of TTFT and TPOT, the ends of intervals, constants of
power, and what a user's own rows added (`calibration.tune`). Constants of kernels lie in a file
of their own, unless they were fitted with the correction (``--kernels``): then it holds them
too. Nothing is unpickled and nothing of the fit is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from calibration.intervals_of import ends_of, group_of
from calibration.operators.apply import from_dict as laws_from
from calibration.operators.bridge import OperatorCorrection, load_correction
from calibration.own import Posterior, read_points
from calibration.own_cases import Cases, described, octaves_of
from calibration.staged import KINDS, Block, Staged, level_of, shares_of
from roofline.physics.kernel import FloatArray
from roofline.physics.power import PowerConstants
from roofline.physics.shares import Shares
from roofline.residual import (
    ERA_NAMES,
    QUANTITIES,
    STANDINGS,
    TARGETS,
    Keys,
    Labels,
    Residual,
    era_of,
)
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.errors import SpecDataError

ARTIFACT = Path(__file__).parent / "artifacts" / "correction.json"
SCHEMA = 1

OWN = ("gpu", "engine")
"""What a user's own rows are grouped by: they move predictions of no other."""

_TUNED_BY = {"ttft_s": ("ttft",), "tpot_s": ("tpot",), "power_mean_w": ("power",),
             "energy_per_output_token_j": ("tpot", "power")}  # fmt: skip
_REQUEST = ("ttft", "tpot")
"""Targets whose own rows narrow the interval of a quantity; others need TTFT and TPOT."""


@dataclass(frozen=True)
class LearnedCorrection:
    """Meets ``roofline.correction.Correction``.

    Parameters
    ----------
    models : mapping of str to Staged
        By target.
    intervals : mapping
        As `calibration.intervals.table` makes them, by standing.
    constants : PowerConstants or None
    kernels : OperatorCorrection
    own : mapping of str to tuple of Block
        By target: levels of machines that a user's own rows are of, and how many they are.
    families : mapping of str to tuple of str
        Engines and the architecture families they were measured on.
    meta : mapping
        What it was fitted on.
    own_points : mapping of str to mapping of str to Posterior
        By target, device and engine: what a user's own rows say of any case.
    own_notes : mapping of str to tuple of str
        By device and engine: what is to be said of a user's own rows.
    """

    models: Mapping[str, Staged]
    intervals: Mapping[str, Any]
    constants: PowerConstants | None
    kernels: OperatorCorrection
    own: Mapping[str, tuple[Block, ...]]
    families: Mapping[str, tuple[str, ...]]
    meta: Mapping[str, Any]
    own_points: Mapping[str, Mapping[str, Posterior]] = field(default_factory=dict)
    own_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _ends: dict[tuple[int, str], FloatArray] = field(default_factory=dict, repr=False)

    def shares(self, accelerator: Accelerator, engine: Engine) -> Shares | None:
        """Return what kernels reach."""
        return self.kernels.shares(accelerator, engine)

    def power(self) -> PowerConstants | None:
        """Return constants of the power of boards."""
        return self.constants

    def residual(self, keys: Keys, numbers: FloatArray) -> Residual:
        """Return expected over analytic, and the interval around it."""
        labels, place = keys.distinct_labels(), keys.word
        log_ratio = np.zeros((len(TARGETS), place.size))
        for row, name in enumerate(TARGETS):
            if name in self.models:
                log_ratio[row] = self.models[name].predict(labels, place, numbers)
        standing = np.array([self.standing(label) for label in labels], dtype=np.intp)
        ends = np.array([self._ends_of(label) for label in labels]).transpose(1, 2, 0)
        low, high = np.exp(ends)[..., place]
        if self.own_points:
            shift, narrow = self._own(keys, keys.labels(), numbers)
            log_ratio += shift
            for row, quantity in enumerate(QUANTITIES):
                targets = [TARGETS.index(name) for name in _TUNED_BY.get(quantity, _REQUEST)]
                factor = narrow[targets].max(axis=0)
                low[row], high[row] = low[row] ** factor, high[row] ** factor
        return Residual(ratio=np.exp(log_ratio), low=low, high=high, standing=standing[place])

    def _own(
        self, keys: Keys, labels: Sequence[Labels], numbers: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Shifts of log ratios from a user's own rows, factors on half widths; by target."""
        count = keys.place.size
        shift, narrow = np.zeros((len(TARGETS), count)), np.ones((len(TARGETS), count))
        places = np.array([level_of(label, OWN) for label in labels], dtype=object)
        words, devices = described(keys, labels)
        for row, name in enumerate(TARGETS):
            for place, found in self.own_points.get(name, {}).items():
                rows = np.flatnonzero((places == place)[keys.place])
                if rows.size:
                    where = keys.place[rows]
                    octaves = octaves_of(name, numbers[:, rows], devices[where])
                    cases = Cases(tuple(words), where, octaves)
                    shift[row, rows], narrow[row, rows] = found.shifts(cases)
        return shift, narrow

    def _ends_of(self, label: Labels) -> FloatArray:
        """Ends of intervals without own rows, shape ``(2, len(QUANTITIES))``."""
        key = standing, group = self.standing_of_fit(label), group_of(label.engine, label.mode)
        if key not in self._ends:
            pairs = [
                ends_of(self.intervals, standing=standing, group=group, quantity=name)
                for name in QUANTITIES
            ]
            self._ends[key] = np.array(pairs).T
        return self._ends[key]

    def own_rows(self, label: Labels) -> int:
        """Rows of a user behind a case's device and engine."""
        found = 0
        for blocks in self.own.values():
            for block in blocks:
                if block.by == OWN:
                    found = max(found, block.levels.get(level_of(label, block.by), (0, 0, 0))[2])
        return found

    def standing(self, label: Labels) -> int:
        """Index into ``STANDINGS``: how near the data are."""
        return 0 if self.own_rows(label) else self.standing_of_fit(label)

    def standing_of_fit(self, label: Labels) -> int:
        """The same, of the data that came with the correction alone."""
        if label.gpu in self.models["tpot"].seen.get(label.engine, ()):
            return 0
        return 1 if label.family in self.families.get(label.engine, ()) else 2

    def basis(self, accelerator: Accelerator, engine: Engine) -> str:
        """Return what the correction stands on here."""
        own = self._own_basis(accelerator, engine)
        if engine.overlaps or engine.name not in KINDS:
            return f"none: {engine.name} is not corrected{own if not engine.overlaps else ''}"
        pace = self.models["tpot"]
        seen = pace.seen.get(engine.name, ())
        counted = self.meta["rows_by_engine"].get(engine.name, 0)
        era = ERA_NAMES[era_of(engine.until_year or nan)]
        known, elsewhere, _ = shares_of(pace.damping, engine.name, era)
        share, where = elsewhere, "this one not"
        if accelerator.name in seen:
            share, where = known, "this one among them"
        counts = f"decoding takes {share:.0%} of it" if share else "decoding takes nothing of it"
        kernels = self.kernels.basis(accelerator, engine)
        return (
            f"residual of {engine.name} from {counted:,} rows on {len(seen)} devices, {where}, "
            f"{counts}; {kernels}{own}"
        )

    def _own_basis(self, accelerator: Accelerator, engine: Engine) -> str:
        """What a user's own rows add to `basis`, with what is doubtful about them."""
        place = f"{accelerator.name}|{engine.name}"
        rows = 0
        for blocks in self.own.values():
            rows = max(rows, *(b.levels.get(place, (0, 0, 0))[2] for b in blocks))
        if not rows:
            return ""
        return "; ".join((f"; {rows:,} rows of your own", *self.own_notes.get(place, ())))


def load(path: Path) -> LearnedCorrection:
    """Read a correction.

    Raises
    ------
    SpecDataError
        There is no such file, it is no correction, or of another schema.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecDataError(
            f"{path} cannot be read as a correction ({error}); give a file that "
            f"`roofline calibrate fit` or `tune` wrote."
        ) from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or "targets" not in raw:
        found = raw.get("schema") if isinstance(raw, dict) else None
        raise SpecDataError(
            f"{path} is no correction of schema {SCHEMA} (it says {found!r}); make one with "
            f"`roofline calibrate fit`."
        )
    return from_dict(raw)


def from_dict(raw: Mapping[str, Any]) -> LearnedCorrection:
    """Read what `calibration.fit` or `tune` made.

    Raises
    ------
    SpecDataError
        It was tuned by a version that kept nothing which says where own rows lie.
    """
    power, operators = raw.get("power"), raw.get("operators")
    if raw.get("own") and "own_points" not in raw:
        raise SpecDataError(
            "this correction was tuned by an earlier version; delete it and run "
            "`roofline calibrate tune` again with the measurements."
        )
    return LearnedCorrection(
        models={name: Staged.from_json(each) for name, each in raw["targets"].items()},
        intervals=raw["intervals"],
        constants=None if power is None else PowerConstants(**power),
        kernels=OperatorCorrection(laws_from(operators)) if operators else load_correction(),
        own={name: read_blocks(each) for name, each in raw.get("own", {}).items()},
        families={name: tuple(each) for name, each in raw["families"].items()},
        meta=raw["meta"],
        own_points={
            name: {place: read_points(each, name) for place, each in places.items()}
            for name, places in raw.get("own_points", {}).items()
        },
        own_notes={name: tuple(each) for name, each in raw.get("own_notes", {}).items()},
    )


def read_blocks(raw: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    """Read blocks of effects."""
    return tuple(
        Block(
            tuple(each["by"]),
            float(each["prior"]),
            {name: (float(e), float(v), int(n)) for name, (e, v, n) in each["levels"].items()},
        )
        for each in raw
    )


@lru_cache(maxsize=1)
def shipped() -> LearnedCorrection:
    """The correction that comes with this version."""
    return load(ARTIFACT)


assert len(STANDINGS) == 3  # `standing` knows no more
