# SPDX-License-Identifier: Apache-2.0
"""Llama and Mistral, and what follows their layout without additions."""

from __future__ import annotations

from ._experts import ExpertStyle
from .decoder import styled

llama = styled()

mixtral = styled(
    qkv_bias=False,
    o_bias=False,
    experts=ExpertStyle(),
)
