# SPDX-License-Identifier: Apache-2.0
"""``--gpu measured``: the machine that ``roofline profile --kernels`` was last run on.

Its bandwidth and peaks are achieved ones, so that an engine's shares of a data sheet's
figures do not apply to them: they give way to the shares that the same kernels reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from specs.accelerator import Accelerator
from specs.engine import Engine

NAME = "measured"


def measured_scenario(model: str, engine: str, weight_dtype: str) -> tuple[Accelerator, Engine]:
    """Return the measured device, and the engine with shares and launches as measured.

    Raises
    ------
    InvalidInputError
        Nothing was measured yet.
    RooflineError
        An unknown model or engine.
    """
    from profiler.kernels_peaks import last_measured
    from profiler.store import default_store_path
    from roofline.setups import as_engine
    from specs.gpufile import load_gpu_file
    from specs.hub import get_model

    path, rates = last_measured(default_store_path())
    device = load_gpu_file(path)
    notes = (f"rates measured on this machine, {rates['measured_at']}", *device.notes[1:])
    dtype = weight_dtype or get_model(model).dtype
    return replace(device, notes=notes), as_measured(as_engine(engine, device), rates, dtype)


def as_measured(engine: Engine, rates: Mapping[str, Any], dtype: str) -> Engine:
    """Return `engine` with what was measured put for what it assumes.

    What was not measured in `dtype` is taken from another one's products; what was not
    measured at all stays as the engine has it.
    """

    def share(name: str, fallback: float, most: float = 1.0) -> float:
        by_dtype = rates.get(name) or {}
        found = by_dtype.get(dtype) or next(iter(by_dtype.values()), None)
        return fallback if found is None else min(1.0, found / most)

    launch_s = rates.get("launch_s") or engine.host_launch_s
    return replace(
        engine,
        memory_frac=share("gemv_bytes_per_s", engine.memory_frac, rates["mem_bytes_per_s"]),
        compute_frac=share("gemm_frac", engine.compute_frac),
        attention_frac=share("attention_frac", engine.attention_frac),
        host_launch_s=launch_s,
        # Where nothing is captured, a kernel of nothing costs its launch.
        kernel_floor_s=rates.get("floor_s") or min(launch_s, engine.kernel_floor_s),
    )
