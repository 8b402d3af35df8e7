# SPDX-License-Identifier: Apache-2.0
"""Shipped model configurations, found by name.

One JSON file per architecture in ``specs/data/models/``, named ``ORG--NAME.json``::

    {
     "name": "org/NAME",
     "also": ["org/NAME-Instruct", "mirror/NAME"],
     "source": {"url": "https://...", "read": "2026-11-21", "via": "key"},
     "card": {"params": 8000000000, "rounded_to": 1000000000, "source": "key"},
     "config": {"model_type": "llama", "...": "the fields a loader reads"}
    }

``also`` lists repositories whose config.json describes the same numbers: fine-tunes,
mirrors, renamed repositories. ``via`` is the key of the document the fields were read
from, ``card`` what the model's authors say of its size; both resolve in
``specs/data/sources/``. In ``quantization_config`` a name such as
``"layers.{0-2,5}.mlp"`` stands for one name per number, so that lists of hundreds of
modules stay readable; it is written out on loading.

Names are matched without case. A plain name ("gpt2-xl") finds the one record that
carries it after its slash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from specs.errors import AmbiguousNameError, SpecDataError

RECORDS_DIR = Path(__file__).parent / "data" / "models"

_RANGE = re.compile(r"\{(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of the list of shipped models.

    `params` and `active_params` are what the card says, None where it is silent.
    """

    name: str
    model_type: str
    also: tuple[str, ...]
    params: float | None
    active_params: float | None
    quant_method: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """One shipped record, decoded.

    Parameters
    ----------
    name : str
        Repository whose config.json this is.
    also : tuple of str
        Repositories with the same configuration.
    config : dict
        Fields of config.json that a loader reads; the caller's to change.
    url, read, via : str
        Address of the config.json, ISO date of reading, key of the document read.
    card : dict
        ``params``, ``rounded_to``, ``left_out``, ``active_params``, ``active_rounded_to``,
        ``source`` as far as stated.
    note : str
        What is not verbatim, empty if all is.
    """

    name: str
    also: tuple[str, ...]
    config: dict[str, Any]
    url: str
    read: str
    via: str
    card: dict[str, Any]
    note: str = ""


@lru_cache(maxsize=1)
def _stems() -> dict[str, str]:
    """Lower-case repository id -> file stem, from file names alone."""
    stems = {path.stem: path.stem for path in RECORDS_DIR.glob("*.json")}
    return {stem.replace("--", "/", 1).lower(): stem for stem in stems}


@lru_cache(maxsize=1)
def _aliases() -> dict[str, list[tuple[str, str]]]:
    """Lower-case other id, and its plain part -> (id as written, file stem)."""
    index: dict[str, list[tuple[str, str]]] = {}
    for stem in _stems().values():
        for other in _also(stem):
            for key in (other.lower(), other.lower().rpartition("/")[2]):
                if (other, stem) not in index.setdefault(key, []):
                    index[key].append((other, stem))
    return index


def _also(stem: str) -> list[str]:
    """The other names of one record, without decoding the rest: all records are asked."""
    content = (RECORDS_DIR / f"{stem}.json").read_bytes()
    _, found, tail = content.partition(b'"also": ')
    if not found:
        return []
    try:
        names = json.loads(tail[: tail.index(b"]") + 1])
    except ValueError as err:
        raise SpecDataError(f"{stem}.json has a broken 'also': {err}. Fix it.") from None
    return names if isinstance(names, list) else []


def _read(stem: str) -> dict[str, Any]:
    path = RECORDS_DIR / f"{stem}.json"
    try:
        record = json.loads(path.read_bytes())
    except ValueError as err:
        raise SpecDataError(f"{path.name} is not JSON: {err}. Fix the record.") from None
    if not isinstance(record, dict):
        raise SpecDataError(f"{path.name} is not an object. Fix the record.")
    return record


def _key(name: str) -> str:
    """A name as people write it, in the form of the index."""
    return re.sub(r"\s+", "-", name.strip()).lower()


def find_record(name: str) -> tuple[str, str] | None:
    """Find the record that answers to `name`.

    Returns
    -------
    (str, str) or None
        Repository id in its own spelling, and the stem of the record's file; None
        where no record answers.

    Raises
    ------
    AmbiguousNameError
        A plain name that several records carry.
    """
    key = _key(name)
    stems = _stems()
    if key in stems:
        return stems[key].replace("--", "/", 1), stems[key]
    plain = [] if "/" in key else [stems[repo] for repo in stems if repo.rpartition("/")[2] == key]
    found = [(stem.replace("--", "/", 1), stem) for stem in plain] or _aliases().get(key, [])
    if len({stem for _, stem in found}) > 1:
        repos = ", ".join(sorted(repo for repo, _ in found))
        raise AmbiguousNameError(f"{name!r} could be {repos}; give the whole repository id.")
    return found[0] if found else None


def load_record(stem: str) -> ModelRecord:
    """Read one record by the stem of its file.

    Raises
    ------
    SpecDataError
        The file is not a record.
    """
    record = _read(stem)
    try:
        config, source = record["config"], record["source"]
        if "quantization_config" in config:
            config["quantization_config"] = expand(config["quantization_config"])
        return ModelRecord(
            name=record["name"],
            also=tuple(record.get("also", ())),
            config=config,
            url=source["url"],
            read=source["read"],
            via=source["via"],
            card=record.get("card", {}),
            note=record.get("note", ""),
        )
    except (KeyError, TypeError) as err:
        raise SpecDataError(f"{stem}.json lacks or misspells {err}. Fix the record.") from None


def expand(value: Any) -> Any:
    """Write out ``{0-2,5}`` in lists of names and in keys, at any depth."""
    if isinstance(value, dict):
        return {name: expand(item) for key, item in value.items() for name in _names(key)}
    if isinstance(value, list):
        return [item for entry in value for item in _items(entry)]
    return value


def _items(entry: Any) -> list[Any]:
    return list(_names(entry)) if isinstance(entry, str) else [expand(entry)]


def _names(text: str) -> Iterator[str]:
    match = None if text.startswith("re:") else _RANGE.search(text)
    if match is None:
        yield text
        return
    for part in match[1].split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield from _names(f"{text[: match.start()]}{number}{text[match.end() :]}")


def list_models() -> tuple[ModelRow, ...]:
    """Every shipped model, by name."""
    rows = []
    for stem in sorted(_stems().values(), key=str.lower):
        record = _read(stem)
        config, card = record["config"], record.get("card", {})
        rows.append(
            ModelRow(
                name=record["name"],
                model_type=config["model_type"],
                also=tuple(record.get("also", ())),
                params=card.get("params"),
                active_params=card.get("active_params"),
                quant_method=config.get("quantization_config", {}).get("quant_method", ""),
                url=record["source"]["url"],
            )
        )
    return tuple(rows)


def known_names() -> list[str]:
    """Every repository id that a record answers to, in its own spelling."""
    own = [stem.replace("--", "/", 1) for stem in _stems().values()]
    return own + [repo for key, found in _aliases().items() if "/" in key for repo, _ in found]


def nearest_names(name: str, count: int = 4) -> str:
    """The known repository ids nearest to `name`, for an error message."""
    from difflib import get_close_matches

    key = _key(name)
    by_key = {known.lower(): known for known in known_names()}
    if "/" not in key:
        by_key = {known.rpartition("/")[2]: repo for known, repo in by_key.items()}
    close = get_close_matches(key, by_key, n=count, cutoff=0.5)
    return ", ".join(by_key[match] for match in close) or "none close"
