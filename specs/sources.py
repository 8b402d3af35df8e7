# SPDX-License-Identifier: Apache-2.0
"""Where a stated number comes from.

Answers: what document stands behind a source key, and is the key known at all.
Sources live in ``specs/data/sources/*.toml``, one file per area, one table per
document::

    [nvidia-hopper-whitepaper]
    title = "NVIDIA H100 Tensor Core GPU Architecture"
    publisher = "NVIDIA"
    url = "https://..."
    read = 2026-11-20        # the day someone read it, as a date or a string
    page = "p. 39, table 2"  # optional

A key is unique over all files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specs.errors import SpecDataError, UnknownNameError

SOURCES_DIR = Path(__file__).parent / "data" / "sources"

_REQUIRED = ("title", "publisher", "url", "read")
_ALLOWED = (*_REQUIRED, "page", "note", "kind", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One document that numbers were read from.

    Parameters
    ----------
    key : str
        The name by which data files cite it.
    title, publisher, url : str
        What it is, who says so, where it is (``""`` where it has no address).
    read : str
        ISO date on which it was read.
    page, note, kind, licence : str
        Optional: where in it, a caveat, ``"stated"`` / ``"derived"`` / ``"measured"``,
        the terms that its facts came under.
    """

    key: str
    title: str
    publisher: str
    url: str
    read: str
    page: str = ""
    note: str = ""
    kind: str = "stated"
    licence: str = ""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known words nearest to `word`, comma-separated, best first."""
    from difflib import get_close_matches

    return ", ".join(get_close_matches(word, list(known), n=count, cutoff=0.4)) or "none close"


def load_sources(folder: Path = SOURCES_DIR) -> dict[str, Source]:
    """Read every source file of `folder`.

    Raises
    ------
    SpecDataError
        A file is not TOML, a table lacks a field or has an unknown one, or two
        files define one key.
    """
    sources: dict[str, Source] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as err:
            raise SpecDataError(f"{path.name} is not TOML: {err}. Fix it.") from None
        for key, table in tables.items():
            if key in sources:
                raise SpecDataError(f"{path.name}: source {key!r} is defined twice. Keep one.")
            sources[key] = _source(path.name, key, table)
    return sources


def _source(file: str, key: str, table: Any) -> Source:
    if not isinstance(table, Mapping):
        raise SpecDataError(f"{file}: {key!r} is not a table; write [{key}] and its fields.")
    for name in table:
        if name not in _ALLOWED:
            raise SpecDataError(
                f"{file}: [{key}] has no field {name!r}; nearest: {nearest(name, _ALLOWED)}."
            )
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        raise SpecDataError(f"{file}: [{key}] lacks {', '.join(missing)}. Add them.")
    return Source(key=key, **{name: str(value) for name, value in table.items()})


def get_source(key: str) -> Source:
    """Return the document behind `key`.

    Raises
    ------
    UnknownNameError
        No source file defines `key`.
    """
    sources = load_sources()
    try:
        return sources[key]
    except KeyError:
        raise UnknownNameError(
            f"no source is called {key!r}; nearest: {nearest(key, sources)}. Add it to "
            f"specs/data/sources/."
        ) from None
