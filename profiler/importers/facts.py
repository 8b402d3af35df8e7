# SPDX-License-Identifier: Apache-2.0
"""What the caller knows of a file that the file does not say, and how both make a row.

Nothing is guessed. A fact that neither states is missing, and all missing facts of a row
are named at once; where both state one and differ, the row is refused. Of a model's name
the caller's word counts, since files hold paths and served names; the file's own is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from profiler.importers.draft import Draft
from specs.catalogue import resolve_name
from specs.engine import get_engine
from specs.errors import (
    AmbiguousNameError,
    InvalidInputError,
    RooflineError,
    SpecDataError,
    UnknownNameError,
)
from specs.measurement import Measurement
from specs.model_records import find_record
from specs.precision import get_precision

UNKNOWN = "unknown"
"""Said of a version, it leaves the cell empty on the caller's word."""

FLAGS: Mapping[str, str] = {
    "gpu": "--gpu",
    "model": "--model",
    "engine": "--engine",
    "engine_version": "--engine-version",
    "tool_version": "--tool-version",
    "weight_dtype": "--weight-dtype",
    "kv_dtype": "--kv-dtype",
    "num_gpus": "--num-gpus",
    "tp": "--tp",
    "pp": "--pp",
    "ep": "--ep",
    "dp": "--dp",
    "input_tokens": "--input-len",
    "output_tokens": "--output-len",
    "batch_size": "--batch",
    "concurrency": "--concurrency",
    "request_rate": "--request-rate",
    "power_limit_w": "--power-limit",
    "host_cpu": "--host-cpu",
    "capture": "--capture",
    "measured_at": "--measured-at",
}
"""Column -> the option that states it."""

_COMPARED = ("num_gpus", "tp", "pp", "ep", "dp", "batch_size", "concurrency", "request_rate")
_NAMES = ("engine", "weight_dtype", "kv_dtype", "capture")
_LENGTH_TOLERANCE_FRAC = 0.02
"""Asked and counted prompt tokens differ by a few special tokens."""


class MissingFactsError(InvalidInputError):
    """Neither file nor caller states what a row needs."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__(f"missing: {', '.join(missing)}.")
        self.missing = missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the caller states; empty and None state nothing. Names are resolved here.

    Raises
    ------
    UnknownNameError, AmbiguousNameError
        A device or format that nobody knows.
    InvalidInputError
        A number that cannot be.
    """

    gpu: str = ""
    model: str = ""
    engine: str = ""
    engine_version: str = ""
    tool_version: str = ""
    weight_dtype: str = ""
    kv_dtype: str = ""
    num_gpus: int | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    dp: int | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    batch_size: int | None = None
    concurrency: float | None = None
    request_rate: float | None = None
    power_limit_w: float | None = None
    host_cpu: str = ""
    capture: str = ""
    measured_at: str = ""
    source: str = ""
    source_ref: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        """Resolve names."""
        if self.gpu:
            resolve_name(self.gpu)
        for name in ("weight_dtype", "kv_dtype"):
            if getattr(self, name):
                object.__setattr__(self, name, get_precision(getattr(self, name)).name)
        if self.engine:
            object.__setattr__(self, "engine", engine_name(self.engine))
        Measurement(kind="llm", **self.stated())  # which refuses what cannot be

    def stated(self) -> dict[str, Any]:
        """Columns that the caller states."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value not in ("", None)}


def engine_name(name: str) -> str:
    """Return the catalogue's name of an engine, or the name as given."""
    try:
        return get_engine(name).name
    except UnknownNameError:
        return name.strip().lower()


def model_name(name: str) -> str:
    """Return a model's repository id in its own spelling, or the name as given."""
    try:
        found = find_record(name)
    except (AmbiguousNameError, SpecDataError):
        return name
    return found[0] if found else name


def finish(draft: Draft, facts: Facts, common: Mapping[str, Any]) -> Measurement:
    """Make a row of what the file and the caller say.

    Parameters
    ----------
    draft : Draft
        The file's part.
    facts : Facts
        The caller's part.
    common : mapping
        Columns that all rows of the file share: run_id, source_ref, tool.

    Raises
    ------
    MissingFactsError
        With all missing facts.
    InvalidInputError
        File and caller contradict each other, or a value cannot be.
    """
    columns, hints = dict(draft.columns), dict(draft.hints)
    _name_things(columns, hints)
    stated = facts.stated()
    _merge_gpu(columns, stated)
    if stated.get("model") and columns.get("model"):
        draft.environment["model_in_file"] = columns.pop("model")
    _contradictions(columns, stated)
    merged = {**common, **stated, **columns}
    if facts.source_ref:
        merged["source_ref"] = facts.source_ref
    _check_missing(draft.needs, merged, hints)
    merged["model"] = model_name(merged.get("model", ""))
    _count_devices(merged)
    _check_telemetry(draft, merged)
    _tell_unsaid(draft, merged)
    if merged.get("engine_version") == UNKNOWN:
        del merged["engine_version"]
    return Measurement(**merged, **_remarks(draft, merged))


def _remarks(draft: Draft, merged: dict[str, Any]) -> dict[str, Any]:
    """Quality, notes, raw figures and environment of a row."""
    environment = dict(draft.environment)
    if draft.definitions:
        environment["definitions"] = draft.definitions
    remarks: dict[str, Any] = {
        "raw": tuple(draft.raw),
        "notes": "; ".join(draft.notes),
        "environment": json.dumps(environment, sort_keys=True) if environment else "",
    }
    if draft.partial:
        remarks["quality"] = merged.pop("quality", "partial")
        remarks["reason"] = "; ".join(dict.fromkeys(draft.partial))
    return remarks


@lru_cache(maxsize=1024)
def _slug(name: str) -> str:
    """Slug of a device, empty for unknown ones; not finding one is slow."""
    try:
        return resolve_name(name)
    except RooflineError:
        return ""


def _name_things(columns: dict[str, Any], hints: dict[str, str]) -> None:
    """Put the catalogue's names in place of the file's; drop those that it lacks."""
    named = columns.pop("gpu", "") or columns.get("gpu_raw", "")
    if named:
        columns.setdefault("gpu_raw", named)
        slug = _slug(named)
        if slug:
            columns["gpu"] = slug
        else:
            hints["gpu"] = f"the file says {named!r:.60}"
    for name in ("weight_dtype", "kv_dtype"):
        word = columns.get(name)
        if not word:
            continue
        try:
            columns[name] = get_precision(word).name
        except RooflineError:
            del columns[name]
            if word.lower() not in ("auto", "none"):
                hints[name] = f"the file says {word!r:.40}"
    if columns.get("engine"):
        columns["engine"] = engine_name(columns["engine"])


def _merge_gpu(columns: dict[str, Any], stated: dict[str, Any]) -> None:
    given = stated.pop("gpu", "")
    if not given:
        return
    slug = resolve_name(given)
    if columns.get("gpu") and columns["gpu"] != slug:
        raise InvalidInputError(
            f"the file was measured on {columns['gpu_raw']!r:.60}, and --gpu says {given!r:.60}; "
            f"leave --gpu out for this file."
        )
    columns["gpu"] = slug
    columns.setdefault("gpu_raw", given)


def _contradictions(columns: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    """Refuse flags that the file gainsays."""
    wrong = []
    for name in (*_COMPARED, *_NAMES, "input_tokens", "output_tokens"):
        says, flag = columns.get(name), stated.get(name)
        if says is None or flag is None or says == flag:
            continue
        if name.endswith("_tokens") and abs(says - flag) <= _LENGTH_TOLERANCE_FRAC * max(
            says, flag
        ):
            continue
        wrong.append(f"{FLAGS[name]} {flag} where the file says {says}")
    if wrong:
        raise InvalidInputError(f"contradictory: {'; '.join(wrong)}; leave those options out.")


def _check_missing(
    needs: tuple[str, ...], merged: Mapping[str, Any], hints: Mapping[str, str]
) -> None:
    missing = []
    for need in needs:
        options = need.split("|")
        if any(merged.get(option) not in (None, "") for option in options):
            continue
        flags = " or ".join(FLAGS.get(option, option) for option in options)
        said = "".join(f" ({hints[option]})" for option in options if option in hints)
        missing.append(f"{flags}{said}")
    if missing:
        raise MissingFactsError(tuple(missing))


def _count_devices(merged: dict[str, Any]) -> None:
    """Fill the number of devices from the degrees of parallelism, where these are known."""
    if merged.get("num_gpus") is None and merged.get("tp") is not None:
        merged["num_gpus"] = merged["tp"] * (merged.get("pp") or 1) * (merged.get("dp") or 1)


def _check_telemetry(draft: Draft, merged: dict[str, Any]) -> None:
    """Drop power that was averaged over other GPUs than those that took part."""
    listed, used = draft.environment.get("telemetry_gpus"), merged.get("num_gpus")
    if listed is None or used is None or listed == used:
        return
    for name in ("power_w", "energy_per_output_token_j"):
        if merged.pop(name, None) is not None:
            draft.definitions.pop(name, None)
            draft.partial.append(f"{name}: telemetry of {listed} GPUs, {used} took part")


def _tell_unsaid(draft: Draft, merged: Mapping[str, Any]) -> None:
    absent = [words for name, words in draft.unsaid.items() if merged.get(name) in (None, "")]
    absent += draft.always_unsaid
    if absent:
        draft.partial.append(f"the file does not say: {', '.join(absent)}")
