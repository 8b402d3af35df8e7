# SPDX-License-Identifier: Apache-2.0
"""How many bits a stored number really takes, and in what arithmetic it is multiplied.

Formats are data (``specs/data/precisions.toml``): element bits, block size and the
bits that a block adds for scales and zero points, each with a source. Three kinds of
name are understood:

- a format, ``"bf16"``, ``"nvfp4"``, ``"gptq-int4"``, ``"q4_k"``, or an alias of one;
- a GGUF file mix, ``"q4_k_m"``: a base type and other types for some roles;
- a name that carries its bits: ``"exl3-4.0bpw"``, ``"iq3_s_3.15bpw"``.

A blend such as ``"0.5*q6_k+0.5*q4_k"`` is a type that changes from layer to layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from specs.errors import InvalidInputError, UnknownNameError, UnsupportedPrecisionError
from specs.formats import (
    Precision,
    canonical_names,
    gguf_mix,
    normalised,
    stored_format,
    tables,
)

_BPW = re.compile(
    r"^(?P<name>[a-z0-9_.-]+?)[-_ ](?P<bits>\d+(?:\.\d+)?)[-_ ]?bpw(?:[-_][a-z0-9]+)?$"
)
_GROUP = re.compile(r"^(?P<name>.+?)[-_ ](?:g(?P<group>\d+)|(?P<channel>channel))$")
_BPW_FAMILIES = ("exl2", "exl3", "aqlm", "vptq", "spqr")


def list_precisions() -> tuple[str, ...]:
    """Canonical names, formats before file mixes."""
    return tuple(dict.fromkeys((*tables()["format"], *tables()["mix"])))


@lru_cache(maxsize=512)
def get_precision(name: str) -> Precision:
    """Look up a storage precision by canonical name, alias or carried bits.

    A GGUF name that is both a block type and a file (``"q6_k"``) is the block type: what
    a tensor of it takes. `specs.formats.gguf_mix` reads the same name as a file.

    Raises
    ------
    UnknownNameError
        Nothing carries that name.
    """
    if "*" in name:
        return _blend(name)
    canonical = canonical_names().get(normalised(name))
    if canonical is not None:
        if canonical in tables()["format"]:
            return stored_format(canonical)
        return gguf_mix(canonical)
    carried = _carried_bits(name) or _grouped(name)
    if carried is not None:
        return carried
    import difflib  # only needed to word the error

    near = difflib.get_close_matches(normalised(name), sorted(canonical_names()), n=5, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(list_precisions())}"
    raise UnknownNameError(
        f"no storage precision is called {name!r}; {hint}. Choose one, or give bits per weight "
        "as in 'exl3-4.0bpw'."
    )


def _carried_bits(name: str) -> Precision | None:
    """Formats whose width is part of the name, such as ``exl2-5.0bpw``."""
    match = _BPW.match(name.strip().lower())
    if match is None:
        return None
    stem, bits = match["name"], float(match["bits"])
    if not 0.5 <= bits <= 32.0:
        raise InvalidInputError(f"{name!r} states {bits:g} bits per weight; give 0.5 to 32.")
    if stem in _BPW_FAMILIES:
        return Precision(
            name=f"{stem}-{bits:g}bpw", bits=bits, compute="16bit", family=stem, source=stem
        )
    if canonical_names().get(normalised(stem)) is None:
        return None
    base = get_precision(stem)
    return Precision(
        name=f"{base.name}-{bits:g}bpw",
        bits=bits,
        compute=base.compute,
        activation=base.activation,
        block=base.block,
        family=base.family,
        source=base.source,
    )


def _grouped(name: str) -> Precision | None:
    """Formats with another group size than usual: ``"gptq-int4-g64"``, ``"int8-channel"``."""
    match = _GROUP.match(name.strip().lower())
    canonical = canonical_names().get(normalised(match["name"])) if match is not None else None
    row = tables()["format"].get(canonical, {})
    if match is None or canonical is None or "element" not in row:
        return None
    usual = get_precision(canonical)
    if match["channel"]:  # a scale per row of thousands: under 0.1% of the bits
        return replace(usual, name=f"{canonical}-channel", bits=float(row["element"]), block=1)
    group = int(match["group"])
    if group == usual.block or "extra" not in row:
        return usual
    if group < 1:
        raise InvalidInputError(f"{name!r} states groups of {group}; give 1 or more.")
    bits = row["element"] + row["extra"] / group
    return replace(usual, name=f"{canonical}-g{group}", bits=float(bits), block=group)


def _blend(name: str) -> Precision:
    """Read ``"0.5*q6_k+0.5*q4_k"``: shares of elements, each in a type of its own."""
    parts: list[tuple[Precision, float]] = []
    for term in name.split("+"):
        share, _, part = term.partition("*")
        try:
            parts.append((get_precision(part.strip()), float(share)))
        except ValueError:
            raise InvalidInputError(
                f"blend {name!r}: {share!r} is no share; write it as '0.5*q6_k+0.5*q4_k'."
            ) from None
    total = sum(share for _, share in parts)
    if abs(total - 1.0) > 1e-6 or any(share <= 0 for _, share in parts):
        raise InvalidInputError(f"blend {name!r}: shares sum to {total:g}; they must sum to 1.")
    main = max(parts, key=lambda part: part[1])[0]
    return Precision(
        name=name,
        bits=sum(part.bits * share for part, share in parts),
        compute=main.compute,
        activation=main.activation,
        block=main.block,
        family=main.family,
        source=main.source,
        parts=tuple((part.name, share) for part, share in parts),
    )


def blend(parts: Mapping[str, float]) -> str:
    """Name of the precision that stores these shares of elements (they sum to 1)."""
    return blend_sum(*parts.items())


def blend_sum(*parts: tuple[str, float]) -> str:
    """Name of a blend of (precision, share); equal precisions are added up."""
    used: dict[str, float] = {}
    for name, share in parts:
        if share > 0:
            used[name] = used.get(name, 0.0) + share
    if len(used) == 1:
        return next(iter(used))
    return "+".join(f"{share:.12g}*{name}" for name, share in used.items())


def get_kv_precision(name: str, plain_dtype: str) -> Precision:
    """Precision of a KV cache.

    Parameters
    ----------
    name : str
        A storage precision; ``""`` or ``"auto"`` for the model's own dtype; or keys and
        values apart, as ``"q8_0/q4_0"``.
    plain_dtype : str
        The model's own dtype.

    Raises
    ------
    UnknownNameError
        Nothing carries that name.
    InvalidInputError
        The format cannot hold a cache: weights only, or a file mix.
    """
    keys, slash, values = name.partition("/")
    if slash:
        return get_precision(
            blend_sum(
                (get_kv_precision(keys, plain_dtype).name, 0.5),
                (get_kv_precision(values, plain_dtype).name, 0.5),
            )
        )
    if normalised(name) in ("", "auto", "default"):
        return get_precision(plain_dtype)
    precision = get_precision(name)
    if precision.family not in ("plain", "fp8", "mx", "nvfp4", "int", "gguf", "kv") or (
        precision.roles or "bpw" in precision.name
    ):
        raise InvalidInputError(
            f"{name!r} is no format of a KV cache; choose fp32, fp16, bf16, fp8, int8, nvfp4, "
            "q8_0, q4_0 or auto."
        )
    return precision


# What 8-bit and 4-bit operands become when they meet: the wider of the two grids, if it
# holds both exactly (fp4 doubled is an integer, int4 is a subset of e4m3).
_MEET = {
    ("fp8", "fp8"): "fp8",
    ("fp6", "fp8"): "fp8",
    ("fp4", "fp8"): "fp8",
    ("int4", "fp8"): "fp8",
    ("fp8", "fp6"): "fp8",
    ("fp6", "fp6"): "fp6",
    ("fp4", "fp6"): "fp6",
    ("fp8", "fp4"): "fp8",
    ("fp6", "fp4"): "fp6",
    ("fp4", "fp4"): "fp4",
    ("int8", "int8"): "int8",
    ("int4", "int8"): "int8",
    ("fp4", "int8"): "int8",
    ("int4", "int4"): "int4",
    ("int8", "int4"): "int8",
}


def compute_precision(weight: Precision, activation: str, plain_dtype: str) -> str:
    """Arithmetic precision of ``activation @ weight``.

    Parameters
    ----------
    weight : Precision
        How the weight is stored.
    activation : str
        Precision of the activations at the product; ``""``, ``"auto"`` or ``"16bit"``
        if they stay in `plain_dtype`.
    plain_dtype : str
        Plain dtype of the model: ``"bf16"``, ``"fp16"``, ``"fp32"``.

    Returns
    -------
    str
        A name of ``specs.accelerator.COMPUTE_PRECISIONS``. Plain weights multiply in
        the wider of their own and the activations' dtype, whatever the rest of the
        model is quantised to; formats that kernels always dequantise multiply in
        `plain_dtype`; narrow operands multiply in the wider of the two.

    Raises
    ------
    UnsupportedPrecisionError
        No kernel multiplies the two, such as int8 weights by fp8 activations.
    """
    plain = get_precision(plain_dtype).compute
    named = None if activation in ("", "auto", "16bit") else get_precision(activation)
    if weight.plain:
        wide = "fp32" in (weight.compute, plain if named is None else named.compute)
        return "fp32" if wide else weight.compute
    if named is None:
        return plain
    if named.plain:
        return named.compute
    if weight.compute == "16bit":
        return plain
    try:
        return _MEET[weight.compute, named.compute]
    except KeyError:
        raise UnsupportedPrecisionError(
            f"no kernel multiplies {weight.name} weights by {activation} activations; leave the "
            f"activations in {plain} or choose weights of the same kind."
        ) from None
