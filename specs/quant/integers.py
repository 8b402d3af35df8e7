# SPDX-License-Identifier: Apache-2.0
"""Readers of weight-only methods: GPTQ, AWQ, AutoRound, HQQ, MLX, bitsandbytes and others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from specs.model import Quantisation
from specs.quant.config import QuantConfig, excluded, finish, grouped, quant_method, whole
from specs.quant.names import PLAIN
from specs.quant.patterns import Overrides


def read_gptq(config: QuantConfig) -> Quantisation:
    """GPTQ, with GPTQModel's per-module ``dynamic`` rules."""
    group = config.whole("group_size", default=128)
    bits = config.whole("bits", "wbits", default=4)
    overrides = excluded(config, "modules_in_block_to_skip", "modules_to_not_convert")
    dynamic = config.raw.get("dynamic")
    for rule, settings in dynamic.items() if isinstance(dynamic, Mapping) else ():
        if rule.startswith("-:"):
            overrides.add(["re:" + rule[2:]], PLAIN)
        elif isinstance(settings, Mapping) and {"bits", "group_size"} & set(settings):
            own = f"gptq-int{whole('bits', settings.get('bits', bits))}"
            own_group = whole("group_size", settings.get("group_size", group))
            overrides.add(["re:" + rule.removeprefix("+:")], grouped(own, own_group))
    if config.raw.get("lm_head") is True:
        overrides.add(["lm_head"], grouped(f"gptq-int{bits}", group))
    return finish("gptq", grouped(f"gptq-int{bits}", group), overrides)


def read_awq(config: QuantConfig) -> Quantisation:
    """AWQ."""
    bits = config.whole("bits", "w_bit", default=4)
    group = config.whole("group_size", "q_group_size", default=128)
    overrides = excluded(config, "modules_to_not_convert")
    return finish("awq", grouped(f"awq-int{bits}", group), overrides)


def read_auto_round(config: QuantConfig) -> Quantisation:
    """AutoRound: integers packed as GPTQ or AWQ do, or MX and NV floats."""
    bits, group = config.whole("bits", default=4), config.whole("group_size", default=128)
    kind = str(config.raw.get("data_type") or "int")
    act_bits = config.whole("act_bits", default=16)
    if kind.startswith("mx"):
        weight = {4: "mxfp4", 8: "mxfp8"}[bits]
        weight += {4: "-w4a4", 8: "-w4a8"}.get(act_bits, "") if bits == 4 else ""
    elif kind.startswith("nv"):
        weight = "nvfp4" if act_bits == 4 else "nvfp4-w4a16"
    elif kind.startswith("fp"):
        weight = "fp8" if act_bits == 8 else "fp8-w8a16"
    else:
        packing = str(config.raw.get("packing_format") or "")
        weight = grouped(f"{'awq' if 'awq' in packing else 'gptq'}-int{bits}", group)
    overrides = Overrides(config.layers)
    extra = config.raw.get("extra_config")
    for name, settings in extra.items() if isinstance(extra, Mapping) else ():
        own = whole("bits", settings.get("bits", bits)) if isinstance(settings, Mapping) else bits
        if own >= 16:
            overrides.add([name], PLAIN)
        elif own != bits and kind == "int":
            overrides.add([name], grouped(f"gptq-int{own}", group))
    return finish("auto-round", weight, overrides)


def read_hqq(config: QuantConfig) -> Quantisation:
    """HQQ."""
    inner = config.raw.get("quant_config") or {}
    params = inner.get("weight_quant_params", inner)
    weight = f"hqq-int{whole('nbits', params.get('nbits', 4))}"
    group = params.get("group_size")
    group = 64 if group is None else whole("group_size", group)
    overrides = excluded(config, "skip_modules")
    return finish("hqq", grouped(weight, group, 64), overrides)


def read_mlx(config: QuantConfig) -> Quantisation:
    """MLX: every linear and the embedding, with settings per module where they differ."""
    bits, group = config.whole("bits", default=4), config.whole("group_size", default=64)
    mode = str(config.raw.get("mode") or "affine")
    weight = mode if mode in ("mxfp4", "nvfp4", "mxfp8") else grouped(f"mlx-int{bits}", group, 64)
    weight = "nvfp4-w4a16" if weight == "nvfp4" else weight
    overrides = Overrides(config.layers)
    for name, settings in config.raw.items():
        if settings is False:
            overrides.add([name], PLAIN)
        elif isinstance(settings, Mapping) and "bits" in settings:
            own = f"mlx-int{whole('bits', settings['bits'])}"
            overrides.add([name], grouped(own, whole("group_size", settings["group_size"]), 64))
    kept = ((r"^top\.", weight),)
    return finish("mlx", weight, overrides, activation="", kept=kept)


def read_bitsandbytes(config: QuantConfig) -> Quantisation | None:
    """Read bitsandbytes: NF4 or FP4 with or without double quantisation, or LLM.int8()."""
    overrides = excluded(config, "llm_int8_skip_modules")
    if config.raw.get("load_in_4bit") or config.raw.get("_load_in_4bit"):
        kind = str(config.raw.get("bnb_4bit_quant_type") or "fp4").lower()
        double = "-dq" if config.raw.get("bnb_4bit_use_double_quant") else ""
        return finish("bitsandbytes", f"bnb-{kind}{double}", overrides)
    if config.raw.get("load_in_8bit") or config.raw.get("_load_in_8bit"):
        return finish("bitsandbytes", "bnb-int8", overrides)
    return None


def read_stated_bits(config: QuantConfig) -> Quantisation:
    """EXL2 and EXL3, which state their average and the bits of the head."""
    method = quant_method(config.raw)
    overrides = Overrides(config.layers)
    head = config.raw.get("head_bits")
    if head is not None:
        overrides.add(["lm_head"], f"{method}-{float(head):g}bpw")
    return finish(method, f"{method}-{float(config.raw['bits']):g}bpw", overrides)


def read_aqlm(config: QuantConfig) -> Quantisation:
    """AQLM: codes per group of weights; codebooks are under 1%."""
    weights = config.whole("in_group_size", default=8) * config.whole("out_group_size", default=1)
    code_bits = config.whole("nbits_per_codebook", default=16)
    bits = config.whole("num_codebooks", default=1) * code_bits / max(weights, 1)
    name = "aqlm-2bit" if bits == 2 else f"aqlm-{bits:g}bpw"
    return finish("aqlm", name, excluded(config, "linear_weights_not_to_quantize"))


def read_vptq(config: QuantConfig) -> Quantisation | None:
    """VPTQ: index bits per vector, main and residual, of the first layer listed."""
    layers = config.raw.get("config_for_layers") or config.raw.get("shared_layer_config") or {}
    first = next((value for value in layers.values() if isinstance(value, Mapping)), None)
    if first is None:
        return None
    length = max(int(x) for x in first["vector_lens"])
    codes = max(int(x) for x in first["num_centroids"])
    residual = max((int(x) for x in first.get("num_res_centroids") or [-1]), default=-1)
    bits = (math.log2(codes) + (math.log2(residual) if residual > 1 else 0.0)) / length
    overrides = excluded(config, "modules_to_not_convert")
    return finish("vptq", f"vptq-{bits:g}bpw", overrides)


def read_spqr(config: QuantConfig) -> Quantisation:
    """SpQR: weights and their two levels of scales; outliers are not in the config."""
    bits, beta1 = config.whole("bits", default=3), config.whole("beta1", default=16)
    tile = beta1 * config.whole("beta2", default=16)
    total = bits + 2.0 * bits / beta1 + 64.0 / tile
    return finish("spqr", f"spqr-{total:g}bpw", Overrides(config.layers))


def read_named(config: QuantConfig) -> Quantisation | None:
    """Methods whose config names a width: EETQ, Quanto, BitNet, torchao, higgs-like."""
    method = quant_method(config.raw)
    stated = str(config.raw.get("weights") or "int8").lower()
    weight = {
        "eetq": "int8",
        "bitnet": "bitnet",
        "quanto": {"int8": "int8", "int4": "int4", "int2": "int2", "float8": "fp8-w8a16"}.get(
            stated, ""
        ),
    }[method]
    if not weight:
        return None
    return finish(method, weight, excluded(config, "modules_to_not_convert"))


_TORCHAO = (
    ("int4", "weight", "int4"),
    ("int8dynamicactivationint4", "", "int4-w4a8"),
    ("int8_dynamic_activation_int4", "", "int4-w4a8"),
    ("int8dynamicactivationint8", "", "int8-w8a8"),
    ("int8_dynamic_activation_int8", "", "int8-w8a8"),
    ("int8", "weight", "int8"),
    ("float8", "dynamic", "fp8-channel"),
    ("float8", "static", "fp8"),
    ("float8", "weight", "fp8-w8a16"),
    ("nvfp4", "", "nvfp4"),
)


def read_torchao(config: QuantConfig) -> Quantisation | None:
    """Read torchao's configuration classes, by name."""
    kind = config.raw.get("quant_type")
    settings: Mapping[str, Any] = config.raw.get("quant_type_kwargs") or {}
    if isinstance(kind, Mapping):
        kind = kind.get("default", kind)
        settings = kind.get("_data") or {}
        kind = kind.get("_type")
    words = str(kind or "").lower()
    for start, part, weight in _TORCHAO:
        if words.startswith(start) and part in words:
            group = settings.get("group_size")
            if weight == "int4" and isinstance(group, int):
                weight = grouped(weight, group)
            return finish("torchao", weight, excluded(config, "modules_to_not_convert"))
    return None
