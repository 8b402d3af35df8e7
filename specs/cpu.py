# SPDX-License-Identifier: Apache-2.0
"""Processors as accelerators, by formula.

Answers: what can a CPU compute and move per second. Two tables hold the facts:
``data/cpus.csv``, one line per processor (cores, clocks, memory, power), and
``data/cpu_cores.toml``, operations per clock of each kind of core::

    peak      = sum over kinds of core:  cores x operations per clock x clock
    bandwidth = channels x transfers per second x 8 bytes

One socket, at the fastest memory its maker supports with every channel filled.
The clock is the turbo with all cores active where one is known, else the highest
turbo, which all cores together do not hold: either way a bound that vector code
rarely keeps. Figures are of the cores' own SIMD and tile units; Apple's undocumented
matrix coprocessor and processors' NPUs and GPUs are left out.

`cpu_entries` gives the entries in the form of `specs.overlay`, for `specs.build`.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specs.accelerator import COMPUTE_PRECISIONS
from specs.errors import SpecDataError
from specs.overlay import OverlayEntry, Stated
from specs.sources import load_sources, nearest

_DATA = Path(__file__).parent / "data"
CPUS_PATH = _DATA / "cpus.csv"
CORES_PATH = _DATA / "cpu_cores.toml"

CHANNEL_BYTES = 8
"""Width of a memory channel: 64 data bits, as two 32-bit halves on DDR5."""

ALL_CORE_SOURCE = "cpu-all-core-turbo"
MEMORY_SOURCE = "cpu-memory-convention"

GB_BY_CLASS: Mapping[str, float] = {"desktop": 64, "mobile": 32}
GB_PER_CHANNEL: Mapping[tuple[str, str], float] = {
    ("server", "ddr5"): 64,
    ("server", "ddr5-mrdimm"): 64,
    ("server", "ddr4"): 32,
    ("server", "ddr3"): 16,
    ("workstation", "ddr5"): 32,
    ("workstation", "ddr4"): 32,
}
"""Memory that a machine of the class usually holds, in GB: a convention (see `mem_bytes`)."""

COLUMNS = (
    "title",
    "class",
    "core",
    "cores",
    "boost_ghz",
    "all_ghz",
    "e_core",
    "e_cores",
    "e_ghz",
    "mem_kind",
    "channels",
    "mt_s",
    "cache_mib",
    "tdp_w",
    "year",
    "source",
    "mem_gb",
    "aliases",
)

_VENDORS = {"ampereone": "ampere", "raspberry": "broadcom", "minisforum": "cix", "radxa": "cix"}
_VENDORS |= {"hifive": "sifive", "dc-roma": "eswin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRates:
    """Operations per clock of one core, with the document behind each."""

    name: str
    per_clock: Mapping[str, float]
    sources: Mapping[str, str]
    process_nm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreGroup:
    """Equal cores of one processor: how many, how wide, how fast."""

    rates: CoreRates
    count: int
    clock_hz: float


def peak_flops_per_s(groups: Iterable[CoreGroup], precision: str) -> float:
    """Peak of all cores at `precision`, in FLOP/s; 0 if some kind of core lacks it.

    Notes
    -----
    ``sum(cores * operations per clock * clock)`` over the kinds of core. Work is
    split over all cores alike, so a precision counts only where every kind has it.
    """
    rates = [
        group.count * group.rates.per_clock.get(precision, 0.0) * group.clock_hz for group in groups
    ]
    return sum(rates) if all(rates) else 0.0


def mem_bytes_per_s(channels: float, mega_transfers_per_s: float) -> float:
    """Peak bandwidth of `channels` 64-bit channels, in bytes per second."""
    return channels * mega_transfers_per_s * 1e6 * CHANNEL_BYTES


def load_cores(path: Path = CORES_PATH) -> dict[str, CoreRates]:
    """Read the rates per core.

    Raises
    ------
    SpecDataError
        A key that is no precision, a rate that is not positive, a missing source.
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _core(f"{path.name}: [{name}]", name, table) for name, table in tables.items()}


def _core(where: str, name: str, table: Mapping[str, Any]) -> CoreRates:
    per_clock, sources = {}, {}
    for key, raw in table.items():
        if key in ("source", "process_nm"):
            continue
        if key not in COMPUTE_PRECISIONS:
            raise SpecDataError(f"{where}: {key!r} is no precision; write one such as 'fp32'.")
        value, source = raw, table.get("source", "")
        if isinstance(raw, Mapping):
            value, source = raw.get("value"), raw.get("source", source)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SpecDataError(f"{where}: {key} is a positive number, not {value!r}.")
        if not source:
            raise SpecDataError(f"{where}: {key} has no source. Give it or the table one.")
        per_clock[key], sources[key] = float(value), str(source)
    if "fp32" not in per_clock:
        raise SpecDataError(f"{where}: fp32 is needed. Add it.")
    return CoreRates(
        name=name, per_clock=per_clock, sources=sources, process_nm=table.get("process_nm")
    )


def cpu_entries(
    cpus: Path = CPUS_PATH,
    cores: Path = CORES_PATH,
    known_sources: Iterable[str] | None = None,
) -> dict[str, OverlayEntry]:
    """Return every processor as an overlay entry, by slug.

    Parameters
    ----------
    cpus, cores : Path
        The two tables.
    known_sources : iterable of str, optional
        Source keys that resolve; by default those of ``data/sources``.

    Raises
    ------
    SpecDataError
        A line that is incomplete, contradicts itself or cites an unknown core or source.
    """
    sources = frozenset(load_sources() if known_sources is None else known_sources)
    rates = load_cores(cores)
    entries: dict[str, OverlayEntry] = {}
    for row in _rows(cpus):
        where = f"{cpus.name}: {row['title']}"
        entry = _entry(where, row, rates)
        if unknown := sorted({stated.source for stated in entry.values.values()} - sources):
            raise SpecDataError(
                f"{where}: no source {unknown[0]!r}; nearest: {nearest(unknown[0], sources)}."
            )
        if entry.slug in entries:
            raise SpecDataError(f"{where} stands twice. Keep one.")
        entries[entry.slug] = entry
    return entries


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise SpecDataError(f"{path.name}: the columns are {', '.join(COLUMNS)}.")
        rows = list(reader)
    for row in rows:
        if None in row or any(cell is None for cell in row.values()):
            raise SpecDataError(f"{path.name}: {row['title']} has {len(COLUMNS)} cells, no other.")
    return rows


def _entry(where: str, row: Mapping[str, str], rates: Mapping[str, CoreRates]) -> OverlayEntry:
    groups = _groups(where, row, rates)
    source = row["source"]
    plain: dict[str, float | str] = {
        "vendor": _vendor(row["title"]),
        "kind": "cpu",
        "architecture": "+".join(dict.fromkeys(group.rates.name for group in groups)),
        "mem_kind": row["mem_kind"],
        "mem_bytes_per_s": mem_bytes_per_s(
            _number(where, row, "channels"), _number(where, row, "mt_s")
        ),
        "unit_count": sum(group.count for group in groups),
        "tdp_w": _number(where, row, "tdp_w"),
        "released": row["year"],
    }
    values = {name: Stated(value=value, source=source) for name, value in plain.items()}
    if row["cache_mib"]:
        cache_bytes = _number(where, row, "cache_mib") * 2**20
        values["cache_bytes"] = Stated(value=cache_bytes, source=source)
    values["clock_hz"] = Stated(
        value=groups[0].clock_hz, source=ALL_CORE_SOURCE if row["all_ghz"] else source
    )
    values["mem_bytes"] = _memory(where, row)
    main = groups[0].rates
    if main.process_nm:
        values["process_nm"] = Stated(value=main.process_nm, source=main.sources["fp32"])
    for precision in main.per_clock:
        if peak := peak_flops_per_s(groups, precision):
            stated = Stated(value=peak, source=main.sources[precision])
            values[f"peak_flops_per_s.{precision}"] = stated
    values["vector_flops_per_s"] = values["peak_flops_per_s.fp32"]
    return OverlayEntry(
        slug=cpu_slug(row["title"]),
        file=CPUS_PATH.name,
        title=row["title"],
        aliases=_aliases(row["title"], row["aliases"], sum(group.count for group in groups)),
        notes=_notes(row),
        values=values,
    )


def _groups(
    where: str, row: Mapping[str, str], rates: Mapping[str, CoreRates]
) -> tuple[CoreGroup, ...]:
    boost = _number(where, row, "boost_ghz")
    clock = _number(where, row, "all_ghz") if row["all_ghz"] else boost
    if clock > boost:
        raise SpecDataError(f"{where}: all cores turbo to {clock} GHz, one to {boost}. Fix one.")
    found = [(row["core"], _number(where, row, "cores"), clock)]
    if row["e_core"]:
        e_clock = _number(where, row, "e_ghz")
        found.append((row["e_core"], _number(where, row, "e_cores"), e_clock))
    groups = []
    for name, count, ghz in found:
        if name not in rates:
            raise SpecDataError(f"{where}: no core {name!r}; nearest: {nearest(name, rates)}.")
        groups.append(CoreGroup(rates=rates[name], count=int(count), clock_hz=ghz * 1e9))
    return tuple(groups)


def _number(where: str, row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SpecDataError(f"{where}: {column} is a positive number, not {row[column]!r}.")
    return value


def _memory(where: str, row: Mapping[str, str]) -> Stated:
    if row["mem_gb"]:
        return Stated(value=_number(where, row, "mem_gb") * 1e9, source=row["source"])
    gb = GB_BY_CLASS.get(row["class"])
    if gb is None:
        per_channel = GB_PER_CHANNEL.get((row["class"], row["mem_kind"]))
        if per_channel is None:
            raise SpecDataError(
                f"{where}: no usual memory of class {row['class']!r} with {row['mem_kind']!r}. "
                f"Fill mem_gb."
            )
        gb = per_channel * _number(where, row, "channels")
    return Stated(value=gb * 1e9, source=MEMORY_SOURCE)


def _notes(row: Mapping[str, str]) -> tuple[str, ...]:
    clock = (
        "peaks are at the turbo clock of all cores; heavy vector code runs below it"
        if row["all_ghz"]
        else "peaks are at the highest turbo clock, which all cores together do not hold"
    )
    memory = "memory size depends on the machine; bandwidth is that of all channels filled"
    if row["class"] not in ("server", "workstation"):
        return clock, f"{memory} with the fastest supported memory"
    sockets = "" if row["title"].endswith((" 2S", " Superchip")) else "; one socket"
    return clock, f"{memory} with the fastest supported memory{sockets}"


def cpu_slug(title: str) -> str:
    """Return the slug of a processor: ``"AMD Ryzen 9 7950X"`` is ``cpu-amd-ryzen-9-7950x``."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"cpu-{words.removesuffix('-cpu')}"


def _vendor(title: str) -> str:
    first = title.lower().split()[0]
    return _VENDORS.get(first, first)


def _aliases(title: str, given: str, core_count: int) -> tuple[str, ...]:
    """Spellings beside slug and title: short forms, and the long ones that systems report."""
    names = [name.strip() for name in given.split(";") if name.strip()]
    if not title.startswith("Apple"):  # whose bare names mean the GPU
        names += [name.removeprefix("cpu-") for name in names if name.startswith("cpu-")]
    for name in (title, *names):
        # Reports of Intel's processors lead with the generation from the 11th on.
        if found := re.search(r"Core i\d-(1[1-4])\d{2,3}", name):
            names += [f"cpu-{found[1]}th Gen {name}", f"{found[1]}th Gen {name}"]
    if title.startswith("AMD "):
        plain = (title, *(name for name in names if not name.startswith("cpu-")))
        endings = (f"{core_count}-Core Processor", f"{core_count}-Cores")
        names += [f"{name} {ending}" for name in plain for ending in endings]
    if not title.endswith("CPU"):
        names.append(f"{title} CPU")
    if re.search(r"AMD Ryzen .*(\dG|\dGE|\dH|\dHS|\dHX|\dU|\dZ)$", title):
        names.append(f"{title} with Radeon Graphics")
    if short := re.search(r"Xeon (?:Platinum|Gold|Silver) (.+)", title):
        names.append(f"Xeon {short[1]}")
    if short := re.search(r"Ryzen (?:Threadripper (?:PRO )?|\d )(\d.+)", title):
        names.append(f"Ryzen {short[1]}")
    return tuple(dict.fromkeys(names))
