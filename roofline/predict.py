# SPDX-License-Identifier: Apache-2.0
"""The one composition: names to times, memory, power and energy, for one case or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.caveats import caveats_of
from roofline.devices import DeviceColumns
from roofline.estimate import Basis, Bound, Estimate, Floor, Memory, Power
from roofline.physics.plan import ARITHMETIC
from roofline.pricing import BOUNDS, PRICED, Setup, Work, price
from roofline.scenarios import Scenarios, group_keys, read_scenarios
from roofline.setups import (
    FormatNames,
    as_accelerator,
    as_engine,
    as_model,
    check_formats,
    layout_of,
    setup_of,
    weight_name,
)
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.errors import InvalidInputError, RooflineError
from specs.model import Model

CHUNK = 2048
"""Cases priced at once: their operator tables stay in the processor's cache."""

_GROUPED = ("model", "engine", "weight_dtype", "kv_dtype", "act_dtype")
_DEGREES = ("num_gpus", "tp", "pp", "ep", "dp")


def predict_table(scenarios: Mapping[str, Any], *, errors: str = "raise") -> dict[str, Any]:
    """Price many scenarios in one call.

    Parameters
    ----------
    scenarios : mapping of str to scalar or sequence, or DataFrame
        Columns of `roofline.scenarios`; scalars apply to all rows. ``model``, ``gpu``
        and ``engine`` may hold names or the nouns themselves.
    errors : {"raise", "column"}
        Raise the first thing that is wrong, or leave that row empty (NaN) and say why
        in the column ``error``.

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
    models, _ = _nouns(table, "model", as_model, outcome)
    keys = group_keys(table, (*_GROUPED, *_DEGREES))
    # A default engine depends on the kind of device: keep kinds apart then.
    if "" in table.text["engine"][0]:
        keys = keys * (len(devices) + 1) + device_index
    if table.size and (keys == keys[0]).all():
        groups = [np.arange(table.size)]
    else:
        order = np.argsort(keys, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
    for rows in groups:
        if rows.size:
            _price_group(table, rows, models, devices, device_index, outcome)
    return outcome.columns(errors == "column")


class _Outcome:
    """Collects columns; rows never priced stay NaN."""

    def __init__(self, size: int, problems: NDArray[np.object_], *, raises: bool) -> None:
        self.size, self.problems, self.raises = size, problems, raises
        self.values: dict[str, np.ndarray] = {}
        if raises:
            for message in problems[problems != ""][:1]:
                raise InvalidInputError(str(message))

    def fail(self, rows: NDArray[np.intp], error: RooflineError) -> None:
        """Note `error` for rows that carry none yet."""
        if self.raises:
            raise error
        for row in rows:
            self.problems[row] = self.problems[row] or str(error)

    def put(self, rows: NDArray[np.intp], part: Mapping[str, np.ndarray]) -> None:
        """Write priced columns of some rows."""
        for name, values in part.items():
            if name not in self.values:
                empty: Any = False if values.dtype == bool else np.nan
                kind = values.dtype if values.dtype == bool else float
                self.values[name] = np.full(self.size, empty, dtype=kind)
            self.values[name][rows] = values

    def columns(self, with_errors: bool) -> dict[str, Any]:
        """All columns, and ``error`` where asked for; empty ones where nothing was priced."""
        result: dict[str, Any] = dict(self.values)
        for name in PRICED if not result else ():
            dtype = bool if name == "fits" else float
            result[name] = np.full(self.size, False if name == "fits" else np.nan, dtype=dtype)
        if with_errors:
            result["error"] = self.problems
        return result


def _nouns(
    table: Scenarios, column: str, read: Callable[[Any], Any], outcome: _Outcome
) -> tuple[list[Any], NDArray[np.intp]]:
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


def _price_group(
    table: Scenarios,
    rows: NDArray[np.intp],
    models: list[Model | None],
    devices: list[Accelerator | None],
    device_index: NDArray[np.intp],
    outcome: _Outcome,
) -> None:
    """Price rows that share everything but device and sizes."""
    if not outcome.raises:
        rows = rows[outcome.problems[rows] == ""]
        if not rows.size:
            return
    used = np.unique(device_index[rows])
    first = devices[used[0]]
    model = models[table.text["model"][1][rows[0]]]
    assert first is not None  # rows of unknown names carry a problem already
    assert model is not None
    try:
        setup, names = _resolve(table, int(rows[0]), model, first)
    except RooflineError as error:
        outcome.fail(rows, error)
        return
    rows = _able(rows, used, devices, device_index, setup, names, outcome)
    if not rows.size:
        return
    local = np.searchsorted(used, device_index[rows])
    columns = DeviceColumns.of([device or first for device in (devices[u] for u in used)])
    work = _work(table, rows)
    for start in range(0, rows.size, CHUNK):
        part = slice(start, start + CHUNK)
        case = columns.take(local[part], setup.ranks)
        outcome.put(rows[part], price(setup, _slice(work, part), case))


def _resolve(
    table: Scenarios, row: int, model: Model, device: Accelerator
) -> tuple[Setup, FormatNames]:
    """Setup of one group, from its first row."""
    text = {name: values[index[row]] for name, (values, index) in table.text.items()}
    engine = as_engine(text["engine"], device)
    degrees = {name: int(table.numbers[name][row]) for name in _DEGREES}
    names = FormatNames(
        weight=text["weight_dtype"], kv=text["kv_dtype"], activation=text["act_dtype"]
    )
    return setup_of(model, layout_of(engine, **degrees), names, engine), names


def _able(
    rows: NDArray[np.intp],
    used: NDArray[np.intp],
    devices: list[Accelerator | None],
    device_index: NDArray[np.intp],
    setup: Setup,
    names: FormatNames,
    outcome: _Outcome,
) -> NDArray[np.intp]:
    """Rows whose device has the arithmetic that was asked for by name."""
    for code in used:
        device = devices[code]
        assert device is not None
        try:
            check_formats(device, setup.engine, names)
        except RooflineError as error:
            mine = device_index[rows] == code
            outcome.fail(rows[mine], error)
            rows = rows[~mine]
    return rows


def _work(table: Scenarios, rows: NDArray[np.intp]) -> Work:
    numbers = {name: values[rows] for name, values in table.numbers.items()}
    serving = numbers["concurrency"] > 0
    batch = np.where(serving, numbers["concurrency"], np.maximum(numbers["batch"], 1.0))
    return Work(
        batch=batch,
        serving=serving,
        input_tokens=numbers["input_len"],
        cached_tokens=numbers["cached_len"],
        output_tokens=numbers["output_len"],
        power_limit_w=numbers["power_limit_w"],
    )


def _slice(work: Work, part: slice) -> Work:
    return Work(
        batch=work.batch[part],
        serving=work.serving[part],
        input_tokens=work.input_tokens[part],
        cached_tokens=work.cached_tokens[part],
        output_tokens=work.output_tokens[part],
        power_limit_w=work.power_limit_w[part],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One scalar scenario, resolved."""

    setup: Setup
    names: FormatNames
    device: Accelerator
    serving: bool
    batch: int
    input_len: int
    output_len: int
    power_limit_w: float


def predict(
    model: str | Model,
    gpu: str | Accelerator,
    *,
    num_gpus: int | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    engine: str | Engine = "",
    weight_dtype: str = "",
    kv_dtype: str = "",
    act_dtype: str = "",
    batch: int | None = None,
    concurrency: int | None = None,
    input_len: int = 512,
    output_len: int = 128,
    cached_len: int = 0,
    power_limit_w: float | None = None,
) -> Estimate:
    """Predict time, memory, power and energy of one scenario.

    Parameters
    ----------
    model, gpu, engine : str or noun
        Names as people write them, or a `Model`, `Accelerator`, `Engine`.
    num_gpus, tp, pp, ep, dp : int, optional
        GPUs in all, and degrees of parallelism; what is left out is filled in.
    weight_dtype, kv_dtype, act_dtype : str
        Formats; empty for those of the checkpoint.
    batch, concurrency : int, optional
        A static batch, or requests in flight under continuous batching; not both.
    input_len, output_len, cached_len : int
        Tokens per request; `cached_len` of the input are a prefix cached already.
    power_limit_w : float, optional
        Power limit per GPU below its default.

    Raises
    ------
    RooflineError
        A name, size or format that cannot be; the message says what to do.

    Examples
    --------
    >>> import roofline
    >>> e = roofline.predict("gpt2", "L4", batch=1, input_len=128, output_len=32)
    >>> e.floor.tpot_s < e.tpot_s
    True
    """
    for name, value in (("batch", batch), ("concurrency", concurrency), *_given(locals())):
        if value is not None and not _is_count(value):
            raise InvalidInputError(f"{name} is {value!r}; give a whole number of at least 1.")
    device = as_accelerator(gpu)
    chosen = as_model(model)
    columns = {
        "model": [chosen],
        "gpu": [device],
        "engine": [as_engine(engine, device)],
        "weight_dtype": weight_dtype,
        "kv_dtype": kv_dtype,
        "act_dtype": act_dtype,
        "input_len": input_len,
        "output_len": output_len,
        "cached_len": cached_len,
        "batch": batch or 0,
        "concurrency": concurrency or 0,
        "power_limit_w": math.inf if power_limit_w is None else power_limit_w,
        **{name: value for name, value in _given(locals()) if value is not None},
    }
    table = predict_table(columns)
    setup, names = _resolve(read_scenarios(columns), 0, chosen, device)
    case = _Case(
        setup=setup,
        names=names,
        device=device,
        serving=bool(concurrency),
        batch=int(concurrency or batch or 1),
        input_len=int(input_len),
        output_len=int(output_len),
        power_limit_w=device.tdp_w if power_limit_w is None else float(power_limit_w),
    )
    return _estimate(case, {name: values[0].item() for name, values in table.items()})


def _given(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, values[name]) for name in _DEGREES]


def _is_count(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(math.isfinite(value) and value >= 1 and value == int(value))


def _whole(value: float) -> int:
    """A count that may be unlimited, as an integer JSON can hold."""
    return int(min(value, 2.0**53))


def _estimate(case: _Case, row: Mapping[str, Any]) -> Estimate:
    setup, layout, formats = case.setup, case.setup.layout, case.setup.formats
    per_output = row["energy_per_output_token_j"]
    return Estimate(
        model=setup.model.name,
        gpu=case.device.name,
        num_gpus=layout.tp * layout.pp * layout.dp,
        tp=layout.tp,
        pp=layout.pp,
        ep=layout.ep,
        dp=layout.dp,
        engine=setup.engine.name,
        mode="serving" if case.serving else "static",
        weight_dtype=weight_name(formats, case.names.weight),
        kv_dtype=formats.kv,
        act_dtype=formats.activation or formats.plain,
        batch=case.batch,
        running_batch=row["running_batch"],
        input_len=case.input_len,
        output_len=case.output_len,
        **{name: row[name] for name in _DIRECT},
        floor=Floor(
            ttft_s=row["floor_ttft_s"], tpot_s=row["floor_tpot_s"], e2e_s=row["floor_e2e_s"]
        ),
        power_w=Power(
            prefill=row["power_prefill_w"],
            decode=row["power_decode_w"],
            mean=row["power_mean_w"],
        ),
        power_limit_w=case.power_limit_w,
        energy_per_output_token_j=per_output,
        energy_per_total_token_j=row["energy_per_total_token_j"],
        wh_per_million_output_tokens=per_output * 1e6 / 3600.0,
        memory=_memory(row),
        bound=Bound(
            prefill=BOUNDS[int(row["bound_prefill"])], decode=BOUNDS[int(row["bound_decode"])]
        ),
        basis=_basis(case, row),
        warnings=caveats_of(
            setup,
            case.device,
            case.names,
            row,
            tokens=case.input_len + case.output_len * setup.generates,
            power_limit_w=case.power_limit_w,
        ),
        check_command=_check_command(case),
    )


_DIRECT = (
    "ttft_s",
    "tpot_s",
    "e2e_s",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "output_tok_per_s",
    "total_tok_per_s",
    "mfu",
    "mbu",
)


def _memory(row: Mapping[str, Any]) -> Memory:
    names = ("weights", "kv", "activation", "runtime", "total", "capacity")
    return Memory(
        **{f"{name}_bytes": row[f"{name}_bytes"] for name in names},
        fits=bool(row["fits"]),
        max_batch=_whole(row["max_batch"]),
        kv_capacity_tokens=_whole(row["kv_capacity_tokens"]),
    )


def _basis(case: _Case, row: Mapping[str, Any]) -> Basis:
    return Basis(
        peak_flops_per_s=row["peak_flops_per_s"],
        arithmetic=ARITHMETIC[int(row["arithmetic"])],
        mem_bytes_per_s=row["mem_bytes_per_s"],
        sources=dict(case.device.sources),
        engine_profile=f"{case.setup.engine.name} ({case.setup.engine.source})",
        model_source=case.setup.model.source,
        params=float(case.setup.model.params),
        active_params=float(case.setup.model.active_params),
        correction="none",
    )


def _check_command(case: _Case) -> str:
    """The engine's own benchmark with this scenario filled in."""
    engine, layout = case.setup.engine, case.setup.layout
    template = engine.serving_check_command if case.serving else engine.check_command
    return template.format(
        model=case.setup.model.name,
        tp=layout.tp,
        pp=layout.pp,
        batch=case.batch,
        input_len=case.input_len,
        output_len=case.output_len,
        context=case.batch * (case.input_len + case.output_len),
        prompts=10 * case.batch,
    )
