# SPDX-License-Identifier: Apache-2.0
"""Columns of scenarios, checked and grouped: what users write to what physics prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specs.errors import InvalidInputError

TEXT_COLUMNS = {
    "model": "",
    "gpu": "",
    "engine": "",
    "weight_dtype": "",
    "kv_dtype": "",
    "act_dtype": "",
}
"""Columns of names; empty means: decide from the others."""

COUNT_COLUMNS = {"num_gpus": 0, "tp": 0, "pp": 0, "ep": 0, "dp": 0}
"""Columns of degrees; 0 means: decide from the others."""

SIZE_COLUMNS = {"batch": 0, "concurrency": 0, "input_len": 512, "cached_len": 0, "output_len": 128}
"""Columns of sizes; `batch` (static) and `concurrency` (serving) exclude each other, and
a static batch of 1 is meant where neither is given. `cached_len` of the `input_len`
tokens are a prefix that the KV cache holds already."""

OTHER_COLUMNS = {
    "power_limit_w": math.inf, "spread_frac": 0.0, "engine_year": math.nan,
    "max_batched_tokens": 0, "held_steps": 0.0,
}  # fmt: skip
"""`spread_frac` is the width of the uniform distribution that the lengths of served
requests are drawn from, over its mean; 0, the default, makes them all alike, as the
engines' own benchmarks do. Requests that are alike end together, and their successors
queue for the prefill together. `engine_year` is the year that the engine's version is of,
NaN for today's: it picks the release of the engine's profile.

`max_batched_tokens` is what a pass may carry (vLLM ``max_num_batched_tokens``, SGLang
``chunked_prefill_size``, TensorRT-LLM ``max_num_tokens``); 0 is the engine's default.
`held_steps` are the decode steps that an engine at work lets a new prompt wait before it
takes it in, in the mean: TensorRT-LLM's ``batch_wait_timeout_iters``, or half of SGLang's
``scheduler_recv_interval``; 0 is the engine's default, which is none but for TGI."""

ALIASES = {
    "isl": "input_len",
    "osl": "output_len",
    "input_tokens": "input_len",
    "output_tokens": "output_len",
    "batch_size": "batch",
}

LIMITS = {
    "num_gpus": 100_000,
    "tp": 100_000,
    "pp": 100_000,
    "ep": 100_000,
    "dp": 100_000,
    "batch": 10_000_000,
    "concurrency": 10_000_000,
    "input_len": 1_000_000_000,
    "cached_len": 1_000_000_000,
    "output_len": 1_000_000_000,
    "max_batched_tokens": 1_000_000_000,
}
"""Largest size taken seriously; beyond it, it is a slip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenarios:
    """Checked columns of `size` scenarios.

    `text` maps a column to its distinct values and each scenario's index into them;
    `numbers` maps the other columns to float arrays of shape ``(size,)``. `problems`
    holds one message per scenario, empty where there is nothing wrong.
    """

    size: int
    text: Mapping[str, tuple[tuple[Any, ...], NDArray[np.intp]]]
    numbers: Mapping[str, NDArray[np.float64]]
    problems: NDArray[np.object_]


def read_scenarios(columns: Mapping[str, Any]) -> Scenarios:
    """Read a dict of scalars, sequences or arrays, or a DataFrame.

    Raises
    ------
    InvalidInputError
        Unknown column, columns of different lengths, or no model or gpu at all.
    """
    given = _canonical(columns)
    for needed in ("model", "gpu"):
        if needed not in given:
            raise InvalidInputError(f"scenarios need a {needed!r} column; give one.")
    size = _common_length(given)
    text = {name: _codes(given.get(name, default), size) for name, default in TEXT_COLUMNS.items()}
    problems = np.full(size, "", dtype=object)
    numbers = {}
    for name, default in {**COUNT_COLUMNS, **SIZE_COLUMNS, **OTHER_COLUMNS}.items():
        numbers[name] = _numbers(name, given.get(name), default, size)
    _check_sizes(numbers, problems)
    return Scenarios(size=size, text=text, numbers=numbers, problems=problems)


def _canonical(columns: Mapping[str, Any]) -> dict[str, Any]:
    known = {**TEXT_COLUMNS, **COUNT_COLUMNS, **SIZE_COLUMNS, **OTHER_COLUMNS}
    if not hasattr(columns, "keys"):
        raise InvalidInputError(
            f"scenarios are a {type(columns).__name__}; give a dict of columns or a DataFrame."
        )
    given: dict[str, Any] = {}
    for name in columns:
        target = ALIASES.get(name, name)
        if target not in known:
            from difflib import get_close_matches

            near = get_close_matches(str(name), list(known), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidInputError(
                f"scenarios have no column {name!r}; known are {', '.join(known)}.{hint}"
            )
        if target in given:
            raise InvalidInputError(f"column {target!r} is given twice, once as {name!r}.")
        given[target] = columns[name]
    return given


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))


def _common_length(given: Mapping[str, Any]) -> int:
    lengths = {name: len(value) for name, value in given.items() if _is_column(value)}
    sizes = {length for length in lengths.values() if length != 1}
    if len(sizes) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidInputError(f"columns have different lengths ({said}); make them equal.")
    if sizes:
        return sizes.pop()
    return 1


def _codes(value: Any, size: int) -> tuple[tuple[Any, ...], NDArray[np.intp]]:
    """Distinct values in order of appearance, and each scenario's index."""
    if not _is_column(value):
        return (_clean(value),), np.zeros(size, dtype=np.intp)
    items: Sequence[Any] = value.tolist() if hasattr(value, "tolist") else list(value)
    if set(map(type, items)) == {str}:
        known = {item: code for code, item in enumerate(dict.fromkeys(items))}
        index = np.fromiter(map(known.__getitem__, items), dtype=np.intp, count=len(items))
        return tuple(known), np.repeat(index, size) if len(items) == 1 else index
    seen: dict[Any, int] = {}
    kept: list[Any] = []
    codes = []
    for item in items:
        # Nouns hold mappings and cannot be hashed: they are told apart by identity.
        if type(item) is not str:
            item = _clean(item)
        key = item if type(item) is str else id(item)
        code = seen.get(key)
        if code is None:
            code = seen[key] = len(kept)
            kept.append(item)
        codes.append(code)
    index = np.array(codes * size if len(codes) == 1 else codes, dtype=np.intp)
    return tuple(kept), index


def _clean(value: Any) -> Any:
    """Missing values of tables (None, NaN, pandas' NA) mean: not given."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return "" if type(value).__name__ in ("NAType", "NaTType") else value


def _numbers(name: str, value: Any, default: float, size: int) -> NDArray[np.float64]:
    if value is None:
        return np.full(size, float(default))
    try:
        if _is_column(value) and hasattr(value, "to_numpy"):
            array = value.to_numpy(dtype=float, na_value=math.nan)
        else:
            array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name} is {value!r}; give a number.") from None
    if array.ndim > 1:
        raise InvalidInputError(f"column {name!r} has {array.ndim} dimensions; give one.")
    missing = np.isnan(array)
    if missing.any() and (array.ndim or name not in SIZE_COLUMNS):
        array = np.where(missing, float(default), array)
    return np.broadcast_to(array, (size,)).astype(float)


_OPTIONAL = ("batch", "concurrency", "cached_len", "max_batched_tokens")


def _check_sizes(numbers: Mapping[str, NDArray[np.float64]], problems: NDArray[np.object_]) -> None:
    """Note the first thing that is wrong with the sizes of each scenario."""

    def note(bad: NDArray[np.bool_], message: str, values: NDArray[np.float64]) -> None:
        for index in np.flatnonzero(bad):
            if not problems[index]:
                problems[index] = message.format(f"{values[index]:g}")

    for name, most in LIMITS.items():
        values = numbers[name]
        optional = name in COUNT_COLUMNS or name in _OPTIONAL
        with np.errstate(invalid="ignore"):
            wrong = ~np.isfinite(values) | (values != np.floor(values))
            note(wrong, f"{name} is {{}}; give a whole number.", values)
            least = 0 if name in ("cached_len", "max_batched_tokens") else 1
            note(values < (0 if optional else 1), f"{name} is {{}}; give at least {least}.", values)
            note(values > most, f"{name} is {{}}; at most {most} makes sense.", values)
    both = (numbers["batch"] > 0) & (numbers["concurrency"] > 0)
    note(both, "batch {} and a concurrency are both given; give one.", numbers["batch"])
    whole = numbers["cached_len"] >= numbers["input_len"]
    note(whole, "cached_len {} leaves nothing to prefill; give less.", numbers["cached_len"])
    limit = numbers["power_limit_w"]
    note(~(limit > 0), "power_limit_w is {}; give watts above 0.", limit)
    year = numbers["engine_year"]
    part = np.floor(year) < year
    note((year < 2000) | (year > 2100) | part, "engine_year is {}; give a year such as 2024.", year)
    held = numbers["held_steps"]
    wrong = ~((held >= 0) & (held < 1e6))
    note(wrong, "held_steps is {}; give the steps that a prompt waits; 0: the engine's.", held)
    spread = numbers["spread_frac"]
    wrong = ~((spread >= 0) & (spread <= 2))
    note(wrong, "spread_frac is {}; give 0 for equal lengths, at most 2.", spread)


def group_keys(scenarios: Scenarios, names: Sequence[str]) -> NDArray[np.int64]:
    """One integer per scenario, equal where all the named columns are equal."""
    key = np.zeros(scenarios.size, dtype=np.int64)
    for name in names:
        if name in scenarios.text:
            values, codes = scenarios.text[name]
            key = key * len(values) + codes
        else:
            column = scenarios.numbers[name]
            if column.size and ((column == column[0]).all() or np.isnan(column).all()):
                continue
            distinct, inverse = np.unique(column, return_inverse=True)
            key = key * len(distinct) + inverse
    return key
