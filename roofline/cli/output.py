# SPDX-License-Identifier: Apache-2.0
"""Answers on stdout, the same way for every command."""

from __future__ import annotations

import json
from typing import Any

from roofline.cli.parser import Parser


def add_json_argument(parser: Parser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(answer: Any) -> None:
    """Print `answer`; NaN and infinity are no JSON and therefore a bug."""
    print(json.dumps(answer, indent=2, allow_nan=False))


def print_text(text: str) -> None:
    """Print `text`; names may come from strangers' files and must not steer a terminal."""
    print("".join(char if char.isprintable() or char == "\n" else "?" for char in text))
