# SPDX-License-Identifier: Apache-2.0
"""Classes of kernels that differ in what they reach of a device."""

from __future__ import annotations

SCHEMES = (
    "plain",
    "fp8",
    "fp8_block",
    "int8",
    "fp4",
    "int8_only",
    "int4_only",
    "fp4_only",
    "fp4_fp8",
    "other",
)
"""How the weights of a product are stored and multiplied, as far as its kernels differ: in 16
bits or more; both operands in 8 bits, scaled per channel or per block; in integers; in 4
bits; weights alone in 8 or 4 bits, integers or floats; 4-bit weights by 8-bit inputs."""

SCHEME_INDEX = {name: index for index, name in enumerate(SCHEMES)}

ATTENTION_VARIANTS = ("heads", "heads_narrow_kv", "latent", "latent_narrow_kv")
"""Kinds of attention kernels: a cache per KV head or one latent, in 16 bits or fewer."""
