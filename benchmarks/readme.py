# SPDX-License-Identifier: Apache-2.0
"""Renews the README's sample output: ``python -m benchmarks.readme``.

A test compares it with what the command prints now, so that a prediction cannot move
without its readers seeing it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def block_after(mark: str, text: str) -> str:
    """Return the content of the code block below the comment ``<!-- mark -->``.

    Raises
    ------
    ValueError
        There is no such comment with a code block.
    """
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)```", text, re.S)
    if found is None:
        raise ValueError(f"README.md has no code block under <!-- {mark} -->.")
    return found[1]


def printed_now(text: str) -> str:
    """Return what the README's first command prints with this interpreter and checkout."""
    command = shlex.split(block_after("first-command", text).rpartition("&&")[2])
    words = [sys.executable, "-m", "roofline", *command[1:]]
    done = subprocess.run(words, cwd=README.parent, capture_output=True, text=True, check=True)
    return done.stdout


def renewed(text: str) -> str:
    """Return the README with its first command's output as of now."""
    old = block_after("first-output", text)
    head, mark, rest = text.partition("<!-- first-output -->\n```text\n")
    return head + mark + printed_now(text) + rest[len(old) :]


def main() -> None:
    """Rewrite README.md."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
