# SPDX-License-Identifier: Apache-2.0
"""Argument parser of all commands: errors on one line, no abbreviations."""

from __future__ import annotations

import re
import sys
from argparse import (
    Action,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
)
from typing import Any, NoReturn

WIDTH = 96
"""Columns of help texts. argparse would ask the terminal, and load compression libraries
to do so, whenever an argument is declared."""


class Help(RawDescriptionHelpFormatter):
    """Help texts of a fixed width, line breaks kept."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"width": WIDTH, **settings})


class StoreOnce(Action):
    """Keep a value; a second, different one for the same option is a contradiction."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store `values`, unless the option was given another before."""
        given: dict[str, Any] = namespace.__dict__.setdefault("_given", {})
        if option_string is not None and given.setdefault(self.dest, values) != values:
            options = "/".join(self.option_strings)
            parser.error(
                f"{options} is given twice, as {given[self.dest]!r:.40} and {values!r:.40}; "
                f"keep one."
            )
        setattr(namespace, self.dest, values)


class Parser(ArgumentParser):
    """An `argparse.ArgumentParser` whose errors are one line with exit code 2.

    Abbreviated options are refused: they break when an option is added. So are options
    given twice with different values, of which argparse would keep the last.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        settings.setdefault("formatter_class", Help)
        super().__init__(**settings)
        for action in (None, "store"):
            self.register("action", action, StoreOnce)
        # "-1GB" is a value that its option refuses with a reason, not an unknown option.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a help text; argparse's own version passes over what fails."""
        from roofline.cli.output import write

        if file is sys.stdout:
            write(message)
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, on one line, and leave."""
        text = " ".join(message.split()).rstrip(".") + "."
        print(f"roofline: {text} See: {self.prog} --help", file=sys.stderr)
        sys.exit(2)
