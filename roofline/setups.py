# SPDX-License-Identifier: Apache-2.0
"""From names to a `Setup`: defaults filled in, layouts and formats checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from roofline.devices import runs_as
from roofline.phase_costs import Setup
from roofline.physics.layout import Formats, Layout
from specs.accelerator import Accelerator
from specs.engine import Engine, get_engine
from specs.errors import InvalidInputError, ParallelismError, UnsupportedPrecisionError
from specs.model import Attention, LatentAttention, Model, MoE, Recurrent
from specs.precision import get_kv_precision, get_precision
from specs.quantisation import default_quantisation

PLAIN = ("fp32", "fp16", "bf16")


def as_model(value: Any) -> Model:
    """A `Model` as it is, or the one that a name or path stands for."""
    if isinstance(value, Model):
        return value
    name = _word("model", value)
    if _exists(name):
        return _read_model(name)
    return _named_model(name)


def _exists(name: str) -> bool:
    """Whether a path exists; a name that no path can have is a name."""
    try:
        return Path(name).exists()
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _named_model(name: str) -> Model:
    return _read_model(name)


def _read_model(name: str) -> Model:
    from specs.hub import get_model

    return get_model(name)


def as_accelerator(value: Any) -> Accelerator:
    """An `Accelerator` as it is, or the one that a name stands for."""
    if isinstance(value, Accelerator):
        return value
    from specs.catalogue import get_accelerator

    return get_accelerator(_word("gpu", value))


def as_engine(value: Any, accelerator: Accelerator, year: float | None = None) -> Engine:
    """The engine named; by default vLLM, and llama.cpp on CPUs and integrated GPUs.

    `year` is the one that its version is of; none or NaN for today's.
    """
    if isinstance(value, Engine):
        return value
    if value == "":
        value = "llama.cpp" if accelerator.kind in ("cpu", "igpu") else "vllm"
    return get_engine(_word("engine", value), year if year and year == year else 0)


@lru_cache(maxsize=1024)
def with_chunk(engine: Engine, max_batched_tokens: int) -> Engine:
    """The engine with so many tokens per pass; the same one for the same numbers."""
    return replace(engine, prefill_chunk_tokens=max_batched_tokens)


def _word(what: str, value: Any) -> str:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{what} is {value!r}; give its name.")
    return value.strip()


def layout_of(engine: Engine, *, num_gpus: int, tp: int, pp: int, ep: int, dp: int) -> Layout:
    """Fill in the degrees that are 0, and check that they agree.

    GPUs that nothing else claims go to TP, or to PP in engines that split by layers.

    Raises
    ------
    ParallelismError
        The degrees do not multiply to the number of GPUs, or EP does not fit.
    """
    split = engine.default_split
    dp = dp or 1
    if num_gpus and num_gpus % ((tp or 1) * (pp or 1) * dp):
        raise ParallelismError(
            f"{num_gpus} GPUs do not divide by tp {tp or 1} x pp {pp or 1} x dp {dp}; "
            "change one of them."
        )
    if num_gpus and not (tp and pp):
        left = num_gpus // ((tp or 1) * (pp or 1) * dp)
        if tp:
            pp = left
        elif pp or split == "tp":
            tp, pp = left, pp or 1
        else:
            tp, pp = 1, left
    tp, pp, ep = tp or 1, pp or 1, ep or 1
    if num_gpus and tp * pp * dp != num_gpus:
        raise ParallelismError(
            f"tp {tp} x pp {pp} x dp {dp} make {tp * pp * dp} GPUs, not {num_gpus}; "
            "leave num_gpus out or change one of them."
        )
    if (tp * dp) % ep or (ep > tp and ep % tp) or (ep < tp and tp % ep):
        raise ParallelismError(
            f"ep {ep} does not fit tp {tp} x dp {dp}; choose a divisor of {tp * dp} that "
            "divides tp or is a multiple of it."
        )
    return Layout(tp=tp, pp=pp, ep=ep, dp=dp)


def check_layout(model: Model, layout: Layout) -> None:
    """Refuse a layout that the model's shapes do not allow.

    Raises
    ------
    ParallelismError
        Heads that TP does not divide, fewer layers than stages, fewer experts than EP.
    """
    if layout.pp > max(model.num_layers, 1):
        raise ParallelismError(
            f"pp {layout.pp} exceeds the {model.num_layers} layers of {model.name}; choose less."
        )
    for block in (*model.blocks, *model.encoder):
        mixer = block.mixer
        if isinstance(mixer, (Attention, LatentAttention, Recurrent)):
            heads = mixer.num_heads
            if heads % layout.tp and layout.tp > 1:
                allowed = [d for d in range(1, min(heads, 64) + 1) if heads % d == 0]
                raise ParallelismError(
                    f"tp {layout.tp} does not divide the {heads} heads of {model.name}; "
                    f"choose one of {', '.join(map(str, allowed))}."
                )
        if isinstance(block.ffn, MoE) and layout.ep > block.ffn.num_experts:
            raise ParallelismError(
                f"ep {layout.ep} exceeds the {block.ffn.num_experts} experts of {model.name}."
            )
    has_experts = any(isinstance(block.ffn, MoE) for block in model.blocks)
    if layout.ep > 1 and not has_experts:
        raise ParallelismError(f"{model.name} has no experts; leave ep out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatNames:
    """Formats as a user gives them; empty means: as the checkpoint has it."""

    weight: str
    kv: str
    activation: str


def formats_of(model: Model, names: FormatNames, engine: Engine) -> Formats:
    """Storage formats of weights, activations and KV cache.

    Raises
    ------
    UnknownNameError
        No such precision.
    InvalidInputError
        A KV cache or activation format that cannot be one.
    """
    plain, quantisation = model.dtype, model.quantisation
    if plain == "fp32" and engine.narrows_fp32:
        plain = "fp16"
    if names.weight:
        weight = get_precision(names.weight)
        if weight.plain:
            plain, quantisation = weight.name, None
        else:
            quantisation = default_quantisation(names.weight, model)
    activation = ""
    if names.activation:
        wanted = get_precision(names.activation)
        if wanted.plain:
            plain = wanted.name
        else:
            activation = wanted.name
    elif quantisation is not None:
        activation = quantisation.activation
    return Formats(
        plain=plain,
        activation=activation,
        kv=_kv_format(plain, names.kv, quantisation.kv if quantisation else ""),
        quantisation=quantisation,
    )


def _kv_format(plain: str, asked: str, of_checkpoint: str) -> str:
    name = asked if asked and asked != "auto" else of_checkpoint
    return get_kv_precision(name or "auto", plain).name


def weight_name(formats: Formats, asked: str) -> str:
    """What to call the weights' format: as asked, else that of the checkpoint."""
    if asked:
        return get_precision(asked).name if "*" not in asked else asked
    return formats.quantisation.weight if formats.quantisation else formats.plain


def check_formats(
    accelerator: Accelerator, engine: Engine, formats: Formats, names: FormatNames
) -> None:
    """Refuse arithmetic that was asked for by name and that the device lacks.

    Raises
    ------
    UnsupportedPrecisionError
        ``act_dtype`` names it; or ``weight_dtype`` names a plain dtype and the engine
        does not convert.
    """
    plain = get_precision(names.weight) if names.weight else None
    checked = plain is not None and plain.plain and not engine.converts_plain
    if plain and checked and runs_as(accelerator, plain.compute) != plain.compute:
        accelerator.peak(plain.compute)
    if names.activation:
        compute = get_precision(names.activation).compute
        if compute != "16bit" and runs_as(accelerator, compute) != compute:
            raise UnsupportedPrecisionError(
                f"{accelerator.name} has no {compute} arithmetic; it lists "
                f"{', '.join(sorted(accelerator.peak_flops_per_s))}. Choose one of these for "
                "act_dtype, or leave it out."
            )
    if (
        names.activation
        and not get_precision(names.activation).plain
        and formats.quantisation is None
    ):
        raise InvalidInputError(
            f"act_dtype {names.activation} needs weights of few bits too: with {formats.plain} "
            f"weights products run in {formats.plain}. Give weight_dtype {names.activation} too."
        )


@lru_cache(maxsize=1024)
def _sampling(engine: Engine, vocab_size: int) -> Engine:
    """The engine with what sampling from a vocabulary takes in its time per sequence."""
    sampling_s = engine.host_vocab_s * vocab_size
    return replace(engine, host_sequence_s=engine.host_sequence_s + sampling_s, host_vocab_s=0.0)


_SETUPS: dict[tuple[Any, ...], Setup] = {}


def setup_of(model: Model, layout: Layout, names: FormatNames, engine: Engine) -> Setup:
    """Return the compiled setup, made once per model, layout, formats and engine."""
    if engine.host_vocab_s:
        engine = _sampling(engine, model.vocab_size)
    key = (id(model), layout, names, engine.name, id(engine))
    kept = _SETUPS.get(key)
    if kept is None or kept.model is not model:
        check_layout(model, layout)
        formats = formats_of(model, names, engine)
        kept = Setup(model=model, layout=layout, formats=formats, engine=engine)
        if len(_SETUPS) > 20_000:
            _SETUPS.clear()
        _SETUPS[key] = kept
    return kept
