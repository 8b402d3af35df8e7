# SPDX-License-Identifier: Apache-2.0
"""Any CSV or Parquet table, by a column map: ``theirs=ours[:unit]``.

A column that is called as ours is (``ttft_s``) needs no entry. Without a unit a value is in
SI; with one it is converted (``latency=e2e_s:ms``). TPOT is what its definition says: map a
mean ITL to ``itl_s``. Columns that are not mapped are kept as raw figures where they are
numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal
from profiler.importers.values import count, factor_of, moment, number, text
from specs.errors import InvalidInputError
from specs.measurement import COLUMNS
from specs.sources import nearest

_NEEDS = {
    "llm": (*MODEL_RUN, *LENGTHS, "batch_size|concurrency|request_rate"),
    "kernel": ("gpu", "op", "dtype"),
    "tabular": ("gpu", "estimator", "rows"),
}
_MAPPABLE = tuple(
    name
    for name, column in COLUMNS.items()
    if column.type in ("text", "int", "float")
    and name not in ("schema_version", "run_id", "point_id", "environment")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """One entry of a column map."""

    theirs: str
    ours: str
    unit: str = ""


def parse_map(entries: Iterable[str]) -> tuple[Mapped, ...]:
    """Read ``theirs=ours[:unit]`` entries.

    Raises
    ------
    InvalidInputError
        An entry of another form, an unknown column or unit, a column given twice.
    """
    found: dict[str, Mapped] = {}
    for entry in entries:
        theirs, equals, rest = entry.rpartition("=")
        ours, _, unit = rest.partition(":")
        if not equals or not theirs or not ours:
            raise InvalidInputError(
                f"column map {entry!r:.60} is not theirs=ours[:unit], such as latency=e2e_s:ms."
            )
        if ours not in _MAPPABLE:
            raise InvalidInputError(
                f"no column {ours!r:.40} in a measurement; nearest: {nearest(ours, _MAPPABLE)}."
            )
        if unit and factor_of(unit, COLUMNS[ours].unit) is None:
            want = COLUMNS[ours].unit or "a plain number"
            raise InvalidInputError(f"{ours} is {want}; {unit!r:.20} does not become that.")
        if ours in found:
            raise InvalidInputError(f"{ours} is mapped twice; keep one of the columns.")
        found[ours] = Mapped(theirs=theirs, ours=ours, unit=unit)
    return tuple(found.values())


def table_importer(entries: Sequence[Mapped]) -> Importer:
    """Return the importer of tables with these columns mapped."""

    def recognises(document: Document) -> bool:
        return document.kind == "table" and bool(_pairs(document.first, entries))

    def drafts(document: Document) -> Iterator[Draft | Refusal]:
        absent = [entry.theirs for entry in entries if entry.theirs not in document.first]
        if absent:
            known = ", ".join(str(name) for name in document.first)[:200]
            yield Refusal(where="", why=f"no column {', '.join(absent)}; it has {known}")
            return
        pairs = _pairs(document.first, entries)
        for at_row, record in enumerate(document.records, 1):
            yield _row(record, pairs, f"row {at_row}")

    return Importer(name="table", tool="table", recognises=recognises, drafts=drafts)


def _pairs(first: Mapping[str, Any], entries: Sequence[Mapped]) -> tuple[Mapped, ...]:
    """The map, with columns added that already carry our names."""
    taken = {entry.ours for entry in entries} | {entry.theirs for entry in entries}
    same = [name for name in first if name in _MAPPABLE and name not in taken]
    return (*entries, *(Mapped(theirs=name, ours=name) for name in same))


def _row(record: Mapping[str, Any], pairs: Sequence[Mapped], where: str) -> Draft | Refusal:
    draft = Draft(where=where)
    for pair in pairs:
        value = record.get(pair.theirs)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        why = _cell(draft, pair, value)
        if why:
            return Refusal(where=where, why=why)
    kind = draft.columns.get("kind", "llm")
    if kind not in _NEEDS:
        return Refusal(where=where, why=f"kind is {kind!r:.20}; give llm, kernel or tabular")
    draft.needs = _NEEDS[kind]
    if kind == "llm" and "mode" not in draft.columns:
        draft.put(mode="static" if "batch_size" in draft.columns else "serving")
    mapped = {pair.theirs for pair in pairs}
    for name, value in record.items():
        if name not in mapped and isinstance(name, str):
            draft.keep(name, value, "", "as in the table")
    return draft


def _cell(draft: Draft, pair: Mapped, value: Any) -> str:
    """Take one cell; return why it cannot be taken."""
    column = COLUMNS[pair.ours]
    if column.type == "text":
        word = (
            moment(value)
            if pair.ours == "measured_at"
            else text(value if isinstance(value, str) else str(value))
        )
        draft.put(**{pair.ours: word})
        return ""
    found = count(value) if column.type == "int" else number(value)
    if found is None and not (column.zero and number(value) == 0):
        return f"{pair.theirs} is {value!r:.40}, no {'whole ' * (column.type == 'int')}number"
    factor = factor_of(pair.unit, column.unit) if pair.unit else 1.0
    scaled = (found or 0) * (factor or 1.0)
    if column.group == "figures":
        unit = column.unit
        draft.keep(pair.theirs, value, pair.unit or unit, "as in the table")
        draft.figure(pair.ours, scaled, unit, f"column {pair.theirs!r} of the table")
    else:
        draft.put(**{pair.ours: scaled})
    return ""
