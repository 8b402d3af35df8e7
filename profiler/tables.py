# SPDX-License-Identifier: Apache-2.0
"""Measurements as single files: Parquet, CSV, JSON, JSON lines.

CSV has no lists: ``samples_s`` and ``raw`` are JSON in their cell. Empty cells are unknown.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.parts import (
    OnProblem,
    Problem,
    check_columns,
    import_pyarrow,
    log_problem,
    measurements_of,
    read_part,
    rows_as_measurements,
    write_whole,
)
from specs.errors import InvalidInputError
from specs.measurement import COLUMNS, Measurement

if TYPE_CHECKING:
    import pyarrow

FORMATS = (".parquet", ".csv", ".jsonl", ".json")
_NESTED = frozenset(name for name, col in COLUMNS.items() if col.type in ("floats", "raw"))


def read_table_file(path: Path, on_problem: OnProblem = log_problem) -> list[Measurement]:
    """Read one file of our schema; rows that cannot be measurements go to `on_problem`.

    Raises
    ------
    InvalidInputError
        No such file, an unknown ending, or not a table of ours.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise InvalidInputError(f"no file or folder {path}; check the path.")
    if suffix not in FORMATS:
        raise InvalidInputError(f"{path} is none of {', '.join(FORMATS)}; give one of those.")
    try:
        if suffix == ".parquet":
            return measurements_of(read_part(path), path.name, on_problem)
        # As bytes: line breaks inside cells stay what they are. Spreadsheets add the mark.
        text = path.read_bytes().decode("utf-8-sig")
        rows = _READERS[suffix](text)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{path} is no table of measurements: {_bare(error)}; see 'roofline import'."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise InvalidInputError(f"{path} cannot be read as {suffix[1:]} ({error}).") from None
    return rows_as_measurements(rows, path.name, on_problem)


def _bare(error: InvalidInputError) -> str:
    return str(error).rstrip(".")


def _csv_rows(text: str) -> list[Any]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # cells of samples are long
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or ()
    if "kind" not in names:
        raise InvalidInputError("it lacks the column kind")
    check_columns(names)
    return [_csv_row(row) for row in reader]


def _csv_row(row: Mapping[Any, Any]) -> Any:
    try:
        return {name: _cell(name, text) for name, text in row.items() if text not in (None, "")}
    except (ValueError, RecursionError) as error:
        return Problem(where="", reason=str(error))


def _cell(name: Any, text: Any) -> Any:
    if name is None:
        raise ValueError("more cells than columns")
    if name not in COLUMNS or COLUMNS[name].type == "text":
        return text
    try:
        return json.loads(text) if name in _NESTED else float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r:.40}, no {COLUMNS[name].type}") from None


def _json_rows(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"no JSON ({error})") from None
    if isinstance(found, Mapping):
        found = found.get("records", [found])
    if not isinstance(found, list) or not any(
        isinstance(row, Mapping) and "kind" in row for row in found
    ):
        raise InvalidInputError("no object in it has the key kind")
    return found


def _jsonl_rows(text: str) -> list[Any]:
    rows: list[Any] = []
    for line in filter(str.strip, text.split("\n")):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            rows.append(Problem(where="", reason="no JSON, perhaps cut short"))
    if not any(isinstance(row, Mapping) and "kind" in row for row in rows):
        raise InvalidInputError("no line of it is an object with the key kind")
    return rows


_READERS: Mapping[str, Callable[[str], list[Any]]] = {
    ".csv": _csv_rows,
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
}


def write_table_file(table: pyarrow.Table, path: Path) -> None:
    """Write `table` at `path` in the format of its ending, whole or not at all.

    Raises
    ------
    InvalidInputError
        An ending that is no format.
    StoreError
        The disk refuses.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InvalidInputError(f"{path} ends in none of {', '.join(FORMATS)}; end it in one.")
    if suffix == ".parquet":
        pq = import_pyarrow().parquet
        write_whole(path, lambda out: pq.write_table(table, out, compression="zstd"))
        return
    text = _WRITERS[suffix](table)
    write_whole(path, lambda out: out.write(text.encode()))


def _as_csv(table: pyarrow.Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out)  # ends lines with CR LF (RFC 4180), and so quotes both in cells
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_as_cell(value) for value in row.values()])
    return out.getvalue()


def _as_cell(value: Any) -> Any:
    """Lists as JSON; what is unknown, and an empty list, as an empty cell."""
    if isinstance(value, (list, dict)):
        return json.dumps(value) if value else ""
    return "" if value is None else value


def _as_jsonl(table: pyarrow.Table) -> str:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in table.to_pylist())


def _as_json(table: pyarrow.Table) -> str:
    return json.dumps({"records": table.to_pylist()}, allow_nan=False, indent=1) + "\n"


_WRITERS: Mapping[str, Callable[[Any], str]] = {
    ".csv": _as_csv,
    ".json": _as_json,
    ".jsonl": _as_jsonl,
}
