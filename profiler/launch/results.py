# SPDX-License-Identifier: Apache-2.0
"""Blocks of a run become measurements.

Each result is read by the importer of its tool, as if the user had brought the file home;
what the launch knows (machine, region, price, image, asked point) completes the row. Rows
of a run that did not finish, or whose log has gaps, are kept and marked partial. A result
that no importer takes is returned as it is, never dropped.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiler.launch.ask import Ask
from profiler.launch.blocks import Decoded
from profiler.launch.digest import digest_in
from profiler.launch.importing import imported
from profiler.launch.server import RunState
from profiler.launch.targets import Target
from specs.errors import RooflineError
from specs.measurement import COLUMNS, Measurement, RawFigure

SOURCE = "first-party"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Rows of a run, and what could not become one.

    Parameters
    ----------
    unread : mapping
        File name to text of results that no importer took.
    notes : tuple of str
        One line each.
    """

    rows: tuple[Measurement, ...]
    unread: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def measured(self) -> int:
        """Rows with a figure."""
        return sum(bool(row.figures) for row in self.rows)


def collect(
    run: RunState, decoded: Decoded, ask: Ask, target: Target, *, project: str
) -> Collected:
    """Make the rows of a run out of its blocks."""
    start = next((block for block in decoded.blocks if block.get("kind") == "start"), {})
    common = _common(run, start, ask, target, project)
    rows: list[Measurement] = []
    unread: dict[str, str] = {}
    notes = _gaps(decoded) + _broken_off(decoded)
    for block in decoded.blocks:
        try:
            rows += _rows(block, common, ask)
        except RooflineError as error:
            name = f"{run.name}-{block.get('step')}-{block.get('result', 'result')}"
            unread[name] = str(block.get("text", ""))
            notes.append(f"step {block.get('step')}: {error}")
    rows = _with_decode(rows)
    why = _why_partial(run, decoded)
    if why:
        rows = [_partial(row, why) for row in rows]
    return Collected(rows=tuple(rows), unread=unread, notes=tuple(notes))


def _common(
    run: RunState, start: Mapping[str, Any], ask: Ask, target: Target, project: str
) -> dict[str, Any]:
    """Columns that every row of a run shares."""
    devices = [] if target.vendor == "cpu" else start.get("devices")
    device: Mapping[str, Any] = (devices or [{}])[0]
    versions = {**start.get("versions", {}), **device.get("versions", {})}
    raw = str(device.get("name") or run.place.gpu or target.name)
    host_cpu = str(start.get("host_cpu", ""))
    names = (host_cpu,) if target.vendor == "cpu" else (run.place.instance, target.name)
    environment = {
        "backend": run.place.backend,
        "image": run.image,
        **{name: start[name] for name in ("python", "system", "power_reason") if name in start},
        "versions": versions,
    }
    return {
        "run_id": run.name,
        "source": SOURCE,
        "source_ref": f"dstack:{project}/{run.name}",
        "gpu": str(device.get("slug") or "") or _slug(*names),
        "gpu_raw": raw if target.vendor != "cpu" else host_cpu,
        "num_gpus": max(1, target.count),
        "host_cpu": host_cpu,
        "power_limit_w": device.get("power_limit_w"),
        "driver": str(versions.get("driver", "")),
        "instance": run.place.instance,
        "region": run.place.region,
        "price_usd_per_h": run.place.price_usd_per_h,
        "image_digest": digest_in(run.image),
        "engine": ask.engine,
        "engine_version": str(versions.get(_PACKAGE.get(ask.engine, ask.engine), "")),
        "model": ask.model,
        "environment": json.dumps(environment, sort_keys=True),
    }


_PACKAGE = {"tgi": "text-generation-server"}


def _slug(*names: str) -> str:
    """Catalogue's name of the first of `names` that it knows."""
    from specs.catalogue import resolve_name

    for name in filter(None, names):
        try:
            return resolve_name(name)
        except RooflineError:
            continue
    return ""


def _rows(block: Mapping[str, Any], common: Mapping[str, Any], ask: Ask) -> list[Measurement]:
    if block.get("kind") == "rows":
        return [_filled(row, common) for row in _part(block)]
    if block.get("kind") != "result":
        return []
    if block.get("error"):
        if block.get("files"):  # the profiler inside kept its own failures
            return []
        points = [point for point in block["points"] if "kind" not in point]
        return [_failed(point, common, str(block["error"])) for point in points]
    if block["format"] == "rows":
        return []
    read = READERS.get(str(block["format"]), imported)
    rows = [_filled(row, common) for row in read(block, common, ask)]
    watts = block.get("power_w")
    return [replace(row, power_w=watts) if watts and row.power_w is None else row for row in rows]


def _part(block: Mapping[str, Any]) -> list[Measurement]:
    """Rows of a part-file that ``roofline profile`` wrote on the machine."""
    from profiler.store import load_measurements

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        try:
            path.write_bytes(base64.b64decode(str(block["data"]), validate=True))
        except (KeyError, binascii.Error):
            return []
        return load_measurements([path])


def _filled(row: Measurement, common: Mapping[str, Any]) -> Measurement:
    """Complete the cells that `row` leaves empty; what it says itself stays."""
    given = {
        name: value
        for name, value in common.items()
        if value not in (None, "") and getattr(row, name) in (None, "")
    }
    if row.kind != "llm":
        given = {name: v for name, v in given.items() if COLUMNS[name].group != "llm"}
        given.pop("engine", None)
        given.pop("engine_version", None)
    given |= {name: common[name] for name in ("run_id", "source", "source_ref")}
    if row.gpu_raw == row.gpu:  # the importer's echo of what it was told
        given["gpu_raw"] = common["gpu_raw"]
    given["point_id"] = ""  # the hash of what is asked, completed now
    inside, outside = json.loads(row.environment or "{}"), json.loads(common["environment"])
    given["environment"] = json.dumps({**outside, **inside}, sort_keys=True)
    return replace(row, **given)


def _failed(point: Mapping[str, Any], common: Mapping[str, Any], reason: str) -> Measurement:
    asked = {name: value for name, value in point.items() if name in COLUMNS}
    return Measurement(kind="llm", **{**common, **asked}, quality="failed", reason=reason[:200])


def _with_decode(rows: list[Measurement]) -> list[Measurement]:
    """Fill TTFT and TPOT of whole generations whose first token was timed alone too.

    TPOT is (end to end - TTFT) / (output tokens - 1), here of two static runs that differ in
    the number of output tokens alone.
    """

    def key(row: Measurement) -> tuple[Any, ...]:
        return (row.engine, row.mode, row.batch_size, row.input_tokens, row.cached_tokens)

    first = {key(row): row.e2e_s for row in rows if row.output_tokens == 1 and row.e2e_s}
    done = []
    for row in rows:
        ttft_s, out = first.get(key(row)), row.output_tokens or 0
        plain = row.mode == "static" and row.ttft_s is None and row.tpot_s is None
        if plain and ttft_s and row.e2e_s and out > 1 and row.e2e_s > ttft_s:
            tpot_s = (row.e2e_s - ttft_s) / (out - 1)
            notes = "; ".join(filter(None, [row.notes, "decode is the difference of two runs"]))
            row = replace(row, ttft_s=ttft_s, tpot_s=tpot_s, notes=notes)
        done.append(row)
    return done


def _why_partial(run: RunState, decoded: Decoded) -> str:
    if not run.finished:
        return "run still going"
    if run.reason and not decoded.ended:
        return f"run ended early: {run.reason}"
    return "" if decoded.complete else "log incomplete"


def _partial(row: Measurement, why: str) -> Measurement:
    if row.quality == "ok":
        return replace(row, quality="partial", reason=why[:200])
    return replace(row, notes="; ".join(filter(None, [row.notes, why[:200]])))


def _gaps(decoded: Decoded) -> list[str]:
    """What the log lost, in words."""
    notes = []
    if decoded.missing or decoded.incomplete:
        lost = len(decoded.missing) + len(decoded.incomplete)
        notes.append(f"{lost} blocks of the log are lost or damaged; their points are not kept")
    if decoded.damaged:
        notes.append(f"{decoded.damaged} lines of the log were damaged and passed over")
    return notes


def _broken_off(decoded: Decoded) -> list[str]:
    """Steps of our own profiler that failed, with or without some of their points."""
    return [
        f"step {block['step']} broke off after {block['files']} part-files: {block['error']}"
        for block in decoded.blocks
        if block.get("kind") == "result" and block.get("error") and "files" in block
    ]


def _client(block: Mapping[str, Any], common: Mapping[str, Any], _: Ask) -> list[Measurement]:
    """Read what `profiler.launch.client` wrote."""
    result = json.loads(str(block["text"]))
    asked = dict(block["points"][0])
    done = result["requests"]
    outs = [float(r.get("output_tokens", asked["output_tokens"])) for r in done]
    ins = [float(r.get("input_tokens", asked["input_tokens"])) for r in done]
    tpots = [
        (r["e2e_s"] - r["ttft_s"]) / (out - 1)
        for r, out in zip(done, outs, strict=True)
        if out > 1 and r["e2e_s"] > r["ttft_s"]
    ]
    failed = int(result["failed"])
    columns: dict[str, Any] = {
        **asked,
        "input_tokens": _mean(ins),
        "output_tokens": _mean(outs),
        "ttft_s": _mean([r["ttft_s"] for r in done]),
        "tpot_s": _mean(tpots),
        "e2e_s": _mean([r["e2e_s"] for r in done]),
        "decode_tok_s": sum(outs) / result["duration_s"],
        "total_tok_s": (sum(ins) + sum(outs)) / result["duration_s"],
        "n_samples": len(done),
        "samples_s": [r["e2e_s"] for r in done],
        "raw": [
            RawFigure(name="duration_s", statistic="total", unit="s", value=result["duration_s"])
        ],
    }
    columns |= {"tool": "roofline-client", "method": "closed-loop", "tp": common["num_gpus"]}
    if failed:
        columns |= {"quality": "partial", "reason": f"{failed} requests failed"}
    return [Measurement(kind="llm", **columns)]


def _total(name: str, value: float) -> RawFigure:
    return RawFigure(name=name, statistic="total", unit="s", value=value)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


Reader = Callable[[Mapping[str, Any], Mapping[str, Any], Ask], list[Measurement]]

READERS: Mapping[str, Reader] = {"client": _client}
"""Formats of our own; every other one is an importer's."""
