# SPDX-License-Identifier: Apache-2.0
"""Front door from a Hugging Face ``config.json`` to a `Model`.

Nothing of the checkpoint is run: the config's fields are read as data, checked,
and handed to the family that its ``model_type`` names. What is wrong with it is one
`ModelConfigError`; what matters and was not understood is named in
`Model.warnings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from .errors import ModelConfigError
from .families import _index
from .families._harmless import is_harmless
from .families._reader import Config, shown
from .model import Model, Quantisation

MAX_FIELDS = 5_000
MAX_DEPTH = 32

TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where a multimodal config keeps its language model."""

TOWERS = {
    "vision_config": "vision tower", "vision_tower": "vision tower", "visual": "vision tower",
    "audio_config": "audio tower", "audio_encoder_config": "audio tower",
    "speech_config": "speech tower", "talker_config": "talker", "code2wav_config": "vocoder",
    "token2wav_config": "vocoder", "mm_vision_tower": "vision tower",
    "vision_encoder": "vision tower",
}  # fmt: skip

OUTER = ("torch_dtype", "dtype", "tie_word_embeddings", "architectures")
"""Fields that a multimodal config may state outside its text part."""


def _depth(value: object) -> int:
    """Nesting depth, counted without recursion so that no file can exhaust the stack."""
    level, current, seen = 0, [value], 0
    while current:
        level += 1
        inner: list[object] = []
        for item in current:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
        seen += len(inner)
        if level > MAX_DEPTH or seen > 1_000_000:
            return level + MAX_DEPTH
        current = inner
    return level


def _checked(config: object, name: str) -> Mapping[str, Any]:
    """The config as a bounded mapping with string keys, or a `ModelConfigError`."""
    if not isinstance(config, Mapping):
        raise ModelConfigError(
            f"config of {shown(name)} is {shown(config)}, not an object; give the model's "
            "config.json"
        )
    if not config:
        raise ModelConfigError(f"config of {shown(name)} is empty; give the model's config.json")
    if len(config) > MAX_FIELDS or _depth(config) > MAX_DEPTH:
        raise ModelConfigError(
            f"config of {shown(name)} is nested too deeply or too large to be a model config; "
            "give the model's config.json"
        )
    if not all(isinstance(key, str) for key in config):
        raise ModelConfigError(f"config of {shown(name)} has keys that are not strings")
    return config


def _text_part(config: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], str]:
    """The language model's own fields and its ``model_type``."""
    outer_type = config.get("model_type")
    if outer_type is not None and not isinstance(outer_type, str):
        raise ModelConfigError(
            f"config of {shown(name)}: 'model_type' must be a string, not {shown(outer_type)}"
        )
    for key in TEXT_KEYS:
        part = config.get(key)
        if part is None:
            continue
        inner = _checked(part, f"{name}, {key}")
        outer = {
            field: config[field] for field in OUTER if field in config and inner.get(field) is None
        }
        merged = {**inner, **outer}
        if isinstance(merged.get(key), Mapping) or "text_config" in inner:
            return _text_part(merged, name)
        inner_type = inner.get("model_type")
        if inner_type is None:
            inner_type = _index.TEXT_TYPES.get(outer_type or "", outer_type)
        return merged, _type(inner_type, name)
    return config, _type(outer_type, name)


def _type(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200:
        raise ModelConfigError(
            f"config of {shown(name)}: 'model_type' must be a short string, not {shown(value)}"
        )
    return value


_STORAGE_KEYS = ("quantization_config", "hf_quant_config", "compression_config", "quantization")


def _is_quantised(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    return any(place.get(key) for place in (config, text) for key in _STORAGE_KEYS)


def _quantisation(
    config: Mapping[str, Any], text: Mapping[str, Any], name: str
) -> tuple[Quantisation | None, tuple[str, ...]]:
    """How weights are stored, and what about that was not understood.

    The reader of storage formats is imported only where there is something to read.
    """
    suspicious = any(mark in name.lower() for mark in ("fp8", "fp4", "awq", "gptq", "4bit"))
    if not suspicious and not _is_quantised(config, text):
        return None, ()
    reader = import_module("specs.quantisation")
    found: Quantisation | None = reader.quantisation_from_config(config)
    return found, tuple(reader.quantisation_warnings(config, name))


def _left_out(config: Mapping[str, Any]) -> list[str]:
    """Warnings for the towers that a text-only description leaves out."""
    parts = dict.fromkeys(text for key, text in TOWERS.items() if config.get(key))
    return [f"{part} left out: only the text model is described" for part in parts]


def model_from_config(config: Mapping[str, Any], *, name: str, source: str) -> Model:
    """Read a Hugging Face config as a `Model`.

    Parameters
    ----------
    config : Mapping
        The decoded ``config.json``.
    name : str
        Repository id or path, for the record and for messages.
    source : str
        Where the config came from, such as ``"hub"``.

    Returns
    -------
    Model
        With exact parameter counts; `Model.warnings` names parts left out and
        fields that matter and were not understood.

    Raises
    ------
    ModelConfigError
        The config is not one, misses a size, or holds an impossible value.
    """
    outer = _checked(config, name)
    data, model_type = _text_part(outer, name)
    cfg = Config(data, model_type=model_type, name=name, quantised=_is_quantised(outer, data))
    model = _index.build(cfg)
    unread = sorted(
        key
        for key, value in data.items()
        if key not in cfg.used and value and not is_harmless(key, value)
    )
    warnings = [*_left_out(outer), *cfg.warnings]
    if unread:
        shown_keys = ", ".join(key[:40] for key in unread[:20])
        more = f" and {len(unread) - 20} more" if len(unread) > 20 else ""
        warnings.append(f"fields not understood and left out of account: {shown_keys}{more}")
    quantisation, notes = _quantisation(outer, data, name)
    return replace(model, source=source, quantisation=quantisation, warnings=(*warnings, *notes))
