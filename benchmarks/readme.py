# SPDX-License-Identifier: Apache-2.0
"""Renews the README's sample output: ``python -m benchmarks.readme``.

A console block below ``<!-- session -->`` is run line by line in an empty folder that sees
the checkout's ``tests``; blocks without that mark were taken on one machine and stay.

A test compares it with what the command prints now, so that a prediction cannot move
without its readers seeing it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
SESSION = re.compile(r"(?<=<!-- session -->\n```console\n)(.*?)(?=```)", re.S)


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
    """Return the README with the output of its first command and its sessions as of now."""
    old = block_after("first-output", text)
    head, mark, rest = text.partition("<!-- first-output -->\n```text\n")
    return sessions_renewed(head + mark + printed_now(text) + rest[len(old) :])


def sessions_renewed(text: str) -> str:
    """Return the README with its sessions as of now."""
    return SESSION.sub(lambda found: session_now(found[1]), text)


def session_now(block: str) -> str:
    """Return a session with what each ``$ roofline ...`` line of it prints now."""
    shown = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tests").symlink_to(README.parent / "tests")
        paths = [str(README.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "ROOFLINE_STORE": str(folder / "measurements"),
        }
        for line in block.splitlines():
            if line.startswith("$ "):
                words = [sys.executable, "-m", "roofline", *shlex.split(line)[2:]]
                said = subprocess.run(
                    words,
                    cwd=folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,  # in the order of a terminal
                    text=True,
                    check=False,
                ).stdout
                shown += [line, *said.replace(name, ".").splitlines()]
    return "".join(f"{line.rstrip()}\n" for line in shown)


def main() -> None:
    """Rewrite README.md."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
