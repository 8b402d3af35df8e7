# SPDX-License-Identifier: Apache-2.0
"""Show what is known of GPUs, models and engines, every value with its source."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import asdict

from roofline.cli.output import add_json_argument, print_json, print_text, write
from roofline.cli.parser import Parser
from specs.accelerator import COMPUTE_PRECISIONS, KINDS, Accelerator
from specs.errors import InvalidInputError
from specs.units import parse_bytes


def add_arguments(parser: Parser) -> None:
    """Declare the things that can be shown."""
    things = parser.add_subparsers(dest="thing", metavar="WHAT", required=True)

    def thing(name: str, says: str, run: Callable[[Namespace], None]) -> Parser:
        made: Parser = things.add_parser(name, help=says, description=says)
        made.set_defaults(show=run)
        add_json_argument(made)
        return made

    one = thing("gpu", "all facts of one accelerator", _gpu)
    one.add_argument("name", metavar="NAME", help="such as 'h100 pcie'")
    every = thing("gpus", "accelerators that a prediction can be made for", _gpus)
    every.add_argument("--min-memory", type=_bytes, default=0.0, metavar="SIZE", help="80GB, 24GiB")
    every.add_argument("--vendor", metavar="V", help="nvidia, amd, intel, google, ...")
    every.add_argument("--kind", choices=KINDS, help="kind of device")
    every.add_argument("--architecture", metavar="A", help="hopper, cdna3, ...")
    every.add_argument("--precision", choices=COMPUTE_PRECISIONS, help="a peak it must have")
    one = thing("model", "shape and size of one model", _model)
    one.add_argument("name", metavar="MODEL", help="Hugging Face name, or path of a config.json")
    every = thing("models", "models whose configuration is shipped", _models)
    every.add_argument("--match", default="", metavar="TEXT", help="part of the name")
    thing("engines", "inference engines and their constants", _engines)
    one = thing("fetch", "read one board's page on TechPowerUp now", _fetch)
    one.add_argument(
        "name", metavar="NAME-OR-URL", help="a name to search for, or a page's address"
    )
    one.add_argument("--offline", action="store_true", help="use kept pages only")
    one.add_argument("--toml", action="store_true", help="print a file for --gpu-file")
    one = thing("gpu-file", "print a file for --gpu-file, to be changed by hand", _gpu_file)
    one.add_argument("name", nargs="?", metavar="NAME", help="an accelerator to start from")


def run(args: Namespace) -> None:
    """Show the thing that was asked for."""
    args.show(args)


def _bytes(text: str) -> float:
    number = text.strip()
    if number.startswith("-"):
        raise ArgumentTypeError(f"{text[:40]!r} must be positive, such as 80GB.")
    if number and all(char.isdigit() or char in "+.,_eE" for char in number):
        raise ArgumentTypeError(f"{text[:40]!r} has no unit; give a unit, such as 80GB.")
    try:
        return parse_bytes(text)
    except InvalidInputError as error:
        raise ArgumentTypeError(str(error)) from None


def _gpu(args: Namespace) -> None:
    from specs.catalogue import get_accelerator

    _show_accelerator(get_accelerator(args.name), as_json=args.json)


def _show_accelerator(accelerator: Accelerator, *, as_json: bool) -> None:
    from roofline.facts import accelerator_facts, cited, interconnect_facts
    from roofline.report.facts import accelerator_text

    facts, joined = accelerator_facts(accelerator), interconnect_facts(accelerator)
    links = [joined[role] for role in ("scale_up", "scale_out") if role in joined]
    keys = [fact.source for fact in facts] + [key for link in links for key in link["sources"]]
    sources = cited(keys)
    if not as_json:
        print_text(accelerator_text(accelerator, facts, joined, sources))
        return
    print_json(
        {
            "name": accelerator.name,
            "title": accelerator.title,
            "facts": {
                fact.name: {"value": fact.value, "unit": fact.unit, "source": fact.source}
                for fact in facts
            },
            "interconnect": joined,
            "notes": list(accelerator.notes),
            "sources": {key: asdict(source) for key, source in sources.items()},
        }
    )


def _gpus(args: Namespace) -> None:
    from specs.catalogue import list_accelerators

    rows = list_accelerators(
        vendor=args.vendor,
        kind=args.kind,
        architecture=args.architecture,
        min_mem_bytes=args.min_memory,
        precision=args.precision,
    )
    if not rows:
        known = list_accelerators()
        vendors = sorted({row.vendor for row in known})
        raise InvalidInputError(
            f"none of {len(known)} accelerators meets all of this. Vendors are "
            f"{', '.join(vendors)}; architectures are named as in: roofline specs gpus."
        )
    if args.json:
        print_json({"gpus": [asdict(row) for row in rows]})
        return
    from roofline.report.facts import accelerators_text

    print_text(accelerators_text(rows))


def _model(args: Namespace) -> None:
    from roofline.facts import model_facts
    from specs.engine import get_engine
    from specs.hub import get_model

    facts = model_facts(get_model(args.name), get_engine("vllm"))
    if args.json:
        print_json(facts)
        return
    from roofline.report.facts import model_text

    print_text(model_text(facts))


def _models(args: Namespace) -> None:
    from specs.hub import list_models

    part = args.match.lower()
    rows = [
        row
        for row in list_models()
        if any(part in name.lower() for name in (row.name, *row.also, row.model_type))
    ]
    if not rows:
        raise InvalidInputError(f"no shipped model matches {args.match!r}; leave --match out.")
    if args.json:
        print_json({"models": [asdict(row) for row in rows]})
        return
    from roofline.report.facts import models_text

    print_text(models_text(rows))


def _engines(args: Namespace) -> None:
    from specs.engine import list_releases

    engines = list_releases()
    if args.json:
        print_json({"engines": [asdict(engine) for engine in engines]})
        return
    from roofline.report.facts import engines_text

    print_text(engines_text(engines))


def _fetch(args: Namespace) -> None:
    from specs.techpowerup_page import accelerator_of, fetch_board

    accelerator = accelerator_of(fetch_board(args.name, offline=args.offline))
    if args.toml:
        from specs.gpufile import to_gpu_file_toml

        write(to_gpu_file_toml(accelerator))
        return
    _show_accelerator(accelerator, as_json=args.json)


def _gpu_file(args: Namespace) -> None:
    from specs.gpufile import EXAMPLE_GPU_FILE, to_gpu_file_toml

    text = EXAMPLE_GPU_FILE
    if args.name is not None:
        from specs.catalogue import get_accelerator

        text = to_gpu_file_toml(get_accelerator(args.name))
    if args.json:
        print_json({"toml": text})
        return
    write(text)
