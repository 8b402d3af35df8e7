# SPDX-License-Identifier: Apache-2.0
"""Host time of a framework: decode steps of models too small to compute anything.

An eager step of transformers spends time on each layer (modules, dispatch, conversions)
that no kernel shows and that depends on the host. Two models of the same layers, few and
many, give it: the difference per layer, and what a step costs beside its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from profiler.kernels import STEP_LAYERS, Kernel
from profiler.models import DTYPES, BuiltModel, quiet_libraries
from profiler.models_steps import decode_step
from profiler.run_target import Target
from specs.measurement import Measurement

CONTEXT = 16
WIDTH, VOCABULARY = 64, 256
"""Of the models: one layer has 64 k parameters, which take microseconds."""


def step_call(kernel: Kernel, target: Target) -> Callable[[], Any]:
    """Return the call that decodes one token with ``m`` layers of next to nothing."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama",
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=kernel.sizes["m"],
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=4 * CONTEXT,
    )
    device = target.devices[0]
    with quiet_libraries(), torch.device(device):
        dtype = getattr(torch, DTYPES[kernel.dtype])
        module = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    built = BuiltModel(
        name="",
        dtype=kernel.dtype,
        module=module,
        devices=(device,),
        n_params=0,
        weight_bytes=0,
        vocab_size=VOCABULARY,
        max_position=4 * CONTEXT,
        weights="random",
    )
    return decode_step(built, batch=1, context=CONTEXT).call


def host_times_s(rows: Iterable[Measurement]) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Host seconds per layer, and per step beside its layers, by engine and dtype.

    Formats of which fewer than two depths were measured are left out.
    """
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        if row.op == "step" and row.latency_s and row.m:
            depths = found.setdefault((row.engine, row.dtype), {})
            depths.setdefault(row.m, []).append(row.latency_s)
    few, many = STEP_LAYERS
    times: dict[str, dict[str, tuple[float, float]]] = {}
    for (engine, dtype), depths in found.items():
        if few in depths and many in depths:
            short_s, long_s = median(depths[few]), median(depths[many])
            layer_s = max(0.0, long_s - short_s) / (many - few)
            times.setdefault(engine, {})[dtype] = (layer_s, max(0.0, short_s - few * layer_s))
    return times
