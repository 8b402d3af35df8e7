# SPDX-License-Identifier: Apache-2.0
"""Results that other tools measured, as rows of our own schema.

    detect("serve.json")                                  # -> "vllm-serve"
    read_results("serve.json", Facts(gpu="L4", tp=1, ...))  # -> Imported(rows=..., refused=...)

A file is recognised by its fields, never by its name. What it does not state comes from
`Facts`; a point that still lacks something is refused with the list of all that is missing.
Every row keeps the figures as the file names them, and what each column was filled from.
"""

from __future__ import annotations

from profiler.importers.columns import parse_map
from profiler.importers.facts import FLAGS, Facts, MissingFactsError
from profiler.importers.read import IMPORTERS, Imported, detect, read_results

__all__ = [
    "FLAGS",
    "IMPORTERS",
    "Facts",
    "Imported",
    "MissingFactsError",
    "detect",
    "parse_map",
    "read_results",
]
