# SPDX-License-Identifier: Apache-2.0
"""Dense matrix rates that board databases do not list.

Answers: how many operations per clock does one SM, compute unit or Xe core of
this board do at each precision. ``specs/data/tensor_rates.toml`` has one rule per
chip family and market segment, in the order in which they are tried; the file's
head describes the fields. ``peak = units x rate x clock``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specs.accelerator import COMPUTE_PRECISIONS
from specs.errors import SpecDataError
from specs.sources import nearest
from specs.techpowerup import BoardFacts

RATES_PATH = Path(__file__).parent / "data" / "tensor_rates.toml"

_MATCHABLE = ("manufacturer", "architecture", "chip", "generation", "name")
_FIELDS = (
    "match",
    "unless_name",
    "source",
    "architecture",
    "shaders_per_unit",
    "vector",
    "rates",
    "matrix_clock_frac",
    "refuse",
)
# Vendors state these two at the boost clock even where matrix peaks are stated below it.
_FULL_CLOCK = frozenset(("fp64", "fp32"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """Rates of one chip family in one market segment.

    Parameters
    ----------
    name, source : str
        The rule's name, the key of its source.
    match : mapping of str to str
        Column of `BoardFacts` -> regular expression that must match all of it.
    unless_name : str
        Regular expression of board names that the rule leaves alone.
    architecture : str
        Family word for `Accelerator.architecture`.
    shaders_per_unit : int or None
        Shader lanes per unit.
    vector : float or None
        fp32 FLOP per unit and clock of the shader lanes.
    rates : mapping of str to float
        Precision -> operations per unit and clock.
    matrix_clock_frac : float
        Matrix peaks are quoted at this fraction of the listed boost clock.
    refuse : str
        Why matching boards get no rates; empty for a rule that gives them.
    """

    name: str
    source: str
    match: Mapping[str, str]
    unless_name: str = ""
    architecture: str = ""
    shaders_per_unit: int | None = None
    vector: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    matrix_clock_frac: float = 1.0
    refuse: str = ""

    def covers(self, board: BoardFacts) -> bool:
        """Tell whether `board` falls under this rule."""
        if self.unless_name and re.fullmatch(self.unless_name, board.name):
            return False
        return all(
            re.fullmatch(pattern, getattr(board, column)) for column, pattern in self.match.items()
        )

    def units(self, board: BoardFacts) -> int | None:
        """Return how many SMs, compute units, Xe cores or EUs `board` has, if known."""
        # Lanes first: the listed rates agree with these where the listed SM count is wrong.
        if board.shader_count and self.shaders_per_unit:
            return max(1, board.shader_count // self.shaders_per_unit)
        return board.sm_count

    def peaks(
        self, unit_count: float, clock_hz: float, *, matrix_clock: bool = False
    ) -> dict[str, float]:
        """Return the dense peak by precision, in FLOP/s, for this many units and clock.

        `matrix_clock` says that `clock_hz` is already the one that matrix peaks are
        quoted at.
        """
        frac = 1.0 if matrix_clock else self.matrix_clock_frac
        peaks = {
            precision: unit_count * rate * clock_hz * (1.0 if precision in _FULL_CLOCK else frac)
            for precision, rate in self.rates.items()
        }
        if self.vector:
            peaks.setdefault("fp32", unit_count * self.vector * clock_hz)
        return peaks


def load_rules(path: Path = RATES_PATH) -> dict[str, RateRule]:
    """Read the rate table, in file order.

    Raises
    ------
    SpecDataError
        An unknown field, column or precision, or a rule that neither gives nor refuses rates.
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _rule(path.name, name, table) for name, table in tables.items()}


def _rule(file: str, name: str, table: Mapping[str, Any]) -> RateRule:
    where = f"{file}: [{name}]"
    for keys, known in (
        (table, _FIELDS),
        (table.get("match", {}), _MATCHABLE),
        (table.get("rates", {}), COMPUTE_PRECISIONS),
    ):
        for key in keys:
            if key not in known:
                raise SpecDataError(f"{where}: unknown {key!r}; nearest: {nearest(key, known)}.")
    if not table.get("match") or not table.get("source"):
        raise SpecDataError(f"{where} needs match and source.")
    if not table.get("refuse") and not table.get("architecture"):
        raise SpecDataError(f"{where} needs an architecture, or refuse = why not.")
    return RateRule(name=name, **table)


def rule_for(board: BoardFacts, rules: Mapping[str, RateRule]) -> RateRule | None:
    """Return the first rule that covers `board`, or None."""
    return next((rule for rule in rules.values() if rule.covers(board)), None)
