# SPDX-License-Identifier: Apache-2.0
"""Measure models, kernels and tabular estimators on this machine, and keep the results."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError, Namespace

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from specs.errors import InvalidInputError


def add_arguments(parser: Parser) -> None:
    """Declare what is measured, on what, and for how long."""
    group = parser.add_argument_group("what")
    group.add_argument(
        "--model", type=words, default=(), metavar="M,...", help="Hugging Face names, or folders"
    )
    group.add_argument("--kernels", action="store_true", help="streams, GEMM, attention, norms")
    group.add_argument("--tabular", action="store_true", help="XGBoost and scikit-learn models")
    for name, alias, default, says in (
        ("batch", "", "1", "sequences in a static batch"),
        ("input-len", "isl", "512", "prompt tokens"),
        ("output-len", "osl", "128", "tokens to generate"),
    ):
        group.add_argument(
            *(f"--{option}" for option in (name, alias) if option),
            type=counts,
            default=counts(default),
            metavar="N,...",
            help=f"{says} ({default})",
        )
    group.add_argument(
        "--dtype", type=words, default=(), metavar="T,...", help="fp32, bf16, fp16 (by device)"
    )
    group.add_argument(
        "--capture", type=words, default=("eager",), metavar="C,...", help="eager, compiled, graph"
    )
    group.add_argument("--weights", action="store_true", help="load real weights, not random ones")
    group = parser.add_argument_group("where and how long")
    group.add_argument(
        "--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, xpu, mps"
    )
    group.add_argument(
        "--num-gpus", type=count, default=1, metavar="N", help="spread layers over N devices (1)"
    )
    group.add_argument("--threads", type=count, metavar="N", help="threads on the host")
    group.add_argument(
        "--budget",
        type=positive,
        default=5.0,
        metavar="S",
        help="seconds for prefill or a step to settle in (5); kernels take a fifth",
    )
    group.add_argument("--max-minutes", type=positive, metavar="N", help="stop the run after N")
    group.add_argument("--no-power", action="store_true", help="leave power and energy out")
    group = parser.add_argument_group("results")
    group.add_argument("--store", metavar="DIR", help="folder that keeps the measurements")
    group.add_argument("--resume", action="store_true", help="measure only what it lacks")
    group.add_argument("--dry-run", action="store_true", help="list the points and leave")
    add_json_argument(parser)
    _add_launch_arguments(parser)


def _add_launch_arguments(parser: Parser) -> None:
    """Declare ``--dstack`` and what belongs to it, and remember which options those are."""
    from profiler.launch import add_launch_arguments

    before = {action.dest for action in parser._actions}
    add_launch_arguments(parser)
    names = {action.dest: action for action in parser._actions if action.dest not in before}
    del names["dstack"]
    parser.set_defaults(launch_options=names)


def run(args: Namespace) -> None:
    """Measure here, or launch elsewhere.

    Raises
    ------
    RooflineError
        What cannot be measured, in one line.
    KeyboardInterrupt
        Ctrl-C; what had been finished is stored.
    """
    if args.dstack:
        from profiler.launch import run_launch

        run_launch(args)
        return
    _refuse_launch_options(args)
    from profiler.run_session import Interrupted, Session

    session = Session.of(args)
    if args.dry_run and args.json:
        print_json(session.listed())
    elif args.dry_run:
        print_text(session.listed_text())
    else:
        try:
            answer = session.run()
        except Interrupted as stop:
            print(f"roofline: {session.stopped_text(stop.result)}", file=sys.stderr)
            raise
        if args.json:
            print_json(answer.to_dict())
        else:
            print_text(answer.text())


def _refuse_launch_options(args: Namespace) -> None:
    """Refuse options that would be passed over here.

    Raises
    ------
    InvalidInputError
        An option of ``--dstack`` without it.
    """
    for name, action in args.launch_options.items():
        value = getattr(args, name)
        if value == action.default or (name == "engine" and value == "transformers"):
            continue
        option = action.option_strings[0]
        raise InvalidInputError(
            f"{option} belongs to --dstack, a rented machine; without it this machine is "
            f"measured: leave {option} out, or choose a device with --device."
        )


def words(text: str) -> tuple[str, ...]:
    """Return names separated by commas."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ArgumentTypeError(f"{text[:40]!r} names nothing.")
    return found


def counts(text: str) -> tuple[int, ...]:
    """Return whole numbers separated by commas."""
    return tuple(count(part) for part in words(text))


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not re.fullmatch(r"\+?[0-9]{1,9}", text.strip()) or int(text) < 1:
        raise ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least 1.")
    return int(text)


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text[:40]!r} is not a number above 0.")
    return value
