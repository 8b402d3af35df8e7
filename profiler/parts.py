# SPDX-License-Identifier: Apache-2.0
"""One part-file of the store: measurements as Parquet, written whole or not at all.

A part is written under a name no reader looks at, flushed to the disk and renamed. What
is read was therefore finished; anything else that lies in the folder is not ours.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from specs.errors import InvalidInputError, RooflineError, StoreError
from specs.measurement import COLUMNS, SCHEMA_VERSION, Measurement

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
_STALE_S = 86400.0
"""Age at which a file left by a killed writer is removed: no append takes a day."""

_HINT = "pip install 'roofline[profile]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file or row that was passed over, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"skipped {self.where}: {self.reason}"


OnProblem = Callable[[Problem], None]


def log_problem(problem: Problem) -> None:
    """Tell the log, which goes to stderr unless the caller arranged otherwise."""
    logging.getLogger("profiler.store").warning("%s", problem)


def import_pyarrow() -> Any:
    """Return pyarrow with its Parquet module.

    Raises
    ------
    StoreError
        It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise StoreError(f"records are Parquet files, which need pyarrow; {_HINT}.") from None
    return pyarrow


@lru_cache(maxsize=1)
def arrow_schema() -> pyarrow.Schema:
    """Schema of the current version, its version in the metadata."""
    pa = import_pyarrow()
    figure = [(name, pa.string()) for name in ("name", "statistic", "unit")]
    types = {
        "text": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "floats": pa.list_(pa.float64()),
        "raw": pa.list_(pa.struct([*figure, ("value", pa.float64())])),
    }
    columns = [pa.field(name, types[column.type]) for name, column in COLUMNS.items()]
    return pa.schema(columns, metadata={"roofline.schema_version": str(SCHEMA_VERSION)})


def table_of(measurements: Iterable[Measurement]) -> pyarrow.Table:
    """Rows as an Arrow table of the current schema."""
    rows = [measurement.to_dict() for measurement in measurements]
    return import_pyarrow().Table.from_pylist(rows, schema=arrow_schema())


def new_part_name() -> str:
    """File name that sorts by time and that no other writer chooses."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:12]}{SUFFIX}"


def write_part(folder: Path, measurements: Iterable[Measurement]) -> Path:
    """Write a new part-file; when this returns, it is on the disk and readable.

    Raises
    ------
    StoreError
        The folder cannot be written; nothing of the part is visible then.
    """
    pq, table = import_pyarrow().parquet, table_of(measurements)
    path = folder / new_part_name()
    write_whole(
        path, lambda out: pq.write_table(table, out, compression="zstd"), draft_folder(folder)
    )
    return path


def write_whole(
    path: Path, write: Callable[[BinaryIO], object], drafts: Path | None = None
) -> None:
    """Let `write` fill a file that appears at `path` whole or not at all.

    Parameters
    ----------
    drafts : Path, optional
        Folder to write in before the file is renamed; its own if left out, and where
        that one cannot be used.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f".{path.stem}-{uuid4().hex[:8]}.tmp"
        if drafts is None or not _written_beside(drafts, name, path, write):
            _write_and_rename(path.parent / name, path, write)
    except OSError as error:
        raise StoreError(
            f"cannot write {path} ({error.strerror or error}); free space, or choose another place."
        ) from None


def draft_folder(folder: Path) -> Path:
    """Folder beside `folder` in which its files are written.

    The folder itself holds only finished Parquet: Polars refuses a folder that has
    anything else in it, hidden or not.
    """
    whole = Path(os.path.abspath(folder))
    return whole.parent / f".{whole.name}.writing"


def _written_beside(
    drafts: Path, name: str, path: Path, write: Callable[[BinaryIO], object]
) -> bool:
    """Write and rename; False where `drafts` is on another file system or forbidden."""
    try:
        drafts.mkdir(exist_ok=True)
        _sweep(drafts)
        _write_and_rename(drafts / name, path, write)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise
    return True


def _write_and_rename(draft: Path, path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with open(draft, "xb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too; systems that cannot do it do not need it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed long ago left behind."""
    oldest_s = time.time() - _STALE_S
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()


def read_part(path: Path, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Read one Parquet file of this or an older schema, as the current one.

    Raises
    ------
    InvalidInputError
        Not Parquet, cut short, foreign columns, or a newer schema.
    """
    pa = import_pyarrow()
    try:
        # No threads and no Python file: a reader thread that still lets go of one while the
        # interpreter ends aborts the process, and small files gain nothing from threads.
        source = pa.BufferReader(path.read_bytes())
        file = pa.parquet.ParquetFile(source, pre_buffer=False)
        names = file.schema_arrow.names
        _check_ours(names)
        wanted = {"schema_version", *(columns or COLUMNS)}
        table = file.read([name for name in names if name in wanted], use_threads=False)
        _check_version(table["schema_version"])
        check_columns(names)
        return as_current(table, columns)
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise InvalidInputError(f"cannot be read ({reason})") from None
    except (pa.ArrowException, KeyError) as error:
        raise InvalidInputError(
            f"no whole Parquet file of measurements ({_first_line(error)})"
        ) from None


def as_current(table: pyarrow.Table, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """`table` with the columns, order and types of the current schema."""
    pa, schema = import_pyarrow(), arrow_schema()
    made: list[Any] = []
    given = dict(zip(table.column_names, table.columns, strict=True))
    wanted = [schema.field(name) for name in columns or COLUMNS]
    for field in wanted:
        column = given.get(field.name)
        if column is None:
            column = pa.nulls(table.num_rows, field.type)
        elif column.type != field.type:
            column = column.cast(field.type)
        if column.null_count and COLUMNS[field.name].type == "text":
            column = pa.compute.fill_null(column, "")
        made.append(column)
    return pa.Table.from_arrays(made, schema=pa.schema(wanted))


def measurements_of(
    table: pyarrow.Table, where: str, on_problem: OnProblem = log_problem
) -> list[Measurement]:
    """Rows of a table as nouns; a row that cannot be one is reported and left out."""
    return rows_as_measurements(table.to_pylist(), where, on_problem)


def rows_as_measurements(
    rows: Iterable[Any], where: str, on_problem: OnProblem = log_problem
) -> list[Measurement]:
    """Objects as nouns; one that cannot be (or is a Problem already) is reported."""
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            if isinstance(row, Problem):
                raise InvalidInputError(row.reason)
            if not isinstance(row, Mapping):
                raise InvalidInputError("no object with columns")
            found.append(Measurement.from_dict(row))
        except RooflineError as error:
            on_problem(Problem(where=f"{where} row {number}", reason=str(error)))
    return found


def _check_ours(names: Sequence[str]) -> None:
    if not {"schema_version", "kind"} <= set(names):
        raise InvalidInputError("no measurements: it lacks the columns schema_version and kind")


def _check_version(versions: Any) -> None:
    pa = import_pyarrow()
    newest = pa.compute.max(versions.cast(pa.int64())).as_py()
    if newest is not None and newest > SCHEMA_VERSION:
        raise InvalidInputError(
            f"written in schema {newest}, this version reads up to {SCHEMA_VERSION}: install a "
            f"newer roofline"
        )


def check_columns(names: Sequence[str]) -> None:
    """Refuse columns that no measurement has; facts that were joined are some."""
    # pandas keeps its index in columns of this form.
    foreign = [name for name in names if name not in COLUMNS and not name.startswith("__")]
    if foreign:
        raise InvalidInputError(f"a measurement has no column {', '.join(foreign[:4])}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
