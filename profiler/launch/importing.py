# SPDX-License-Identifier: Apache-2.0
"""Hands a tool's result to the importer of that tool."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.launch.ask import Ask
from specs.measurement import Measurement


def imported(
    block: Mapping[str, Any], common: Mapping[str, Any], ask: Ask
) -> list[Measurement]:
    """Rows of a result file in a tool's own format.

    Raises
    ------
    InvalidInputError
        The importer refuses the file, or misses a fact that nobody stated.
    """
    raise NotImplementedError
