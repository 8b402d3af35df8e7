# SPDX-License-Identifier: Apache-2.0
"""One live TechPowerUp page as board facts, for a board that the snapshot lacks.

Answers: what does TechPowerUp say today of the board with this name or address.
One page per call, on request of a user, through `specs.page_store`. A page that
lacks a needed fact is an error that names the fact; a board is never half filled.

The page is read as its source is built: ``h1.gpudb-name``, then
``section.details`` with an ``h2`` and ``dl > dt, dd`` rows. As in the snapshot,
printed capacities are powers of two, rates and bandwidths powers of ten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from specs.accelerator import Accelerator
from specs.errors import (
    AmbiguousNameError,
    InvalidInputError,
    PageStructureError,
    UnknownNameError,
)
from specs.page_store import MAX_AGE_S, PAUSE_S, TIMEOUT_S, PageStore, default_cache_dir
from specs.sources import nearest
from specs.techpowerup import SITE, SOURCE_KEY, BoardFacts

if TYPE_CHECKING:
    import requests

PAGE_SOURCE_KEY = "techpowerup-page"

_BY_HAND = "Or describe the board by hand and pass it with --gpu-file."
_KEY = re.compile(r"[a-z0-9][a-z0-9.-]*\.[cgb]\d+")
_MAKERS = ("NVIDIA", "AMD", "ATI", "Intel", "Matrox", "3dfx", "XGI", "Sony", "Moore Threads")
_CARD_SECTIONS = ("Graphics Card", "Mobile Graphics", "Integrated Graphics", "Console Graphics")
_QUANTITY = re.compile(r"(?:^|[\s(])(\d[\d,]*(?:\.\d+)?)\s*([A-Za-z/]+[²2]?|)(?=$|[\s()])")
_UNKNOWN = ("", "unknown", "n/a", "none", "-")

# Unit -> factor to SI.
_CAPACITY = {"KB": 2.0**10, "MB": 2.0**20, "GB": 2.0**30, "TB": 2.0**40}
_CLOCK = {"MHz": 1e6, "GHz": 1e9}
_BANDWIDTH = {"MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12}
_RATE = {"MFLOPS": 1e6, "GFLOPS": 1e9, "TFLOPS": 1e12, "PFLOPS": 1e15}

# Field -> (section or sections, row or rows, units); the first row that says something counts.
_NUMBERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], Mapping[str, float]]] = {
    "process_nm": (("Graphics Processor",), ("Process Size",), {"nm": 1.0}),
    "die_mm2": (("Graphics Processor",), ("Die Size",), {"mm²": 1.0, "mm2": 1.0}),
    "transistors": (("Graphics Processor",), ("Transistors",), {"million": 1e6, "billion": 1e9}),
    "base_clock_hz": (("Clock Speeds",), ("Base Clock", "GPU Clock"), _CLOCK),
    "boost_clock_hz": (("Clock Speeds",), ("Boost Clock", "GPU Clock"), _CLOCK),
    "mem_clock_hz": (("Clock Speeds",), ("Memory Clock",), _CLOCK),
    "mem_bytes": (("Memory",), ("Memory Size",), _CAPACITY),
    "mem_bus_bits": (("Memory",), ("Memory Bus",), {"bit": 1.0}),
    "mem_bytes_per_s": (("Memory",), ("Bandwidth",), _BANDWIDTH),
    "shader_count": (("Render Config",), ("Shading Units",), {"": 1.0}),
    "sm_count": (("Render Config",), ("SM Count", "SMM Count", "SMX Count"), {"": 1.0}),
    "tensor_core_count": (("Render Config",), ("Tensor Cores",), {"": 1.0}),
    "l1_bytes": (("Render Config",), ("L1 Cache",), _CAPACITY),
    "l2_bytes": (("Render Config",), ("L2 Cache",), _CAPACITY),
    "tdp_w": (("Board Design", *_CARD_SECTIONS), ("TDP",), {"W": 1.0}),
    "fp16_flops_per_s": (("Theoretical Performance",), ("FP16 (half)", "FP16"), _RATE),
    "fp32_flops_per_s": (("Theoretical Performance",), ("FP32 (float)", "FP32"), _RATE),
    "fp64_flops_per_s": (("Theoretical Performance",), ("FP64 (double)", "FP64"), _RATE),
}
_INTEGERS = ("mem_bus_bits", "shader_count", "sm_count", "tensor_core_count")
_TEXTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "chip": (("Graphics Processor",), "GPU Name"),
    "architecture": (("Graphics Processor",), "Architecture"),
    "generation": (_CARD_SECTIONS, "Generation"),
    "bus": (_CARD_SECTIONS, "Bus Interface"),
    "form": (("Board Design",), "Slot Width"),
    "mem_kind": (("Memory",), "Memory Type"),
    "cuda": (("Graphics Features",), "CUDA"),
}
_SECTIONS = ("Graphics Processor", "Clock Speeds", "Memory", "Render Config")
_NEEDED = {
    "architecture": "Graphics Processor / Architecture",
    "boost_clock_hz": "Clock Speeds / Boost Clock",
    "mem_bytes": "Memory / Memory Size",
    "mem_kind": "Memory / Memory Type",
    "mem_bytes_per_s": "Memory / Bandwidth",
    "shader_count": "Render Config / Shading Units",
    "fp32_flops_per_s": "Theoretical Performance / FP32 (float)",
    "tdp_w": "Board Design / TDP",
}
"""What no accelerator can be built without, and where the page says it."""


def fetch_board(
    name_or_url: str,
    *,
    cache_dir: Path | None = None,
    timeout_s: float = TIMEOUT_S,
    pause_s: float = PAUSE_S,
    max_age_s: float = MAX_AGE_S,
    offline: bool = False,
    session: requests.Session | None = None,
    site: str = SITE,
) -> BoardFacts:
    """Return what TechPowerUp's page says of one board.

    Parameters
    ----------
    name_or_url : str
        A page's address or its last part (``"geforce-rtx-4090.c3889"``), or a name to
        search for.
    cache_dir : Path, optional
        Where pages are kept; by default ``roofline/techpowerup`` in the user's cache.
    timeout_s, pause_s, max_age_s : float
        Deadline of a request; least time between requests; age at which a kept page is
        asked for again. Seconds.
    offline : bool
        Use kept pages only.
    session : requests.Session, optional
        A session of the caller's, for a proxy.
    site : str
        Address that pages lie below.

    Raises
    ------
    AmbiguousNameError, UnknownNameError
        The search finds several boards, or none.
    OfflineError, FetchError
        The site cannot be reached, refuses, or breaks off.
    PageStructureError
        The page is not built as expected or lacks a needed fact.
    """
    asked = name_or_url.strip()
    if not asked or len(asked) > 200:
        raise InvalidInputError("give the name of a board or the address of its page.")
    store = PageStore(
        folder=cache_dir or default_cache_dir() / "techpowerup",
        timeout_s=timeout_s,
        pause_s=pause_s,
        max_age_s=max_age_s,
        offline=offline,
        session=session,
    )
    key = _key_of(asked, site) or _search(asked, store, site)
    address = site + key
    page = store.kept(key)
    if page is not None:
        with suppress(PageStructureError):  # kept by an older version: ask again
            return parse_board(page, key=key)
    page = store.fetched(address)
    board = parse_board(page, key=key)
    store.keep(key, page)
    return board


def _key_of(asked: str, site: str) -> str:
    """Return the last part of a page's address; empty if `asked` is a name."""
    if "://" not in asked and not asked.startswith("www."):
        return asked.lower() if _KEY.fullmatch(asked.lower()) else ""
    parts = urlsplit(asked if "://" in asked else f"https://{asked}")
    hosts = {"www.techpowerup.com", "techpowerup.com", urlsplit(site).hostname}
    key = parts.path.rstrip("/").rpartition("/")[2].lower()
    if parts.hostname not in hosts or "/gpu-specs/" not in parts.path or not _KEY.fullmatch(key):
        raise InvalidInputError(
            f"{asked!r} is no board's page; it looks like {SITE}geforce-rtx-4090.c3889."
        )
    return key


def _search(name: str, store: PageStore, site: str) -> str:
    """Return the key of the one board that the site's search finds for `name`."""
    kept = "search-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    page = store.kept(kept)
    found = parse_search(page) if page is not None else {}
    if not found:
        page = store.fetched(f"{site}?q={quote(name)}")
        found = parse_search(page)
        if found:
            store.keep(kept, page)
    words = _words(name)
    matching = {key: title for key, title in found.items() if words <= _words(title)}
    exact = [key for key, title in matching.items() if _words(title) - _MAKER_WORDS == words]
    candidates = exact or list(matching)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        shown = ", ".join(candidates[:12]) + (", ..." if len(candidates) > 12 else "")
        raise AmbiguousNameError(
            f"TechPowerUp finds {len(candidates)} boards for {name!r}: {shown}. "
            f"Fetch one by this key."
        )
    raise UnknownNameError(
        f"TechPowerUp's search finds no board {name!r}; nearest of what it shows: "
        f"{nearest(name, found.values())}. {_BY_HAND}"
    )


def _words(title: str) -> frozenset[str]:
    """Return the words of a name, with ``80 GB`` and ``80GB`` alike."""
    joined = re.sub(r"(\d)\s*(gb|mb)\b", r"\1\2", title.lower())
    return frozenset(re.findall(r"[a-z0-9]+", joined))


_MAKER_WORDS = frozenset(word for maker in _MAKERS for word in maker.lower().split())


def parse_search(html: str) -> dict[str, str]:
    """Return the boards that a search page links to, key -> name, in page order.

    Raises
    ------
    PageStructureError
        No link to a board, and no word that nothing was found.
    """
    soup = _soup(html)
    found: dict[str, str] = {}
    for link in soup.find_all("a", href=True):
        path = urlsplit(str(link["href"])).path
        key = path.rpartition("/")[2].lower()
        title = _text(link)
        if "/gpu-specs/" in path and _KEY.fullmatch(key) and title:
            found.setdefault(key, title)
    if not found and not re.search(r"nothing found|no results|0 results", soup.get_text(), re.I):
        raise PageStructureError(
            f"TechPowerUp's search page links to no board: it is built in another way than "
            f"this version reads. Pass the address of the board's page. {_BY_HAND}"
        )
    return found


def parse_board(html: str, *, key: str) -> BoardFacts:
    """Return the facts of a board's page.

    Parameters
    ----------
    html : str
        The page.
    key : str
        Last part of its address.

    Raises
    ------
    PageStructureError
        It is not such a page, or a needed fact is missing or unreadable.
    """
    soup = _soup(html)
    heading = soup.find("h1", class_="gpudb-name")
    sections = _sections(soup)
    missing = [name for name in _SECTIONS if name not in sections]
    if heading is None or missing:
        what = ", ".join([*(["h1.gpudb-name"] if heading is None else []), *missing])
        raise PageStructureError(
            f"the page {key} is not built as this version reads it: no {what}. {_BY_HAND}"
        )
    maker, name = _maker_and_name(_text(heading))
    values: dict[str, Any] = {}
    for field, (names, row) in _TEXTS.items():
        values[field] = _row(sections, names, (row,))
    for field, (names, rows, units) in _NUMBERS.items():
        number = _number(_row(sections, names, rows), units, where=f"{key}: {rows[0]}")
        values[field] = int(number) if number is not None and field in _INTEGERS else number
    values["mem_kind"] = values["mem_kind"].lower()
    values["released"] = _iso_date(_row(sections, _CARD_SECTIONS, ("Release Date",)))
    lacking = [where for field, where in _NEEDED.items() if not values[field]]
    if lacking:
        raise PageStructureError(
            f"the page {key} ({name}) does not state {'; '.join(lacking)}. {_BY_HAND}"
        )
    return BoardFacts(key=key, name=name, manufacturer=maker, **values)


def _soup(html: str) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup(_without_comments(html), "html.parser")


def _without_comments(html: str) -> str:
    """Return the page less its comments: many open ones take html.parser minutes."""
    kept, at = [], 0
    while (start := html.find("<!--", at)) >= 0:
        kept.append(html[at:start])
        end = html.find("-->", start)
        if end < 0:
            return "".join(kept)
        at = end + 3
    return "".join([*kept, html[at:]])


def _text(node: Any) -> str:
    return " ".join(node.get_text(" ").replace("\u200b", "").split())


def _sections(soup: Any) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    for section in soup.find_all("section", class_="details"):
        title = section.find("h2")
        if title is None:
            continue
        rows = sections.setdefault(_text(title), {})
        for pair in section.find_all("dl"):
            term, value = pair.find("dt"), pair.find("dd")
            if term is not None and value is not None:
                rows.setdefault(_text(term).rstrip(":"), _text(value))
    return sections


def _row(
    sections: Mapping[str, Mapping[str, str]], names: tuple[str, ...], rows: tuple[str, ...]
) -> str:
    for name in names:
        for row in rows:
            value = sections.get(name, {}).get(row, "")
            if value.lower() not in _UNKNOWN:
                return value
    return ""


def _number(text: str, units: Mapping[str, float], *, where: str) -> float | None:
    """Return the first number of `text` that is followed by one of `units`, in SI."""
    if not text or "shared" in text.lower():
        return None
    for digits, unit in _QUANTITY.findall(text[:200]):
        factor = units.get(unit, units.get(""))
        if factor is not None and len(digits) <= 15:
            return float(f"{float(digits.replace(',', '')) * factor:.14g}")
    known = ", ".join(unit for unit in units if unit)
    raise PageStructureError(
        f"{where} reads {text[:60]!r}, no number in {known or 'units'}. {_BY_HAND}"
    )


def _maker_and_name(heading: str) -> tuple[str, str]:
    for maker in _MAKERS:
        if heading.lower().startswith(f"{maker.lower()} "):
            return maker, heading[len(maker) + 1 :]
    maker, _, name = heading.partition(" ")
    return maker, name or heading


def _iso_date(text: str) -> str:
    """Return ``Sep 20th, 2022`` as ``2022-09-20``; empty where no full date is given."""
    plain = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text)
    for pattern in ("%b %d, %Y", "%B %d, %Y"):
        with suppress(ValueError):
            return datetime.strptime(plain, pattern).date().isoformat()
    year = re.fullmatch(r"(?:[A-Za-z]+ )?(\d{4})", plain)
    return year[1] if year else ""


def accelerator_of(board: BoardFacts) -> Accelerator:
    """Return the accelerator that a live page describes, derived as the shipped ones are.

    Matrix rates come from ``specs/data/tensor_rates.toml``; no datasheet has been laid
    over them, and a note says so.

    Raises
    ------
    InvalidInputError
        No rates are on file for the architecture, or a fact is missing.
    """
    from specs.compile import compile_all
    from specs.tensor_rates import load_rules, rule_for

    rules = load_rules()
    if rule_for(board, rules) is None:
        # Shader rates alone would pass for a card without matrix units.
        raise InvalidInputError(
            f"{board.name}: no matrix rates are on file for {board.architecture} "
            f"({board.chip or board.generation}). {_BY_HAND}"
        )
    made = compile_all([board], rules, {})[0]
    if made.missing:
        raise InvalidInputError(
            f"{made.title}: no prediction without {', '.join(made.missing)}"
            + (f" ({made.why})" if made.why else "")
            + f". {_BY_HAND}"
        )
    plain = {name: stated.value for name, stated in made.values.items() if "." not in name}
    peaks = {
        name.partition(".")[2]: float(stated.value)
        for name, stated in made.values.items()
        if name.startswith("peak_flops_per_s.")
    }
    for name in ("unit_count", "dies", "devices_per_board"):
        if name in plain:
            plain[name] = int(plain[name])
    sources = {
        name: PAGE_SOURCE_KEY if stated.source == SOURCE_KEY else stated.source
        for name, stated in made.values.items()
    }
    note = f"Read from {board.url} and not checked against a datasheet."
    values: dict[str, Any] = {"name": made.slug, "title": made.title, **plain}
    return Accelerator(**values, peak_flops_per_s=peaks, sources=sources, notes=(*made.notes, note))
