# SPDX-License-Identifier: Apache-2.0
"""Reads a results file into plain values, whatever its name ends in.

JSON, JSON Lines, YAML, CSV, Parquet and text are told apart by what the file holds.
Every failure is one line that says what the file is instead.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specs.errors import InvalidInputError

MAX_FILE_BYTES = 512 * 2**20
"""Results with every request's tokens in them reach tens of MB; a bigger file is a mistake."""

_YAML_KEY = re.compile(r"^[\w.-]+:(\s|$)", re.MULTILINE)
_DELIMITERS = ",\t;"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file as plain values.

    Parameters
    ----------
    path : Path
        Where it lies.
    kind : str
        "json" (YAML too), "jsonl", "table" or "text".
    records : tuple of mapping
        The objects of the file: one for a JSON object, its objects for a JSON list or
        JSON Lines, its rows for a table; none for a text.
    text : str
        What a text file says, or YAML, which a log may look like; empty otherwise.
    digest : str
        SHA-256 of the bytes.
    """

    path: Path
    kind: str
    records: tuple[Mapping[str, Any], ...] = ()
    text: str = field(default="", repr=False)
    digest: str = ""

    @property
    def first(self) -> Mapping[str, Any]:
        """The first object, empty where there is none."""
        return self.records[0] if self.records else {}

    @property
    def single(self) -> Mapping[str, Any]:
        """The object of a file that holds exactly one, else an empty one."""
        return self.records[0] if len(self.records) == 1 else {}


def load_document(path: Path | str) -> Document:
    """Read one file.

    Raises
    ------
    InvalidInputError
        There is no such file, it is empty, binary, too big or damaged.
    """
    path = Path(path)
    data = _bytes_of(path)
    digest = hashlib.sha256(data).hexdigest()
    if data[:4] == b"PAR1":
        return Document(path=path, kind="table", records=_parquet(path), digest=digest)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"{path}: neither text nor Parquet; give a tool's JSON, CSV or log."
        ) from None
    kind, records = _parse(path, text)
    body = "" if kind == "table" or text.lstrip()[:1] in ("{", "[") else text
    return Document(path=path, kind=kind, records=records, text=body, digest=digest)


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise InvalidInputError(f"{path}: {what}; give results files.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInputError(
                f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; give the tool's summary, "
                f"without every request's details."
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path}: cannot be read: {why}.") from None
    if not data.strip():
        raise InvalidInputError(f"{path}: empty; the tool may have died before it wrote.")
    return data


def _parse(path: Path, text: str) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """Kind of the file and its objects."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return _json(path, text)
    if _YAML_KEY.match(text.lstrip().removeprefix("---").lstrip()) and not _is_table(text):
        found = _yaml(text)
        if found is not None:
            return "json", (found,)
    if _is_table(text):
        return "table", _csv(path, text)
    return "text", ()


def _json(path: Path, text: str) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    try:
        return "json", _objects(json.loads(text))
    except RecursionError:
        raise InvalidInputError(f"{path}: nested too deeply for a results file.") from None
    except ValueError as error:
        damage = error
    lines = [line for line in text.splitlines() if line.strip()]
    records: list[Mapping[str, Any]] = []
    for at, line in enumerate(lines, 1):
        try:
            records.extend(_objects(json.loads(line)))
        except (ValueError, RecursionError):
            if at == 1 or len(lines) == 1:
                raise InvalidInputError(
                    f"{path}: damaged JSON ({str(damage)[:80]}); was the tool still writing?"
                ) from None
            raise InvalidInputError(
                f"{path}: line {at} of {len(lines)} is no JSON; repair or cut it off."
            ) from None
    return "jsonl", tuple(records)


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    found = value if isinstance(value, list) else [value]
    return tuple(item for item in found if isinstance(item, Mapping))


def _yaml(text: str) -> Mapping[str, Any] | None:
    """The object of a YAML text, None where it is none: a log may look like one."""
    from importlib import import_module

    yaml: Any = import_module("yaml")  # comes with huggingface_hub
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (ValueError, RecursionError, yaml.YAMLError):
        return None
    return found if isinstance(found, Mapping) else None


def _is_table(text: str) -> bool:
    header, _, rest = text.partition("\n")
    cells = max(header.count(mark) for mark in _DELIMITERS)
    return cells > 0 and bool(rest.strip()) and not re.search(r"[{}]|:\s", header)


def _csv(path: Path, text: str) -> tuple[Mapping[str, Any], ...]:
    header = text.partition("\n")[0]
    mark = max(_DELIMITERS, key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        rows = [{k: v for k, v in row.items() if isinstance(k, str)} for row in reader]
    except csv.Error as error:
        raise InvalidInputError(f"{path}: damaged CSV ({str(error)[:80]}).") from None
    return tuple(rows)


def _parquet(path: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError:
        raise InvalidInputError(
            f"{path}: Parquet needs pyarrow; pip install 'roofline[profile]', or give CSV."
        ) from None
    try:
        rows: list[Mapping[str, Any]] = read_table(path).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: damaged Parquet ({str(error)[:80]}).") from None
    return tuple(rows)
