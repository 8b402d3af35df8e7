# SPDX-License-Identifier: Apache-2.0
"""Board facts, matrix rates and hand-written corrections become accelerators.

Answers: what is every accelerator we know, field by field with its source, and
what do we lack of the others. Layers, later ones winning: the board snapshot;
rates of `specs.tensor_rates`, at the corrected unit count and clock; the overlay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from specs.errors import SpecDataError
from specs.names import key_of, slug_of
from specs.overlay import OverlayEntry, Stated, derived, missing_facts
from specs.sources import nearest
from specs.techpowerup import SOURCE_KEY, BoardFacts
from specs.tensor_rates import RateRule, rule_for

MEM_CLOCK_SOURCE = "techpowerup-mem-clock"

TRANSFERS_PER_CLOCK: Mapping[str, int] = {
    "sdr": 1,
    "ddr": 2,
    "gddr2": 2,
    "ddr2": 2,
    "ddr3": 2,
    "ddr3l": 2,
    "ddr4": 2,
    "gddr3": 2,
    "gddr4": 2,
    "gddr5": 4,
    "gddr5x": 8,
    "gddr6": 8,
    "gddr6x": 16,
    "gddr7": 16,
    "hbm": 2,
    "hbm2": 2,
    "hbm2e": 2,
    "hbm3": 4,
    "hbm3e": 4,
    "lpddr3": 2,
    "lpddr4": 2,
    "lpddr4x": 2,
    "lpddr5": 8,
    "lpddr5x": 8,
}
"""Transfers per pin in one period of the clock that TechPowerUp prints, by memory kind."""

_VENDORS = {"ATI": "ati", "AMD": "amd", "NVIDIA": "nvidia", "Intel": "intel"}
_SHARED = "system shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One known accelerator: its resolved values, or what keeps it from having them.

    Parameters
    ----------
    slug, title : str
        Canonical name, and the name people read.
    values : mapping of str to Stated
        By field; peaks as ``"peak_flops_per_s.bf16"``.
    spellings, default_for : tuple of str
        Names that mean it; bare names that it answers to for a whole family.
    board_name : str
        Name of the row that it builds on; a spelling where no other entry wants it.
    notes : tuple of str
        Caveats.
    missing : tuple of str
        Needed fields that nobody states; empty for a usable accelerator.
    why : str
        What is known of the reason.
    by_hand : bool
        An overlay table names it; its spellings beat those of bare board rows.
    """

    slug: str
    title: str
    values: Mapping[str, Stated]
    spellings: tuple[str, ...]
    default_for: tuple[str, ...] = ()
    board_name: str = ""
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    why: str = ""
    by_hand: bool = False


def compile_all(
    boards: Iterable[BoardFacts],
    rules: Mapping[str, RateRule],
    overlay: Mapping[str, OverlayEntry],
) -> list[Compiled]:
    """Return every accelerator, hand-written ones first, each slug once.

    Raises
    ------
    SpecDataError
        A correction of a board that the snapshot lacks; two hand-written entries that
        claim one name.
    """
    every = tuple(boards)
    claimed: set[str] = set()
    out = []
    for entry in overlay.values():
        board = _board_of(entry, every, claimed) if entry.board else None
        out.append(_compiled(board, entry, rules))
    out = _without_borrowed_names(out)
    _refuse_shared_names(out)
    taken = {item.slug for item in out}
    # Rows that TechPowerUp lists twice under one name, with the same figures, are one.
    seen: dict[str, list[tuple[str, Compiled]]] = {}
    for board in every:
        if board.key not in claimed:
            item = _compiled(board, None, rules)
            twins = seen.setdefault(item.slug, [])
            if not any(_same(item, twin) for _, twin in twins):
                twins.append((board.key.rpartition(".")[2], item))
    for slug, twins in seen.items():
        alone = len(twins) == 1 and slug not in taken
        for number, item in twins:
            out.append(item if alone else _numbered(item, number))
    return out


def _numbered(item: Compiled, number: str) -> Compiled:
    slug = f"{item.slug}-{number}"
    return replace(item, slug=slug, spellings=(slug, *item.spellings))


def _same(one: Compiled, other: Compiled) -> bool:
    ignored = ("released", "process_nm", "architecture", "host_link")
    left = {k: v for k, v in one.values.items() if k not in ignored}
    return left == {k: v for k, v in other.values.items() if k not in ignored}


def _board_of(entry: OverlayEntry, boards: tuple[BoardFacts, ...], claimed: set[str]) -> BoardFacts:
    # Keys start with what they are named after; comparing starts first is the quick part.
    found = [
        board
        for board in boards
        if board.key.startswith(entry.board) and entry.board in (board.key, board.short_key)
    ]
    where = f"{entry.file}: [{entry.slug}]"
    if not found:
        near = nearest(entry.board, (board.short_key for board in boards))
        raise SpecDataError(f"{where}: no board {entry.board!r} in the snapshot; nearest: {near}.")
    if len(found) > 1:
        keys = ", ".join(board.key for board in found)
        raise SpecDataError(f"{where}: board {entry.board!r} is one of {keys}. Name the key.")
    # Several entries may build on one row: memory variants that the page lists as one.
    claimed.add(found[0].key)
    return found[0]


def _compiled(
    board: BoardFacts | None, entry: OverlayEntry | None, rules: Mapping[str, RateRule]
) -> Compiled:
    values: dict[str, Stated] = {} if board is None else board_values(board)
    rule = None if board is None else rule_for(board, rules)
    if entry is not None and entry.rates:
        if entry.rates not in rules:
            raise SpecDataError(
                f"{entry.file}: [{entry.slug}]: no rates rule {entry.rates!r}; nearest: "
                f"{nearest(entry.rates, rules)}."
            )
        rule = rules[entry.rates]
    why = ""
    if rule is not None and board is not None and (units := rule.units(board)):
        values["unit_count"] = Stated(value=units, source=SOURCE_KEY)
    stated = {} if entry is None else _corrections(entry, values)
    if rule is not None and rule.refuse:
        why = rule.refuse
        values = {name: value for name, value in values.items() if "flops" not in name}
    elif rule is not None:
        values.update(_rated(rule, {**values, **stated}, values))
    elif board is not None:
        why = f"no matrix rates are on file for {board.architecture or 'its architecture'}"
    values.update(stated)
    absent = () if entry is None else entry.absent
    values = {name: stated for name, stated in values.items() if name not in absent}
    return _named(board, entry, values, why)


def _corrections(entry: OverlayEntry, values: Mapping[str, Stated]) -> dict[str, Stated]:
    """What an overlay table states, rates per clock worked out on the board's units."""
    context = {name: values[name] for name in ("unit_count", "clock_hz") if name in values}
    full = derived(f"{entry.file}: [{entry.slug}]", {**context, **entry.values})
    return {
        name: stated for name, stated in full.items() if name not in context or name in entry.values
    }


def _named(
    board: BoardFacts | None,
    entry: OverlayEntry | None,
    values: dict[str, Stated],
    why: str,
) -> Compiled:
    board_title = "" if board is None else f"{board.manufacturer} {board.name}"
    title = (entry.title if entry else "") or board_title
    missing = missing_facts(title, values)
    if entry is not None and entry.incomplete:
        why = entry.incomplete
        missing = missing or ["peak_flops_per_s.<precision>"]
    spellings = [title, *(entry.aliases if entry else ())]
    slug = entry.slug if entry else slug_of(board.name if board else title)
    return Compiled(
        slug=slug,
        title=title,
        values=values,
        spellings=tuple(dict.fromkeys((slug, *spellings))),
        default_for=entry.default_for if entry else (),
        board_name="" if board is None else board.name,
        notes=entry.notes if entry else (),
        missing=tuple(missing),
        why=why if missing else "",
        by_hand=entry is not None,
    )


def _without_borrowed_names(items: list[Compiled]) -> list[Compiled]:
    """Add each row's own name as a spelling, save where another entry has a claim to it."""
    claims: dict[str, set[str]] = {}
    for item in items:
        for name in (*item.spellings, *item.default_for, item.board_name):
            claims.setdefault(key_of(name), set()).add(item.slug)
    return [
        replace(item, spellings=tuple(dict.fromkeys((*item.spellings, item.board_name))))
        if item.board_name and claims[key_of(item.board_name)] == {item.slug}
        else item
        for item in items
    ]


def _refuse_shared_names(items: list[Compiled]) -> None:
    owners: dict[str, str] = {}
    for item in items:
        for name in {key_of(spelling) for spelling in (*item.spellings, *item.default_for)}:
            if owners.setdefault(name, item.slug) != item.slug:
                raise SpecDataError(
                    f"[{item.slug}] and [{owners[name]}] both answer to {name!r}; "
                    f"give each a title and aliases of its own."
                )


def board_values(board: BoardFacts) -> dict[str, Stated]:
    """Return what a board row says in the fields of an accelerator."""
    clock = board.boost_clock_hz or board.base_clock_hz
    shared = board.mem_kind == _SHARED
    plain: dict[str, float | str | bool | None] = {
        "vendor": _VENDORS.get(board.manufacturer, board.manufacturer.lower()),
        "kind": "igpu" if _integrated(board) else "gpu",
        "architecture": board.architecture.lower().replace(" ", "-") or None,
        "mem_bytes": board.mem_bytes,
        "mem_kind": None if shared else board.mem_kind or None,
        "clock_hz": clock,
        "cache_bytes": board.l2_bytes,
        "tdp_w": board.tdp_w,
        "process_nm": board.process_nm,
        "released": board.released or None,
        "host_link": _host_link(board),
        "vector_flops_per_s": board.fp32_flops_per_s,
        "peak_flops_per_s.fp32": board.fp32_flops_per_s,
        "peak_flops_per_s.fp64": board.fp64_flops_per_s,
        "unit_count": board.sm_count,
    }
    if _integrated(board):
        plain["unified_memory"] = True
    values = {
        name: Stated(value=value, source=SOURCE_KEY)
        for name, value in plain.items()
        if value is not None
    }
    if (bandwidth := _bandwidth(board)) is not None:
        values["mem_bytes_per_s"] = bandwidth
    return values


def _host_link(board: BoardFacts) -> str | None:
    """Key of the PCI Express link in ``specs/data/nodes``: ``"pcie4x16"``."""
    found = re.fullmatch(r"PCIe (\d)\.\d x(\d+)", board.bus)
    return None if found is None or _integrated(board) else f"pcie{found[1]}x{found[2]}"


def _integrated(board: BoardFacts) -> bool:
    """Tell whether the board shares its memory with a processor."""
    return board.mem_kind == _SHARED or bool(
        re.search(r"IGP|Tegra|Console", board.generation) or "lpddr" in board.mem_kind
    )


def clocked_bandwidth(board: BoardFacts) -> float | None:
    """Return memory clock x transfers per clock x bus width, in bytes per second."""
    transfers = TRANSFERS_PER_CLOCK.get(board.mem_kind)
    if not (transfers and board.mem_clock_hz and board.mem_bus_bits):
        return None
    return board.mem_clock_hz * transfers * board.mem_bus_bits / 8


def _bandwidth(board: BoardFacts) -> Stated | None:
    """Listed bandwidth; from the clock where the page rounds to three digits of TB/s."""
    listed, clocked = board.mem_bytes_per_s, clocked_bandwidth(board)
    if listed is None:
        return None
    if listed >= 1e12 and clocked is not None and abs(clocked - listed) <= 0.006e12:
        return Stated(value=clocked, source=MEM_CLOCK_SOURCE)
    return Stated(value=listed, source=SOURCE_KEY)


def _rated(
    rule: RateRule, known: Mapping[str, Stated], listed: Mapping[str, Stated]
) -> dict[str, Stated]:
    """Peaks and vector rate that a rule derives from units and clock."""
    out = {"architecture": Stated(value=rule.architecture, source=rule.source)}
    if "unit_count" not in known or "clock_hz" not in known:
        return out
    units, clock_hz = float(known["unit_count"].value), float(known["clock_hz"].value)
    # A corrected clock is the one its vendor's matrix peaks are quoted at.
    quoted = known["clock_hz"] is not listed.get("clock_hz")
    for precision, peak in rule.peaks(units, clock_hz, matrix_clock=quoted).items():
        out[f"peak_flops_per_s.{precision}"] = Stated(value=_digits(peak), source=rule.source)
    if rule.vector:
        vector = units * rule.vector * clock_hz
        out["vector_flops_per_s"] = Stated(value=_digits(vector), source=rule.source)
    elif "vector_flops_per_s" in listed:
        out["vector_flops_per_s"] = listed["vector_flops_per_s"]
    return out


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
