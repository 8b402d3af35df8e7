# SPDX-License-Identifier: Apache-2.0
"""Answers as JSON, the same way for every command."""

from __future__ import annotations

import json
from typing import Any

from roofline.cli.parser import Parser


def add_json_argument(parser: Parser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(answer: Any) -> None:
    """Print `answer`; NaN and infinity are no JSON and therefore a bug."""
    print(json.dumps(answer, indent=2, allow_nan=False, ensure_ascii=False))
