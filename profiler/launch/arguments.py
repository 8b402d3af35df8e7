# SPDX-License-Identifier: Apache-2.0
"""The options of ``roofline profile --dstack``."""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser, ArgumentTypeError
from typing import Any


def add_launch_arguments(parser: ArgumentParser) -> None:
    """Declare what a rented machine needs beside the local options.

    An option that `parser` has already, such as ``--engine``, is left as it is.
    """
    group = parser.add_argument_group("on a rented machine, through your dstack server")

    def option(*names: str, **settings: Any) -> None:
        try:
            group.add_argument(*names, **settings)
        except ArgumentError:  # the local profiler declares it: one meaning for both
            return

    option("--dstack", action="store_true", help="measure there instead of here")
    option("--gpu", metavar="G", help="machines: H100,MI300X:2,tpu:v5litepod-4,cpu; one run each")
    option("--engine", default="", metavar="E", help="transformers, vllm, sglang, tgi, llama.cpp")
    option("--concurrency", metavar="C", help="requests in flight at the engine's server: 1,8,64")
    option("--max-price", type=_price, metavar="USD", help="ceiling per machine and hour; required")
    option("--max-duration", default="1h", metavar="T", help="longest run: 30m, 2h (1h)")
    option("--spot", choices=("auto", "spot", "on-demand"), default="auto", help="policy (auto)")
    option("--retry-for", default="", metavar="T", help="wait for capacity, restart if interrupted")
    option("--backend", default="", metavar="B", help="only these of dstack's clouds")
    option("--region", default="", metavar="R", help="only these regions")
    option("--disk", type=int, default=None, metavar="GB", help="least disk (100; 20 for cpu)")
    option("--image", default="", metavar="I", help="container image instead of the engine's own")
    option("--secret", action="append", metavar="VAR=NAME", help="variable from a dstack secret")
    option("--project", default=None, metavar="P", help="dstack project (your default one)")
    option("--fleet", default="roofline", metavar="F", help="fleet, made if missing (roofline)")
    option("--name", default="", metavar="N", help="prefix of the runs' names (roofline)")
    option("--dry-run", action="store_true", help="print the YAML, check it, rent nothing")
    option("--yes", "-y", action="store_true", help="do not ask before spending")
    option("--detach", action="store_true", help="submit and leave; come back with --attach")
    option("--attach", default="", metavar="RUN", help="come back to runs, and fetch their rows")
    option("--save-yaml", default="", metavar="DIR", help="also write the YAML there")
    option("--store", default=None, metavar="DIR", help="folder of the measurements")


def _price(text: str) -> float:
    try:
        return float(text.removeprefix("$"))
    except ValueError:
        raise ArgumentTypeError(f"{text[:40]!r} is no price in USD per hour.") from None
