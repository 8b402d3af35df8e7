# SPDX-License-Identifier: Apache-2.0
"""Units at the edges: names of multiples, parsing what people write, printing for them.

Inside the product every number is in SI base units. ``GB`` is 1e9 bytes as vendors and
clouds count, ``GiB`` 2**30 as llama.cpp and drivers count. Parsing is strict: a unit
that is not known, a negative or an infinite amount is an error, never a guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from specs.errors import InvalidInputError

KB, MB, GB, TB, PB = 1e3, 1e6, 1e9, 1e12, 1e15
KIB, MIB, GIB, TIB, PIB = 2.0**10, 2.0**20, 2.0**30, 2.0**40, 2.0**50
KILO, MEGA, GIGA, TERA, PETA, EXA = 1e3, 1e6, 1e9, 1e12, 1e15, 1e18
MILLI, MICRO, NANO = 1e-3, 1e-6, 1e-9
WH_J = 3600.0
"""Joules in one watt-hour."""

BYTE_UNITS: Mapping[str, float] = {
    "b": 1.0, "byte": 1.0, "bytes": 1.0,
    "kb": KB, "mb": MB, "gb": GB, "tb": TB, "pb": PB,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB, "pib": PIB,
    "k": KB, "m": MB, "g": GB, "t": TB,
    "ki": KIB, "mi": MIB, "gi": GIB, "ti": TIB,
}  # fmt: skip
POWER_UNITS: Mapping[str, float] = {
    "w": 1.0, "watt": 1.0, "watts": 1.0, "mw": MILLI, "kw": KILO,
}  # fmt: skip
TIME_UNITS: Mapping[str, float] = {
    "ns": NANO, "us": MICRO, "µs": MICRO, "μs": MICRO, "ms": MILLI,
    "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0,
}  # fmt: skip
_RATE_PREFIXES = {"": 1.0, "k": KILO, "m": MEGA, "g": GIGA, "t": TERA, "p": PETA, "e": EXA}

_QUANTITY = re.compile(
    r"^\s*([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\d\s].*?)?\s*$", re.I
)


def _parse(text: str | float, units: Mapping[str, float], what: str, example: str) -> float:
    """Number and unit to base units; a bare number is in base units already."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise InvalidInputError(f"{what} {text!r} is no quantity; write it as {example}.")
    if isinstance(text, str):
        match = _QUANTITY.match(text)
        if match is None:
            raise InvalidInputError(f"{what} {text!r} is no quantity; write it as {example}.")
        number, unit = match[1].replace("_", "").replace(",", ""), (match[2] or "").lower()
        if unit and unit not in units:
            raise InvalidInputError(
                f"{what} {text!r} has unit {match[2]!r}; known are {', '.join(units)}. "
                f"Write it as {example}."
            )
        value = float(number) * units.get(unit, 1.0)
    else:
        value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise InvalidInputError(f"{what} {text!r} must be finite and not negative.")
    return value


def parse_bytes(text: str | float) -> float:
    """Bytes of ``"80GB"``, ``"24 GiB"``, ``"512M"`` or a bare number of bytes.

    Raises
    ------
    InvalidInputError
        No number, an unknown unit, negative or infinite.
    """
    return _parse(text, BYTE_UNITS, "memory size", "'80GB' or '24GiB'")


def parse_power(text: str | float) -> float:
    """Watts of ``"300W"``, ``"1.2kW"`` or a bare number of watts.

    Raises
    ------
    InvalidInputError
        As for `parse_bytes`.
    """
    if isinstance(text, str) and text.strip().endswith("MW"):
        raise InvalidInputError(f"power {text!r} is in megawatts; write watts, as '300W'.")
    return _parse(text, POWER_UNITS, "power", "'300W' or '1.2kW'")


def parse_time(text: str | float) -> float:
    """Seconds of ``"250ms"``, ``"1.5s"`` or a bare number of seconds.

    Raises
    ------
    InvalidInputError
        As for `parse_bytes`.
    """
    return _parse(text, TIME_UNITS, "time", "'250ms' or '1.5s'")


def parse_rate(text: str | float, unit: str) -> float:
    """Base units per second of ``"3.35TB/s"`` (`unit` "B/s") or ``"989 TFLOPS"`` ("FLOP/s").

    Raises
    ------
    InvalidInputError
        As for `parse_bytes`.
    """
    words = {unit.lower()}
    if unit.lower() == "flop/s":
        words |= {"flops", "flop/s", "op/s", "ops"}
    known = {
        prefix + word: scale for word in sorted(words) for prefix, scale in _RATE_PREFIXES.items()
    }
    if unit.lower() == "b/s":
        known |= {f"{k}/s": v for k, v in BYTE_UNITS.items() if k.endswith(("ib", "bps"))}
    return _parse(text, known, "rate", f"'3.35T{unit}'")


def _scaled(value: float, steps: tuple[tuple[float, str], ...], digits: int) -> str:
    """Value in the largest multiple that it reaches, to significant digits."""
    if value == 0 or not math.isfinite(value):
        base = next((name for scale, name in steps if scale == 1.0), steps[-1][1])
        return f"{value:.0f} {base}".rstrip()
    # 999.95 of one multiple prints as 1.00 of the next, not as 1000
    reached = 1 - 0.5 * 10.0**-digits
    scale, name = next((s for s in steps if abs(value) >= s[0] * reached), steps[-1])
    return f"{_significant(value / scale, digits)} {name}".rstrip()


def _significant(value: float, digits: int) -> str:
    rounded = float(f"{value:.{digits - 1}e}")
    places = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    return f"{rounded:,.{places}f}" if places <= 12 else f"{rounded:.{digits - 1}e}"


def format_bytes(value_bytes: float, *, binary: bool = False, digits: int = 3) -> str:
    """Bytes as ``"16.1 GB"``, or ``"15.0 GiB"`` where `binary`."""
    if binary:
        steps = ((PIB, "PiB"), (TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1.0, "B"))
    else:
        steps = ((PB, "PB"), (TB, "TB"), (GB, "GB"), (MB, "MB"), (KB, "kB"), (1.0, "B"))
    return _scaled(value_bytes, steps, digits)


def _si(value: float, unit: str, digits: int) -> str:
    steps = ((EXA, "E"), (PETA, "P"), (TERA, "T"), (GIGA, "G"), (MEGA, "M"), (KILO, "k"), (1.0, ""))
    return _scaled(value, tuple((scale, prefix + unit) for scale, prefix in steps), digits)


def format_rate(value_per_s: float, unit: str = "B/s", *, digits: int = 3) -> str:
    """Rate with an SI prefix: ``"3.35 TB/s"``, ``"1.20 ktok/s"`` for unit ``"tok/s"``."""
    return _si(value_per_s, unit, digits)


def format_flops(value_flops: float, *, digits: int = 3) -> str:
    """Amount of work: ``"16.1 GFLOP"``."""
    return _si(value_flops, "FLOP", digits)


def format_flops_rate(value_flops_per_s: float, *, digits: int = 3) -> str:
    """Rate of work: ``"989 TFLOP/s"``."""
    return _si(value_flops_per_s, "FLOP/s", digits)


def format_time_s(value_s: float, *, digits: int = 3) -> str:
    """Seconds as ``"35.1 us"``, ``"12.3 ms"``, ``"4.56 s"``, ``"2.50 min"``, ``"3.00 h"``."""
    if abs(value_s) >= 120 and math.isfinite(value_s):
        steps: tuple[tuple[float, str], ...] = ((3600.0, "h"), (60.0, "min"))
    else:
        steps = ((1.0, "s"), (MILLI, "ms"), (MICRO, "us"), (NANO, "ns"))
    return _scaled(value_s, steps, digits)


def format_power(value_w: float, *, digits: int = 3) -> str:
    """Watts as ``"356 W"`` or ``"1.20 kW"``."""
    return _scaled(value_w, ((KILO, "kW"), (1.0, "W")), digits)


def format_energy(value_j: float, *, digits: int = 3) -> str:
    """Joules as ``"1.23 J"``, ``"45.6 mJ"``, ``"7.89 kJ"``."""
    return _scaled(value_j, ((MEGA, "MJ"), (KILO, "kJ"), (1.0, "J"), (MILLI, "mJ")), digits)
