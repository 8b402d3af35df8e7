# SPDX-License-Identifier: Apache-2.0
"""InferenceX (InferenceMAX) aggregates: one object, or a list of them.

Times have lost their ``_ms`` and are in seconds. ``tput_per_gpu`` is input and output,
over all GPUs; ``output_tput_per_gpu`` of several nodes is per decode GPU. ``*_intvty`` is
1 / TPOT and describes the slowest users at p99. Energy per token counts only where
``power_valid`` says so, from schema 2 on: before, it may be one role's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import LENGTHS, MODEL_RUN, Draft, Importer, Refusal, statistic_of
from profiler.importers.serving import DEFINITIONS
from profiler.importers.values import count, degree, flag, number, positive, tag_of, text

_WANTED = {"hw", "framework", "precision", "tput_per_gpu"}
_STAT = re.compile(r"(?P<stat>mean|median|std|p\d+(?:\.\d+)?)_(?P<metric>ttft|tpot|itl|e2el)")
_COLUMN = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2el": "e2e_s"}
_RATES = ("tput_per_gpu", "output_tput_per_gpu", "input_tput_per_gpu")
_POWER = (
    ("avg_power_w", "W"),
    ("avg_total_gpu_power_w", "W"),
    ("total_gpu_energy_j", "J"),
    ("joules_per_output_token", "J"),
    ("joules_per_input_token", "J"),
    ("joules_per_total_token", "J"),
    ("joules_per_successful_query", "J"),
)
_ENGINES = {"trt": "trtllm", "tensorrt-llm": "trtllm"}
_SECONDS_AT_MOST = {"tpot": 60.0, "itl": 60.0}
"""No step takes a minute: a larger one is in milliseconds."""


def _recognises(document: Document) -> bool:
    return any(record.keys() >= _WANTED for record in document.records)


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    for at_record, record in enumerate(document.records, 1):
        where = f"record {at_record}" if len(document.records) > 1 else ""
        draft = Draft(where=where, needs=(*MODEL_RUN, *LENGTHS, "concurrency"))
        why = _times(draft, record)
        if why:
            yield Refusal(where=where, why=why)
            continue
        _settings(draft, record)
        _rates(draft, record)
        _power(draft, record)
        yield draft


def _settings(draft: Draft, record: Mapping[str, Any]) -> None:
    framework = text(record.get("framework")).lower().removeprefix("dynamo-")
    image, hardware = text(record.get("image")), text(record.get("hw"))
    disagg, multinode = flag(record.get("disagg")), flag(record.get("is_multinode"))
    draft.put(
        gpu_raw=hardware.partition("-")[0],
        model=text(record.get("model")),
        engine=_ENGINES.get(framework, framework),
        engine_version=tag_of(image),
        weight_dtype=text(record.get("precision")),
        mode="disagg" if disagg else "serving",
        concurrency=count(record.get("conc")),
        input_tokens=positive(record.get("isl")),
        output_tokens=positive(record.get("osl")),
        tp=degree(record.get("decode_tp")) if multinode else degree(record.get("tp")),
        ep=degree(record.get("decode_ep")) if multinode else degree(record.get("ep")),
        num_gpus=_devices(record),
    )
    speculation = text(record.get("spec_decoding")) or text(record.get("mtp"))
    if speculation.lower() not in ("", "none", "false", "off"):
        draft.notes.append(f"speculative decoding was on ({speculation})")
    names = (
        *("hw", "image", "framework", "spec_decoding", "dp_attention", "is_multinode"),
        *("prefill_tp", "prefill_ep", "prefill_num_workers", "decode_num_workers"),
        *("num_prefill_gpu", "num_decode_gpu", "prefill_dp_attention", "decode_dp_attention"),
    )
    draft.record(record, names)


def _devices(record: Mapping[str, Any]) -> int | None:
    prefill, decode = degree(record.get("num_prefill_gpu")), degree(record.get("num_decode_gpu"))
    if flag(record.get("is_multinode")):
        return prefill + decode if prefill and decode else None
    return degree(record.get("tp"))


def _times(draft: Draft, record: Mapping[str, Any]) -> str:
    """Fill latencies; return why they cannot be in seconds."""
    for name, value in record.items():
        match = _STAT.fullmatch(name) if isinstance(name, str) else None
        found = number(value) if match else None
        if match is None or found is None:
            continue
        metric = match["metric"]
        if found > _SECONDS_AT_MOST.get(metric, 1e6):
            return f"{name} is {found:g}, and this format holds seconds; was it converted?"
        over = "all gaps" if metric == "itl" else "requests"
        draft.keep(name, found, "s", statistic_of(match["stat"], over))
        if match["stat"] == "mean":
            draft.figure(_COLUMN[metric], found, "s", DEFINITIONS[_COLUMN[metric]])
    return ""


def _rates(draft: Draft, record: Mapping[str, Any]) -> None:
    for name in _RATES:
        draft.keep(name, record.get(name), "tok/s", "over the whole run, per GPU")
    devices = _devices(record)
    total, output = (
        positive(record.get("tput_per_gpu")),
        positive(record.get("output_tput_per_gpu")),
    )
    if devices and total:
        said = "tput_per_gpu times all GPUs: input and output tokens per second"
        draft.figure("total_tok_s", total * devices, "tok/s", said)
    split = flag(record.get("is_multinode"))
    share = degree(record.get("num_decode_gpu")) if split else devices
    if share and output:
        said = "output_tput_per_gpu times its GPUs: output tokens per second of all"
        draft.figure("decode_tok_s", output * share, "tok/s", said)


def _power(draft: Draft, record: Mapping[str, Any]) -> None:
    for name, unit in _POWER:
        draft.keep(name, record.get(name), unit, "over the whole run")
    schema = number(record.get("power_metric_schema_version")) or 0.0
    if not flag(record.get("power_valid")) or schema < 2:
        return
    draft.figure("power_w", record.get("avg_power_w"), "W", "avg_power_w: mean per GPU")
    said = "joules_per_output_token: all GPUs of the deployment"
    draft.figure("energy_per_output_token_j", record.get("joules_per_output_token"), "J", said)


INFERENCEX = Importer(name="inferencex", tool="InferenceX", recognises=_recognises, drafts=_drafts)
