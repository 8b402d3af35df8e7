# SPDX-License-Identifier: Apache-2.0
"""Hands a tool's result to the importer of that tool, with the facts that the launch knows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.launch.ask import Ask
from specs.errors import InvalidInputError, RooflineError
from specs.measurement import Measurement

_RUN_FACTS = ("gpu", "model", "engine", "engine_version", "num_gpus", "host_cpu")
_POINT_FACTS = ("batch_size", "concurrency", "input_tokens", "output_tokens")


def imported(block: Mapping[str, Any], common: Mapping[str, Any], ask: Ask) -> list[Measurement]:
    """Rows of a result file in a tool's own format.

    The file's own word counts: what was asked is added only where the file does not say
    enough, as `vllm bench latency`'s does not.

    Raises
    ------
    InvalidInputError
        The importer refuses the file, or misses a fact that nobody stated.
    """
    known = {name: common[name] for name in _RUN_FACTS if common.get(name) not in (None, "")}
    known.setdefault("engine_version", "unknown")
    known |= {"tp": common["num_gpus"], "tool_version": known["engine_version"]}
    tries = [known, known | {"weight_dtype": weight_format(ask)}]
    if len(block["points"]) == 1:
        point = block["points"][0]
        tries.append(tries[-1] | {name: point[name] for name in _POINT_FACTS if name in point})
    for facts in tries:
        rows, refused = _read(block, facts)
        if not refused:
            return rows
    raise InvalidInputError("; ".join(refused))


def _read(
    block: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[list[Measurement], tuple[str, ...]]:
    from profiler.importers import Facts, read_results

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / str(block["result"])
        path.write_text(str(block["text"]), encoding="utf-8")
        try:
            found = read_results(path, Facts(**facts), importer=str(block["format"]))
        except RooflineError as error:
            return [], (str(error).replace(f"{path}: ", ""),)
    return list(found.rows), found.refused


def weight_format(ask: Ask) -> str:
    """Format of the weights: as asked for, else the checkpoint's; "" if nobody knows."""
    from specs.hub import get_model

    if ask.weight_dtype:
        return ask.weight_dtype
    try:
        model = get_model(ask.model)
    except RooflineError:
        return ""
    return model.quantisation.weight if model.quantisation else model.dtype
