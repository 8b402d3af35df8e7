# SPDX-License-Identifier: Apache-2.0
"""Takes single values out of strangers' files: a wrong type is an absent value.

Numbers written as text count as numbers (CSV, YAML 1.1, ``"32"``); NaN, infinity and
booleans do not. Nothing here raises on any input that JSON, YAML or CSV can hold, but
`to_si`, whose unit somebody wrote on purpose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

from specs.errors import InvalidInputError

_PREFIX = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
_LARGE = {**_PREFIX, "M": 1e6, "G": 1e9}
_RATE_OF = {"tok/s": "token", "1/s": "request"}

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "s": {
            **{f"{prefix}s": factor for prefix, factor in _PREFIX.items() if prefix != "k"},
            "sec": 1.0,
            "second": 1.0,
            "seconds": 1.0,
            "min": 60.0,
            "h": 3600.0,
            "milliseconds": 1e-3,
            "microseconds": 1e-6,
            "nanoseconds": 1e-9,
        },
        # Case decides: mJ and MJ are a factor of 1e9 apart.
        "J": {
            **{f"{prefix}J": factor for prefix, factor in _LARGE.items()},
            **{f"{prefix}Wh": 3600.0 * factor for prefix, factor in _LARGE.items()},
        },
        "W": {f"{prefix}W": factor for prefix, factor in _LARGE.items()},
        "tok/s": {"tok/s": 1.0, "tokens/s": 1.0, "tokens/sec": 1.0, "token/s": 1.0, "t/s": 1.0},
        "1/s": {
            "1/s": 1.0,
            "req/s": 1.0,
            "requests/s": 1.0,
            "requests/sec": 1.0,
            "queries/s": 1.0,
            "1/min": 1.0 / 60.0,
        },
        "USD/h": {"USD/h": 1.0, "$/h": 1.0},
        "": {"": 1.0, "tokens": 1.0, "count": 1.0, "requests": 1.0, "%": 0.01, "percent": 0.01},
    }
)
"""Units that files use, by the SI unit they become, with the factor."""

_PER_TOKEN = re.compile(r"/(tok|token|tokens)$")


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def at(value: Any, path: str) -> Any:
    """Return what lies at a dotted path, None where nothing does."""
    for key in path.split("."):
        value = mapping(value).get(key)
    return value


def number(value: Any) -> float | None:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def positive(value: Any) -> float | None:
    """Return a number above zero."""
    found = number(value)
    return found if found is not None and found > 0 else None


def count(value: Any) -> int | None:
    """Return a whole number above zero."""
    found = positive(value)
    return int(found) if found is not None and found.is_integer() and found < 2**53 else None


def degree(value: Any) -> int | None:
    """Return a number of devices, or a degree of parallelism."""
    found = count(value)
    return found if found is not None and found <= 10_000 else None


def storable(value: str) -> str:
    """Return text that UTF-8 can hold: JSON can smuggle in halves of characters."""
    return value.encode("utf-8", "replace").decode()


def text(value: Any) -> str:
    """Return text without surrounding space; empty for anything else."""
    return storable(value.strip()) if isinstance(value, str) else ""


def numbers(value: Any) -> list[float]:
    """Return the numbers of a list, or none at all where one of them is none."""
    found = [number(item) for item in items(value)]
    return [item for item in found if item is not None] if None not in found else []


def flag(value: Any) -> bool:
    """Whether `value` is true, also as the text that tools write for it."""
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "1"))


def moment(value: Any) -> str:
    """Return when something was, in ISO 8601: a date alone where the zone is not said.

    Reads ISO 8601, seconds since 1970 and vLLM's ``20250914-021127``; empty for others.
    """
    seconds = number(value)
    try:
        if isinstance(value, datetime):
            return value.isoformat() if value.tzinfo else value.date().isoformat()
        if isinstance(value, date):
            return value.isoformat()
        if seconds is not None and not isinstance(value, str):
            return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds > 1e9 else ""
        stamp = text(value)
        if re.fullmatch(r"\d{8}-\d{6}", stamp):
            return datetime.strptime(stamp[:8], "%Y%m%d").date().isoformat()
        found = datetime.fromisoformat(stamp)
    except (ValueError, OverflowError, OSError):
        return ""
    return found.isoformat() if found.tzinfo else found.date().isoformat()


def factor_of(unit: str, target: str) -> float | None:
    """Return what turns a value in `unit` into one in `target`; None for unknown units."""
    known = UNITS.get(target, {})
    word = unit.strip()
    if target == "s":
        word = _PER_TOKEN.sub("", word)
    return known.get(word)


def to_si(value: float, unit: str, target: str) -> float:
    """Return a value in the SI unit `target`.

    Raises
    ------
    InvalidInputError
        `unit` does not measure what `target` does, or is not known.
    """
    factor = factor_of(unit, target)
    if factor is None:
        raise InvalidInputError(
            f"unit {unit!r:.30} does not become {target or 'a plain number'}; known are "
            f"{', '.join(word for word in UNITS.get(target, {}) if word) or 'none'}."
        )
    return value * factor


def tag_of(image: str) -> str:
    """Return the tag of a container image, which is where some tools keep the version."""
    _, colon, tag = image.partition("@")[0].rpartition(":")
    return tag if colon and "/" not in tag else ""


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers directly in an object, by name."""
    for name, item in value.items():
        found = number(item) if not isinstance(item, str) else None
        if found is not None and isinstance(name, str) and name:
            yield f"{prefix}{name}", found
