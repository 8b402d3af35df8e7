# SPDX-License-Identifier: Apache-2.0
"""Measures points of language models: prefill and decode apart, the model kept between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.models import BuiltModel, OutOfMemoryError, build_model, free_bytes, quiet_libraries
from profiler.models_steps import Step, decode_step, mean_context, prefill_step
from profiler.plan import Point
from profiler.run_bench import Bench, PointError, Timed, engine_version, worst
from specs.hub import get_config
from specs.measurement import Measurement, RawFigure

COMPILING_CALLS = 3
"""Calls before the clock runs: the first compiles, which takes a minute, and on a GPU the
next ones record the graph."""


class ModelBench:
    """Measures one point after another; rebuilds the model only where it changes.

    Parameters
    ----------
    bench : Bench
        The device, budgets and sensors.
    weights : bool
        Load checkpoints instead of drawing weights.
    """

    def __init__(self, bench: Bench, *, weights: bool = False) -> None:
        self._bench = bench
        self._weights = weights
        self._built: BuiltModel | None = None
        self._key: tuple[str, str] | None = None

    def measure(self, point: Point) -> Measurement:
        """Measure one point.

        Raises
        ------
        PointError
            It cannot be measured: longer than the model's positions.
        RooflineError
            The model cannot be built, or does not fit.
        """
        columns = point.columns
        built = self._model(point.name, columns["weight_dtype"])
        _check_lengths(built, columns)
        _check_cache(built, columns)
        batch, n_in = int(columns["batch_size"]), int(columns["input_tokens"])
        n_out = int(columns["output_tokens"])
        with quiet_libraries() as said:
            prefill = self._bench.time(prefill_step(built, batch=batch, input_tokens=n_in).call)
            decode = self._decode(built, columns, batch, n_in, n_out) if n_out > 1 else None
        facts = {
            "weights": built.weights,
            "n_params": built.n_params,
            "weight_bytes": built.weight_bytes,
            "decode_context": mean_context(n_in, n_out) if decode else None,
            # A local model cannot be looked up anywhere else.
            "config": get_config(point.name)[0] if Path(columns["model"]).is_absolute() else None,
            "static_len": n_in + n_out if columns["capture"] != "eager" else None,
        }
        notes = "; ".join(dict.fromkeys((*built.notes, *said)))
        return _measurement(self._bench, point, prefill, decode, facts, notes)

    def _decode(
        self, built: BuiltModel, columns: Mapping[str, Any], batch: int, n_in: int, n_out: int
    ) -> Timed:
        step = decode_step(
            built,
            batch=batch,
            context=mean_context(n_in, n_out),
            capture=columns["capture"],
            static_len=n_in + n_out,
        )
        return self._time_step(step, graph=columns["capture"] == "graph")

    def _time_step(self, step: Step, *, graph: bool) -> Timed:
        if not graph:
            for _ in range(COMPILING_CALLS):
                step.call()
            return self._bench.time(step.call)
        from profiler.timers import GraphTimer

        timer = GraphTimer(step.call)
        return self._bench.time(timer.replay, timer=timer)

    def _model(self, name: str, dtype: str) -> BuiltModel:
        if self._built is None or self._key != (name, dtype):
            self.close()
            self._built = build_model(
                name, dtype=dtype, devices=self._bench.target.devices, weights=self._weights
            )
            self._key = name, dtype
        return self._built

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._built = self._key = None
        self._bench.target.release()


def _check_lengths(built: BuiltModel, columns: Mapping[str, Any]) -> None:
    total = int(columns["input_tokens"] + columns["output_tokens"])
    if 0 < built.max_position < total:
        raise PointError(
            f"context: {total} tokens, and the model has {built.max_position} positions"
        )


def _check_cache(built: BuiltModel, columns: Mapping[str, Any]) -> None:
    """Refuse a cache that cannot fit before the system kills the process for it."""
    config = built.module.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or getattr(
        config, "num_attention_heads", 0
    )
    width = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads if heads else 0
    )
    if getattr(config, "kv_lora_rank", None) or built.devices[0] != "cpu":
        return  # compressed caches are small; devices refuse by themselves
    tokens = columns["batch_size"] * (columns["input_tokens"] + columns["output_tokens"])
    element = built.weight_bytes / built.n_params
    # Keys and values, and once more while a growing cache is copied layer by layer.
    needed = tokens * config.num_hidden_layers * heads * width * 2 * element
    if needed > (free := free_bytes("cpu")):
        raise OutOfMemoryError(
            f"the cache needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free."
        )


def _measurement(
    bench: Bench,
    point: Point,
    prefill: Timed,
    decode: Timed | None,
    facts: Mapping[str, Any],
    notes: str,
) -> Measurement:
    columns = point.columns
    batch, n_in, n_out = (
        columns["batch_size"],
        columns["input_tokens"],
        columns["output_tokens"],
    )
    ttft_s = prefill.samples.median_s
    tpot_s = decode.samples.median_s if decode else None
    e2e_s = ttft_s + (n_out - 1) * (tpot_s or 0.0)
    phases = {"prefill": prefill, **({"decode": decode} if decode else {})}
    raw = [RawFigure(name="prefill", statistic="median", unit="s", value=ttft_s)]
    if decode:
        at = f"median of one step at {facts['decode_context']} tokens of context"
        raw.append(
            RawFigure(name="decode_step", statistic=at, unit="s", value=decode.samples.median_s)
        )
    main = decode or prefill
    quality, reason = worst({name: timed.samples for name, timed in phases.items()})
    power, why = bench.llm_power(prefill, decode, batch=batch, output_tokens=n_out)
    return Measurement(
        **bench.origin(),
        **columns,
        engine_version=engine_version(columns["engine"]),
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        prefill_tok_s=batch * n_in / ttft_s,
        decode_tok_s=batch / tpot_s if tpot_s else None,
        total_tok_s=batch * (n_in + n_out) / e2e_s,
        n_samples=len(main.samples.samples_s),
        samples_s=main.samples.samples_s,
        spread_frac=max(timed.samples.spread_frac for timed in phases.values()),
        quality=quality,
        reason="; ".join(filter(None, (reason, why))),
        notes=notes,
        raw=tuple(raw),
        environment=json.dumps(
            {
                **bench.environment(),
                **{name: value for name, value in facts.items() if value is not None},
                **{name: timed.detail() for name, timed in phases.items()},
            }
        ),
        **power,
    )
