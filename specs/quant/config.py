# SPDX-License-Identifier: Apache-2.0
"""A quantization_config as its readers see it, and what their answers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specs.errors import ModelConfigError, UnknownNameError
from specs.model import Quantisation
from specs.precision import get_precision
from specs.quant.names import KEPT_PLAIN, PLAIN
from specs.quant.patterns import Layers, Overrides


@dataclass(frozen=True, slots=True)
class QuantConfig:
    """A quantization_config, the model's own fields beside it, and its layer plan."""

    raw: Mapping[str, Any]
    model: Mapping[str, Any]
    layers: Layers

    def whole(self, *keys: str, default: int) -> int:
        """First of `keys` that is stated, as an integer."""
        for key in keys:
            value = self.raw.get(key)
            if value is not None:
                return whole(key, value)
        return default

    def names(self, *keys: str) -> tuple[str, ...]:
        """First of `keys` that is stated, as module names or patterns."""
        for key in keys:
            value = self.raw.get(key)
            if value is not None:
                if isinstance(value, str):
                    value = [value]
                if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
                    raise ModelConfigError(f"{key} is no list of module names. Check the file.")
                return tuple(value)
        return ()


def whole(key: str, value: Any) -> int:
    """Return the value of a field that must be a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ModelConfigError(f"quantization_config: {key} is {value!r}, no whole number.")
    return int(value)


def quant_method(raw: Mapping[str, Any]) -> str:
    """Name of the method, inferred for ModelOpt and MLX files, which may not state it."""
    method = raw.get("quant_method")
    if isinstance(method, str) and method:
        return method.lower().replace("_", "-")
    producer = raw.get("producer")
    if "quant_algo" in raw or (
        isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    ):
        return "modelopt"
    if "config_groups" in raw:
        return "compressed-tensors"
    if raw.get("load_in_4bit") or raw.get("load_in_8bit"):
        return "bitsandbytes"
    if "group_size" in raw and "bits" in raw and "zero_point" not in raw:
        return "mlx"
    return ""


def finish(
    method: str,
    weight: str,
    overrides: Overrides,
    *,
    kv: str = "",
    activation: str | None = None,
    quantises_head: bool = False,
    kept: tuple[tuple[str, str], ...] = KEPT_PLAIN,
) -> Quantisation:
    """Put a Quantisation together; unknown precision names become config errors."""
    try:
        usual = get_precision(weight).activation
        made, whole_layers = overrides.build(weight), overrides.build_whole(weight)
        stored = [kind for _, kind in (*made, *whole_layers) if kind]
        kinds = [usual, *(get_precision(k.replace("*plain", "*bf16")).activation for k in stored)]
    except UnknownNameError as err:
        raise ModelConfigError(f"quantization_config ({method}): {err}") from None
    if activation is None:  # the narrowest: wider weights then multiply at their own width
        narrow = sorted((kind for kind in kinds if kind), key=lambda kind: get_precision(kind).bits)
        activation = narrow[0] if narrow else ""
    if quantises_head:
        kept = (*kept[:-1], (r"^top\.(?!lm_head)", ""))
    return Quantisation(
        method=method,
        weight=weight,
        activation=activation,
        kv=kv,
        overrides=(*made, *kept, *whole_layers),
    )


def excluded(config: QuantConfig, *keys: str) -> Overrides:
    """Overrides that keep the modules of the first stated key plain."""
    overrides = Overrides(config.layers)
    overrides.add(config.names(*keys), PLAIN)
    return overrides


def grouped(name: str, group: int, usual: int = 128) -> str:
    """Storage name for a group size; -1 and 0 mean one scale per channel."""
    if group == usual:
        return name
    return f"{name}-channel" if group <= 0 else f"{name}-g{group}"


def kv_precision(scheme: Any) -> str:
    """Precision of the KV cache that a config asks for."""
    if isinstance(scheme, str):
        return {"fp8": "fp8", "nvfp4": "nvfp4", "int8": "int8"}.get(scheme.lower(), "")
    if isinstance(scheme, Mapping):
        kind, bits = scheme.get("type"), scheme.get("num_bits")
        return {("float", 8): "fp8", ("int", 8): "int8", ("float", 4): "nvfp4"}.get(
            (str(kind), bits if isinstance(bits, int) else 0), ""
        )
    return ""
