# SPDX-License-Identifier: Apache-2.0
"""What a column of a measurement may hold: types, words, ranges of units, zones.

The columns themselves are in `specs.measurement`.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

from specs.errors import InvalidInputError

SCHEMA_VERSION = 1
"""Version of the columns written. Older rows are read, newer ones refused."""

WORDS = MappingProxyType(
    {
        "kind": ("llm", "kernel", "tabular"),
        "mode": ("", "static", "serving", "disagg"),
        "capture": ("", "eager", "graph", "compiled"),
        "quality": ("ok", "noisy", "throttled", "partial", "failed"),
    }
)
"""Columns that hold one word of a list."""

_RANGES = MappingProxyType(
    {
        "s": (1e-9, 1e8),
        "W": (1e-3, 1e5),
        "J": (1e-12, 1e13),
        "tok/s": (1e-6, 1e12),
        "USD/h": (1e-6, 1e5),
        "1/s": (1e-9, 1e9),
    }
)
"""What a value in this unit can be at all, from a clock tick to years and data centres:
a value outside is in another unit (milliwatts, nanoseconds), whatever it measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its type (text, int, float, floats, raw), group, unit and meaning."""

    type: str
    group: str
    unit: str
    says: str
    zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFigure:
    """A figure exactly as a tool's file names it.

    Parameters
    ----------
    name : str
        Such as ``mean_ttft_ms``.
    statistic : str
        Such as "mean over requests", "p99", "pooled over tokens".
    unit : str
        As in the file: ``ms``, ``kWh``, ``tok/s``.
    value : float
        Finite; may be zero or negative.
    """

    name: str
    statistic: str = ""
    unit: str = ""
    value: float

    def __post_init__(self) -> None:
        """Normalise the value."""
        if not self.name:
            raise InvalidInputError("raw figure without a name; give the name its file uses.")
        object.__setattr__(self, "value", _float("raw", self.value))


def is_missing(value: Any) -> bool:
    """Whether `value` is null or NaN."""
    return value is None or (isinstance(value, numbers.Real) and math.isnan(value))


def _clean_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is {value!r:.60}; give text, empty if unknown.")
    return value


def _float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInputError(f"{name} is {value!r:.60}; give a number.")
    if not math.isfinite(value):
        raise InvalidInputError(f"{name} is {value!r}; leave it out where it is unknown.")
    return float(value)


def _clean_float(name: str, value: Any) -> float | None:
    return None if value is None else _float(name, value)


def _clean_int(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not _float(name, value).is_integer():
        raise InvalidInputError(f"{name} is {value!r}; give a whole number.")
    return int(value)


def _items(name: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise InvalidInputError(f"{name} is {value!r:.60}; give a list.")
    return list(value)


def _clean_floats(name: str, value: Any) -> tuple[float, ...]:
    return tuple(_float(name, item) for item in _items(name, value))


def _clean_raw(name: str, value: Any) -> tuple[RawFigure, ...]:
    return tuple(_raw_figure(item) for item in _items(name, value))


def _raw_figure(item: Any) -> RawFigure:
    if isinstance(item, RawFigure):
        return item
    if not isinstance(item, Mapping) or not {"name", "value"} <= set(item) <= _RAW_KEYS:
        raise InvalidInputError(
            f"raw figure {item!r:.60}; give an object with {', '.join(sorted(_RAW_KEYS))}."
        )
    return RawFigure(**item)


_RAW_KEYS = frozenset(["name", "statistic", "unit", "value"])


CLEAN: Mapping[str, Any] = {
    "text": _clean_text,
    "int": _clean_int,
    "float": _clean_float,
    "floats": _clean_floats,
    "raw": _clean_raw,
}


def check_range(name: str, column: Column, value: Any) -> None:
    """Refuse what is not positive, or cannot be in the unit of the column."""
    values = value if column.type == "floats" else (value,)
    if column.type in ("text", "raw"):
        return
    low, high = _RANGES.get(column.unit, (0.0, math.inf))
    for item in values:
        if item is None or (item == 0 and column.zero):
            continue
        if item <= 0:
            raise InvalidInputError(
                f"{name} is {item}; it is positive, or left out with the reason in 'reason'."
            )
        if not low <= item <= high:
            raise InvalidInputError(
                f"{name} is {item:g} {column.unit}, outside {low:g} to {high:g}; convert its unit."
            )


def check_word(name: str, value: str, words: tuple[str, ...]) -> None:
    """Refuse what is none of `words`."""
    if value not in words:
        known = ", ".join(word for word in words if word)
        raise InvalidInputError(f"{name} is {value!r:.40}; give one of {known}.")


def check_version(version: Any) -> None:
    """Refuse rows of a newer schema."""
    if _clean_int("schema_version", version) not in range(1, SCHEMA_VERSION + 1):
        raise InvalidInputError(
            f"measurement of schema {version!r:.20}; this version reads 1 to {SCHEMA_VERSION}: "
            f"install a newer roofline."
        )


def check_object(text: str) -> None:
    """Refuse what is no JSON object."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInputError(f"environment is {text!r:.60}; give a JSON object as text.")


def as_utc(text: str) -> str:
    """`text` in UTC with a Z; a date alone and an empty text stay as they are."""
    try:
        if not text or date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInputError(
            f"measured_at is {text!r:.40}; give ISO 8601 with its zone, such as "
            f"2026-01-31T12:00:00Z, or the date alone."
        )
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
