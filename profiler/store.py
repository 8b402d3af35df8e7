# SPDX-License-Identifier: Apache-2.0
"""The store: measurements that are kept, as a folder of Parquet part-files.

Append-only: one part-file per append, never changed, so any number of writers share a
folder without a lock and a killed one leaves nothing half-done. pandas, DuckDB, Polars
and the rest read the folder as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.parts import (
    SUFFIX,
    OnProblem,
    Problem,
    arrow_schema,
    import_pyarrow,
    log_problem,
    measurements_of,
    read_part,
    write_part,
)
from profiler.tables import read_table_file
from specs.errors import InvalidInputError, StoreError
from specs.measurement import Measurement

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Problem", "Store", "default_store_path", "load_measurements"]

_INDEXED = ("run_id", "point_id", "quality")


def default_store_path() -> Path:
    """``ROOFLINE_STORE``, or the place where this platform keeps a user's data."""
    named = os.environ.get("ROOFLINE_STORE", "")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME", "")
        if not os.path.isabs(base):  # the convention says to ignore relative ones
            base = str(Path.home() / ".local" / "share")
    return Path(base) / "roofline" / "measurements"


class Store:
    """A folder of part-files.

    Parameters
    ----------
    path : str or Path, optional
        The folder; made by the first append. `default_store_path` if left out.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = default_store_path() if path is None else Path(path)
        self._index: dict[str, list[tuple[str, str, str]]] = {}

    def append(self, measurements: Sequence[Measurement]) -> Path:
        """Keep `measurements`, all or none of them, in a new part-file.

        Returns
        -------
        Path
            The part-file: on the disk, and seen by every reader from now on.

        Raises
        ------
        InvalidInputError
            Nothing to keep.
        StoreError
            The folder cannot be written, or pyarrow is missing.
        """
        if not measurements:
            raise InvalidInputError("no measurements to append; give at least one.")
        return write_part(self.path, measurements)

    def parts(self) -> list[Path]:
        """Part-files, oldest first; none where the folder does not exist.

        Raises
        ------
        StoreError
            The folder is a file, or may not be read.
        """
        try:
            return sorted(
                path
                for path in self.path.iterdir()
                if path.suffix == SUFFIX and not path.name.startswith((".", "_"))
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                f"cannot read the store {self.path} ({error.strerror}); name a folder with "
                f"--store or ROOFLINE_STORE."
            ) from None

    def table(
        self, columns: Sequence[str] | None = None, *, on_problem: OnProblem = log_problem
    ) -> pyarrow.Table:
        """All rows as one Arrow table of the current schema.

        Part-files that are cut short, foreign or of a newer schema go to `on_problem`.
        """
        tables = [table for _, table in self._tables(columns, on_problem)]
        schema = arrow_schema()
        if not tables:
            empty = schema.empty_table()
            return empty.select(list(columns)) if columns else empty
        return import_pyarrow().concat_tables(tables)

    def read(self, *, on_problem: OnProblem = log_problem) -> list[Measurement]:
        """All rows as nouns, oldest part first; what is no measurement goes to `on_problem`."""
        return [
            measurement
            for path, table in self._tables(None, on_problem)
            for measurement in measurements_of(table, path.name, on_problem)
        ]

    def points(self, run_id: str | None = None) -> dict[str, str]:
        """Finished points and the quality of their last row, of one run or of all.

        A point that failed, such as one out of memory, is finished too: filter on the
        quality to try it again. Part-files are read once per `Store`.
        """
        for path in self.parts():
            if path.name not in self._index:
                self._index[path.name] = _indexed(path)
        return {
            point: quality
            for name in sorted(self._index)
            for run, point, quality in self._index[name]
            if run_id is None or run == run_id
        }

    def has(self, point_id: str, run_id: str | None = None) -> bool:
        """Whether the store holds this point, of one run or of any."""
        return point_id in self.points(run_id)

    def _tables(
        self, columns: Sequence[str] | None, on_problem: OnProblem
    ) -> Iterable[tuple[Path, pyarrow.Table]]:
        for path in self.parts():
            try:
                yield path, read_part(path, columns)
            except InvalidInputError as error:
                on_problem(Problem(where=path.name, reason=str(error)))


def _indexed(path: Path) -> list[tuple[str, str, str]]:
    """Run, point and quality of every row; nothing of a file that cannot be read."""
    try:
        rows = read_part(path, _INDEXED).to_pylist()
    except InvalidInputError:  # `table` and `read` report it
        return []
    return [(row["run_id"], row["point_id"], row["quality"]) for row in rows]


def load_measurements(
    paths: Iterable[str | os.PathLike[str]], *, on_problem: OnProblem = log_problem
) -> list[Measurement]:
    """Read measurements of our schema from stores and files.

    Parameters
    ----------
    paths : iterable of path
        Folders of part-files; Parquet, CSV, JSON or JSONL files.
    on_problem : callable
        Told of every part-file and row that is passed over; the log by default.

    Raises
    ------
    InvalidInputError
        A path that does not exist, or a named file that is no table of ours.
    """
    found: list[Measurement] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += Store(path).read(on_problem=on_problem)
        else:
            found += read_table_file(path, on_problem)
    return found
