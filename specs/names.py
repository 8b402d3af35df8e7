# SPDX-License-Identifier: Apache-2.0
"""How people write the names of accelerators.

Answers: which words does a written name consist of, once vendors, punctuation
and habits of drivers, clouds and shops are taken off. ``"NVIDIA GeForce RTX 4060Ti
Laptop GPU 8GB"`` becomes ``("geforce", "rtx", "4060", "ti", "laptop", "8gb")``.
"""

from __future__ import annotations

import re
from functools import lru_cache

NOISE = frozenset(
    [
        "nvidia",
        "amd",
        "ati",
        "intel",
        "apple",
        "google",
        "aws",
        "amazon",
        "habana",
        "corporation",
        "corp",
        "inc",
        "ltd",
        "gpu",
        "gpus",
        "tesla",
        "instinct",
        "accelerator",
        "card",
        "generation",
        "edition",
        "with",
        "design",
        "the",
        "series",
        "graphics",
        "processor",
        "founders",
        "chip",
        "cloud",
        "core",
    ]
)
"""Words that tell no two accelerators apart."""

SERIES = frozenset(["geforce", "radeon", "rtx", "gtx", "gt", "rx", "arc", "tpu", "jetson"])
"""Series words that people leave out: a missing one never changes what is meant."""

FORM_FACTORS = frozenset(
    ["pcie", "sxm", "sxm2", "sxm3", "sxm4", "sxm5", "sxm6", "oam", "nvl", "hgx", "module"]
)
"""Words that tell variants of one product apart; left out, every variant is meant."""

FAMILIES = frozenset(["quadro", "ada", "blackwell", "pro", "ai", "workstation", "data", "center"])
"""Words that tell products apart and that people still leave out at times."""

MEMORY_KINDS = re.compile(r"(hbm\d?[a-z]*|gddr\d\w*|lpddr\d\w*|ddr\d)")
MEMORY_SIZE = re.compile(r"(\d+)gb")

_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Schedulers append a number of devices: A100:80GB:8.
        (r":\d{1,3}\s*$", " "),
        (r"\((r|tm|c)\)|[®™©]", " "),
        # What operating systems append to the name of a processor.
        (r"@ *\d+(\.\d+)? *[gm]hz|\b\d+[- ]core processor\b", " "),
        (r"@ ?[\d.]+ ?ghz", " "),
        (r"[^a-z0-9.]+", " "),
        (r"(?<!\d)\.|\.(?!\d)", " "),
        (r"\b(rtx|gtx) ?pro ?(?=\d)", r"\1 pro "),
        (r"\b(rtx|gtx|rx|gts|geforce|radeon|quadro)(?=[a-z]?\d)", r"\1 "),
        (r"\bpro(?=[a-z]?\d{3})", "pro "),
        (r"(?<=\d)(ada|blackwell)\b", r" \1"),
        (r"\b(\d{3,4})(tisuper)\b", r"\1 ti super"),
        (r"\b(\d{3,4})(ti|super|xtx|xt|gre)\b", r"\1 \2"),
        (r"\b(\d{4}) ?d\b", r"\1 d"),
        (r"\b([abhlv]\d{2,3})(nvl|sxm\d?|pcie)\b", r"\1 \2"),
        (r"\bpci( ?e(xpress)?)?\b", "pcie"),
        (r"\b(\d+) ?gi?b\b", r"\1gb"),
        # A bare "g" only after a size that memory comes in: there is an RX 580G.
        (r"\b([23468]|1[0126]|2[0248]|32|4[08]|64|80|9[46]|128|141|192|256|288) ?g\b", r"\1gb"),
        (r"\bmax ?q\b", "maxq"),
        # Apple numbers its chips as NVIDIA numbered these: here the brand counts.
        (r"\btesla ?(m\d)\b", r"tesla\1"),
        (r"\b(mobile|notebook)\b", "laptop"),
        # Clouds name a TPU slice by its number of chips: v5litepod-4, tpu-v6e-8.
        (r"\bv5 ?lite(pod)?\b", "v5e"),
        (r"\b(v[2-9][ep]?) \d+\s*$", r"\1"),
    )
)


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """Return the words of a written name that carry meaning, in order, without repeats."""
    text = name.lower()
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return tuple(dict.fromkeys(word for word in text.split() if word not in NOISE))


def key_of(name: str) -> str:
    """Return the spelling-free key of a name: its words, run together."""
    return "".join(words(name))


def slug_of(name: str) -> str:
    """Return the canonical slug of a board from its full name.

    Series words go where the rest is clear without them: ``"GeForce RTX 3060
    12 GB"`` is ``rtx-3060-12gb``, ``"Radeon 780M"`` stays ``radeon-780m``.
    """
    parts = list(words(name))
    for first, following in (("geforce", ("rtx", "gtx")), ("radeon", ("rx",))):
        if len(parts) > 1 and parts[0] == first and parts[1] in following:
            parts = parts[1:]
    if "instinct" in name.lower() and parts[0] == "radeon":
        parts = parts[1:]
    return re.sub(r"\btesla(?=m\d)", "tesla-", "-".join(parts).replace(".", "-"))
