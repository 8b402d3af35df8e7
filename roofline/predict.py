# SPDX-License-Identifier: Apache-2.0
"""The one composition: names to times, memory, power and energy, for one case.

Many cases, and the pricing of this one: `roofline.table`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.caveats import caveats_of
from roofline.correction import Correction
from roofline.devices import runs_as
from roofline.estimate import Basis, Bound, Estimate, Floor, Interval, Memory, Power
from roofline.phase_costs import Setup
from roofline.physics.plan import ARITHMETIC
from roofline.pricing import BOUNDS
from roofline.residual import QUANTITIES, STANDINGS
from roofline.scenarios import read_scenarios
from roofline.setups import FormatNames, as_accelerator, as_model, weight_name
from roofline.table import CHUNK, DEGREES, predict_table, resolve
from specs.accelerator import Accelerator
from specs.engine import Engine, get_engine
from specs.errors import InvalidInputError
from specs.model import Model
from specs.precision import get_precision

__all__ = ["CHUNK", "predict", "predict_table"]


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
    cached_len: int
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
    engine_year: int | None = None,
    max_batched_tokens: int | None = None,
    held_steps: float = 0.0,
    correction: Correction | None = None,
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
        A static batch, or requests in flight under continuous batching; not both. A
        concurrency asks what the engine's own benchmark reports at it: means over ten
        equal prompts per request in flight, the first of each sent at once, so TTFT
        holds that burst and all queueing, and TPOT the prefills of others.
    input_len, output_len, cached_len : int
        Tokens per request; `cached_len` of the input are a prefix cached already.
    power_limit_w : float, optional
        Power limit per GPU below its default.
    engine_year : int, optional
        Year of the engine's version, today's by default: older releases do some things otherwise.
    max_batched_tokens : int, optional
        Tokens that a pass may carry; the engine's default if left out.
    held_steps : float
        Decode steps that the engine lets a prompt wait before it takes it in; 0 for as many
        as it does by itself.
    correction : Correction, optional
        What was learned from measurements; None prices by the engine's profile alone.

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
    counts = {"batch": batch, "concurrency": concurrency, "max_batched_tokens": max_batched_tokens}
    for name, value in (*counts.items(), *_given(locals())):
        if value is not None and not _is_count(value):
            raise InvalidInputError(f"{name} is {value!r}; give a whole number of at least 1.")
    for name, value in (("input_len", input_len), ("output_len", output_len)):
        if not _is_count(value):
            raise InvalidInputError(f"{name} is {value!r}; give a whole number of at least 1.")
    dtypes = {"weight_dtype": weight_dtype, "kv_dtype": kv_dtype, "act_dtype": act_dtype}
    for name, value in dtypes.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"{name} is {value!r}; give the name of a format.")
    if power_limit_w is not None and not power_limit_w > 0:
        raise InvalidInputError(f"power_limit_w is {power_limit_w!r}; give watts above 0.")
    device = as_accelerator(gpu)
    chosen = as_model(model)
    columns = {
        "model": [chosen],
        "gpu": [device],
        "engine": [engine],
        "weight_dtype": weight_dtype,
        "kv_dtype": kv_dtype,
        "act_dtype": act_dtype,
        "input_len": input_len,
        "output_len": output_len,
        "cached_len": cached_len,
        "batch": batch or 0,
        "concurrency": concurrency or 0,
        "power_limit_w": math.inf if power_limit_w is None else power_limit_w,
        "engine_year": math.nan if engine_year is None else engine_year,
        "max_batched_tokens": max_batched_tokens or 0,
        "held_steps": held_steps,
        **{name: value for name, value in _given(locals()) if value is not None},
    }
    table = predict_table(columns, correction=correction)
    setup, names = resolve(read_scenarios(columns), 0, chosen, device)
    case = _Case(
        setup=setup,
        names=names,
        device=device,
        serving=bool(concurrency),
        batch=int(concurrency or batch or 1),
        input_len=int(input_len),
        output_len=int(output_len),
        cached_len=int(cached_len),
        power_limit_w=device.tdp_w if power_limit_w is None else float(power_limit_w),
    )
    basis = "none" if correction is None else correction.basis(device, setup.engine)
    return _estimate(case, {name: values[0].item() for name, values in table.items()}, basis)


def _given(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, values[name]) for name in DEGREES]


def _is_count(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(math.isfinite(value) and value >= 1 and value == int(value))


def _whole(value: float) -> int:
    """A count that may be unlimited, as an integer JSON can hold."""
    return int(min(value, 2.0**53))


def _estimate(case: _Case, row: Mapping[str, Any], correction: str) -> Estimate:
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
        cached_len=case.cached_len,
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
        basis=_basis(case, row, correction),
        warnings=caveats_of(
            setup,
            case.device,
            case.names,
            row,
            tokens=case.input_len + case.output_len * setup.generates,
            requests=case.batch,
            power_limit_w=case.power_limit_w,
        ),
        check_command=_check_command(case),
        interval=_interval(row),
    )


INTERVAL_LEVEL = 0.90
"""Share of measurements that intervals are made to hold."""


def _interval(row: Mapping[str, Any]) -> Interval | None:
    """What a correction said beside the numbers; None where there was none."""
    if row.get("standing", -1) < 0:
        return None
    low, high, analytic = (
        {name: row[f"{end}_{name}"] for name in QUANTITIES} for end in ("low", "high", "analytic")
    )
    return Interval(
        level=INTERVAL_LEVEL,
        standing=STANDINGS[int(row["standing"])],
        low=low,
        high=high,
        analytic=analytic,
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


def _basis(case: _Case, row: Mapping[str, Any], correction: str) -> Basis:
    return Basis(
        peak_flops_per_s=row["peak_flops_per_s"],
        arithmetic=runs_as(case.device, ARITHMETIC[int(row["arithmetic"])]),
        mem_bytes_per_s=row["mem_bytes_per_s"],
        sources=dict(case.device.sources),
        engine_profile=_profile_name(case.setup.engine),
        model_source=case.setup.model.source,
        params=float(case.setup.model.params),
        active_params=float(case.setup.model.active_params),
        correction=correction,
    )


def _profile_name(engine: Engine) -> str:
    release = f" until {engine.until_year}" if engine.until_year else ""
    return f"{engine.name}{release} ({engine.source})"


def _check_command(case: _Case) -> str:
    """The engine's own benchmark with this scenario filled in."""
    engine, layout = case.setup.engine, case.setup.layout
    template = engine.serving_check_command if case.serving else engine.check_command
    if not case.setup.generates:
        template = engine.embedding_check_command
    name = case.setup.model.name.removesuffix("/config.json")
    command = template.format(
        model=shlex.quote(name),
        file=shlex.quote(f"{name.rpartition('/')[2]}-{case.names.weight or 'f16'}"),
        tp=layout.tp,
        pp=layout.pp,
        batch=case.batch,
        input_len=case.input_len,
        output_len=case.output_len,
        context=case.batch * (case.input_len + case.output_len),
        prompts=10 * case.batch,
    )
    # Where a server is started first, formats are its business and not the client's.
    server, beside, client = command.partition(" & ")
    return server + _server_flags(case) + beside + client if command else ""


def _server_flags(case: _Case) -> str:
    """Flags of vLLM and SGLang for formats, stages and passes that were asked for."""
    if case.setup.engine.name not in ("vllm", "sglang"):
        return ""
    flags = ""
    if case.names.weight and not get_precision(case.names.weight).plain:
        flags += f" --quantization {get_precision(case.names.weight).family}"
    elif case.names.weight:
        flags += f" --dtype {_TORCH_NAMES[get_precision(case.names.weight).name]}"
    if case.names.kv and case.setup.formats.kv.startswith("fp8"):
        flags += " --kv-cache-dtype " + ("fp8" if case.setup.engine.name == "vllm" else "fp8_e4m3")
    if case.setup.layout.pp > 1:
        flags += f" --pipeline-parallel-size {case.setup.layout.pp}"
    chunk, name = case.setup.engine.prefill_chunk_tokens, case.setup.engine.name
    if chunk != get_engine(name, case.setup.engine.until_year).prefill_chunk_tokens:
        option = "--max-num-batched-tokens" if name == "vllm" else "--chunked-prefill-size"
        flags += f" {option} {chunk}"
    return flags


_TORCH_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "tf32": "float32"}
