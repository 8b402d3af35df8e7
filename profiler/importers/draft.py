# SPDX-License-Identifier: Apache-2.0
"""What one file says of one measured point, before the caller's facts complete it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from profiler.importers.document import Document
from profiler.importers.values import number, storable, to_si
from specs.measurement import COLUMNS, RawFigure

MODEL_RUN = ("gpu", "model", "engine", "engine_version", "weight_dtype", "tp")
"""What every LLM point needs; lengths and load come on top, as the tool has them."""

LENGTHS = ("input_tokens", "output_tokens")


@dataclass(slots=True)
class Draft:
    """One point as a file gives it.

    Parameters
    ----------
    where : str
        Part of the file, such as "line 3"; empty for the whole.
    needs : tuple of str
        Columns that must be known in the end, from the file or from the caller.
    columns : dict
        Columns that the file states, in SI units.
    definitions : dict
        Figure column -> what exactly was measured, in words.
    raw : list of RawFigure
        Figures as the file names them.
    environment : dict
        Everything else worth keeping.
    notes, partial : list of str
        Remarks; why the point is less than whole.
    hints : dict
        Column -> why the file's own word for it does not do.
    unsaid : mapping
        Column -> its name in words, for columns that may stay unknown and whose absence
        the row then tells.
    always_unsaid : tuple of str
        What such a file never says, told by every row of it.
    """

    where: str = ""
    needs: tuple[str, ...] = (*MODEL_RUN, *LENGTHS)
    columns: dict[str, Any] = field(default_factory=lambda: {"kind": "llm"})
    definitions: dict[str, str] = field(default_factory=dict)
    raw: list[RawFigure] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    unsaid: Mapping[str, str] = field(default_factory=dict)
    always_unsaid: tuple[str, ...] = ()

    def put(self, **columns: Any) -> None:
        """State columns; None and empty texts state nothing."""
        self.columns.update({k: v for k, v in columns.items() if v is not None and v != ""})

    def figure(self, column: str, value: Any, unit: str, definition: str) -> None:
        """Fill a figure from a value in `unit`, saying what was measured.

        A value that is not above zero cannot be: the cell stays empty and `partial`
        says so. An absent value states nothing.
        """
        found = number(value)
        if found is None:
            return
        if found <= 0:
            self.partial.append(f"{column}: {found:g} in the file")
            return
        self.columns[column] = to_si(found, unit, COLUMNS[column].unit)
        self.definitions[column] = definition

    def keep(self, name: str, value: Any, unit: str, statistic: str) -> None:
        """Keep a figure under the file's own name, where it is a number."""
        found = number(value)
        if found is not None and name:
            words = {"name": name, "statistic": statistic, "unit": unit}
            texts = {key: storable(word) for key, word in words.items()}
            self.raw.append(RawFigure(**texts, value=found))

    def record(self, source: Mapping[str, Any], names: Iterable[str]) -> None:
        """Keep named settings of the file in the environment."""
        for name in names:
            value = source.get(name)
            if isinstance(value, (str, int, float, bool)) and value != "":
                self.environment[name] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A part of a file that is no usable point, and why."""

    where: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """One kind of results file.

    Parameters
    ----------
    name : str
        Key of the importer.
    tool : str
        Program that writes such files.
    recognises : callable
        Whether a document is of this kind, told by its fields.
    drafts : callable
        Points of a document of this kind, or why a part of it is none.
    """

    name: str
    tool: str
    recognises: Callable[[Document], bool]
    drafts: Callable[[Document], Iterator[Draft | Refusal]]


STATISTICS = {
    "mean": "mean",
    "avg": "mean",
    "average": "mean",
    "median": "median",
    "std": "standard deviation",
    "stddev": "standard deviation",
    "min": "minimum",
    "max": "maximum",
}
"""Prefixes and keys that tools name a statistic by."""


def statistic_of(word: str, over: str) -> str:
    """Name a statistic: ``statistic_of("p99", "requests")`` -> "p99 over requests"."""
    return f"{STATISTICS.get(word, word)} over {over}"
