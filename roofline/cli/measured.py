# SPDX-License-Identifier: Apache-2.0
"""``--gpu measured``: the machine that ``roofline profile --kernels`` was last run on.

Its bandwidth and peaks are achieved ones, so that an engine's shares of a data sheet's
figures do not apply to them: they give way to the shares that the same kernels reached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specs.accelerator import Accelerator
from specs.engine import Engine

if TYPE_CHECKING:
    import pandas as pd

    from specs.measurement import Measurement

NAME = "measured"


def measured_scenario(
    model: str, engine: str, weight_dtype: str, *, batch: float = 1, input_len: float = 0
) -> tuple[Accelerator, Engine]:
    """Return the measured device, and the engine with shares and launches as measured.

    Parameters
    ----------
    model, engine, weight_dtype : str
        As in `roofline.predict`.
    batch, input_len : float
        Sequences and their prompt tokens, on whose number it depends what share of a rate
        products reach; 0 where it is not known.

    Raises
    ------
    InvalidInputError
        Nothing was measured yet.
    RooflineError
        An unknown model or engine.
    """
    from specs.hub import get_model

    path, mtime_ns = _last()
    dtype = weight_dtype or get_model(model).dtype
    return _named(path, mtime_ns, dtype), _engine_for(
        engine, dtype, float(batch), float(batch * input_len), path, mtime_ns
    )


def measured_device() -> Accelerator:
    """Return the device that was measured last.

    Raises
    ------
    InvalidInputError
        Nothing was measured yet.
    """
    return _read(*_last())[0]


def _last() -> tuple[Path, int]:
    """File of the measured device and its date, by which it is kept."""
    from profiler.kernels_peaks import last_measured
    from profiler.store import default_store_path

    path, _ = last_measured(default_store_path())
    return path, path.stat().st_mtime_ns


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int) -> tuple[Accelerator, Mapping[str, Any]]:
    from specs.gpufile import load_gpu_file

    del mtime_ns  # a file measured again is another one
    device = load_gpu_file(path)
    rates = json.loads(path.with_suffix(".rates.json").read_text(encoding="utf-8"))
    notes = (f"rates measured on this machine, {rates['measured_at']}", *device.notes[1:])
    return replace(device, notes=notes), rates


@lru_cache(maxsize=64)
def _named(path: Path, mtime_ns: int, dtype: str) -> Accelerator:
    """The device under a name of its own per number format.

    Its rates are measured per format, and what is learned of one says little of another:
    libraries run bf16 by other kernels than fp32.
    """
    device, _ = _read(path, mtime_ns)
    return replace(device, name=f"{device.name}-{dtype}")


@lru_cache(maxsize=4096)
def _engine_for(
    name: str, dtype: str, batch: float, tokens: float, path: Path, mtime_ns: int
) -> Engine:
    """One noun per question: predictions keep what they compile by identity."""
    from roofline.setups import as_engine

    device, rates = _read(path, mtime_ns)
    return as_measured(
        as_engine(name, device),
        rates,
        dtype,
        batch=batch,
        tokens=tokens,
        is_host=device.kind == "cpu",
    )


def as_measured(
    engine: Engine,
    rates: Mapping[str, Any],
    dtype: str,
    *,
    batch: float = 1,
    tokens: float = 0,
    is_host: bool = False,
) -> Engine:
    """Return `engine` with what was measured put for what it assumes.

    What was not measured in `dtype` is taken from another one's products; what was not
    measured at all stays as the engine has it. Where products were measured at several
    numbers of rows, those of decode have `batch` rows, those of prefill `tokens`, and
    attention as many as one of `batch` prompts. `is_host`: the device is a processor, which
    takes time for passes over activations in its cache as well.
    """

    def share(name: str, fallback: float, most: float = 1.0) -> float:
        by_dtype = rates.get(name) or {}
        found = by_dtype.get(dtype) or next(iter(by_dtype.values()), None)
        return fallback if found is None else min(1.0, found / most)

    bandwidth = rates["mem_bytes_per_s"]
    memory = share("gemv_bytes_per_s", engine.memory_frac, bandwidth)
    compute = share("gemm_frac", engine.compute_frac)
    attention = share("attention_frac", engine.attention_frac)
    products = (rates.get("products") or {}).get(dtype)
    lengths = (rates.get("attention") or {}).get(dtype)
    if products and batch > 1:
        memory = min(1.0, _at_rows(products, batch, 1) / bandwidth)
    if products and tokens > 0:
        compute = min(1.0, _at_rows(products, tokens, 2) / rates["peak_flops_per_s"][dtype])
    if lengths and tokens > 0:
        reached = _at_rows(lengths, tokens / batch, 1) / rates["peak_flops_per_s"][dtype]
        attention = min(1.0, reached)
    passes = (rates.get("pass_bytes_per_s") or {}).get(dtype, 0.0) if is_host else 0.0
    launch_s = rates.get("launch_s") or engine.host_launch_s
    changed = replace(
        engine,
        memory_frac=memory,
        compute_frac=compute,
        attention_frac=attention,
        pass_frac=0.0 if engine.overlaps else passes / bandwidth,
        # What products reach at these rows has their tiles in it.
        tile_weight_frac=0.0 if products else engine.tile_weight_frac,
        # What else an engine's dispatch costs is not measured by a launch alone.
        host_launch_s=max(launch_s, engine.host_launch_s),
        # Where nothing is captured, a kernel of nothing costs its launch.
        kernel_floor_s=rates.get("floor_s") or min(launch_s, engine.kernel_floor_s),
    )
    return _with_host(changed, rates, dtype)


LAYER_LAUNCHES = 15
"""Launches that are counted of a Llama layer, which is what the host's steps are measured
with: seven products, two norms and two additions, rotary, cache, attention, activation."""


def _with_host(engine: Engine, rates: Mapping[str, Any], dtype: str) -> Engine:
    """Return `engine` with the host's time as steps of it were measured, if they were."""
    found = (rates.get("host_s") or {}).get(engine.name, {}).get(dtype)
    if found is None:
        return engine
    layer_s, step_s = found
    launch_s = rates.get("launch_s") or engine.host_launch_s
    beside_s = max(0.0, layer_s - LAYER_LAUNCHES * launch_s)
    return replace(engine, host_launch_s=launch_s, host_layer_s=beside_s, host_step_s=step_s)


def _at_rows(products: Any, rows: float, column: int) -> float:
    """A rate at a number of rows, between those measured on logarithmic scales."""
    import numpy as np

    known = np.log([[float(each[0]), float(each[column])] for each in products]).T
    return float(np.exp(np.interp(np.log(rows), known[0], known[1])))


def with_measured(scenarios: pd.DataFrame) -> pd.DataFrame:
    """Return scenarios with the nouns of the measured device in place of its name.

    Raises
    ------
    InvalidInputError
        Some are of a measured device, and none is known here.
    """
    if not scenarios["gpu"].str.startswith(f"{NAME}-").any():
        return scenarios
    name = measured_device().name
    devices: list[Any] = []
    engines: list[Any] = []
    for row in scenarios.to_dict("records"):
        device, engine = row["gpu"], row["engine"]
        if device == name:
            batch = max(row["batch"], row["concurrency"], 1.0)
            device, engine = measured_scenario(
                row["model"], engine, row["weight_dtype"], batch=batch, input_len=row["input_len"]
            )
        devices.append(device)
        engines.append(engine)
    return scenarios.assign(gpu=devices, engine=engines)


def named_measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return measurements with the measured device's name where rows are of it and name none.

    Without a measured device they stay as they are, and are refused where they are priced.
    """
    from specs.errors import InvalidInputError

    try:
        device = measured_device()
    except InvalidInputError:
        return rows
    title = device.title.removesuffix(", measured")
    empty = rows.index.to_series().map(lambda _: "")
    slug, said, host, method = (
        rows.get(name, empty).astype(object).fillna("")
        for name in ("gpu", "gpu_raw", "host_cpu", "method")
    )
    # The host of an accelerator is not what was measured, nor are other numbers of threads.
    mine = slug.eq("") & said.where(said.ne(""), host).eq(title)
    threads = method.str.extract(r"-t(\d+)$", expand=False)
    mine &= threads.isna() | threads.eq(str(device.unit_count))
    return rows.assign(gpu=slug.where(~mine, device.name))


def known_in(store: Path) -> Callable[[Measurement], Accelerator | None] | None:
    """Return what finds the device that was measured into `store` for a row that is of it.

    As `named_measured` does in tables; None where no device was measured.
    """
    from profiler.kernels_peaks import last_measured
    from specs.errors import InvalidInputError

    try:
        path, _ = last_measured(store)
    except InvalidInputError:
        return None
    device, _ = _read(path, path.stat().st_mtime_ns)
    title = device.title.removesuffix(", measured")

    def known(row: Measurement) -> Accelerator | None:
        threads = re.search(r"-t(\d+)$", row.method)
        is_same = threads is None or int(threads[1]) == device.unit_count
        return device if is_same and (row.gpu_raw or row.host_cpu) == title else None

    return known


def unnamed(rows: pd.DataFrame) -> tuple[int, str]:
    """Return how many rows name no device after `named_measured`, and what to do about it."""
    if "gpu" not in rows:
        return 0, ""
    mine = rows[rows["gpu"].astype(object).fillna("").eq("")]
    if mine.empty:
        return 0, ""
    titles = {
        str(row.get("gpu_raw") or row.get("host_cpu") or "")
        for row in mine.astype(object).where(mine.notna(), None).to_dict("records")
    }
    named = sorted(titles - {""})
    count = f"{len(mine):,} of {len(rows):,} rows"
    if not named:
        return len(mine), f"{count} name no accelerator; fill the column gpu (roofline specs gpus)."
    return len(mine), (
        f"{count} are of {named[0]!r:.80}, which is in no catalogue and has no measured peaks in "
        f"this store; run roofline profile --kernels on it (same --threads), then repeat this."
    )
