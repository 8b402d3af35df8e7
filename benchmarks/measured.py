# SPDX-License-Identifier: Apache-2.0
"""Tables of measurements as scenarios: what each row asks of the predictor.

A row that cannot be expressed keeps the reason; nothing is dropped in silence.

Tables of others say some things only in their remarks (``notes``): a power cap, lengths that
vary, a cache that was empty. Tables of ours (`benchmarks.figures`) carry them as columns, and
a column that is filled wins over the remarks.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from specs.engine import list_engines
from specs.errors import RooflineError
from specs.model_records import find_record
from specs.precision import get_precision

DATA = Path(__file__).parent / "data"

GGUF_ENGINES = ("llama.cpp", "llamafile", "ollama")
"""Engines that run GGUF files."""

LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
THROUGHPUTS = ("prefill_tok_s", "decode_tok_s", "total_tok_s")

ASSUMED_PROMPT_TOKENS = 256
"""Prompt length where a row states none but gives a decode figure, which hardly depends
on it. Such rows are scored on that figure alone."""

SATURATING_REQUESTS = 4096
"""Concurrency that stands for "as many as fit", where a row says saturated throughput."""

_EMPTY_CONTEXT = re.compile(r"empty[ -]context|tg from empty|starts from an empty", re.I)
_DEPTH = re.compile(r"(?:KV depth|@ d(?:epth)? ?)(\d+)", re.I)
_SPREAD = re.compile(r"U\[0\.8L,L\]|uniform in \[0\.8,1\]|InferenceX client", re.I)
_SPREAD_FRAC = 0.2 / 0.9
"""Lengths uniform between 0.8 and 1 of the nominal one: width over mean."""

_VARIED_FRAC = 1.0
"""Width over mean where the stated lengths are means of lengths that differ, how much is
not stated: from half to one and a half times the mean. Times hardly depend on it once
requests no longer end together."""

_NO_BURST = re.compile(r"median latencies|ttft/tpot are medians|open loop", re.I)
_CAP = re.compile(r"power (?:cap|limit) (\d+) W", re.I)
_OTHER_WORK = (
    (re.compile(r"training step", re.I), "training step, not inference"),
    (re.compile(r"kv cache disabled", re.I), "decoding without a KV cache"),
)
_SPECULATIVE = re.compile(r"spec_decode|speculative|mtp (on|enabled)", re.I)
_NOT_SPECULATIVE = re.compile(r"no spec|without spec|spec_method=none", re.I)
CHECKPOINT = "checkpoint"
"""Weight format of a row that runs the checkpoint as it is stored."""

_DTYPE_WORDS = {
    CHECKPOINT: "",
    "unset": "",
    "todo": "",
    "custom": "",
    "f16": "fp16",
    "f32": "fp32",
    "auto": "",
}
_KV_WORDS = {"auto": "", "auto (bf16)": "", "bfloat16": "bf16", "q8": "q8_0", "fp8_e4m3": "fp8"}


@lru_cache(maxsize=1)
def _model_names() -> dict[str, str]:
    path = DATA / "model_names.json"
    if not path.exists():
        return {}
    names: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return names


@lru_cache(maxsize=1)
def _engine_rules() -> list[tuple[re.Pattern[str], str]]:
    rules = json.loads((DATA / "engine_names.json").read_text(encoding="utf-8"))["rules"]
    return [(re.compile(pattern, re.I), profile) for pattern, profile in rules]


@lru_cache(maxsize=1024)
def engine_profile(name: str) -> str:
    """Profile that stands for an engine's name in a table; empty if there is none."""
    if name in list_engines():
        return name
    for pattern, profile in _engine_rules():
        if pattern.search(name):
            return profile
    return ""


@lru_cache(maxsize=1024)
def weight_format(name: str, vendor_amd: bool) -> str | None:
    """Our name of a weight format; empty for the checkpoint's own, None if unknown."""
    key = name.strip().lower()
    key = _DTYPE_WORDS.get(key, key)
    if key == "fp4":
        key = "mxfp4" if vendor_amd else "nvfp4"
    if not key:
        return ""
    try:
        get_precision(key)
    except RooflineError:
        return None
    return key


@lru_cache(maxsize=256)
def kv_format(name: str) -> str:
    """Our name of a KV cache format; empty for the default, or where it is no format."""
    key = name.strip().lower().split("/")[0]
    key = _KV_WORDS.get(key, _DTYPE_WORDS.get(key, key))
    try:
        return get_precision(key).name if key else ""
    except RooflineError:
        return ""


@lru_cache(maxsize=4096)
def _own_format(model: str, weight: str) -> bool:
    """Whether the checkpoint is stored in this format anyway (DeepSeek's fp8, MXFP4...)."""
    from specs.hub import get_model

    try:
        quantisation = get_model(model, offline=True).quantisation
    except RooflineError:
        return False
    if quantisation is None or not weight or get_precision(weight).family == "gguf":
        return False
    return get_precision(quantisation.weight).compute == get_precision(weight).compute and (
        get_precision(quantisation.weight).family.split("-")[0]
        == get_precision(weight).family.split("-")[0]
    )


@lru_cache(maxsize=4096)
def _shipped(model: str) -> bool:
    """Whether a shipped record answers; thousands of rows must not wait for a network."""
    try:
        return find_record(model) is not None
    except RooflineError:
        return False


def _number(value: Any) -> float:
    return float("nan") if value is None or pd.isna(value) else float(value)


def _flag(row: dict[str, Any], name: str) -> bool | None:
    """A yes or no that the row states in a column, None if it does not."""
    value = row.get(name)
    return None if value is None or pd.isna(value) else bool(value)


def scenario_of(row: dict[str, Any]) -> dict[str, Any]:
    """One row as a scenario, with ``reason`` set if it cannot be one.

    Keys besides the predictor's columns: ``context_from_zero`` (decode was timed from an
    empty cache, apart from the prompt), ``prompt_known``, ``no_burst`` (latencies are
    medians or of an open loop: the opening burst of a serving run is not in them).
    """
    out: dict[str, Any] = {"reason": ""}
    notes = str(row.get("notes") or "")
    for check in (_names, _sizes, _degrees):
        reason = check(row, notes, out)
        if reason:
            out["reason"] = reason
            return out
    return out


def _names(row: dict[str, Any], notes: str, out: dict[str, Any]) -> str:
    for name in ("model", "gpu", "engine"):
        if row.get(name) is None or pd.isna(row[name]) or not str(row[name]).strip():
            return f"{name} not stated"
    if row["mode"] == "disagg":
        return "disaggregated prefill and decode"
    if "+cpu" in row["gpu"]:
        return "layers split between GPU and CPU"
    out["model"] = _model_names().get(row["model"], row["model"])
    if not _shipped(out["model"]):
        return "model unknown"
    out["gpu"] = row["gpu"]
    out["engine"] = engine_profile(str(row["engine"]))
    if not out["engine"]:
        return "engine without a profile"
    if reason := _other_work(notes):
        return reason
    return _formats(row, notes, out)


def _other_work(notes: str) -> str:
    """Why the remarks say that the row measured something else than plain generation."""
    for pattern, reason in _OTHER_WORK:
        if pattern.search(notes):
            return reason
    if _SPECULATIVE.search(notes) and not _NOT_SPECULATIVE.search(notes):
        return "speculative decoding"
    if "objective prefix_cache" in notes:
        return "part of the prompt cached, how much is not stated"
    return ""


def _formats(row: dict[str, Any], notes: str, out: dict[str, Any]) -> str:
    if pd.isna(row.get("weight_dtype")):
        return "weight format not stated"
    weight = str(row["weight_dtype"])
    if weight == "mxfp4" and out["engine"] in GGUF_ENGINES:
        weight = "mxfp4_moe"  # GGUF files keep what is not an expert in q8_0
    found = weight_format(weight, row["gpu"].startswith(("mi", "radeon", "rx-")))
    if found is None:
        return f"weight format {weight!r} unknown"
    out["weight_dtype"] = "" if _own_format(out["model"], found) else found
    kv = "" if pd.isna(row.get("kv_dtype")) else str(row["kv_dtype"])
    out["kv_dtype"] = kv_format(kv)
    cap, limit_w = _CAP.search(notes), _number(row.get("power_limit_w"))
    out["power_limit_w"] = limit_w if limit_w > 0 else float(cap[1]) if cap else np.inf
    spread = _number(row.get("length_spread_frac"))
    out["spread_frac"] = spread if spread == spread else _spread_frac(row, notes)
    stated = _flag(row, "no_burst")
    out["no_burst"] = bool(_NO_BURST.search(notes)) if stated is None else stated
    return ""


def _spread_frac(row: dict[str, Any], notes: str) -> float:
    """Width of the distribution of lengths over its mean."""
    if _SPREAD.search(notes):
        return _SPREAD_FRAC
    stated = [_number(row.get(name)) for name in ("input_tokens", "output_tokens")]
    return _VARIED_FRAC if any(value % 1.0 > 0.0 for value in stated) else 0.0


def _sizes(row: dict[str, Any], notes: str, out: dict[str, Any]) -> str:
    serving = row["mode"] == "serving"
    batch, prompt = _number(row.get("batch_size")), _number(row.get("input_tokens"))
    if serving and _number(row.get("concurrency")) > 0:
        batch = _number(row.get("concurrency"))
    if _flag(row, "prompt_known") is False:
        prompt = float("nan")
    output = _number(row.get("output_tokens"))
    decode_only = not any(_number(row.get(k)) > 0 for k in ("ttft_s", "e2e_s", "prefill_tok_s"))
    out["prompt_known"] = prompt == prompt
    if prompt != prompt:
        if not _number(row.get("tpot_s")) > 0 and not decode_only:
            return "prompt length not stated"
        prompt = float(ASSUMED_PROMPT_TOKENS)
    if batch != batch:
        saturated = serving and _number(row.get("request_rate")) != _number(row.get("request_rate"))
        if not saturated or not decode_only or not out["prompt_known"]:
            return "batch or concurrency not stated"
        batch = float(SATURATING_REQUESTS)
    if output != output:
        output = 128.0
        if _number(row.get("e2e_s")) > 0:
            return "output length not stated"
    out["batch"] = 0.0 if serving else max(round(batch), 1.0)
    out["concurrency"] = max(round(batch), 1.0) if serving else 0.0
    out["input_len"], out["output_len"] = max(round(prompt), 1.0), max(round(output), 1.0)
    _cache(row, notes, out)
    return ""


def _cache(row: dict[str, Any], notes: str, out: dict[str, Any]) -> None:
    """What of the prompt was cached, and whether decode was timed from an empty cache."""
    depth, cached = _DEPTH.search(notes), _number(row.get("cached_tokens"))
    out["cached_len"] = 0.0
    if cached == cached:
        out["cached_len"] = cached
    elif depth and _number(row.get("ttft_s")) > 0 and float(depth[1]) < out["input_len"]:
        out["cached_len"] = float(depth[1])
    stated = _flag(row, "context_from_zero")
    empty = bool(_EMPTY_CONTEXT.search(notes)) and not depth
    out["context_from_zero"] = empty if stated is None else stated


def _degrees(row: dict[str, Any], notes: str, out: dict[str, Any]) -> str:
    got = {k: _number(row.get(k)) for k in ("num_gpus", "tp", "pp", "ep", "dp")}
    got = {k: 0.0 if v != v else v for k, v in got.items()}
    ours = isinstance(row.get("engine_raw"), str)  # others count GPUs as tp where none is
    if out["engine"] in GGUF_ENGINES and "row split" not in notes and not ours:
        got.update(tp=0.0, pp=0.0, ep=0.0, dp=0.0)
    gpus = got["num_gpus"] or max(got["tp"], 1) * max(got["pp"], 1) * max(got["dp"], 1)
    made = max(got["tp"], 1) * max(got["pp"], 1) * max(got["dp"], 1)
    if got["dp"] > 1 and made != gpus and max(got["tp"], 1) * max(got["pp"], 1) == gpus:
        # Attention runs data-parallel inside the tensor-parallel group.
        got["tp"] = gpus / got["dp"] / max(got["pp"], 1)
    elif made != gpus and got["tp"]:
        replicas = gpus / (max(got["tp"], 1) * max(got["pp"], 1))
        if replicas < 1 or replicas != int(replicas):
            return "degrees of parallelism do not multiply to the GPUs"
        got["dp"] = replicas
    if got["ep"] > 1 and got["ep"] > max(got["tp"], 1) * max(got["dp"], 1):
        got["ep"] = 0.0
    for name, value in got.items():
        if value != int(value):
            return "degrees of parallelism do not multiply to the GPUs"
        out[name] = value
    out["num_gpus"] = gpus
    return ""


def scenarios_of(table: pd.DataFrame) -> pd.DataFrame:
    """All rows as scenarios, in order, one ``reason`` each (empty where expressed)."""
    rows: list[dict[Any, Any]] = table.astype(object).to_dict("records")
    return pd.DataFrame([scenario_of(row) for row in rows], index=table.index)
