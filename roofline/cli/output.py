# SPDX-License-Identifier: Apache-2.0
"""Answers on stdout, the same way for every command."""

from __future__ import annotations

import json
import sys
from typing import Any

from roofline.cli.parser import Parser
from specs.errors import RooflineError


class OutputError(RooflineError):
    """The answer is there and stdout does not take it: a full disk, a closed stream."""


def add_json_argument(parser: Parser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(answer: Any) -> None:
    """Print `answer`; NaN and infinity are no JSON and therefore a bug."""
    write(json.dumps(answer, indent=2, allow_nan=False) + "\n")


def print_text(text: str) -> None:
    """Print `text`; names may come from strangers' files and must not steer a terminal."""
    write("".join(char if char.isprintable() or char == "\n" else "?" for char in text) + "\n")


def write(text: str) -> None:
    """Put `text` on stdout as it is, and flush.

    Raises
    ------
    OutputError
        Stdout does not take it.
    BrokenPipeError
        Nobody reads it.
    """
    try:
        if sys.stdout is None:  # closed before the start
            raise OutputError("cannot write the output: stdout is closed; send it to a file.")
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write the output: {error.strerror or error}; send it elsewhere."
        ) from None
