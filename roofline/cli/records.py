# SPDX-License-Identifier: Apache-2.0
"""Look through measurements that are kept, check them, and exchange them with others."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from specs.errors import InvalidInputError, UnknownNameError
from specs.measurement import WORDS, Measurement

if TYPE_CHECKING:
    from profiler.store import Problem

LISTED = 40
"""Measurements that `list` prints unless told otherwise: about a screen."""

_FILTERS = {
    "gpu": "part of the accelerator's name",
    "model": "part of the model's name",
    "engine": "part of the engine's name",
    "source": "part of the source's key",
    "run": "run that took them",
}


def add_arguments(parser: Parser) -> None:
    """Declare what can be done with records."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, says: str, run: Callable[[Namespace], None], store: str) -> Parser:
        made: Parser = actions.add_parser(name, help=says, description=says)
        made.set_defaults(act=run)
        made.add_argument("--store", type=Path, metavar="PATH", help=store)
        add_json_argument(made)
        return made

    folder = "folder of the records (default: $ROOFLINE_STORE, or the user's data folder)"
    table = f"{folder}; may also be a Parquet, CSV, JSON or JSONL file"
    one = action("list", "measurements, one line each", _list, table)
    _add_filters(one)
    one.add_argument(
        "--limit", type=_count, metavar="N", help=f"the last N (default {LISTED}; 0: all)"
    )
    one = action("show", "everything known of one point", _show, table)
    one.add_argument("point", metavar="POINT", help="id as list shows it, or its beginning")
    one = action("export", "write measurements to one file", _export, table)
    one.add_argument(
        "path", type=Path, metavar="FILE", help="ends in .parquet, .csv, .jsonl, .json"
    )
    one.add_argument(
        "--with-facts", action="store_true", help="join what is known of accelerators and models"
    )
    _add_filters(one)
    one = action("validate", "which rows cannot be true by physics, and why", _validate, table)
    _add_filters(one)
    target = "ORG/NAME of a Hugging Face dataset, URL such as s3://bucket/folder, or ./folder"
    one = action("push", "send records to a dataset repository or a URL", _push, folder)
    one.add_argument("target", metavar="TARGET", help=target)
    one.add_argument(
        "--create", action="store_true", help="make a private repository if there is none"
    )
    one = action("pull", "fetch records from a dataset repository or a URL", _pull, folder)
    one.add_argument("target", metavar="TARGET", help=target)


def _add_filters(parser: Parser) -> None:
    for name, says in _FILTERS.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), help=says)
    for name in ("kind", "mode", "quality"):
        words = [word for word in WORDS[name] if word]
        parser.add_argument(f"--{name}", choices=words, help=f"{name} of measurement")
    parser.add_argument("--since", type=_date, metavar="DATE", help="measured on this day or later")


def run(args: Namespace) -> None:
    """Do what was asked."""
    args.act(args)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text[:40]!r} is no count; give a number such as 20.")
    return int(text)


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError(f"{text[:40]!r} is no day; give one as 2026-01-31.") from None


class Notes:
    """Collects what was passed over, and says it on stderr."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def __call__(self, problem: Problem) -> None:
        """Note one file or row that was passed over."""
        self.problems.append(problem)
        text = " ".join(str(problem).split())
        print("".join(char if char.isprintable() else "?" for char in text), file=sys.stderr)

    def as_json(self) -> list[dict[str, str]]:
        """All of them, for the answer."""
        return [{"where": p.where, "reason": p.reason} for p in self.problems]


def _load(args: Namespace, notes: Notes) -> tuple[Path, list[Measurement]]:
    """Return where the records are, and those that pass the filters."""
    from profiler.store import Store, default_store_path, load_measurements

    path = args.store or default_store_path()
    if args.store is None and not path.exists():
        rows = Store(path).read(on_problem=notes)
    else:
        rows = load_measurements([path], on_problem=notes)
    if not rows:
        raise InvalidInputError(
            f"no measurements in {path}; take some with 'roofline profile', read others' with "
            f"'roofline import', or name another place with --store."
        )
    return path, rows


def _selected(args: Namespace, rows: list[Measurement]) -> list[Measurement]:
    """Return the rows that pass every filter.

    Raises
    ------
    InvalidInputError
        None does.
    """
    kept = [row for row in rows if _passes(args, row)]
    if not kept:
        raise InvalidInputError(
            f"none of {len(rows)} measurements passes all filters; leave one out, or see what "
            f"there is with: roofline records list."
        )
    return kept


def _passes(args: Namespace, row: Measurement) -> bool:
    for name in ("kind", "mode", "quality"):
        wanted = getattr(args, name)
        if wanted is not None and getattr(row, name) != wanted:
            return False
    if args.since is not None and not row.measured_at >= args.since:
        return False
    if args.run is not None and row.run_id != args.run:
        return False
    texts = {
        "gpu": f"{row.gpu} {row.gpu_raw} {row.host_cpu}",
        "model": f"{row.model} {row.estimator} {row.op}",
        "engine": row.engine,
        "source": row.source,
    }
    return all(
        getattr(args, name) is None or getattr(args, name).lower() in text.lower()
        for name, text in texts.items()
    )


def _list(args: Namespace) -> None:
    notes = Notes()
    path, rows = _load(args, notes)
    rows = _selected(args, rows)
    limit = args.limit if args.limit is not None else (0 if args.json else LISTED)
    shown = rows[-limit:] if limit else rows
    if args.json:
        records = [row.to_dict() for row in shown]
        answer: dict[str, Any] = {"store": str(path), "count": len(rows), "records": records}
        print_json({**answer, "skipped": notes.as_json()})
        return
    from roofline.report.records import records_text

    print_text(records_text(shown))
    if len(shown) < len(rows):
        print(f"the last {len(shown)} of {len(rows):,}; --limit 0 lists all.", file=sys.stderr)


def _show(args: Namespace) -> None:
    notes = Notes()
    path, rows = _load(args, notes)
    found = [row for row in rows if row.point_id.startswith(args.point)]
    if not found:
        raise UnknownNameError(
            f"no point {args.point!r:.60} in {path}; ids are listed by: roofline records list."
        )
    if args.json:
        records = [row.to_dict() for row in found]
        print_json({"store": str(path), "records": records, "skipped": notes.as_json()})
        return
    from roofline.report.records import record_text

    print_text("\n\n".join(record_text(row) for row in found))


def _export(args: Namespace) -> None:
    from profiler.parts import table_of
    from profiler.tables import write_table_file

    notes = Notes()
    _, rows = _load(args, notes)
    table = table_of(_selected(args, rows))
    if args.with_facts:
        from profiler.enrich import with_facts

        table = with_facts(table, on_problem=notes)
    write_table_file(table, args.path)
    if args.json:
        answer = {"path": str(args.path), "rows": table.num_rows, "columns": table.column_names}
        print_json({**answer, "skipped": notes.as_json()})
        return
    print_text(f"{table.num_rows:,} measurements in {args.path}")


def _validate(args: Namespace) -> None:
    from dataclasses import asdict

    from calibration.plausible import check
    from roofline.cli.measured import known_in

    notes = Notes()
    path, rows = _load(args, notes)
    rows = _selected(args, rows)
    verdict = check(rows, known=known_in(path))
    if args.json:
        print_json({"store": str(path), **asdict(verdict), "skipped": notes.as_json()})
        return
    from roofline.report.records import verdict_text

    findings = [(f.row, f.rule, f.column, f.value, f.limit, f.says) for f in verdict.findings]
    print_text(verdict_text(rows, findings, verdict.checked, verdict.unchecked))


def _push(args: Namespace) -> None:
    _exchange(args, "push", "sent to")


def _pull(args: Namespace) -> None:
    _exchange(args, "pull", "fetched from")


def _exchange(args: Namespace, verb: str, says: str) -> None:
    from dataclasses import asdict

    from profiler import remote
    from profiler.store import Store

    notes = Notes()
    store = Store(args.store)
    there = remote.open_remote(args.target, create=getattr(args, "create", False))
    exchange = remote.push if verb == "push" else remote.pull
    done = exchange(store, there, on_problem=notes)
    if args.json:
        print_json({"store": str(store.path), **asdict(done), "skipped": notes.as_json()})
        return
    for note in done.notes:
        print(note, file=sys.stderr)
    print_text(
        f"{done.rows:,} measurements in {len(done.moved)} part-files {says} {done.target}; "
        f"{done.already} were on both sides already"
    )
