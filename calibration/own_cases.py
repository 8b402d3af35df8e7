# SPDX-License-Identifier: Apache-2.0
"""How far one case is from another on one device under one engine.

A user's own row says much of cases like it and less of others. How unlike two cases are is
counted in octaves: a doubling of the batch, of the context or of the time of a step is one,
a word that differs is worth `WORD_OCTAVES`. Everything here follows from what a correction
is told of cases anyway (`roofline.residual`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np

from roofline.physics.kernel import FloatArray
from roofline.residual import NUMBERS, Keys, Labels

WORDS = ("mode", "model", "weights", "storage", "era")
"""Words of a case: ``storage`` names formats of weights and cache more finely than ``weights``,
the class that all rows are grouped by."""

WORD_OCTAVES = {"mode": 6.0, "weights": 1.5, "storage": 1.5, "era": 1.5}
"""What a word that differs is worth. Fitted ones came out between one and two octaves and
hardly mattered, but for the mode: a server's queue says little of a static batch."""

COORDINATES = {
    "ttft": (
        "running", "context", "ranks", "prompt_host", "queue", "prompt_compute", "prompt_link",
    ),
    "tpot": ("running", "context", "ranks", "step_host", "stall", "step_compute", "step_link"),
    "power": ("running", "context", "ranks", "step_host", "prompt_host"),
}  # fmt: skip
"""Of ``NUMBERS``, those along which a target's residual varies; then the number of devices."""

_TIMES = ("prompt_host", "step_host")
_LOGS = ("queue", "stall")

FARTHEST_OCTAVES = 20.0

COARSER_OCTAVES = (0.0, 0.5, 1.0, 2.0)
"""Steps on which coordinates are rounded, in turn, until few enough rows differ."""


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases of one device and engine.

    Parameters
    ----------
    words : tuple of tuple of str
        Distinct `WORDS`.
    place : ndarray of int, shape (n,)
        Which of them each case has.
    octaves : ndarray, shape (n, k)
        Coordinates of a target.
    """

    words: tuple[tuple[str, ...], ...]
    place: np.ndarray
    octaves: FloatArray

    @classmethod
    def of(cls, words: Sequence[tuple[str, ...]], octaves: FloatArray) -> Cases:
        """Cases from the words of each."""
        number = {each: count for count, each in enumerate(dict.fromkeys(words))}
        place = np.array([number[each] for each in words], dtype=np.intp)
        return cls(tuple(number), place, np.asarray(octaves, float).reshape(place.size, -1))

    def take(self, rows: Any) -> Cases:
        """Some of the cases."""
        return Cases(self.words, self.place[rows], self.octaves[rows])

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "words": [list(each) for each in self.words],
            "place": self.place.tolist(),
            "octaves": self.octaves.tolist(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Cases:
        """Read what `to_json` wrote."""
        words = tuple(tuple(each) for each in raw["words"])
        place = np.array(raw["place"], dtype=np.intp)
        return cls(words, place, np.array(raw["octaves"], float).reshape(place.size, -1))


def described(keys: Keys, labels: Sequence[Labels]) -> tuple[list[tuple[str, ...]], FloatArray]:
    """`WORDS` of distinct keys, and the logarithm (base 2) of how many devices each takes."""
    words: list[tuple[str, ...]] = []
    devices: list[float] = []
    for setup, label in zip(keys.setups, labels, strict=True):
        stored = setup.formats.quantisation
        weights = setup.formats.plain if stored is None else stored.weight
        storage = f"{weights}/{setup.formats.kv}"
        words.append((label.mode, label.model, label.weights, storage, label.era))
        layout = setup.layout
        devices.append(log2(max(layout.tp * layout.pp * layout.dp, 1)))
    return words, np.array(devices)


def octaves_of(target: str, numbers: FloatArray, devices: FloatArray) -> FloatArray:
    """Coordinates of cases, shape ``(n, k)``.

    Parameters
    ----------
    target : str
    numbers : ndarray, shape (len(NUMBERS), n)
    devices : ndarray, shape (n,)
        Logarithm (base 2) of the number of devices.
    """
    rows = []
    for name in COORDINATES[target]:
        row = numbers[NUMBERS.index(name)]
        if name in _TIMES:
            row = -np.log2(np.maximum(np.expm1(row), 1e-12))  # of log(1 + scale / time)
        elif name in _LOGS:
            row = row / np.log(2.0)
        rows.append(row)
    found: FloatArray = np.nan_to_num(np.array([*rows, devices], float)).T
    return found.clip(-FARTHEST_OCTAVES, FARTHEST_OCTAVES)


def word_octaves(one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]]) -> FloatArray:
    """What words are apart, shape ``(len(one), len(two))``; models are not counted."""
    total = np.zeros((len(one), len(two)))
    for name, worth in WORD_OCTAVES.items():
        total += worth * _differ(one, two, WORDS.index(name))
    return total


def same_model(one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]]) -> FloatArray:
    """One where models are the same, else zero."""
    return 1.0 - _differ(one, two, WORDS.index("model"))


def _differ(
    one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]], place: int
) -> FloatArray:
    left = np.array([each[place] for each in one], dtype=object)
    right = np.array([each[place] for each in two], dtype=object)
    found: FloatArray = (left[:, None] != right[None, :]).astype(float)
    return found


def thinned(cases: Cases, most: int) -> list[np.ndarray]:
    """Rows that are to count as one, so that about `most` are left: alike, or next to it."""
    groups = [np.array([row]) for row in range(cases.place.size)]
    for step in COARSER_OCTAVES:
        if len(groups) <= most:
            break
        rounded = np.round(cases.octaves / step) if step else cases.octaves
        table = np.column_stack([cases.place, rounded])
        _, inverse = np.unique(table, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1)
    return groups
