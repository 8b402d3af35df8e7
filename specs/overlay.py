# SPDX-License-Identifier: Apache-2.0
"""Hand-written accelerator facts: datasheet corrections and devices no database lists.

Answers: what do ``specs/data/accelerators/*.toml`` say, and is every word of it
well-formed and sourced. One file per family, one table per device; the table's
name is the canonical slug::

    [h100-sxm5-80gb]
    title = "NVIDIA H100 SXM5 80 GB"
    board = "h100-sxm5-80-gb"      # the snapshot row it corrects; absent: stand-alone
    aliases = ["h100 sxm", "NVIDIA H100 80GB HBM3"]
    source = "nvidia-h100-datasheet"      # default for every value of the table
    mem_bytes_per_s = 3.35e12
    peak_flops_per_s.bf16 = { value = 989.4e12, source = "nvidia-hopper-whitepaper" }
    notes = ["..."]                       # caveats that travel with predictions

Beside the fields of `specs.accelerator.Accelerator` a table may hold

``aliases``
    Other spellings that mean exactly this device.
``default_for``
    Bare names that several devices share and that this one answers to; whoever
    asks by such a name gets a note that says which others exist.
``template``
    Name of a table of the same file that starts with ``_``; its values are taken
    where this table has none (cores of one microarchitecture, chips of one family).
``rates``
    Rule of ``tensor_rates.toml`` that derives the peaks, where board facts do not
    say which.
``absent``
    Fields that a rule would derive and the device lacks: ``["peak_flops_per_s.fp8"]``.
``incomplete``
    Why a stand-alone device misses a needed fact; it is then listed, not predicted.
``mem_gib``
    Memory in GiB, in place of ``mem_bytes``.
``flops_per_clock.<precision>``, ``vector_flops_per_clock``
    Rate per unit and clock; the peak is that times ``unit_count`` times ``clock_hz``.
``mem_channels``, ``mem_transfers_per_s``, ``mem_channel_bytes``
    In place of ``mem_bytes_per_s``: channels x transfers x width (default 8 bytes).

``python -m specs.overlay`` checks all files and prints what is wrong.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specs.accelerator import COMPUTE_PRECISIONS, KINDS
from specs.errors import SpecDataError
from specs.sources import load_sources, nearest

OVERLAY_DIR = Path(__file__).parent / "data" / "accelerators"

TEXT_FIELDS = ("vendor", "kind", "architecture", "mem_kind", "link", "host_link", "released")
NUMBER_FIELDS = (
    "mem_bytes",
    "mem_bytes_per_s",
    "vector_flops_per_s",
    "unit_count",
    "clock_hz",
    "cache_bytes",
    "tdp_w",
    "idle_w",
    "process_nm",
    "dies",
    "devices_per_board",
)
FLAG_FIELDS = ("unified_memory",)
DERIVING_FIELDS = (
    "mem_gib",
    "vector_flops_per_clock",
    "mem_channels",
    "mem_transfers_per_s",
    "mem_channel_bytes",
)
RATE_TABLES = ("peak_flops_per_s", "flops_per_clock")
META_TEXT = ("title", "board", "source", "template", "rates", "incomplete")
META_LISTS = ("aliases", "default_for", "notes", "absent")
KNOWN_KEYS = (
    *TEXT_FIELDS,
    *NUMBER_FIELDS,
    *FLAG_FIELDS,
    *DERIVING_FIELDS,
    *RATE_TABLES,
    *META_TEXT,
    *META_LISTS,
)
NEEDED = (
    "title",
    "vendor",
    "kind",
    "architecture",
    "mem_bytes",
    "mem_bytes_per_s",
    "vector_flops_per_s",
    "unit_count",
    "clock_hz",
    "tdp_w",
)
"""What an accelerator cannot do without, beside at least one peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One value as a file states it: the value, its source key, a remark."""

    value: float | str | bool
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayEntry:
    """One table of an overlay file, checked, its template merged in.

    `values` maps a field (``"tdp_w"``, ``"peak_flops_per_s.bf16"``) to what is
    stated of it, deriving inputs (`mem_gib`, rates per clock, memory channels)
    included; `derived` turns these into the fields they stand for.
    """

    slug: str
    file: str
    title: str = ""
    board: str = ""
    rates: str = ""
    incomplete: str = ""
    aliases: tuple[str, ...] = ()
    default_for: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    values: Mapping[str, Stated] = field(default_factory=dict)


def load_overlay(
    folder: Path = OVERLAY_DIR, known_sources: Iterable[str] | None = None
) -> dict[str, OverlayEntry]:
    """Read and check every overlay file of `folder`.

    Parameters
    ----------
    folder : Path
        Where the ``*.toml`` files are.
    known_sources : iterable of str, optional
        Source keys that resolve; by default those of ``specs/data/sources``.

    Returns
    -------
    dict of str to OverlayEntry
        By slug, in file order.

    Raises
    ------
    SpecDataError
        Anything that is not as the module describes, with file and table named.
    """
    sources = frozenset(load_sources() if known_sources is None else known_sources)
    entries: dict[str, OverlayEntry] = {}
    for path in sorted(folder.glob("*.toml")):
        for slug, entry in read_overlay_file(path, sources).items():
            if slug in entries:
                raise SpecDataError(
                    f"{path.name}: [{slug}] is also in {entries[slug].file}. Keep one."
                )
            entries[slug] = entry
    return entries


def read_overlay_file(path: Path, sources: frozenset[str]) -> dict[str, OverlayEntry]:
    """Read and check one overlay file; see `load_overlay`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as err:
        raise SpecDataError(f"{path.name} is not TOML: {err}. Fix it.") from None
    for slug, table in tables.items():
        if not isinstance(table, Mapping):
            raise SpecDataError(f"{path.name}: {slug!r} stands outside any table. Move it in.")
    templates = {slug: table for slug, table in tables.items() if slug.startswith("_")}
    entries = {}
    for slug, table in tables.items():
        if slug not in templates:
            where = f"{path.name}: [{slug}]"
            if slug != slug.lower() or " " in slug:
                raise SpecDataError(f"{where}: a slug is lower case with hyphens. Rename it.")
            values = _merged(where, table, templates, sources)
            entries[slug] = _entry(where, path.name, slug, values)
    return entries


def _merged(
    where: str,
    table: Mapping[str, Any],
    templates: Mapping[str, Mapping[str, Any]],
    sources: frozenset[str],
) -> dict[str, Any]:
    """Check a table's keys and lay it over its template's; values become `Stated`."""
    flat = _checked(where, table, sources)
    template = flat.pop("template", "")
    if not template:
        return flat
    if template not in templates:
        raise SpecDataError(
            f"{where}: no template {template!r} in this file; nearest: "
            f"{nearest(template, templates)}. A template's name starts with '_'."
        )
    below = _merged(f"{where} via {template}", templates[template], templates, sources)
    return {**below, **flat}


def _checked(where: str, table: Mapping[str, Any], sources: frozenset[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    default_source = table.get("source", "")
    for key, raw in table.items():
        if key not in KNOWN_KEYS:
            raise SpecDataError(
                f"{where}: unknown key {key!r}; nearest: {nearest(key, KNOWN_KEYS)}."
            )
        if key == "source":
            if raw not in sources:
                _unknown_source(where, raw, sources)
        elif key in META_TEXT:
            flat[key] = _text(where, key, raw)
        elif key in META_LISTS:
            if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
                raise SpecDataError(f"{where}: {key} is a list of strings.")
            flat[key] = tuple(raw)
        elif key in RATE_TABLES:
            flat.update(_rates(where, key, raw, default_source, sources))
        else:
            flat[key] = _stated(where, key, raw, default_source, sources)
    return flat


def _rates(
    where: str, key: str, raw: Any, default_source: str, sources: frozenset[str]
) -> dict[str, Stated]:
    if not isinstance(raw, Mapping):
        raise SpecDataError(f"{where}: write {key}.<precision> = value.")
    rates = {}
    for precision, value in raw.items():
        if precision not in COMPUTE_PRECISIONS:
            raise SpecDataError(
                f"{where}: {key}.{precision} is no precision; use one of "
                f"{', '.join(COMPUTE_PRECISIONS)}."
            )
        name = f"{key}.{precision}"
        rates[name] = _stated(where, name, value, default_source, sources)
    return rates


def _stated(where: str, key: str, raw: Any, default_source: str, sources: frozenset[str]) -> Stated:
    note, source = "", default_source
    if isinstance(raw, Mapping):
        for name in raw:
            if name not in ("value", "source", "note"):
                raise SpecDataError(f"{where}: {key} takes value, source and note, not {name!r}.")
        if "value" not in raw:
            raise SpecDataError(f"{where}: {key} has no value.")
        source, note, raw = raw.get("source", source), raw.get("note", ""), raw["value"]
    if not source:
        raise SpecDataError(f"{where}: {key} has no source; give it or the table one.")
    if source not in sources:
        _unknown_source(where, source, sources)
    if key in TEXT_FIELDS:
        _text(where, key, raw)
    elif key in FLAG_FIELDS:
        if not isinstance(raw, bool):
            raise SpecDataError(f"{where}: {key} is true or false, not {raw!r}.")
    elif isinstance(raw, bool) or not isinstance(raw, int | float) or not raw > 0:
        raise SpecDataError(f"{where}: {key} is a positive number, not {raw!r}.")
    if key == "kind" and raw not in KINDS:
        raise SpecDataError(f"{where}: kind {raw!r} is none of {', '.join(KINDS)}.")
    return Stated(value=raw, source=source, note=note)


def _text(where: str, key: str, raw: Any) -> str:
    if not isinstance(raw, str) or not raw:
        raise SpecDataError(f"{where}: {key} is a non-empty string, not {raw!r}.")
    return raw


def _unknown_source(where: str, key: Any, sources: frozenset[str]) -> None:
    raise SpecDataError(
        f"{where}: no source {key!r} in specs/data/sources; nearest: "
        f"{nearest(str(key), sources)}. Add it there."
    )


def _entry(where: str, file: str, slug: str, flat: dict[str, Any]) -> OverlayEntry:
    meta = {key: flat.pop(key) for key in (*META_TEXT, *META_LISTS) if key in flat}
    entry = OverlayEntry(slug=slug, file=file, values=flat, **meta)
    full = derived(where, flat)
    for name in entry.absent:
        if not name.startswith("peak_flops_per_s.") and name not in KNOWN_KEYS:
            raise SpecDataError(f"{where}: absent names {name!r}, which is no field.")
    if not entry.board and not entry.incomplete and not entry.rates:
        missing = missing_facts(entry.title, full)
        if missing:
            raise SpecDataError(
                f"{where}: stand-alone and lacks {', '.join(missing)}. Add them with a source, "
                f"name the board it corrects, or say why in 'incomplete'."
            )
    return entry


def missing_facts(title: str, values: Mapping[str, Stated]) -> list[str]:
    """Return the needed fields that neither `title` nor `values` supply."""
    missing = [name for name in NEEDED if name not in values and name != "title"]
    if not title:
        missing.insert(0, "title")
    if not any(name.startswith("peak_flops_per_s.") for name in values):
        missing.append("peak_flops_per_s.<precision>")
    return missing


def derived(where: str, values: Mapping[str, Stated]) -> dict[str, Stated]:
    """Turn deriving inputs into the fields they stand for, where these are not stated.

    ``peak = flops_per_clock * unit_count * clock_hz`` and
    ``mem_bytes_per_s = mem_channels * mem_transfers_per_s * mem_channel_bytes``;
    the source of a derived value is that of its defining input.
    """
    out = {
        key: stated
        for key, stated in values.items()
        if key in _PLAIN or key.startswith("peak_flops_per_s.")
    }

    def put(name: str, value: float, source: str, formula: str) -> None:
        out.setdefault(name, Stated(value=value, source=source, note=formula))

    if (gib := values.get("mem_gib")) is not None:
        put("mem_bytes", float(gib.value) * 2**30, gib.source, "GiB")
    if "mem_channels" in values or "mem_transfers_per_s" in values:
        try:
            channels, rate = values["mem_channels"], values["mem_transfers_per_s"]
        except KeyError as err:
            raise SpecDataError(f"{where}: memory channels need {err} too.") from None
        width = float(values["mem_channel_bytes"].value) if "mem_channel_bytes" in values else 8.0
        bandwidth = float(channels.value) * float(rate.value) * width
        put("mem_bytes_per_s", bandwidth, rate.source, "channels x transfers x width")
    if "unit_count" in values and "clock_hz" in values:
        unit_clocks = float(values["unit_count"].value) * float(values["clock_hz"].value)
        for key, per_clock in values.items():
            table, _, precision = key.partition(".")
            if table == "flops_per_clock":
                name = f"peak_flops_per_s.{precision}"
            elif table == "vector_flops_per_clock":
                name = "vector_flops_per_s"
            else:
                continue
            put(
                name, float(per_clock.value) * unit_clocks, per_clock.source, "units x rate x clock"
            )
    return out


_PLAIN = frozenset((*TEXT_FIELDS, *NUMBER_FIELDS, *FLAG_FIELDS))


def main() -> int:
    """Check every overlay file; print the first fault of each, or how many tables passed."""
    sources = frozenset(load_sources())
    faults = passed = 0
    for path in sorted(OVERLAY_DIR.glob("*.toml")):
        try:
            passed += len(read_overlay_file(path, sources))
        except SpecDataError as err:
            faults += 1
            sys.stderr.write(f"{err}\n")
    sys.stdout.write(f"{passed} tables well-formed, {faults} files at fault\n")
    return 2 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
