# SPDX-License-Identifier: Apache-2.0
"""Predict time, memory, power and energy of a model on an accelerator."""

from __future__ import annotations

from argparse import Namespace

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from roofline.cli.scenario import add_scenario_arguments, scenario_of
from roofline.corrected import predict


def add_arguments(parser: Parser) -> None:
    """Declare what the command takes."""
    add_scenario_arguments(parser)
    add_json_argument(parser)


def run(args: Namespace) -> None:
    """Predict and print."""
    names, asked = scenario_of(args)
    estimate = predict(*names, **asked)
    if args.json:
        print_json(estimate.to_dict())
        return
    from roofline.report.estimate import estimate_text

    print_text(estimate_text(estimate))
