# SPDX-License-Identifier: Apache-2.0
"""What a run measures: a list of points, each known before anything has been built.

A `Point` is what is asked, in the columns of a measurement. Its ``point_id`` follows from
those and the device alone, so that a run that was cut off can be taken up: points whose
id is in the store are done. Points that share a model stand together and the cheap ones
come first, so that a run that ends early has covered most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from profiler.kernels import ELEMENT_BYTES, collective_grid, default_dtypes, kernel_grid
from profiler.models import DTYPES, describe
from profiler.models_steps import CAPTURES
from profiler.run_target import Target
from profiler.tabular import tabular_grid
from specs.errors import InvalidInputError
from specs.measurement import point_id_of

MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point to measure.

    Parameters
    ----------
    columns : mapping
        What is asked, in columns of a measurement, device and engine included.
    title : str
        Short name for progress and tables.
    name : str
        For a model: the name or path that it is built from.
    """

    columns: Mapping[str, Any]
    title: str
    name: str = ""

    @property
    def kind(self) -> str:
        """``"llm"``, ``"kernel"`` or ``"tabular"``."""
        return str(self.columns["kind"])

    @property
    def point_id(self) -> str:
        """Hash of what is asked."""
        return point_id_of(self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What the command line asks for; every combination is one point.

    Empty `dtypes` are chosen by device: for models bf16, or fp32 on a processor; for
    kernels every precision that it has.
    """

    models: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    input_lens: tuple[int, ...] = (512,)
    output_lens: tuple[int, ...] = (128,)
    dtypes: tuple[str, ...] = ()
    captures: tuple[str, ...] = ("eager",)
    weights: bool = False
    kernels: bool = False
    tabular: bool = False


def plan(grid: Grid, target: Target, device: Mapping[str, Any]) -> list[Point]:
    """Return all points of `grid` on `target`.

    Parameters
    ----------
    device : mapping
        Columns of a measurement that name the device.

    Raises
    ------
    InvalidInputError
        Nothing is asked for, or something that cannot be on this device.
    RooflineError
        A model that is not known, or is no decoder.
    """
    if not (grid.models or grid.kernels or grid.tabular):
        raise InvalidInputError("nothing to measure; give --model NAME, --kernels or --tabular.")
    _check(grid, target)
    points = []
    if grid.kernels:
        points += _kernel_points(grid, target, device)
    points += _model_points(grid, target, device)
    if grid.tabular:
        points += _tabular_points(target, device)
    unique = {point.point_id: point for point in points}
    return list(unique.values())


def _check(grid: Grid, target: Target) -> None:
    for capture in grid.captures:
        if capture not in CAPTURES:
            raise InvalidInputError(
                f"no capture {capture!r}; give one or more of {', '.join(CAPTURES)}."
            )
        if capture == "graph" and grid.models and not target.events:
            raise InvalidInputError(
                f"capture graph needs a CUDA or ROCm device and this is {target.kind}; give "
                f"--capture eager or compiled."
            )
    for dtype in grid.dtypes if grid.models else ():
        if dtype not in DTYPES:
            raise InvalidInputError(
                f"models do not run in {dtype!r} here; give one or more of {', '.join(DTYPES)}."
            )
    known = [d for d in ELEMENT_BYTES if target.events or d not in ("tf32", "fp8")]
    for dtype in grid.dtypes if grid.kernels else ():
        if dtype not in known:
            raise InvalidInputError(
                f"kernels do not run in {dtype!r} on this device; give one or more of "
                f"{', '.join(known)}."
            )
    sizes = (grid.batches, grid.input_lens, grid.output_lens)
    for numbers in sizes:
        if any(number < 1 for number in numbers):
            raise InvalidInputError(
                f"{min(numbers)} is no size; batches and lengths are at least 1."
            )
    count = math.prod(map(len, (*sizes, grid.models, grid.captures, grid.dtypes or "1")))
    if count > MOST_POINTS:
        raise InvalidInputError(
            f"{count} points were asked for; {MOST_POINTS} are the most. Take fewer values."
        )


def _model_points(grid: Grid, target: Target, device: Mapping[str, Any]) -> list[Point]:
    points = []
    dtypes = grid.dtypes or (("fp32",) if target.kind == "cpu" else ("bf16",))
    lengths = sorted(product(grid.input_lens, grid.batches, grid.output_lens))
    for name in grid.models:
        model = model_key(name)
        for dtype, capture, (input_len, batch, output_len) in product(
            dtypes, grid.captures, lengths
        ):
            columns = {
                **device,
                "kind": "llm",
                "engine": "transformers",
                "capture": capture,
                "method": method_of("forward-weights" if grid.weights else "forward", target),
                "model": model,
                "weight_dtype": dtype,
                "kv_dtype": dtype,
                "mode": "static",
                "batch_size": batch,
                "input_tokens": input_len,
                "output_tokens": output_len,
            }
            title = f"{model} {dtype} {capture} batch {batch}, {input_len} in, {output_len} out"
            points.append(Point(columns=columns, title=title, name=name))
    return points


def model_key(name: str) -> str:
    """Name of a model in the store: its repository, or where its folder really is.

    Raises
    ------
    RooflineError
        As `profiler.models.describe`.
    """
    described = describe(name)
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else described.name


def _kernel_points(grid: Grid, target: Target, device: Mapping[str, Any]) -> list[Point]:
    dtypes = grid.dtypes or default_dtypes(target)
    kernels = kernel_grid(target, dtypes)
    if len(target.devices) > 1:
        kernels += collective_grid()
    method = method_of("kernel-cold", target)
    every = {**device, "tp": None, "pp": None}
    one = {**every, "num_gpus": 1}
    return [
        Point(
            columns={
                **(every if kernel.op == "all_reduce" else one),
                "kind": "kernel",
                "engine": "transformers" if kernel.op == "step" else "torch",
                "method": method,
                **kernel.columns,
            },
            title=kernel.title,
        )
        for kernel in kernels
    ]


def _tabular_points(target: Target, device: Mapping[str, Any]) -> list[Point]:
    if target.kind != "cpu":
        raise InvalidInputError(
            f"tabular models are measured on the processor and this is {target.kind}; run them "
            f"apart, with --device cpu --tabular."
        )
    return [
        Point(
            columns={
                **device,
                "kind": "tabular",
                "engine": case.engine,
                "method": method_of("predict", target),
                **case.columns,
            },
            title=case.title,
        )
        for case in tabular_grid()
    ]


def method_of(what: str, target: Target) -> str:
    """Short key of how `what` is timed here; on a processor with its number of threads.

    ``forward``: one prefill and one decode step at the mean context, timed apart, with
    random weights; ``forward-weights`` with those of the checkpoint.
    ``kernel-cold``: large operands out of cache. ``predict``: one call of the estimator.
    """
    return f"{what}-t{target.threads}" if target.kind == "cpu" else what
