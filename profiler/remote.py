# SPDX-License-Identifier: Apache-2.0
"""Stores elsewhere: a dataset repository of the Hugging Face Hub, or any fsspec URL.

Part-files travel as they are and keep their names, so pushing and pulling never overwrite
and may be repeated at any time: what both sides have is left alone. Elsewhere they lie in
``data/``, beside the dataset card.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from profiler.card import dataset_card, renewed_card
from profiler.parts import (
    OnProblem,
    Problem,
    draft_folder,
    log_problem,
    measurements_of,
    read_part,
    write_whole,
)
from profiler.store import Store
from specs.errors import InvalidInputError, StoreError
from specs.measurement import Measurement

FOLDER, CARD = "data", "README.md"
_PART = re.compile(r"[A-Za-z0-9][\w.-]*\.parquet")
_HUB = "hf://datasets/"


class Remote(Protocol):
    """Where part-files are exchanged. Methods raise `RooflineError` for what is expected."""

    title: str
    address: str

    def names(self) -> list[str]:
        """Names of all files in the data folder."""

    def fetch(self, name: str, path: Path) -> None:
        """Copy one part-file to `path`."""

    def card(self) -> str | None:
        """Return the dataset card, None if there is none."""

    def send(self, parts: Sequence[Path], card: str | None) -> None:
        """Add part-files, and put the card in place where one is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What an exchange moved: names of parts, and how many were on both sides already."""

    target: str
    moved: tuple[str, ...]
    already: int
    rows: int
    notes: tuple[str, ...] = field(default=())


def open_remote(target: str, *, create: bool = False) -> Remote:
    """Return what `target` names: ``ORG/NAME`` on the Hub, a URL, or a path.

    Parameters
    ----------
    target : str
        ``org/name`` or ``hf://datasets/org/name``; ``s3://bucket/folder`` or another
        fsspec URL; a path that starts with ``/``, ``.`` or ``~``.
    create : bool
        Make a private repository where none of this name exists.

    Raises
    ------
    InvalidInputError
        It is none of these, or could be two of them.
    """
    from profiler.remote_folder import FolderRemote
    from profiler.remote_hub import HubRemote

    if target.startswith(_HUB):
        return HubRemote(target.removeprefix(_HUB).strip("/"), create=create)
    if "://" in target:
        return FolderRemote(target)
    if target.startswith(("/", ".", "~")) or re.match(r"[A-Za-z]:[\\/]", target):
        return FolderRemote(str(Path(target).expanduser().absolute()))
    if Path(target).exists():
        raise InvalidInputError(
            f"{target!r} is a folder here and could be a repository of the Hub; write "
            f"./{target} or {_HUB}{target}."
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", target):
        return HubRemote(target, create=create)
    raise InvalidInputError(
        f"{target!r:.80} is no place to exchange records with; give ORG/NAME of a Hugging Face "
        f"dataset, a URL such as s3://bucket/folder, or a path that starts with ./ or /."
    )


def push(store: Store, remote: Remote, *, on_problem: OnProblem = log_problem) -> Exchange:
    """Send every part-file that `remote` lacks, and renew its card.

    Parts that cannot be read stay at home and are reported.

    Raises
    ------
    RooflineError
        The store is empty, or the other side refuses or cannot be reached; the store is
        unchanged, and pushing again continues.
    """
    there = set(_sound_names(remote, on_problem))
    readable = _readable(store, on_problem)
    if not readable:
        raise StoreError(f"no measurements in {store.path} to push; measure or import some first.")
    new = [path for path in readable if path.name not in there]
    rows = [row for path in readable for row in readable[path]]
    rows += _only_there(remote, sorted(there - {path.name for path in readable}), on_problem)
    existing = remote.card()
    card = renewed_card(existing, dataset_card(rows, name=remote.title))
    notes = () if card is not None else (f"{CARD} there is somebody's own page: left as it is",)
    if new or (card is not None and card != existing):
        remote.send(new, card)
    return Exchange(
        target=remote.address,
        moved=tuple(path.name for path in new),
        already=len(readable) - len(new),
        rows=sum(len(readable[path]) for path in new),
        notes=notes,
    )


def pull(store: Store, remote: Remote, *, on_problem: OnProblem = log_problem) -> Exchange:
    """Fetch every part-file that `store` lacks; unreadable ones are reported and left there.

    Raises
    ------
    RooflineError
        The other side refuses or cannot be reached; parts fetched before that are kept.
    """
    here = {path.name for path in store.parts()}
    there = _sound_names(remote, on_problem)
    if not there and remote.card() is None:
        raise StoreError(f"no records at {remote.address}; check the address, or push to it first.")
    moved, rows = [], 0

    def keep(name: str, fetched: Path, found: list[Measurement]) -> None:
        nonlocal rows
        content = fetched.read_bytes()
        write_whole(store.path / name, lambda out: out.write(content), draft_folder(store.path))
        moved.append(name)
        rows += len(found)

    _fetch_each(remote, [name for name in there if name not in here], keep, on_problem)
    return Exchange(
        target=remote.address,
        moved=tuple(moved),
        already=len(here.intersection(there)),
        rows=rows,
    )


def _sound_names(remote: Remote, on_problem: OnProblem) -> list[str]:
    """Names that can be part-files here; others are reported, dot files aside."""
    found = []
    for name in sorted(remote.names()):
        if _PART.fullmatch(name):
            found.append(name)
        elif "/" in name or not name.startswith("."):
            on_problem(Problem(where=f"{name!r:.80} of {remote.address}", reason="no part-file"))
    return found


def _readable(store: Store, on_problem: OnProblem) -> dict[Path, list[Measurement]]:
    """Part-files of a store that can be read, and their rows."""
    found = {}
    for path in store.parts():
        rows = _rows_of(path, path.name, on_problem)
        if rows is not None:
            found[path] = rows
    return found


def _rows_of(path: Path, name: str, on_problem: OnProblem) -> list[Measurement] | None:
    try:
        return measurements_of(read_part(path), name, on_problem)
    except InvalidInputError as error:
        on_problem(Problem(where=name, reason=str(error)))
        return None


def _only_there(remote: Remote, names: Sequence[str], on_problem: OnProblem) -> list[Measurement]:
    """Rows of parts that others pushed: the card speaks for them too."""
    rows: list[Measurement] = []
    _fetch_each(remote, names, lambda _name, _path, found: rows.extend(found), on_problem)
    return rows


def _fetch_each(
    remote: Remote,
    names: Sequence[str],
    use: Callable[[str, Path, list[Measurement]], None],
    on_problem: OnProblem,
) -> None:
    """Fetch parts one by one; `use` sees those that can be read."""
    with TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / name
            remote.fetch(name, path)
            found = _rows_of(path, f"{name} of {remote.address}", on_problem)
            if found is not None:
                use(name, path, found)
            path.unlink(missing_ok=True)
