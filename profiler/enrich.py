# SPDX-License-Identifier: Apache-2.0
"""Facts of accelerators and models beside measurements: a join when asked, never stored.

A measurement keeps the names; what is known of them may be corrected later, and then every
old row has the corrected facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from profiler.parts import OnProblem, Problem, import_pyarrow, log_problem
from specs.accelerator import COMPUTE_PRECISIONS
from specs.catalogue import get_accelerator
from specs.errors import RooflineError
from specs.hub import get_model

if TYPE_CHECKING:
    import pyarrow

_GPU_TEXT = ("title", "vendor", "kind", "architecture", "mem_kind")
_GPU_NUMBERS = (
    *("mem_bytes", "mem_bytes_per_s", "cache_bytes", "vector_flops_per_s"),
    *("clock_hz", "tdp_w", "idle_w", "process_nm"),
)
_MODEL_TEXT = ("model_type", "dtype")
_MODEL_COUNTS = ("params", "active_params", "num_layers", "hidden_size", "vocab_size")


def gpu_facts(name: str) -> dict[str, Any]:
    """Facts of one accelerator as columns ``gpu_*``, SI units; unknown is None.

    Raises
    ------
    RooflineError
        No accelerator, or more than one, carries the name.
    """
    found = get_accelerator(name)
    facts: dict[str, Any] = {f"gpu_{key}": getattr(found, key) or None for key in _GPU_TEXT}
    for key in _GPU_NUMBERS:
        facts[f"gpu_{key}"] = getattr(found, key) or None
    for precision in COMPUTE_PRECISIONS:
        facts[f"gpu_peak_{precision}_per_s"] = found.peak_flops_per_s.get(precision)
    return facts


def model_facts(name: str) -> dict[str, Any]:
    """Facts of one model as columns ``model_*``, from what is shipped or on disk.

    Raises
    ------
    RooflineError
        No model carries the name.
    """
    found = get_model(name, offline=True)
    keys = (*_MODEL_TEXT, *_MODEL_COUNTS)
    return {f"model_{key.removeprefix('model_')}": getattr(found, key) for key in keys}


FACT_COLUMNS: Mapping[str, str] = {
    **{f"gpu_{key}": "text" for key in _GPU_TEXT},
    **{f"gpu_{key}": "float" for key in _GPU_NUMBERS},
    **{f"gpu_peak_{precision}_per_s": "float" for precision in COMPUTE_PRECISIONS},
    **{f"model_{key.removeprefix('model_')}": "text" for key in _MODEL_TEXT},
    **{f"model_{key}": "int" for key in _MODEL_COUNTS},
}
"""Columns that `with_facts` adds, and their type."""


def with_facts(table: pyarrow.Table, *, on_problem: OnProblem = log_problem) -> pyarrow.Table:
    """`table`, every row in place, with the facts of its accelerator and its model.

    Parameters
    ----------
    table : pyarrow.Table
        Has the columns ``gpu`` and ``model``.
    on_problem : callable
        Told once of every name that has no facts; its rows keep empty cells.
    """
    pa = import_pyarrow()
    types = {"text": pa.string(), "float": pa.float64(), "int": pa.int64()}
    for column, look_up in (("gpu", gpu_facts), ("model", model_facts)):
        names = table[column].to_pylist()
        known = {name: _facts(name, look_up, on_problem) for name in sorted(set(names))}
        for fact, kind in FACT_COLUMNS.items():
            if fact.startswith(f"{column}_"):
                values = [known[name].get(fact) for name in names]
                table = table.append_column(fact, pa.array(values, types[kind]))
    return table


def _facts(
    name: str, look_up: Callable[[str], dict[str, Any]], on_problem: OnProblem
) -> dict[str, Any]:
    if not name:
        return {}
    try:
        return look_up(name)
    except RooflineError as error:
        on_problem(Problem(where=f"the facts of {name!r}", reason=str(error)))
        return {}
