# SPDX-License-Identifier: Apache-2.0
"""Finds out which tool wrote a file, and reads its points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.importers.aiperf import AIPERF
from profiler.importers.columns import Mapped, table_importer
from profiler.importers.document import Document, load_document
from profiler.importers.draft import Draft, Importer, Refusal
from profiler.importers.dstack_log import DSTACK_LOG
from profiler.importers.facts import Facts, MissingFactsError, finish
from profiler.importers.genai_perf import GENAI_PERF
from profiler.importers.guidellm import GUIDELLM
from profiler.importers.inferencex import INFERENCEX
from profiler.importers.llama_bench import LLAMA_BENCH
from profiler.importers.llmd import LLMD
from profiler.importers.optimum_benchmark import OPTIMUM_BENCHMARK
from profiler.importers.sglang import OFFLINE, ONE_BATCH, ONE_BATCH_SERVER, SERVING
from profiler.importers.trtllm import TRTLLM
from profiler.importers.vllm import FORWARD, LATENCY, SERVE, THROUGHPUT
from specs.errors import InvalidInputError
from specs.measurement import Measurement

IMPORTERS: Mapping[str, Importer] = {
    importer.name: importer
    for importer in (
        *(ONE_BATCH, ONE_BATCH_SERVER, SERVING, OFFLINE, SERVE, LATENCY, THROUGHPUT, FORWARD),
        *(OPTIMUM_BENCHMARK, LLAMA_BENCH, LLMD, AIPERF, GENAI_PERF, GUIDELLM, TRTLLM, INFERENCEX),
        *(DSTACK_LOG, table_importer(())),
    )
}
"""Every importer, in the order in which a file is offered to them."""

_DEFAULT_SOURCE = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What one file gave.

    Parameters
    ----------
    path : Path
        The file.
    importer, tool : str
        Which importer read it, and whose file it is.
    rows : tuple of Measurement
        Usable points, in the file's order.
    refused : tuple of str
        Why parts of it gave none, one line each; parts refused for one reason share it.
    n_refused : int
        How many points were refused.
    """

    path: Path
    importer: str
    tool: str
    rows: tuple[Measurement, ...]
    refused: tuple[str, ...] = ()
    n_refused: int = 0


def detect(path: Path | str) -> str:
    """Return the name of the importer that reads a file.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or no known tool writes such files.
    """
    return _importer_of(load_document(path), ()).name


def _importer_of(document: Document, entries: Sequence[Mapped]) -> Importer:
    candidates = list(IMPORTERS.values())
    if entries:
        candidates = [table_importer(entries)] if document.kind == "table" else candidates
    for importer in candidates:
        if importer.recognises(document):
            return importer
    keys = ", ".join(str(key) for key in list(document.first)[:6])
    if document.kind == "table":
        what = f"a table of {keys}: say what its columns are with --map theirs=ours[:unit]"
    elif document.kind == "text":
        what = "a text without 'Time taken for N inferences' lines"
    else:
        what = f"a file of no known tool (it has {keys})" if keys else "JSON without an object"
    raise InvalidInputError(f"{document.path}: {what}; known are {', '.join(IMPORTERS)}.")


def read_results(
    path: Path | str,
    facts: Facts | None = None,
    *,
    column_map: Iterable[Mapped] = (),
    importer: str = "",
) -> Imported:
    """Read the points of one file.

    Parameters
    ----------
    path : Path or str
        The file.
    facts : Facts, optional
        What is known of it beyond what it says.
    column_map : iterable of Mapped
        Columns of a CSV or Parquet table, from `parse_map`.
    importer : str
        Name of the importer to use whatever the file looks like.

    Raises
    ------
    InvalidInputError
        The file as a whole cannot be read; a part that cannot is told in the answer.
    """
    facts, entries = facts or Facts(), tuple(column_map)
    named = _named(importer, entries) if importer else None
    document = load_document(path)
    if named and not named.recognises(document):
        raise InvalidInputError(f"{path}: no {named.name} file; leave the importer to be found.")
    chosen = named or _importer_of(document, entries)
    common = {
        "run_id": f"import-{document.digest[:16]}",
        "tool": chosen.tool,
        "method": chosen.name,
        "source": _DEFAULT_SOURCE,
        "source_ref": document.path.name,
    }
    rows, reasons = _points(chosen.drafts(document), facts, common)
    if not rows and not reasons:
        raise InvalidInputError(f"{path}: a {chosen.name} file without a single point.")
    return Imported(
        path=document.path,
        importer=chosen.name,
        tool=chosen.tool,
        rows=tuple(rows),
        refused=tuple(_refusal(why, parts) for why, parts in reasons.items()),
        n_refused=sum(map(len, reasons.values())),
    )


def _points(
    drafts: Iterable[Draft | Refusal], facts: Facts, common: Mapping[str, str]
) -> tuple[list[Measurement], dict[str, list[str]]]:
    """Rows, and the parts that gave none by the reason for it."""
    rows: list[Measurement] = []
    reasons: dict[str, list[str]] = {}
    missing: dict[str, None] = {}
    lacking = 0
    for draft in drafts:
        try:
            rows.append(_finished(draft, facts, common))
        except MissingFactsError as error:
            missing.update(dict.fromkeys(error.missing))
            lacking += 1
        except InvalidInputError as error:
            reasons.setdefault(str(error).rstrip("."), []).append(draft.where)
    if missing:
        reasons[f"missing: {', '.join(missing)}"] = [""] * lacking
    return rows, reasons


def _named(importer: str, entries: Sequence[Mapped]) -> Importer:
    if importer not in IMPORTERS:
        raise InvalidInputError(
            f"no importer is called {importer!r:.40}; there are {', '.join(IMPORTERS)}."
        )
    return table_importer(entries) if importer == "table" else IMPORTERS[importer]


def _finished(draft: Draft | Refusal, facts: Facts, common: Mapping[str, str]) -> Measurement:
    """Make a row of a draft that carries a figure."""
    if isinstance(draft, Refusal):
        raise InvalidInputError(draft.why)
    if not draft.definitions:
        why = "; ".join(draft.partial) or "its figures are absent"
        raise InvalidInputError(f"no figure that a row can hold ({why})")
    if draft.where:
        common = {**common, "source_ref": f"{common['source_ref']}, {draft.where}"}
    return finish(draft, facts, common)


def _refusal(why: str, parts: Sequence[str]) -> str:
    """One line for parts of a file that were refused for one reason."""
    named = [part for part in parts if part]
    if not named:
        return why if len(parts) < 2 else f"{len(parts)} points: {why}"
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"{', '.join(named[:3])}{more}: {why}"
