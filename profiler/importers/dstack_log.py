# SPDX-License-Identifier: Apache-2.0
"""Run logs that hold model lines and ``Time taken for N inferences: X seconds``.

Such a log says how long N calls took in all, and for which model. It does not say how long
prompts and answers were, how many ran at once, in what format, with which version, or
whether the first call paid for warm-up. The mean time of a call is kept as ``e2e_s``; the
row is "partial", and its reason lists what the log cannot say and nobody else said. A model
that failed to load, or that was put partly on the CPU, is told too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from profiler.importers.document import Document
from profiler.importers.draft import Draft, Importer, Refusal
from profiler.importers.values import count, positive

TIMED = re.compile(
    r"time taken for (?P<n>\d+) inferences?\s*[:=]\s*(?P<time>[\d.]+(?:e[+-]?\d+)?)\s*"
    r"(?P<unit>ms|milliseconds?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)?\b",
    re.IGNORECASE,
)
_REPO = r"['\"`]?(?P<model>[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)['\"`]?"
_MODEL = re.compile(
    rf"(?:\bmodel(?:[ _-]?(?:name|id))?\s*[:=]\s*"
    rf"|\b(?:load(?:ing|ed)?|running|testing|benchmarking|profiling|using)\s+(?:the\s+)?model:?\s+)"
    rf"{_REPO}",
    re.IGNORECASE,
)
_GPU = re.compile(
    r"(?:\b(?:gpu|device)(?:[ _]name)?(?:\s*\d+)?\s*[:=]\s*(?P<named>[^,;|()\[\]]{3,60})"
    r"|(?P<plain>\b(?:NVIDIA|Tesla|AMD Instinct)\s[\w -]{2,50}\d[\w -]*?)(?=\s{2,}|[,;|(]|$))",
    re.IGNORECASE,
)
_OFFLOADED = re.compile(r"offloaded to the (?:cpu|disk)|parameters are on the meta device", re.I)
_FAILED = re.compile(
    r"\b(?:out of memory|OutOfMemoryError|Traceback|(?:[A-Z]\w*)?Error:|failed to load)\b"
)
_NO_NAME = re.compile(r"cuda|cpu|auto|none|mps|\d+\b", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_UNSAID = {
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "batch_size": "batch size",
    "weight_dtype": "weight format",
    "tp": "tensor parallelism",
    "engine_version": "engine version",
}
ALWAYS_UNSAID = ("time to first token", "time of single calls", "warm-up", "power")
"""What a total time of N calls cannot say."""


@dataclass(slots=True)
class _Seen:
    """What the lines up to here said."""

    model: str = ""
    gpu: str = ""
    offloaded: bool = False
    failed: str = ""
    timed: list[tuple[int, float]] = field(default_factory=list)


def _recognises(document: Document) -> bool:
    return bool(TIMED.search(document.text))


def read_log(document: Document) -> Iterator[Draft | Refusal]:
    """Points of a log, one per timed line; models without one are refused."""
    seen = _Seen()
    for at_line, line in enumerate(_ESCAPES.sub("", document.text).splitlines(), 1):
        gpu, model, timed = _GPU.search(line), _MODEL.search(line), TIMED.search(line)
        name = (gpu["named"] or gpu["plain"]).strip() if gpu else ""
        if name and not _NO_NAME.match(name):
            seen.gpu = name
        if model and _is_name(model["model"]) and model["model"] != seen.model:
            yield from _untimed(seen)
            seen = _Seen(model=model["model"], gpu=seen.gpu)
        seen.offloaded |= bool(_OFFLOADED.search(line))
        if _FAILED.search(line):
            seen.failed = " ".join(line.split())[:80]
        if timed:
            yield _point(seen, timed, f"line {at_line}")
            seen.timed.append((at_line, 0.0))
    yield from _untimed(seen)


def _is_name(word: str) -> bool:
    """Whether a word after "model" is a model's name, and not the sentence going on."""
    return bool(re.search(r"[\d/_-]", word)) or word[:1].isupper()


def _untimed(seen: _Seen) -> Iterator[Refusal]:
    if seen.model and not seen.timed:
        why = f"no time: {seen.failed}" if seen.failed else "no time in the log; cut short?"
        yield Refusal(where=f"model {seen.model}", why=why)


def _point(seen: _Seen, timed: re.Match[str], where: str) -> Draft | Refusal:
    calls = count(timed["n"])
    unit = (timed["unit"] or "s").lower()
    scale = 1e-3 if unit.startswith(("ms", "mil")) else 60.0 if unit.startswith("m") else 1.0
    total_s = (positive(timed["time"]) or 0.0) * scale
    if calls is None or total_s <= 0:
        return Refusal(where=where, why="neither calls nor time are positive")
    draft = Draft(where=where, needs=("gpu", "model"))
    draft.put(model=seen.model, gpu_raw=seen.gpu, n_samples=calls)
    draft.keep("Time taken", total_s / scale, unit, f"sum over {calls} inferences")
    draft.figure("e2e_s", total_s / calls, "s", f"mean of {calls} calls, from their total")
    draft.unsaid, draft.always_unsaid = _UNSAID, ALWAYS_UNSAID
    if seen.offloaded:
        draft.partial.append("offloaded: part of the model ran on the CPU")
    return draft


DSTACK_LOG = Importer(name="dstack-log", tool="run log", recognises=_recognises, drafts=read_log)
