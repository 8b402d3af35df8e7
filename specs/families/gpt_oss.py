# SPDX-License-Identifier: Apache-2.0
"""gpt-oss: alternating windows, sink logits, biases everywhere."""

from __future__ import annotations

from ..model import Model
from ._experts import ExpertStyle
from ._reader import Config
from .decoder import Style, decoder

_STYLE = Style(
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    sinks=True,
    window="pattern",
    experts=ExpertStyle(router="router", router_bias=True, expert_bias=True),
    defaults={
        "attention_bias": True, "sliding_window": 128, "sliding_window_pattern": 2,
        "head_dim": 64,
    },
)  # fmt: skip


def gpt_oss(cfg: Config) -> Model:
    """Experts of the width called ``intermediate_size``, one set per layer."""
    return decoder(cfg, _STYLE)
