# SPDX-License-Identifier: Apache-2.0
"""Readers of fp8, MX and NV formats and of schemes: ModelOpt, compressed-tensors, Quark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from specs.errors import ModelConfigError
from specs.model import Quantisation
from specs.quant.config import QuantConfig, excluded, finish, grouped, kv_precision, quant_method
from specs.quant.names import PLAIN
from specs.quant.patterns import Overrides


def read_fp8(config: QuantConfig) -> Quantisation:
    """Read fp8 as DeepSeek (128 x 128 blocks), Fbgemm (rows) and Qwen (tensors) store it."""
    method = quant_method(config.raw)
    block = config.raw.get("weight_block_size")
    weight = "fp8-block" if block else "fp8-channel" if method == "fbgemm-fp8" else "fp8"
    if block and list(block) == [1, 32]:
        weight = "mxfp8"
    overrides = excluded(config, "modules_to_not_convert", "ignored_layers")
    layers = config.raw.get("quantized_layers")
    if isinstance(layers, Mapping):
        _add_quantized_layers(overrides, layers)
    elif config.model.get("expert_dtype") == "fp4":  # DeepSeek-V4: MX blocks in the experts
        overrides.add(["*.mlp.experts.*"], "mxfp4")
    kv = kv_precision(config.raw.get("kv_cache_quant_algo") or config.raw.get("kv_cache_scheme"))
    return finish(method, weight, overrides, kv=kv)


def read_mxfp4(config: QuantConfig) -> Quantisation:
    """Read gpt-oss: MX experts, all else plain, activations in 16 bits."""
    overrides = excluded(config, "modules_to_not_convert")
    return finish("mxfp4", "mxfp4", overrides)


_ALGORITHMS = {
    "fp8": "fp8",
    "fp8-per-channel-per-token": "fp8-channel",
    "fp8-pb-wo": "fp8-block",
    "fp8-pb-real": "fp8-block",
    "fp8-block-scales": "fp8-block",
    "fp8-pb": "fp8-block",
    "nvfp4": "nvfp4",
    "nvfp4-awq": "nvfp4",
    "nvfp4-svdquant": "nvfp4",
    "w4a16-nvfp4": "nvfp4-w4a16",
    "w4a8-nvfp4-fp8": "nvfp4",
    "mxfp4": "mxfp4-w4a4",
    "w4a16-mxfp4": "mxfp4",
    "w4a8-mxfp4-fp8": "mxfp4-w4a8",
    "w4a8-mxfp4-mxfp8": "mxfp4-w4a8",
    "mxfp8": "mxfp8",
    "w8a16": "int8",
    "w8a8-sq-per-channel": "int8-w8a8",
    "w8a8-sq-per-channel-per-token-plugin": "int8-w8a8",
    "int8-sq": "int8-w8a8",
    "w4a16": "int4",
    "w4a16-awq": "int4",
    "int4-awq": "int4",
    "w4a16-gptq": "int4",
    "w4a8-awq": "int4-w4afp8",
    "w4a8-qserve-per-group": "int4-w4a8",
}


def _algorithm(settings: Mapping[str, Any]) -> str:
    """Storage name of a ModelOpt ``quant_algo``; empty if it is not known."""
    name = str(settings.get("quant_algo") or "").lower().replace("_", "-")
    weight = _ALGORITHMS.get(name, "")
    group = settings.get("group_size")
    if weight.startswith("int4") and isinstance(group, int) and group > 0:
        return grouped(weight, group)
    return weight


def _add_quantized_layers(overrides: Overrides, layers: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, settings in layers.items():
        kind = _algorithm(settings) if isinstance(settings, Mapping) else ""
        if not kind:
            raise ModelConfigError(
                f"quantized_layers: {name!r} has an algorithm that is not known: {settings!r}."
            )
        overrides.add([name], kind)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def read_modelopt(config: QuantConfig) -> Quantisation | None:
    """Read ModelOpt: one algorithm, or a mix that lists its modules."""
    raw = config.raw.get("quantization")
    raw = {**config.raw, **raw} if isinstance(raw, Mapping) else config.raw
    config = QuantConfig(raw=raw, model=config.model, layers=config.layers)
    kv = kv_precision(raw.get("kv_cache_quant_algo") or raw.get("kv_cache_scheme"))
    overrides = excluded(config, "exclude_modules", "ignore")
    layers = raw.get("quantized_layers")
    if isinstance(layers, Mapping) and layers:
        counts = _add_quantized_layers(overrides, layers)
        main = max(counts, key=lambda kind: counts[kind])
        made = finish("modelopt", main, _relative_to_plain(overrides), kv=kv)
        return _only_listed(made)
    weight = _algorithm(raw)
    if not weight:
        return read_compressed(config) if "config_groups" in raw else None
    return finish("modelopt", weight, overrides, kv=kv, quantises_head=True)


def _relative_to_plain(overrides: Overrides) -> Overrides:
    overrides.rest = PLAIN
    return overrides


def _only_listed(made: Quantisation) -> Quantisation:
    """The same, where what no pattern lists stays plain."""
    return Quantisation(
        method=made.method,
        weight=made.weight,
        activation=made.activation,
        kv=made.kv,
        overrides=(*made.overrides, ("", "")),
    )


def _scheme(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None) -> str:
    """Storage name of a compressed-tensors scheme; empty if there is none for it."""
    bits, kind = weights.get("num_bits"), str(weights.get("type", "int"))
    group = weights.get("group_size") or 0
    strategy = str(weights.get("strategy") or ("group" if group else "tensor"))
    act_bits = inputs.get("num_bits") if inputs else 16
    if kind == "float" and bits == 8:
        if group == 32:
            return "mxfp8"
        wide = {"channel": "fp8-channel", "block": "fp8-block"}.get(strategy, "fp8")
        return wide if act_bits == 8 else "fp8-w8a16"
    if kind == "float" and bits == 4:
        if group == 16 or strategy == "tensor_group":
            return "nvfp4" if act_bits == 4 else "nvfp4-w4a16"
        return {4: "mxfp4-w4a4", 8: "mxfp4-w4a8"}.get(act_bits or 16, "mxfp4")
    if kind == "int" and bits == 8:
        return "int8-w8a8" if act_bits == 8 else "int8"
    if kind == "int" and bits in (2, 3, 4):
        if bits == 4 and act_bits == 8:
            floats = str((inputs or {}).get("type")) == "float"
            return grouped("int4-w4afp8" if floats else "int4-w4a8", group)
        zero = "" if bits != 4 or weights.get("symmetric", True) else "-zp"
        return grouped(f"int{bits}{zero}", group)
    return ""


def _listed(targets: Iterable[Any]) -> tuple[str, ...]:
    """Targets that name modules; a class name such as ``Linear`` means all of them."""
    return tuple(
        str(t) for t in targets if "." in str(t) or str(t).startswith("re:") or str(t) == "lm_head"
    )


def read_compressed(config: QuantConfig) -> Quantisation | None:
    """compressed-tensors: schemes with targets, and an ignore list."""
    overrides = excluded(config, "ignore")
    groups = config.raw.get("config_groups") or {}
    main, listed_only = "", True
    for group in groups.values():
        weights = group.get("weights")
        if not isinstance(weights, Mapping):
            continue
        stored = _scheme(weights, group.get("input_activations"))
        if not stored:
            return None
        targets = group.get("targets") or ["Linear"]
        names = _listed(targets)
        overrides.add(names, stored)
        if len(names) < len(targets):
            main, listed_only = stored, False
        main = main or stored
    kv = kv_precision(config.raw.get("kv_cache_scheme"))
    if not main:
        if not kv:
            return None
        return Quantisation(method="compressed-tensors", weight="", kv=kv)
    if listed_only:
        overrides.rest = PLAIN
    made = finish("compressed-tensors", main, overrides, kv=kv, quantises_head=not listed_only)
    return _only_listed(made) if listed_only else made


_QUARK = {
    "fp8_e4m3": {"type": "float", "num_bits": 8},
    "fp8_e5m2": {"type": "float", "num_bits": 8},
    "fp4": {"type": "float", "num_bits": 4},
    "int8": {"type": "int", "num_bits": 8},
    "int4": {"type": "int", "num_bits": 4},
    "uint4": {"type": "int", "num_bits": 4, "symmetric": False},
}
_QUARK_STRATEGY = {"per_channel": "channel", "per_group": "group", "per_tensor": "tensor"}


def _quark_scheme(settings: Any) -> dict[str, Any] | None:
    if isinstance(settings, list):  # several stages: the last is what is multiplied
        settings = settings[-1] if settings else None
    if not isinstance(settings, Mapping) or settings.get("dtype") not in _QUARK:
        return None
    strategy = _QUARK_STRATEGY.get(str(settings.get("qscheme")), "tensor")
    group = settings.get("group_size") if strategy == "group" else 0
    return {**_QUARK[settings["dtype"]], "strategy": strategy, "group_size": group or 0}


def _quark_stored(settings: Mapping[str, Any]) -> str:
    weights = _quark_scheme(settings.get("weight"))
    if weights is None:
        return ""
    return _scheme(weights, _quark_scheme(settings.get("input_tensors")))


def read_quark(config: QuantConfig) -> Quantisation | None:
    """AMD Quark: one global scheme, schemes by layer pattern, an exclude list."""
    overrides = excluded(config, "exclude")
    layers = config.raw.get("layer_quant_config")
    for pattern, settings in layers.items() if isinstance(layers, Mapping) else ():
        stored = _quark_stored(settings) if isinstance(settings, Mapping) else ""
        if stored:
            overrides.add([pattern], stored)
    general = config.raw.get("global_quant_config")
    main = _quark_stored(general) if isinstance(general, Mapping) else ""
    if not main:
        return None
    cache = config.raw.get("kv_cache_quant_config")
    first: Any = next(iter(cache.values()), {}) if isinstance(cache, Mapping) and cache else {}
    kv = kv_precision(
        _quark_scheme(first.get("output_tensors")) if isinstance(first, Mapping) else None
    )
    return finish("quark", main, overrides, kv=kv, quantises_head=True)
