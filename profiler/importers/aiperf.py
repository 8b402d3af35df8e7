# SPDX-License-Identifier: Apache-2.0
"""aiperf's ``profile_export_aiperf.json``, schemas 1.0 to 1.5.

A run that was cancelled or is not complete is refused. Metrics are read as genai-perf's,
and ``inter_chunk_latency``, which pools every gap, is the ITL of other tools. GPUs and their
power come from the telemetry, where there is any. ``energy_per_output_token`` is in
millijoules, and its unit says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal
from profiler.importers.genai_perf import is_metric, put_metrics, put_power
from profiler.importers.values import (
    at,
    count,
    factor_of,
    flag,
    items,
    mapping,
    moment,
    positive,
    text,
)

_POWERS = ("nvidia_power_usage", "gpu_power_usage", "amd_power_usage", "amd_average_socket_power")
_ENERGY = (
    *("energy_per_output_token", "energy_per_total_token", "energy_per_request"),
    *("total_gpu_energy", "average_gpu_power"),
)
_MARKS = {"aiperf_version", "was_cancelled", "run_info", "telemetry_data", "is_complete"}


def _recognises(document: Document) -> bool:
    record = document.single
    known = is_metric(record.get("request_latency")) or "is_complete" in record
    return known and bool(_MARKS & record.keys())


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    record = document.single
    if record.get("is_complete") is False or record.get("was_cancelled") is True:
        why = text(record.get("incomplete_reason")) or "it was cancelled or died"
        yield Refusal(where="", why=f"the run is not complete: {why[:80]}")
        return
    draft = Draft(needs=(*MODEL_RUN, *LENGTHS, "concurrency|request_rate"))
    draft.put(
        mode="serving",
        tool_version=text(record.get("aiperf_version")),
        measured_at=moment(record.get("start_time")),
    )
    _load(draft, record)
    put_metrics(draft, record)
    chunks = mapping(record.get("inter_chunk_latency"))
    if factor_of(text(chunks.get("unit")), "s"):
        said = "inter_chunk_latency: mean of all gaps between chunks, pooled over requests"
        draft.figure("itl_s", chunks.get("avg"), text(chunks.get("unit")), said)
    _gpus(draft, record)
    _energy(draft, record)
    failed = count(at(record, "error_request_count.avg"))
    if failed:
        sent = failed + (draft.columns.get("n_samples") or 0)
        draft.partial.append(f"requests: {failed} of {sent} failed")
    draft.record(record, ("schema_version", "benchmark_id"))
    yield draft


def _load(draft: Draft, record: Mapping[str, Any]) -> None:
    """Model and load, from the configuration of either generation or the command line."""
    config = mapping(record.get("input_config"))
    command = _options(text(at(record, "run_info.cli_command")))
    phase = next(filter(_is_measured, map(mapping, items(config.get("phases")))), {})
    loads = {**mapping(config.get("loadgen")), **phase}
    models = config.get("models")
    names = items(at(config, "endpoint.model_names")) or items(at(models, "items")) or items(models)
    first = names[0] if len(names) == 1 else None
    rate = positive(loads.get("request_rate")) or positive(loads.get("rate"))
    draft.put(
        model=text(first) or text(mapping(first).get("name")) or command.get("--model", ""),
        concurrency=count(loads.get("concurrency")) or count(command.get("--concurrency")),
        request_rate=rate or positive(command.get("--request-rate")),
    )
    if len(items(config.get("phases"))) > 2:
        draft.notes.append("several phases: the load is that of the first one measured")


def _is_measured(phase: Mapping[str, Any]) -> bool:
    return not flag(phase.get("exclude_from_results")) and bool(phase)


def _options(command: str) -> dict[str, str]:
    """Options of a command line, by long name."""
    try:
        words = shlex.split(command)
    except ValueError:
        return {}
    found = {}
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        name = {"-m": "--model", "--model-names": "--model"}.get(name, name)
        if name.startswith("--"):
            found[name] = value if equals else following
    return found


def _gpus(draft: Draft, record: Mapping[str, Any]) -> None:
    endpoints = mapping(at(record, "telemetry_data.endpoints"))
    gpus = [
        mapping(gpu)
        for endpoint in endpoints.values()
        for gpu in mapping(mapping(endpoint).get("gpus")).values()
    ]
    names = {text(gpu.get("gpu_name")) for gpu in gpus} - {""}
    if len(names) == 1:
        draft.put(gpu_raw=names.pop())
    for name in _POWERS:
        blocks = [mapping(at(gpu, f"metrics.{name}")) for gpu in gpus]
        if blocks and all(text(block.get("unit")) == "W" for block in blocks):
            put_power(draft, [block.get("avg") for block in blocks], name=name)
            return


def _energy(draft: Draft, record: Mapping[str, Any]) -> None:
    for vendor in ("nvidia_", "amd_", ""):
        for name in _ENERGY:
            block = mapping(record.get(f"{vendor}{name}"))
            draft.keep(f"{vendor}{name}", block.get("avg"), text(block.get("unit")), "whole run")
        block = mapping(record.get(f"{vendor}energy_per_output_token"))
        unit = text(block.get("unit")).partition("/")[0]
        if "energy_per_output_token_j" not in draft.columns and factor_of(unit, "J"):
            said = "energy of the GPUs of the telemetry over output tokens, whole run"
            draft.figure("energy_per_output_token_j", block.get("avg"), unit, said)


AIPERF = Importer(name="aiperf", tool="aiperf", recognises=_recognises, drafts=_drafts)
