# SPDX-License-Identifier: Apache-2.0
"""Show where the time goes: every operator of a prefill and of a decode step."""

from __future__ import annotations

from argparse import Namespace

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from roofline.cli.scenario import add_scenario_arguments, scenario_of
from roofline.corrected import explain


def add_arguments(parser: Parser) -> None:
    """Declare what the command takes."""
    add_scenario_arguments(parser)
    parser.add_argument("--all", action="store_true", help="list the smallest operators too")
    add_json_argument(parser)


def run(args: Namespace) -> None:
    """Explain and print."""
    names, asked = scenario_of(args)
    explanation = explain(*names, **asked)
    if args.json:
        print_json(explanation.to_dict())
        return
    from roofline.report.explanation import explanation_text

    print_text(explanation_text(explanation, least_share=0.0 if args.all else 0.005))
