# SPDX-License-Identifier: Apache-2.0
"""A device that the user describes by hand: the file behind ``--gpu-file``.

Answers: what accelerator does this TOML file describe. One device per file, its
fields at the top level. Every quantity goes under its SI name as a plain number
(``mem_bytes_per_s = 1.008e12``) or under either name as text with a unit
(``bandwidth = "1008 GB/s"``). Nothing is guessed: an unknown key, a missing
fact, a value without unit or out of all proportion is an error that says so.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from specs.accelerator import COMPUTE_PRECISIONS, KINDS, Accelerator
from specs.errors import InvalidInputError, UnknownNameError
from specs.node import get_link
from specs.sources import nearest
from specs.units import parse_bytes, parse_power, parse_rate

SOURCE_KEY = "user-gpu-file"
MAX_FILE_BYTES = 1_000_000

EXAMPLE_GPU_FILE = """\
# One device. Rates are dense (no 2:4 sparsity), per device, at the clock given here.
# GB is 10^9 bytes and GiB 2^30: what a box calls "24 GB" of memory is "24 GiB".
name = "my-card"
title = "My Card 24 GB"
vendor = "nvidia"              # nvidia, amd, intel, ...
kind = "gpu"                   # gpu, igpu, cpu, tpu, npu
architecture = "ada"
memory = "24 GiB"              # or mem_bytes = 25769803776
bandwidth = "1008 GB/s"        # or mem_bytes_per_s = 1.008e12
vector = "82.6 TFLOPS"         # fp32 of the ordinary units; or vector_flops_per_s
units = 128                    # SMs, compute units, cores; or unit_count
clock = "2520 MHz"             # or clock_hz = 2.52e9
tdp = "450 W"                  # board power limit; or tdp_w = 450
# Optional:
mem_kind = "gddr6x"
cache = "72 MiB"               # last-level cache; or cache_bytes
idle = "20 W"                  # or idle_w
process = "5 nm"               # or process_nm
host_link = "pcie4x16"         # key of a link; link = "nvlink4" for the one between devices

[peaks]                        # at least one; leave out what the hardware lacks
fp16 = "165.2 TFLOPS"          # with fp32 accumulation, as inference engines use it
bf16 = "165.2 TFLOPS"
fp8 = "330.3 TFLOPS"
int8 = "660.6 TOPS"
"""


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A field with a unit: its short name, dimension, plausible range and an example."""

    short: str
    dimension: str
    least: float
    most: float
    example: str


_QUANTITIES: Mapping[str, _Quantity] = {
    "mem_bytes": _Quantity("memory", "bytes", 1e6, 1e14, "24 GiB"),
    "mem_bytes_per_s": _Quantity("bandwidth", "bytes_per_s", 1e8, 1e15, "1008 GB/s"),
    "vector_flops_per_s": _Quantity("vector", "flops_per_s", 1e8, 1e17, "82.6 TFLOPS"),
    "clock_hz": _Quantity("clock", "hz", 1e6, 2e10, "2520 MHz"),
    "tdp_w": _Quantity("tdp", "w", 0.1, 1e5, "450 W"),
    "cache_bytes": _Quantity("cache", "bytes", 1e3, 1e12, "72 MiB"),
    "idle_w": _Quantity("idle", "w", 0.001, 1e5, "20 W"),
    "process_nm": _Quantity("process", "nm", 0.5, 1000.0, "5 nm"),
}
_PEAK = _Quantity("peaks", "flops_per_s", 1e8, 1e18, "165.2 TFLOPS")
_COUNTS: Mapping[str, tuple[str, int]] = {
    "unit_count": ("units", 10_000_000),
    "dies": ("dies", 64),
    "devices_per_board": ("devices_per_board", 64),
}
_TEXTS = ("name", "title", "vendor", "kind", "architecture", "mem_kind", "link", "host_link")
_OTHERS = ("released", "unified_memory", "notes", "source")
_PEAK_TABLES = ("peaks", "peak_flops_per_s")
_NEEDED = ("mem_bytes", "mem_bytes_per_s", "vector_flops_per_s", "clock_hz", "tdp_w")
_LONG_NAMES = {quantity.short: name for name, quantity in _QUANTITIES.items()} | {
    short: name for name, (short, _) in _COUNTS.items()
}
KNOWN_KEYS = (*_TEXTS, *_OTHERS, *_QUANTITIES, *_COUNTS, *_PEAK_TABLES, *_LONG_NAMES)


def load_gpu_file(path: Path | str) -> Accelerator:
    """Return the device that the TOML file at `path` describes.

    Raises
    ------
    InvalidInputError
        No such file, no TOML, an unknown key, a missing fact, a value that cannot be.
    """
    path = Path(path)
    return accelerator_from_table(_read(path), where=str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InvalidInputError(f"{path} is a folder; --gpu-file takes one TOML file.")
        if not stat.S_ISREG(mode):  # a pipe would wait for a writer, a device may never end
            raise InvalidInputError(f"{path} is no regular file; --gpu-file takes one TOML file.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidInputError(
            f"there is no file {path}. Write one: roofline specs gpu-file prints an example."
        ) from None
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or err
        raise InvalidInputError(f"{str(path)!r:.80} cannot be read: {reason}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(f"{path} is larger than 1 MB; a device takes some twenty lines.")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not UTF-8 text; --gpu-file takes TOML.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise InvalidInputError(f"{path} is not TOML: {err or 'too deep'}.") from None


def accelerator_from_table(table: Mapping[str, Any], *, where: str) -> Accelerator:
    """Return the device that a parsed file describes; `where` names it in errors."""
    _check_keys(table, where)
    values: dict[str, Any] = {}
    for key in table:
        field = _LONG_NAMES.get(key, key)
        if field in values:
            raise InvalidInputError(f"{where}: {field} is given twice, also as {key!r}. Keep one.")
        values[field] = _value(key, field, table[key], where)
    peaks = _peaks(values.pop("peaks", {}), values.pop("peak_flops_per_s", {}), where)
    missing = [
        f"{_QUANTITIES[f].short} = {_QUANTITIES[f].example!r}" for f in _NEEDED if f not in values
    ]
    if "unit_count" not in values:
        missing.append("units = 128")
    if "name" not in values:
        missing.insert(0, "name = 'my-card'")
    if not peaks:
        missing.append("[peaks] with at least bf16 = '165.2 TFLOPS'")
    if missing:
        raise InvalidInputError(f"{where} lacks {'; '.join(missing)}. Add them in such units.")
    note = f"Described by hand in {Path(where).name}."
    source = values.pop("source", "")
    if source:
        note = f"{note[:-1]}, from {source}."
    values["notes"] = (note, *values.get("notes", ()))
    filled = [*values, *(f"peak_flops_per_s.{precision}" for precision in peaks)]
    defaults = {"title": values["name"], "vendor": "other", "kind": "gpu", "architecture": "other"}
    return Accelerator(
        **{**defaults, **values},
        peak_flops_per_s=peaks,
        sources=dict.fromkeys((f for f in filled if f != "notes"), SOURCE_KEY),
    )


def _check_keys(table: Mapping[str, Any], where: str) -> None:
    for key, value in table.items():
        if key in KNOWN_KEYS:
            continue
        if isinstance(value, Mapping):
            raise InvalidInputError(
                f"{where}: unknown table [{key}]; the file describes one device with its fields at "
                f"the top and one table, [peaks]."
            )
        raise InvalidInputError(
            f"{where}: unknown key {key!r}; nearest: {nearest(key, KNOWN_KEYS)}."
        )


def _value(key: str, field: str, raw: Any, where: str) -> Any:
    if field in _QUANTITIES:
        return _quantity(key, raw, _QUANTITIES[field], where)
    if field in _COUNTS:
        most = _COUNTS[field][1]
        if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= most:
            raise InvalidInputError(
                f"{where}: {key} = {raw!r}; it is a whole number from 1 to {most}."
            )
        return raw
    if field in _PEAK_TABLES:
        if not isinstance(raw, Mapping):
            raise InvalidInputError(f"{where}: {key} is a table: [peaks] and bf16 = '165 TFLOPS'.")
        return raw
    if field == "unified_memory":
        if not isinstance(raw, bool):
            raise InvalidInputError(f"{where}: unified_memory is true or false, not {raw!r}.")
        return raw
    if field == "notes":
        if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
            raise InvalidInputError(f"{where}: notes is a list of texts.")
        return tuple(raw)
    return _text(key, raw, where)


def _text(key: str, raw: Any, where: str) -> str:
    if key == "released" and not isinstance(raw, str):
        raw = str(raw)  # a TOML date
    if not isinstance(raw, str) or not raw.strip() or len(raw) > 300:
        raise InvalidInputError(f"{where}: {key} is a short text, not {raw!r:.60}.")
    text = raw.strip()
    if key == "kind" and text not in KINDS:
        raise InvalidInputError(f"{where}: kind {text!r} is none of {', '.join(KINDS)}.")
    if key in ("link", "host_link"):
        try:
            get_link(text)
        except UnknownNameError as err:
            raise InvalidInputError(f"{where}: {key}: {err}") from None
    return text


def _peaks(short: Mapping[str, Any], long: Mapping[str, Any], where: str) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for table in (short, long):
        for precision, raw in table.items():
            if precision not in COMPUTE_PRECISIONS:
                raise InvalidInputError(
                    f"{where}: no peak can be stated for {precision!r}; nearest: "
                    f"{nearest(precision, COMPUTE_PRECISIONS)}."
                )
            if precision in peaks:
                raise InvalidInputError(f"{where}: the peak of {precision} is given twice.")
            peaks[precision] = _quantity(f"peaks.{precision}", raw, _PEAK, where)
    return peaks


def _quantity(key: str, raw: Any, quantity: _Quantity, where: str) -> float:
    """Return a value in SI units: text with a unit or, under an SI name, a number."""
    if isinstance(raw, str):
        try:
            value = _parsed(raw, quantity)
        except InvalidInputError as err:
            raise InvalidInputError(f"{where}: {key}: {err}") from None
    elif isinstance(raw, bool) or not isinstance(raw, int | float):
        raise InvalidInputError(
            f"{where}: {key} = {raw!r:.60}; write it as text with a unit, such as "
            f"{quantity.example!r}."
        )
    elif key == quantity.short:
        raise InvalidInputError(
            f"{where}: {key} = {raw!r} has no unit; write {key} = {quantity.example!r}."
        )
    else:
        value = float(raw) if abs(raw) < 1e300 else float("inf")
    if not isfinite(value) or not quantity.least <= value <= quantity.most:
        raise InvalidInputError(
            f"{where}: {key} = {raw!r:.60} lies outside {quantity.least:g} to "
            f"{quantity.most:g} ({quantity.dimension}); write it like {quantity.example!r}."
        )
    return value


def _nanometres(text: str) -> float:
    digits = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*nm\s*", text)
    if digits is None:
        raise InvalidInputError(f"{text!r:.60} is no length in nm.")
    return float(digits[1])


_PARSERS: Mapping[str, Callable[[str], float]] = {
    "bytes": parse_bytes,
    "bytes_per_s": lambda text: parse_rate(text, "B/s"),
    "flops_per_s": lambda text: parse_rate(text, "FLOP/s"),
    "hz": lambda text: parse_rate(text, "Hz"),
    "w": parse_power,
    "nm": _nanometres,
}
_BARE_NUMBER = re.compile(r"\s*[-+]?[0-9_,.]+(e[-+]?[0-9]+)?\s*", re.I)
_BITS = re.compile(r"[\d\s][kKMGTPmgtp]?i?b(it|its)?(/s|ps)?\s*")


def _parsed(text: str, quantity: _Quantity) -> float:
    """Return text with a unit in SI units; stricter than the command line's parsers."""
    if len(text) > 60:
        raise InvalidInputError("a quantity is a short text: a number and a unit.")
    if _BARE_NUMBER.fullmatch(text):
        raise InvalidInputError(f"{text!r} has no unit; write it like {quantity.example!r}.")
    if quantity.dimension.startswith("bytes") and _BITS.search(text):
        raise InvalidInputError(f"{text!r}: a small b means bits; write it in bytes, with a B.")
    return _PARSERS[quantity.dimension](text)


def to_gpu_file_toml(accelerator: Accelerator) -> str:
    """Return the text of a file that `load_gpu_file` reads back as `accelerator`.

    Sources become one comment; figures keep every digit, under their SI names.
    """
    lines = [f"# {accelerator.title}, in SI units. Check the figures, then: --gpu-file FILE"]
    used = sorted(set(accelerator.sources.values()))
    if used:
        lines.append(f"# Sources: {', '.join(used)}")
    for name in (*_TEXTS, "released"):
        if text := getattr(accelerator, name):
            lines.append(f"{name} = {_toml_text(text)}")
    for name in (*_QUANTITIES, *_COUNTS):
        if value := getattr(accelerator, name):
            lines.append(f"{name} = {_toml_number(value)}")
    if accelerator.unified_memory:
        lines.append("unified_memory = true")
    if accelerator.notes:
        lines.append(f"notes = [{', '.join(map(_toml_text, accelerator.notes))}]")
    lines += ["", "[peak_flops_per_s]"]
    lines += [f"{p} = {_toml_number(rate)}" for p, rate in accelerator.peak_flops_per_s.items()]
    return "\n".join(lines) + "\n"


def _toml_text(text: str) -> str:
    """Return a TOML basic string; control characters are escaped by number."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in plain) + '"'


def _toml_number(value: float) -> str:
    whole = isinstance(value, int) or (float(value).is_integer() and value < 1e7)
    return str(int(value)) if whole else repr(float(value))
