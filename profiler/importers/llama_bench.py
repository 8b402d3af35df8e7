# SPDX-License-Identifier: Apache-2.0
"""llama-bench: JSON, JSON Lines and CSV, of old and new builds.

``samples_ns`` and ``avg_ns`` are of a whole test: ``n_prompt`` tokens of prompt, or
``n_gen`` decode steps of one sequence, on a cache that holds ``n_depth`` tokens already.
Tokenising and sampling are left out of both: of one sequence alone they are the TTFT and
TPOT of a static batch, as our own profiler takes them. The file states its machine; a
device is the GPU if all layers lie on it, the CPU if the build has no other back end, and a
mix of both is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PureWindowsPath
from typing import Any

from profiler.importers.document import Document
from profiler.importers.draft import MODEL_RUN, Draft, Importer, Refusal
from profiler.importers.values import count, moment, number, numbers, positive, text

_WANTED = {"build_commit", "n_prompt", "n_gen", "avg_ns", "model_filename"}
_SETTINGS = (
    *("backends", "model_type", "model_size", "model_n_params", "n_batch", "n_ubatch"),
    *("n_threads", "n_gpu_layers", "split_mode", "flash_attn", "no_kv_offload", "n_cpu_moe"),
    *("build_commit", "devices", "tensor_split", "repack", "no_op_offload"),
)
_ALL_LAYERS = 99
"""llama-bench's own default, and what everyone writes for "all of them"."""

_MIX = re.compile(r"(?:all )?(?P<name>(?:I?Q|TQ)\d\w*|B?F\d+|MXFP4)(?: - (?P<size>\w+))?", re.I)
_SIZES = {"small": "_s", "medium": "_m", "large": "_l"}


def _recognises(document: Document) -> bool:
    return any(record.keys() >= _WANTED for record in document.records)


def _drafts(document: Document) -> Iterator[Draft | Refusal]:
    for at, record in enumerate(document.records, 1):
        yield _test(record, f"test {at}" if len(document.records) > 1 else "")


def _test(record: Mapping[str, Any], where: str) -> Draft | Refusal:
    prompt, generated = count(record.get("n_prompt")), count(record.get("n_gen"))
    if prompt is None and generated is None:
        return Refusal(where=where, why="tests neither prompt nor generation")
    draft = Draft(where=where, needs=MODEL_RUN)
    why = _device(draft, record)
    if why:
        return Refusal(where=where, why=why)
    _settings(draft, record)
    _times(draft, record, prompt, generated)
    depth = number(record.get("n_depth")) or 0.0
    draft.put(
        input_tokens=(prompt or 0) + depth,
        cached_tokens=depth,
        output_tokens=generated or 0,
    )
    return draft


def _settings(draft: Draft, record: Mapping[str, Any]) -> None:
    build = count(record.get("build_number"))
    commit = text(record.get("build_commit"))
    version = f"b{build} ({commit})" if build else commit
    stem = PureWindowsPath(text(record.get("model_filename"))).name  # splits at both slashes
    draft.put(
        model=stem.removesuffix(".gguf"),
        engine="llama.cpp",
        engine_version=version,
        tool_version=version,
        weight_dtype=_format(text(record.get("model_type"))),
        kv_dtype=_kv_format(record),
        mode="static",
        batch_size=1,
        host_cpu=text(record.get("cpu_info")),
        measured_at=moment(record.get("test_time")),
    )
    draft.record(record, _SETTINGS)


def _format(model_type: str) -> str:
    """Weight format of a type such as ``llama 8B Q4_K - Medium`` or ``llama 7B mostly F16``."""
    found = list(_MIX.finditer(model_type.replace("mostly ", "")))
    if not found:
        return ""
    match = found[-1]
    return f"{match['name'].lower()}{_SIZES.get((match['size'] or '').lower(), '')}"


def _kv_format(record: Mapping[str, Any]) -> str:
    """Format of the KV cache, where keys and values share one."""
    keys, values = text(record.get("type_k")), text(record.get("type_v"))
    return keys if keys == values else ""


def _device(draft: Draft, record: Mapping[str, Any]) -> str:
    """State the device; return why none did the work alone."""
    backends = {part.strip().upper() for part in text(record.get("backends")).split(",")} - {""}
    layers = number(record.get("n_gpu_layers"))
    if backends <= {"CPU", "BLAS"}:
        draft.put(gpu_raw=text(record.get("cpu_info")), num_gpus=1, tp=1)
        return ""
    if layers == 0:
        return "no layers on the GPU of a GPU build: prompts run on both; use a CPU build"
    if layers is not None and 0 < layers < _ALL_LAYERS:
        draft.notes.append(f"{layers:g} layers on the GPU, by the command; all are assumed there")
    names = [part.strip() for part in text(record.get("gpu_info")).split(",") if part.strip()]
    used = len(names) if text(record.get("split_mode")) != "none" else min(1, len(names))
    if len(set(names)) > 1 and used > 1:
        return f"spread over different GPUs ({', '.join(names)})"
    index = int(number(record.get("main_gpu")) or 0)
    if names:
        draft.put(gpu_raw=names[index] if used == 1 and 0 <= index < len(names) else names[0])
    if used >= 1:
        rows = text(record.get("split_mode")) == "row"  # else whole layers, one after another
        draft.put(num_gpus=used, tp=used if rows else 1, pp=1 if rows else used)
    return ""


def _times(
    draft: Draft, record: Mapping[str, Any], prompt: int | None, generated: int | None
) -> None:
    for name, unit, said in (
        ("avg_ns", "ns", "mean over repetitions, whole test"),
        ("stddev_ns", "ns", "standard deviation over repetitions, whole test"),
        ("avg_ts", "tok/s", "mean over repetitions"),
        ("stddev_ts", "tok/s", "standard deviation over repetitions"),
    ):
        draft.keep(name, record.get(name), unit, said)
    mean_s = (number(record.get("avg_ns")) or 0.0) * 1e-9
    samples = [value * 1e-9 for value in numbers(record.get("samples_ns"))]
    without = "without tokenising and sampling"
    if prompt and generated:
        draft.figure("e2e_s", mean_s, "s", f"mean over repetitions, {without}")
        draft.put(samples_s=samples)
    elif prompt:
        draft.figure("ttft_s", mean_s, "s", f"mean time of the prompt, {without}")
        rate = prompt / mean_s if mean_s > 0 else 0.0
        draft.figure("prefill_tok_s", rate, "tok/s", f"n_prompt over mean time, {without}")
        draft.put(samples_s=samples)
    elif generated:
        said = f"mean time of n_gen decode steps / n_gen, {without}"
        draft.figure("tpot_s", mean_s / generated, "s", said)
        draft.put(samples_s=[value / generated for value in samples if positive(value)])
    draft.put(n_samples=len(samples) or None)


LLAMA_BENCH = Importer(
    name="llama-bench", tool="llama-bench", recognises=_recognises, drafts=_drafts
)
