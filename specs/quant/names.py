# SPDX-License-Identifier: Apache-2.0
"""Module names: one spelling for several generations of code, and what stays plain."""

from __future__ import annotations

import re

PLAIN = "plain"
"""Stands for the checkpoint's plain dtype inside a blend."""

KEPT_PLAIN = (
    (r"(?:^|\.)(?:mlp|mixer)\.gate$", ""),
    (r"(?:^|\.)(?:router(?:\.\w+)*|shared_expert_gate|wg)$", ""),
    (r"\.(?:\w+\.)?weights_proj$", ""),
    (r"\.compressor\.(?:indexer\.)?(?:kv|gate)_proj$", ""),
    (r"_hc\.fn$", "fp32"),
    (r"(?:^|\.)eh_proj$", ""),
    (r"^top\.", ""),
)
"""Overrides after a config's own: what no engine quantises unless told to by name."""

_EXPERT_INDEX = re.compile(
    r"(experts\\?\.)(?:\d+|\*|\\d[+*]|\[0-9\][+*]|\.\*|\[\^\.\][+*])(\\?\.|$)"
)
_SYNONYMS = (
    (re.compile(r"(?<![a-z_])(?:block_sparse_moe|feed_forward|ffn|moe)(?=\\?\.|$)"), "mlp"),
    (re.compile(r"(?<![a-z_])(?:attn|attention)(?=\\?\.|$)"), "self_attn"),
)


def canonical(name: str) -> str:
    """Bring module names of several generations of code to one spelling."""
    for pattern, word in _SYNONYMS:
        name = pattern.sub(word, name)
    return _EXPERT_INDEX.sub(r"\1", name)
