# SPDX-License-Identifier: Apache-2.0
"""``roofline COMMAND ...``: dispatch, one-line errors, exit codes.

Exit codes: 0 an answer; 2 a question that cannot be answered (one line on stderr);
130 interrupted; 141 nobody reads the answer. A bug keeps its traceback. A command's
module is imported when that command is used, and not before: starting costs a quarter
of a second, and most of it is numpy.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from roofline.cli.output import OutputError, write
from roofline.cli.parser import Parser
from roofline.interrupt import EXIT_INTERRUPTED, unwatch
from specs.errors import RooflineError

COMMANDS = {
    "predict": "time, memory, power and energy of a model on a GPU",
    "explain": "where the time goes: every operator of prefill and decode",
    "specs": "what is known of GPUs, models and engines, with its sources",
    "records": "measurements: list, show, export, validate, push, pull",
    "import": "results that other tools measured, into the store",
    "profile": "measure models, kernels and tabular estimators on this machine",
    "calibrate": "the learned correction: fit, score, move it with your own measurements",
    "doctor": "what can be measured on this machine, what cannot, and why",
}

_MODULES = {"import": "import_results"}
"""Modules of commands whose name no module can have."""

EXIT_BAD_INPUT, EXIT_NO_READER = 2, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Raises
    ------
    SystemExit
        From ``--help``, ``--version`` and wrong usage, with its code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        unwatch()
        if words and words[0] in COMMANDS:
            command = import_module(f"roofline.cli.{_MODULES.get(words[0], words[0])}")
            parser = Parser(prog=f"roofline {words[0]}", description=command.__doc__)
            command.add_arguments(parser)
            command.run(parser.parse_args(words[1:]))
        else:
            _refuse(words)
    except OutputError as error:
        print(f"roofline: {one_line(error)}", file=sys.stderr)
        _drop_output()
        return EXIT_BAD_INPUT
    except RooflineError as error:
        print(f"roofline: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        _drop_output()
        return EXIT_NO_READER
    except KeyboardInterrupt as stop:
        if not getattr(stop, "is_told", False):
            print("roofline: stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _drop_output() -> None:
    """Give the interpreter, which flushes once more at exit, something that takes it."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def entry() -> None:
    """Run the process's own command line and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # terminals that lack a letter
    sys.exit(main())


def one_line(error: RooflineError) -> str:
    """Return the message of `error` with line breaks and control characters taken out."""
    text = " ".join(str(error).split())
    return "".join(char if char.isprintable() else "?" for char in text)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("roofline")
    except PackageNotFoundError:
        return "(a checkout that is not installed)"


def _refuse(words: Sequence[str]) -> None:
    """Answer what is no command: help, version, or an error that names the commands."""
    lines = "\n".join(f"  {name:11}{says}" for name, says in COMMANDS.items())
    parser = Parser(
        prog="roofline",
        usage="roofline COMMAND ...",
        description="Predicts how fast, hot and costly a model runs on an accelerator.",
        epilog=f"commands:\n{lines}\n\nroofline COMMAND --help says more.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.add_argument("command", nargs="?", help="one of those below")
    asked, unknown = parser.parse_known_args(words)
    if asked.version:
        write(f"roofline {_version()}\n")
    elif asked.command is None and unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    elif asked.command is None:
        parser.print_help()
    else:
        parser.error(f"no command {asked.command!r}; give one of {', '.join(COMMANDS)}.")
