# SPDX-License-Identifier: Apache-2.0
"""Storage formats and GGUF file mixes as their table states them, by canonical name.

`specs.precision` reads all spellings, and what is made of several formats.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from specs.errors import SpecDataError, UnknownNameError

_DATA = Path(__file__).parent / "data" / "precisions.toml"

GGUF_ROLES = (
    "base", "output", "token_embd", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate",
    "ffn_up", "ffn_down", "experts",
)  # fmt: skip
"""What a tensor of a GGUF file is for; ``"base"`` is everything that no other role names."""


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
def tables() -> Mapping[str, Any]:
    """Return the format tables as they are in the data file, read once."""
    with _DATA.open("rb") as file:
        return tomllib.load(file)


def normalised(name: str) -> str:
    """Return the spelling that names are compared in."""
    plain = name.strip().lower().removeprefix("torch.").replace("_", "-").replace(" ", "-")
    return plain.removeprefix("ud-")  # a publisher's mark on GGUF files


@lru_cache(maxsize=1)
def canonical_names() -> Mapping[str, str]:
    """Normalised spelling -> canonical name; formats win over aliases."""
    index = {normalised(alias): name for alias, name in tables()["alias"].items()}
    index.update({normalised(name): name for name in (*tables()["mix"], *tables()["format"])})
    return index


def stored_format(name: str) -> Precision:
    """Return a format of the table by its canonical name."""
    row = tables()["format"][name]
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
        llama.cpp has rules of its own for exactly eight experts, and takes four or more
        as it takes `gqa`.

    Notes
    -----
    A mix whose types were chosen tensor by tensor states an average and no roles.

    Raises
    ------
    UnknownNameError
        It is no GGUF file type.
    """
    data = tables()
    canonical = canonical_names().get(normalised(name), "")
    row = data["mix"].get(canonical)
    if row is None:
        known = ", ".join(data["mix"])
        raise UnknownNameError(f"{name!r} is no GGUF file type; there are {known}.")
    parent = data["mix"][row["like"]] if "like" in row else {}
    roles = {k: v for k, v in {**parent, **row}.items() if k in GGUF_ROLES}
    if gqa >= 4 or (num_experts >= 4 and canonical in data["eight_experts"]["low_bits"]):
        roles.update({**parent, **row}.get("gqa4", {}))
    if num_experts == 8:
        roles.update(_eight_experts(canonical))
    stored = stored_format(roles["base"]) if "base" in roles else None
    return Precision(
        name=canonical,
        bits=float(row["bits"]),
        compute=stored.compute if stored else "int8",
        # A stated average already holds what rows of odd lengths were forced to.
        block=stored.block if stored else 1,
        family="gguf",
        source=row.get("source", "llama-quantize"),
        roles=tuple(roles.items()),
    )


def _eight_experts(mix: str) -> dict[str, str]:
    rule = tables()["eight_experts"]
    if mix in rule["low_bits"]:
        return {"attn_v": "q4_k", "attn_k": "q4_k", "attn_output": rule["attn_output"]}
    roles = {"attn_v": rule["attn_v"], "attn_k": rule["attn_k"]}
    if mix in rule["attn_output_in"]:
        roles["attn_output"] = rule["attn_output"]
    return roles
