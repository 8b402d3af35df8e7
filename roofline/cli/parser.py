# SPDX-License-Identifier: Apache-2.0
"""Argument parser of all commands: errors on one line, no abbreviations."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

WIDTH = 96
"""Columns of help texts. argparse would ask the terminal, and load compression libraries
to do so, whenever an argument is declared."""


class Help(RawDescriptionHelpFormatter):
    """Help texts of a fixed width, line breaks kept."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"width": WIDTH, **settings})


class Parser(ArgumentParser):
    """An `argparse.ArgumentParser` whose errors are one line with exit code 2.

    Abbreviated options are refused: they break when an option is added.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        settings.setdefault("formatter_class", Help)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, on one line, and leave."""
        text = " ".join(message.split()).rstrip(".") + "."
        print(f"roofline: {text} See: {self.prog} --help", file=sys.stderr)
        sys.exit(2)
