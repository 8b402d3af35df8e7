# SPDX-License-Identifier: Apache-2.0
"""Find one accelerator by the name that people write.

Answers: which accelerator is meant, and what are its facts. The table and its
index are built by `specs.build`; reading one accelerator scans the index as text
and parses one line of the table.

How a name is understood (`specs.names` splits it into words; vendors, punctuation
and case never matter):

1. a slug, title or alias, exactly;
2. a documented default: where a vendor sells one product under the bare name and
   variants under a longer one, the bare name means the former ("H200" is the SXM
   module, "H200 NVL" must be said), and the answer carries a note that says so;
3. a name that only leaves out series words ("4090"), then one that also leaves out
   memory size or form factor ("h100 pcie"), then family words ("rtx pro 6000").
   A stated memory size or kind must be the card's own; of a device that shares the
   machine's memory it says how much this machine has.

Words that make another product (Ti, SUPER, D, laptop, Max-Q, Server) are never
added or dropped. If several accelerators remain, the name is ambiguous.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from specs.accelerator import Accelerator
from specs.errors import AmbiguousNameError, InvalidInputError, SpecDataError, UnknownNameError
from specs.names import (
    FAMILIES,
    FORM_FACTORS,
    MEMORY_KINDS,
    MEMORY_SIZE,
    SERIES,
    key_of,
    words,
)

_DATA = Path(__file__).parent / "data"
TABLE_PATH = _DATA / "accelerators.jsonl"
INDEX_PATH = _DATA / "accelerators.tsv"

_FLOATS = frozenset(
    field.name for field in fields(Accelerator) if field.type in ("float", "float | None")
)
_LISTED = (
    "name",
    "title",
    "vendor",
    "kind",
    "architecture",
    "mem_bytes",
    "mem_bytes_per_s",
    "tdp_w",
)
_CELLS = 9
_MAY_BE_LEFT_OUT = (SERIES, SERIES | FORM_FACTORS, SERIES | FORM_FACTORS | FAMILIES)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the index.

    `offset` is where the accelerator's line starts in the table, -1 where needed
    facts are `missing`; `forms` are the word lists of its spellings.
    """

    slug: str
    offset: int
    missing: tuple[str, ...]
    why: str
    mem_gib: float | None
    shares_memory: bool
    mem_kind: str
    forms: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorRow:
    """The facts of one accelerator that a list shows.

    Bytes, bytes per second, FLOP/s and watts; `peak_16bit_flops_per_s` is the bf16
    peak, else the fp16 one, else None.
    """

    name: str
    title: str
    vendor: str
    kind: str
    architecture: str
    mem_bytes: float
    mem_bytes_per_s: float
    mem_kind: str
    peak_16bit_flops_per_s: float | None
    tdp_w: float
    released: str


def get_accelerator(name: str) -> Accelerator:
    """Return the accelerator that `name` means.

    Parameters
    ----------
    name : str
        Any usual spelling: ``"RTX 4090"``, ``"NVIDIA A100-SXM4-80GB"``, ``"mi300x"``.

    Raises
    ------
    UnknownNameError
        Nothing carries the name; the nearest names are listed.
    AmbiguousNameError
        Several do; they are listed.
    InvalidInputError
        The device is known, and facts that a prediction needs are not.
    """
    row, note = _resolve(name)
    if row.missing:
        raise InvalidInputError(_incomplete(name, row))
    accelerator = _load(row.offset)
    if row.shares_memory:
        accelerator = _with_memory(accelerator, words(name))
    return replace(accelerator, notes=(*accelerator.notes, note)) if note else accelerator


def _with_memory(accelerator: Accelerator, asked: tuple[str, ...]) -> Accelerator:
    """Give a device that shares its machine's memory the size that its name was given with."""
    sizes = [int(found[1]) for word in asked if (found := MEMORY_SIZE.fullmatch(word))]
    if not sizes or f"{sizes[0]}gb" in words(accelerator.name):
        return accelerator
    return replace(
        accelerator,
        mem_bytes=sizes[0] * 2.0**30,
        notes=(*accelerator.notes, f"memory set to the {sizes[0]} GiB that the name states"),
        sources={**accelerator.sources, "mem_bytes": "user-gpu-name"},
    )


def resolve_name(name: str) -> str:
    """Return the slug of the accelerator that `name` means; raises as `get_accelerator`."""
    return _resolve(name)[0].slug


def list_accelerators(
    *,
    vendor: str | None = None,
    kind: str | None = None,
    architecture: str | None = None,
    min_mem_bytes: float = 0.0,
    precision: str | None = None,
) -> list[AcceleratorRow]:
    """Return the usable accelerators that meet every condition, by name.

    Parameters
    ----------
    vendor, kind, architecture : str, optional
        As in `Accelerator`, case aside.
    min_mem_bytes : float
        Least memory. Ask for 80e9 to find the cards sold as 80 GB: they hold 80 GiB
        less what the driver keeps, some 85e9 bytes.
    precision : str, optional
        A precision that the device must list a peak for.
    """
    wanted = {"vendor": vendor, "kind": kind, "architecture": architecture}
    found = []
    with _open(TABLE_PATH) as file:
        for line in file:
            record = json.loads(line)
            if any(word and record[key] != word.lower() for key, word in wanted.items()):
                continue
            peaks = record["peak_flops_per_s"]
            if record["mem_bytes"] >= min_mem_bytes and (precision is None or precision in peaks):
                found.append(_light(record))
    return sorted(found, key=lambda row: row.name)


def _light(record: Mapping[str, Any]) -> AcceleratorRow:
    peaks = record["peak_flops_per_s"]
    return AcceleratorRow(
        peak_16bit_flops_per_s=peaks.get("bf16") or peaks.get("fp16"),
        mem_kind=record.get("mem_kind", ""),
        released=record.get("released", ""),
        **{key: record[key] for key in _LISTED},
    )


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise SpecDataError(
            f"{path.name} is missing; reinstall, or python -m specs.build."
        ) from None


@lru_cache(maxsize=256)
def _load(offset: int) -> Accelerator:
    with _open(TABLE_PATH) as file:
        file.seek(offset)
        record = json.loads(file.readline())
    return accelerator_of(record)


def accelerator_of(record: Mapping[str, Any]) -> Accelerator:
    """Return the accelerator of one record of the table (or of a user's file)."""
    values = dict(record)
    for name in _FLOATS & values.keys():
        values[name] = float(values[name])
    values["peak_flops_per_s"] = {
        precision: float(peak) for precision, peak in record["peak_flops_per_s"].items()
    }
    common, sources = record["sources"].get("*"), dict(record["sources"])
    sources.pop("*", None)
    if common is not None:
        stated = [key for key in record if key not in ("name", "title", "sources", "notes")]
        stated.remove("peak_flops_per_s")
        stated += [f"peak_flops_per_s.{precision}" for precision in record["peak_flops_per_s"]]
        sources = {key: sources.get(key, common) for key in stated}
    values["sources"] = sources
    values["notes"] = tuple(record.get("notes", ()))
    return Accelerator(**values)


@lru_cache(maxsize=1)
def _index_text() -> str:
    with _open(INDEX_PATH) as file:
        text: str = file.read().decode("utf-8")
    return text


@lru_cache(maxsize=1)
def _rows() -> tuple[_Row, ...]:
    return tuple(_row(line) for line in _index_text().splitlines()[1:])


def _row(line: str) -> _Row:
    cells = line.split("\t")
    if len(cells) != _CELLS:
        raise SpecDataError(f"{INDEX_PATH.name} is damaged; run python -m specs.build.")
    slug, offset, missing, why, mem_gib, mem_kind, _, _, forms = cells
    return _Row(
        slug=slug,
        offset=int(offset),
        missing=tuple(missing.split(",")) if missing else (),
        why=why,
        mem_gib=float(mem_gib.removesuffix("shared")) if mem_gib else None,
        shares_memory=mem_gib.endswith("shared"),
        mem_kind=mem_kind,
        forms=tuple(frozenset(form.split()) for form in forms.split("|")),
    )


def _lines_with(mark: str) -> list[_Row]:
    """Rows whose line holds `mark`, found without parsing the other lines."""
    text, found, at = _index_text(), [], -1
    while (at := text.find(mark, at + 1)) >= 0:
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        found.append(_row(text[start:end]))
        at = end
    return found


def _resolve(name: str) -> tuple[_Row, str]:
    """Return the row that `name` means, and what to tell the user about it."""
    key = key_of(name) if isinstance(name, str) else ""
    if not key:
        raise UnknownNameError(
            f"{name!r} names no accelerator. Give a name such as 'RTX 4090' or 'h100-sxm5-80gb'."
        )
    rows = _usable_first(_lines_with(f"={key}="))
    if len(rows) > 1:
        rows = [row for row in rows if key_of(row.slug) == key] or rows
    if len(rows) == 1:
        return rows[0], ""
    if not rows and (rows := _lines_with(f"~{key}~")):
        return rows[0], _default_note(name, rows[0])
    rows = rows or _usable_first(_by_words(words(name)))
    if len(rows) == 1:
        return rows[0], ""
    if rows:
        raise AmbiguousNameError(
            f"{name!r} may mean {_some(row.slug for row in rows)}. Name one of these."
        )
    raise UnknownNameError(_unknown(name))


def _usable_first(rows: list[_Row]) -> list[_Row]:
    return [row for row in rows if not row.missing] or rows


def _by_words(asked: tuple[str, ...]) -> list[_Row]:
    """Rows that the words mean, leaving out as little as possible."""
    sizes = [float(found[1]) for word in asked if (found := MEMORY_SIZE.fullmatch(word))]
    wanted = frozenset(word for word in asked if not MEMORY_SIZE.fullmatch(word))
    # A line that lacks one of the telling words as text cannot mean it: parse only the others.
    certain = [word for word in wanted - _MAY_BE_LEFT_OUT[-1] if not MEMORY_KINDS.fullmatch(word)]
    if not certain:
        return []
    lines = _index_text().splitlines()[1:]
    likely = [_row(line) for line in lines if all(word in line for word in certain)]
    for step, neutral in enumerate(_MAY_BE_LEFT_OUT):
        rows = [row for row in likely if _means(row, wanted, sizes, neutral, step > 0)]
        if rows:
            return rows
    return []


def _means(
    row: _Row,
    wanted: frozenset[str],
    sizes: Iterable[float],
    neutral: frozenset[str],
    without_size: bool,
) -> bool:
    """Tell whether the asked words and memory sizes fit one of the row's spellings."""
    for form in row.forms:
        named = {word for word in form if MEMORY_SIZE.fullmatch(word)}
        if any(f"{size:g}gb" not in named and not _has_memory(row, size) for size in sizes):
            continue
        spare = form - named if sizes or without_size else form
        left_out = (word for word in spare - wanted if not _said_as(word, wanted))
        if all(_said(word, spare, row) for word in wanted) and all(
            # A bare number of one or two digits counts cores: "m2 ultra" has 60 or 76.
            word in neutral or (without_size and word.isdigit() and len(word) < 3)
            for word in left_out
        ):
            return True
    return False


def _has_memory(row: _Row, size_gib: float) -> bool:
    # Drivers report a few percent less than the module holds.
    if row.mem_gib is None:
        return False
    if row.shares_memory and not any(map(MEMORY_SIZE.fullmatch, row.slug.split("-"))):
        # Sold with many sizes; the table holds the largest.
        return 1 <= size_gib <= 1.03 * row.mem_gib
    return abs(row.mem_gib - size_gib) <= 0.03 * size_gib


def _said(word: str, form: frozenset[str], row: _Row) -> bool:
    """Tell whether a word of the query is true of this form of the row."""
    if word in form or (word == "sxm" and any(other.startswith("sxm") for other in form)):
        return True
    if word in ("pcie", "oam"):
        # True of every device that no other form exists of.
        return not any(other & FORM_FACTORS for other in row.forms)
    return bool(MEMORY_KINDS.fullmatch(word)) and word == row.mem_kind


def _said_as(word: str, wanted: frozenset[str]) -> bool:
    return word.startswith("sxm") and "sxm" in wanted


def _some(slugs: Iterable[str], count: int = 8) -> str:
    every = sorted(slugs)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(every[:count]) + more


def _default_note(name: str, row: _Row) -> str:
    others = [other.slug for other in _by_words(words(name)) if other.slug != row.slug]
    rest = f"; {_some(others, 4)} must be named in full" if others else ""
    return f"{name!r} is taken as {row.slug}{rest}."


def _incomplete(name: str, row: _Row) -> str:
    why = f" ({row.why})" if row.why else ""
    return (
        f"{name!r} is {row.slug}, of which these facts are unknown{why}: "
        f"{', '.join(row.missing)}. Describe it in a file and pass --gpu-file my.toml; "
        f"roofline specs gpu-file prints an example."
    )


def _unknown(name: str) -> str:
    from specs.sources import nearest

    asked = frozenset(words(name))
    telling = {word for word in asked if not MEMORY_SIZE.fullmatch(word)} - SERIES
    slugs = [row.slug for row in _rows() if not row.missing]
    shared = {slug: len(telling & set(slug.split("-"))) for slug in slugs}
    most = max(shared.values())
    near = nearest("-".join(sorted(telling)), [s for s in slugs if most and shared[s] == most], 4)
    near = near if most else nearest("-".join(words(name)), slugs, 3)
    return (
        f"no accelerator is called {name!r}; nearest: {near}. All: roofline specs gpus. "
        f"Describe your own in a file: --gpu-file my.toml."
    )
