# SPDX-License-Identifier: Apache-2.0
"""Many scenarios in one call: columns in, columns out.

Rows that ask for the same setup (model, layout, formats, engine) are found first; setups
of the same engine and layout then form a stack, and a stack is priced in chunks of rows,
whatever the models, devices and sizes. Large chunks are spread over threads: numpy
computes outside Python's lock. Results do not depend on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.correction import CaseShares, Correction
from roofline.devices import DeviceColumns
from roofline.phase_costs import Setup, Work
from roofline.pricing import CORRECTED, PRICED, price
from roofline.residual import Ask, Keys
from roofline.scenarios import Scenarios, group_keys, read_scenarios
from roofline.setups import (
    FormatNames,
    as_accelerator,
    as_engine,
    as_model,
    check_formats,
    layout_of,
    setup_of,
    with_chunk,
)
from roofline.stacks import SetupStack
from specs.accelerator import Accelerator
from specs.errors import InvalidInputError, RooflineError
from specs.model import Model

CHUNK = 4096
"""Cases priced at once: their arrays stay in the processor's cache."""

MIN_TASK = 1024
"""Mean number of cases per task from which threads gain."""

DEGREES = ("num_gpus", "tp", "pp", "ep", "dp")
_GROUPED = (
    "model", "engine", "weight_dtype", "kv_dtype", "act_dtype",
    "max_batched_tokens", "engine_year", *DEGREES,
)  # fmt: skip
_CHECKED = ("engine", "weight_dtype", "act_dtype", "gpu")

Rows = NDArray[np.intp]


def predict_table(
    scenarios: Mapping[str, Any],
    *,
    errors: str = "raise",
    correction: Correction | None = None,
) -> dict[str, Any]:
    """Price many scenarios in one call.

    Parameters
    ----------
    scenarios : mapping of str to scalar or sequence, or DataFrame
        Columns of `roofline.scenarios`; scalars apply to all rows. ``model``, ``gpu``
        and ``engine`` may hold names or the nouns themselves.
    errors : {"raise", "column"}
        Raise the first thing that is wrong, or leave that row empty (NaN) and say why
        in the column ``error``.
    correction : Correction, optional
        What was learned from measurements; None prices by the engines' profiles alone.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        The numbers of `Estimate`, flat, in SI units; ``bound_prefill`` and
        ``bound_decode`` index ``roofline.pricing.BOUNDS``, ``arithmetic`` indexes
        ``plan.ARITHMETIC``. With ``errors="column"`` also ``error``.

    Raises
    ------
    RooflineError
        With ``errors="raise"``, for the first row that cannot be priced.
    """
    if errors not in ("raise", "column"):
        raise InvalidInputError(f"errors is {errors!r}; give 'raise' or 'column'.")
    table = read_scenarios(scenarios)
    outcome = _Outcome(table.size, table.problems.copy(), raises=errors == "raise")
    devices, device_index = _nouns(table, "gpu", as_accelerator, outcome)
    models, model_index = _nouns(table, "model", as_model, outcome)
    stacks = _Stacks(table.size)
    for rows in _groups(table, devices, device_index):
        rows = rows[outcome.sound[rows]]
        if rows.size:
            device, model = devices[device_index[rows[0]]], models[model_index[rows[0]]]
            _find_setup(table, rows, model, device, stacks, outcome)
    _check_formats(table, devices, stacks, outcome)
    _price(table, devices, device_index, stacks, outcome, correction)
    return outcome.columns(errors == "column")


class _Outcome:
    """Collects columns; rows never priced stay NaN."""

    def __init__(self, size: int, problems: NDArray[np.object_], *, raises: bool) -> None:
        self.size, self.problems, self.raises = size, problems, raises
        self.sound = problems == ""
        self.values: dict[str, np.ndarray] = {}
        if raises and not self.sound.all():
            raise InvalidInputError(str(problems[~self.sound][0]))

    def fail(self, rows: Rows, error: RooflineError) -> None:
        """Note `error` for rows that carry none yet."""
        if self.raises:
            raise error
        for row in rows:
            self.problems[row] = self.problems[row] or str(error)
        self.sound[rows] = False

    def prepare(self, names: Sequence[str]) -> None:
        """Make columns; `columns` empties what is not priced."""
        for name in names:
            self.values[name] = np.empty(self.size, dtype=bool if name == "fits" else float)

    def put(self, rows: Rows, part: Mapping[str, np.ndarray]) -> None:
        """Write priced columns of some rows."""
        where: Rows | slice = rows
        if (np.diff(rows) == 1).all():
            where = slice(int(rows[0]), int(rows[-1]) + 1)
        for name, values in part.items():
            self.values[name][where] = values

    def columns(self, with_errors: bool) -> dict[str, Any]:
        """All columns, and ``error`` where asked for."""
        result: dict[str, Any] = dict(self.values)
        if not self.sound.all():
            for values in result.values():
                values[~self.sound] = False if values.dtype == bool else np.nan
        if with_errors:
            result["error"] = self.problems
        return result


class _Stacks:
    """Setups by what can be priced side by side; the setup of each row, -1 for none."""

    def __init__(self, size: int) -> None:
        self.setups: list[Setup] = []
        self.of_row = np.full(size, -1, dtype=np.intp)
        self.by_key: dict[int, list[int]] = {}
        self._codes: dict[int, int] = {}

    def add(self, rows: Rows, setup: Setup) -> None:
        """Note that `rows` ask for `setup`."""
        code = self._codes.setdefault(id(setup), len(self.setups))
        if code == len(self.setups):
            self.setups.append(setup)
            self.by_key.setdefault(setup.stack_key, []).append(code)
        self.of_row[rows] = code


def _nouns(
    table: Scenarios, column: str, read: Callable[[Any], Any], outcome: _Outcome
) -> tuple[list[Any], Rows]:
    """Distinct nouns of a column, None where a name resolves to nothing."""
    values, index = table.text[column]
    nouns: list[Any] = []
    for code, value in enumerate(values):
        try:
            nouns.append(read(value))
        except RooflineError as error:
            outcome.fail(np.flatnonzero(index == code), error)
            nouns.append(None)
    return nouns, index


def _groups(
    table: Scenarios, devices: list[Accelerator | None], device_index: Rows
) -> Iterator[Rows]:
    """Rows that ask for the same setup."""
    keys = group_keys(table, _GROUPED)
    # A default engine depends on the kind of device: keep kinds apart then.
    if "" in table.text["engine"][0]:
        kinds = sorted({device.kind for device in devices if device is not None})
        codes = [kinds.index(device.kind) if device else -1 for device in devices]
        keys = keys * (len(kinds) + 1) + np.array(codes, dtype=np.int64)[device_index]
    yield from _equal_rows(keys)


def _equal_rows(keys: NDArray[np.int64]) -> list[Rows]:
    """Split the row numbers by key; within a group they rise."""
    if not keys.size or (keys == keys[0]).all():
        return [np.arange(keys.size)] if keys.size else []
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def _find_setup(
    table: Scenarios,
    rows: Rows,
    model: Model | None,
    device: Accelerator | None,
    stacks: _Stacks,
    outcome: _Outcome,
) -> None:
    """Resolve and compile the setup of rows that share it."""
    assert device is not None  # rows of unknown names carry a problem already
    assert model is not None
    try:
        setup, _ = resolve(table, int(rows[0]), model, device)
        stacks.add(rows, setup)
    except RooflineError as error:
        outcome.fail(rows, error)


def resolve(
    table: Scenarios, row: int, model: Model, device: Accelerator
) -> tuple[Setup, FormatNames]:
    """Return the setup that a row asks for, and the names of its formats."""
    text = {name: values[index[row]] for name, (values, index) in table.text.items()}
    engine = as_engine(text["engine"], device, float(table.numbers["engine_year"][row]))
    if chunk := int(table.numbers["max_batched_tokens"][row]):
        engine = with_chunk(engine, chunk)
    degrees = {name: int(table.numbers[name][row]) for name in DEGREES}
    names = FormatNames(
        weight=text["weight_dtype"], kv=text["kv_dtype"], activation=text["act_dtype"]
    )
    return setup_of(model, layout_of(engine, **degrees), names, engine), names


def _check_formats(
    table: Scenarios, devices: list[Accelerator | None], stacks: _Stacks, outcome: _Outcome
) -> None:
    """Refuse rows whose device lacks the arithmetic that was asked for by name."""
    named = [name for name in ("weight_dtype", "act_dtype") if table.text[name][0] != ("",)]
    if not named:
        return
    for rows in _equal_rows(group_keys(table, _CHECKED)):
        rows = rows[stacks.of_row[rows] >= 0]
        if not rows.size:
            continue
        first = {name: values[index[rows[0]]] for name, (values, index) in table.text.items()}
        names = FormatNames(weight=first["weight_dtype"], kv="", activation=first["act_dtype"])
        device = devices[table.text["gpu"][1][rows[0]]]
        assert device is not None
        try:
            setup = stacks.setups[stacks.of_row[rows[0]]]
            check_formats(device, setup.engine, setup.formats, names)
        except RooflineError as error:
            outcome.fail(rows, error)
            stacks.of_row[rows] = -1


@dataclass(frozen=True, slots=True)
class _Task:
    """Rows of one stack that are priced at once, and the place of each row's setup in it."""

    stack: SetupStack
    rows: Rows
    places: Rows


def _tasks(stacks: _Stacks) -> Iterator[_Task]:
    """Chunks of every stack, rows of equal setups together."""
    stack_of = np.full(len(stacks.setups) + 1, -1, dtype=np.intp)  # -1 last: rows without
    places = np.zeros(len(stacks.setups), dtype=np.intp)
    members = list(stacks.by_key.values())
    for number, setups in enumerate(members):
        stack_of[setups] = number
        places[setups] = np.arange(len(setups))
    for rows in _equal_rows(stack_of[stacks.of_row]):
        codes = stacks.of_row[rows]
        if codes[0] < 0:
            continue
        used = members[int(stack_of[codes[0]])]
        stack = SetupStack.of([stacks.setups[code] for code in used])
        for start in range(0, rows.size, CHUNK):
            part = slice(start, start + CHUNK)
            yield _Task(stack, rows[part], places[codes[part]])


def _price(
    table: Scenarios,
    devices: list[Accelerator | None],
    device_index: Rows,
    stacks: _Stacks,
    outcome: _Outcome,
    correction: Correction | None,
) -> None:
    """Price all rows that have a setup."""
    outcome.prepare(PRICED if correction is None else (*PRICED, *CORRECTED))
    known = [device for device in devices if device is not None]
    columns, shares = DeviceColumns.of(known), CaseShares(correction, known)
    local = np.cumsum([device is not None for device in devices]) - 1
    tasks = list(_tasks(stacks))
    asker = _Asker(correction, known, table)

    def run(task: _Task) -> None:
        setup = task.stack.take(task.places)
        try:
            index = local[device_index[task.rows]]
            case = columns.take(index, setup.ranks, setup.tensor_ranks)
            case = shares.put(case, setup.engine, index)
            ask = asker.of(task.stack.setups, task.places, index, task.rows)
            outcome.put(task.rows, price(setup, _work(table, task.rows), case, ask))
        except RooflineError as error:
            outcome.fail(task.rows, error)

    workers = min(len(tasks), usable_cpus())
    # Small tasks spend their time in Python, where threads only wait for each other.
    if workers < 2 or table.size < MIN_TASK * len(tasks):
        for task in tasks:
            run(task)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, tasks))


class _Asker:
    """Puts the cases of a chunk to a correction."""

    def __init__(
        self, correction: Correction | None, accelerators: list[Accelerator], table: Scenarios
    ) -> None:
        self._correction, self._accelerators = correction, accelerators
        self._numbers = table.numbers

    def of(
        self, setups: Sequence[Setup], places: Rows, device_index: Rows, rows: Rows
    ) -> Ask | None:
        """Return the question for `rows`; None if nothing is corrected."""
        if self._correction is None:
            return None
        keys = Keys.of(
            setups,
            self._accelerators,
            setup_index=places,
            device_index=device_index,
            year=self._numbers["engine_year"][rows],
            serving=self._numbers["concurrency"][rows] > 0,
            rows=rows,
        )
        correction = self._correction
        return lambda numbers: correction.residual(keys, numbers)


def usable_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(table: Scenarios, rows: Rows) -> Work:
    """What these rows ask for."""
    numbers = table.numbers
    concurrency = numbers["concurrency"][rows]
    serving = concurrency > 0
    return Work(
        batch=np.where(serving, concurrency, np.maximum(numbers["batch"][rows], 1.0)),
        serving=serving,
        input_tokens=numbers["input_len"][rows],
        cached_tokens=numbers["cached_len"][rows],
        output_tokens=numbers["output_len"][rows],
        power_limit_w=numbers["power_limit_w"][rows],
        spread_frac=numbers["spread_frac"][rows],
        held_steps=numbers["held_steps"][rows],
    )
