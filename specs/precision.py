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

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from specs.errors import (
    InvalidInputError,
    SpecDataError,
    UnknownNameError,
    UnsupportedPrecisionError,
)

_DATA = Path(__file__).parent / "data" / "precisions.toml"
_BPW = re.compile(
    r"^(?P<name>[a-z0-9_.-]+?)[-_ ](?P<bits>\d+(?:\.\d+)?)[-_ ]?bpw(?:[-_][a-z0-9]+)?$"
)
_PLAIN = ("fp32", "tf32", "fp16", "bf16")
_BPW_FAMILIES = {"exl2": "exl2", "exl3": "exl3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One way to store numbers.

    Parameters
    ----------
    name : str
        Canonical name.
    bits : float
        Stored bits per element, block scales and zero points included. Of a GGUF file
        mix the average over Llama-3.1-8B, embeddings and head included.
    compute : str
        Narrowest arithmetic that the stored values can enter: a name of
        ``specs.accelerator.COMPUTE_PRECISIONS``, or ``"16bit"`` where kernels always
        dequantise first.
    activation : str
        What activations become when this format is asked for and nothing else is said;
        empty if they stay in 16 bits.
    block : int
        Elements that share a scale; 1 where scales are per tensor or per channel.
    family : str
        ``"plain"``, ``"fp8"``, ``"mx"``, ``"nvfp4"``, ``"int"``, ``"gptq"``, ``"awq"``,
        ``"bnb"``, ``"gguf"``...
    source : str
        Key in ``specs/data/sources/precisions.toml``.
    roles : tuple of (role, precision)
        Types of a file mix: ``"base"``, ``"output"``, ``"attn_v"``... Empty otherwise.
    parts : tuple of (precision, share)
        What a blend is made of, shares of elements summing to 1. Empty otherwise.
    """

    name: str
    bits: float
    compute: str
    activation: str = ""
    block: int = 1
    family: str
    source: str
    roles: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, float], ...] = ()

    @property
    def weight_only(self) -> bool:
        """Whether activations stay in 16 bits unless something else says otherwise."""
        return not self.activation

    @property
    def plain(self) -> bool:
        """Whether this is an ordinary float type of 16 bits or more."""
        return self.family == "plain"

    @property
    def bytes_per_element(self) -> float:
        """Stored bytes per element."""
        return self.bits / 8.0


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, Any]:
    with _DATA.open("rb") as file:
        return tomllib.load(file)


def _key(name: str) -> str:
    return name.strip().lower().removeprefix("torch.").replace("_", "-").replace(" ", "-")


@lru_cache(maxsize=1)
def _index() -> Mapping[str, str]:
    """Normalised spelling -> canonical name; formats win over aliases."""
    tables = _tables()
    index = {_key(alias): name for alias, name in tables["alias"].items()}
    index.update({_key(name): name for name in (*tables["mix"], *tables["format"])})
    return index


def list_precisions() -> tuple[str, ...]:
    """Canonical names, formats before file mixes."""
    tables = _tables()
    return tuple(dict.fromkeys((*tables["format"], *tables["mix"])))


@lru_cache(maxsize=512)
def get_precision(name: str) -> Precision:
    """Look up a storage precision by canonical name, alias or carried bits.

    A GGUF name that is both a block type and a file (``"q6_k"``) is the block type: what
    a tensor of it takes. `gguf_mix` reads the same name as a file.

    Raises
    ------
    UnknownNameError
        Nothing carries that name.
    """
    if "*" in name:
        return _blend(name)
    canonical = _index().get(_key(name))
    if canonical is not None:
        if canonical in _tables()["format"]:
            return _format(canonical)
        return gguf_mix(canonical)
    carried = _carried_bits(name)
    if carried is not None:
        return carried
    near = difflib.get_close_matches(_key(name), sorted(_index()), n=5, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(list_precisions())}"
    raise UnknownNameError(
        f"no storage precision is called {name!r}; {hint}. Choose one, or give bits per weight "
        "as in 'exl3-4.0bpw'."
    )


def _format(name: str) -> Precision:
    row = _tables()["format"][name]
    block = int(row.get("block", 1))
    if "bytes" in row:
        bits = 8.0 * row["bytes"] / block
    elif "element" in row:
        bits = row["element"] + row.get("extra", 0) / block
    else:
        raise SpecDataError(f"precision {name!r} states neither bytes nor element bits.")
    return Precision(
        name=name,
        bits=float(bits),
        compute=row["compute"],
        activation=row.get("activation", ""),
        block=block,
        family=row["family"],
        source=row["source"],
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
    if _index().get(_key(stem)) is None:
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
    used = {name: share for name, share in parts.items() if share > 0}
    if len(used) == 1:
        return next(iter(used))
    return "+".join(f"{share:.12g}*{name}" for name, share in used.items())


@lru_cache(maxsize=512)
def gguf_mix(name: str, *, gqa: float = 8.0, num_experts: int = 0) -> Precision:
    """Read a name as a GGUF file: base type, and the roles that get another one.

    Parameters
    ----------
    name : str
        ``"q4_k_m"``, ``"Q8_0"``, ``"q4_0"``...
    gqa : float
        Query heads per KV head; llama.cpp gives ``attn_v`` more bits from 4 up.
    num_experts : int
        llama.cpp has rules of its own for exactly eight experts.

    Raises
    ------
    UnknownNameError
        It is no GGUF file type.
    """
    tables = _tables()
    canonical = _index().get(_key(name), "")
    row = tables["mix"].get(canonical)
    if row is None:
        known = ", ".join(tables["mix"])
        raise UnknownNameError(f"{name!r} is no GGUF file type; there are {known}.")
    roles = {role: kind for role, kind in row.items() if isinstance(kind, str)}
    if gqa >= 4:
        roles.update(row.get("gqa4", {}))
    if num_experts == 8:
        roles.update(row.get("moe8", {}))
    base = get_precision(row["base"])
    return Precision(
        name=canonical,
        bits=float(row["bits"]),
        compute=base.compute,
        block=base.block,
        family="gguf",
        source=row.get("source", "llama-quantize"),
        roles=tuple(roles.items()),
    )


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
