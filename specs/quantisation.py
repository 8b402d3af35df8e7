# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's ``quantization_config`` says about how each linear is stored.

Reads every common method; a method that is not understood is named in
`quantisation_warnings` and never guessed. Embeddings, routers and the head stay in the
plain dtype unless the config says otherwise, as every engine keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from specs.errors import ModelConfigError
from specs.formats import Precision
from specs.model import Model, Quantisation
from specs.precision import get_precision
from specs.quant.names import KEPT_PLAIN, PLAIN, canonical

READERS: Mapping[str, tuple[str, str]] = {
    "gptq": ("integers", "read_gptq"),
    "gptq-marlin": ("integers", "read_gptq"),
    "gptqmodel": ("integers", "read_gptq"),
    "awq": ("integers", "read_awq"),
    "awq-marlin": ("integers", "read_awq"),
    "auto-round": ("integers", "read_auto_round"),
    "autoround": ("integers", "read_auto_round"),
    "intel/auto-round": ("integers", "read_auto_round"),
    "hqq": ("integers", "read_hqq"),
    "mlx": ("integers", "read_mlx"),
    "bitsandbytes": ("integers", "read_bitsandbytes"),
    "exl2": ("integers", "read_stated_bits"),
    "exl3": ("integers", "read_stated_bits"),
    "aqlm": ("integers", "read_aqlm"),
    "vptq": ("integers", "read_vptq"),
    "spqr": ("integers", "read_spqr"),
    "eetq": ("integers", "read_named"),
    "quanto": ("integers", "read_named"),
    "bitnet": ("integers", "read_named"),
    "torchao": ("integers", "read_torchao"),
    "fp8": ("floats", "read_fp8"),
    "fbgemm-fp8": ("floats", "read_fp8"),
    "finegrained-fp8": ("floats", "read_fp8"),
    "mxfp4": ("floats", "read_mxfp4"),
    "modelopt": ("floats", "read_modelopt"),
    "modelopt-fp4": ("floats", "read_modelopt"),
    "modelopt-mixed": ("floats", "read_modelopt"),
    "compressed-tensors": ("floats", "read_compressed"),
    "quark": ("floats", "read_quark"),
}
"""Method -> module of `specs.quant` and the function that reads it; loaded when asked for."""


_NAME_HINTS = (
    (r"nvfp4|[-_.]fp4\b", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"[-_.]fp8\b", "fp8"),
    (r"gptq|w4a16", "gptq-int4"),
    (r"\bawq\b|[-_]awq", "awq-int4"),
    (r"[-_](?:int8|w8a8)\b", "int8-w8a8"),
    (r"bnb-4bit|[-_]nf4\b", "bnb-nf4"),
)


def quantisation_from_config(config: Mapping[str, Any]) -> Quantisation | None:
    """Read how a checkpoint's weights are stored.

    Parameters
    ----------
    config : mapping
        A config.json as loaded; ``quantization_config`` (or MLX's ``quantization``) is
        looked for at the top and inside ``text_config``, and ``hf_quant_config`` (the
        content of ModelOpt's hf_quant_config.json) beside it.

    Returns
    -------
    Quantisation or None
        None if the config states none, or one that `quantisation_warnings` names.

    Raises
    ------
    ModelConfigError
        A field has a wrong type or cannot be.
    """
    found = _find(config)
    if found is None:
        return None
    from specs.quant.config import QuantConfig, quant_method
    from specs.quant.patterns import read_layers

    raw, text = found
    if quant_method(raw) not in READERS:
        return None
    module, function = READERS[quant_method(raw)]
    reader = getattr(import_module(f"specs.quant.{module}"), function)
    try:
        made: Quantisation | None = reader(
            QuantConfig(raw=raw, model=text, layers=read_layers(text))
        )
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as err:
        raise ModelConfigError(
            f"quantization_config of method {quant_method(raw)!r} cannot be read "
            f"({type(err).__name__}: {err}). Check the file."
        ) from None
    return made


def quantisation_warnings(config: Mapping[str, Any], name: str = "") -> tuple[str, ...]:
    """What about the storage of weights is stated and not understood.

    Parameters
    ----------
    config : mapping
        As for `quantisation_from_config`.
    name : str
        Repository id, if known: a name that promises a format the config does not state
        is worth a warning.
    """
    found = _find(config)
    if found is None:
        hint = next((kind for pattern, kind in _NAME_HINTS if re.search(pattern, name, re.I)), "")
        if not hint:
            return ()
        return (
            f"the name {name!r} suggests {hint} weights, but its config.json states no "
            f"quantization_config: counted in the plain dtype. Set the weight dtype to {hint}.",
        )
    from specs.quant.config import quant_method

    raw, _ = found
    method = quant_method(raw)
    if method not in READERS:
        return (
            f"quantization_config has method {method or 'none'!r}, which is not understood: "
            f"weights are counted in the plain dtype. Known: {', '.join(sorted(READERS))}.",
        )
    quantisation = quantisation_from_config(config)
    notes = []
    if quantisation is None:
        notes.append(
            f"quantization_config of method {method!r} states no weight format that is "
            "understood: weights are counted in the plain dtype."
        )
    sparsity = raw.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format", "dense") != "dense":
        notes.append("sparsity_config is not used: weights are counted as dense.")
    if quantisation is not None and quantisation.weight.startswith("spqr"):
        notes.append("SpQR's outliers are not in its config and not counted.")
    return tuple(notes)


def _find(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The quantisation part of a config and the part with the text model's fields."""
    text = config
    for key in ("text_config", "language_config", "llm_config", "thinker_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            text = inner
            break
    for place in (config, text):
        for key in ("quantization_config", "hf_quant_config", "compression_config", "quantization"):
            raw = place.get(key)
            if raw is None or raw == {}:
                continue
            if not isinstance(raw, Mapping):
                raise ModelConfigError(f"{key} is a {type(raw).__name__}, not an object. Check it.")
            return raw, text
    return None


def default_quantisation(weight_dtype: str, model: Model | None = None) -> Quantisation:
    """How weights are stored when a user asks for a dtype and nothing more.

    Plain dtypes hold for every weight. Quantised ones hold for the linears inside the
    layers; embeddings, head and routers stay plain. A GGUF file type gives every tensor
    what llama.cpp would, by the rules for `model` if it is given.

    Raises
    ------
    UnknownNameError
        No storage precision carries that name.
    """
    precision = get_precision(weight_dtype)
    if precision.plain:
        return Quantisation(
            method="plain", weight=precision.name, overrides=(("", precision.name),)
        )
    if precision.family == "gguf":
        if "bpw" in precision.name:  # an average over the whole file
            return Quantisation(
                method="gguf", weight=precision.name, overrides=(("", precision.name),)
            )
        from specs.gguf import gguf_quantisation

        return gguf_quantisation(precision.name, model)
    head = ((r"^top\.", precision.name),) if precision.family == "mlx" else ()
    return Quantisation(
        method=precision.family,
        weight=precision.name,
        activation=precision.activation,
        overrides=(*head, *KEPT_PLAIN),
    )


@lru_cache(maxsize=4096)
def storage_precision(
    quantisation: Quantisation | None, where: str, plain_dtype: str, in_features: int = 0
) -> Precision:
    """Precision that one linear is stored at.

    Parameters
    ----------
    quantisation : Quantisation or None
        None for a checkpoint in its plain dtype.
    where : str
        ``"<place>.<linear name>"``: place is ``layers``, ``experts`` or ``top``, as in
        ``"experts.mlp.experts.down_proj"``; ``"top.embed_tokens"`` is the embedding.
    plain_dtype : str
        The checkpoint's plain dtype.
    in_features : int
        Row length, for GGUF types whose blocks of 256 it may not fill; 0 if unknown.
    """
    if quantisation is None:
        return get_precision(plain_dtype)
    stored = quantisation.weight
    names = _spellings(canonical(where))
    for pattern, kind in quantisation.overrides:
        if any(re.search(pattern, name) for name in names):
            stored = kind
            break
    if not stored:
        return get_precision(plain_dtype)
    if "*" in stored:
        stored = stored.replace("*" + PLAIN, "*" + plain_dtype)
    if quantisation.method == "gguf" and in_features:
        from specs.gguf import gguf_fallback

        stored = gguf_fallback(stored, in_features)
    return get_precision(stored)


def _spellings(name: str) -> tuple[str, ...]:
    """A linear's name, and those that checkpoints may use for the same matrix."""
    names = [name]
    for fused, parts in (("gate_up_proj", ("gate_proj", "up_proj")), ("qkv_proj", ("q_proj",))):
        if fused in name:
            stem = name[: name.index(fused)]
            names += [stem + part for part in parts]
    for ours, theirs in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
        if name.endswith("." + ours):
            names.append(name.removesuffix(ours) + theirs)
        elif name.endswith("." + theirs):
            names.append(name.removesuffix(theirs) + ours)
    return tuple(names)
