# SPDX-License-Identifier: Apache-2.0
"""Arguments that describe a scenario, shared by all commands that price one."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from shlex import quote
from typing import Any

from roofline.cli.parser import Parser
from specs.errors import InvalidInputError, RooflineError, UnknownNameError
from specs.units import parse_power

_DEGREES = ("num_gpus", "tp", "pp", "ep", "dp")
_SIZES = (*_DEGREES, "batch", "concurrency", "input_len", "output_len", "cached_len")
_COUNTED = re.compile(
    r"(?P<n>[1-9]\d{0,4})\s*[x×*]\s*(?P<after>\S.*)|(?P<before>.*\S)\s*[x×*]\s*(?P<m>[1-9]\d{0,4})",
    re.IGNORECASE,
)
"""A number of devices with a name, as in ``8xH100`` and ``H100 x8``."""

_DTYPES = ("weight_dtype", "kv_dtype", "act_dtype")


def add_scenario_arguments(parser: Parser) -> None:
    """Declare model, device, deployment and workload."""
    parser.add_argument(
        "model", metavar="MODEL", help="Hugging Face name, or path of a config.json"
    )
    device = parser.add_argument_group("device").add_mutually_exclusive_group(required=True)
    device.add_argument(
        "--gpu", metavar="G", help="name of a GPU, CPU or TPU, such as 'RTX 4090', or: measured"
    )
    device.add_argument("--gpu-file", metavar="F", help="TOML file that describes the device")
    group = parser.add_argument_group("deployment")
    group.add_argument("--num-gpus", type=size, metavar="N", help="GPUs in all")
    for name, says in (("tp", "tensor"), ("pp", "pipeline"), ("ep", "expert"), ("dp", "data")):
        group.add_argument(f"--{name}", type=size, metavar="N", help=f"{says} parallelism")
    group.add_argument("--engine", default="", metavar="E", help="vllm, sglang, trtllm, ideal, ...")
    group.add_argument(
        "--engine-year", type=size, metavar="Y", help="year of the engine's version (today's)"
    )
    group.add_argument(
        "--max-batched-tokens", type=size, metavar="N", help="tokens per pass (the engine's)"
    )
    group.add_argument(
        "--held-steps",
        type=float,
        default=0.0,
        metavar="N",
        help="decode steps that the engine holds a prompt back for (the engine's)",
    )
    group.add_argument("--weight-dtype", default="", metavar="T", help="default: the checkpoint's")
    group.add_argument("--kv-dtype", default="", metavar="T", help="default: the engine's")
    group.add_argument("--act-dtype", default="", metavar="T", help="default: the checkpoint's")
    group.add_argument("--power-limit", type=watts, metavar="W", help="per GPU: 300 or 300W")
    group = parser.add_argument_group("correction").add_mutually_exclusive_group()
    group.add_argument(
        "--no-correction", action="store_true", help="the plain roofline, nothing learned"
    )
    group.add_argument("--correction", default="", metavar="F", help="file of `roofline calibrate`")
    group = parser.add_argument_group("workload")
    load = group.add_mutually_exclusive_group()
    load.add_argument("--batch", type=size, metavar="B", help="sequences in a static batch (1)")
    load.add_argument("--concurrency", type=size, metavar="C", help="requests kept in flight")
    for name, alias, default in (("input", "isl", 512), ("output", "osl", 128)):
        group.add_argument(
            f"--{name}-len",
            f"--{alias}",
            type=size,
            default=default,
            metavar="N",
            help=f"{name} tokens per request ({default})",
        )
    group.add_argument(
        "--cached-len",
        type=size,
        default=0,
        metavar="N",
        help="of the input, a prefix that is cached already (0)",
    )


def size(text: str) -> float:
    """Return a written number; whether it is one that can be is for the predictor to say."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        return int(text)
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text[:40]!r} is not a whole number.") from None


def watts(text: str) -> float:
    """Return a written power in watts."""
    try:
        return parse_power(text)
    except InvalidInputError as error:
        raise ArgumentTypeError(str(error)) from None


def check_device_name(name: str) -> None:
    """Refuse what people write for a device and that names none, with what to write.

    Raises
    ------
    InvalidInputError
        The bare word ``cpu``, or a number of devices before or after the name of one.
    """
    if name.strip().lower() == "cpu":
        raise InvalidInputError(f"{name!r} names no processor; give a model such as 'EPYC 9654'.")
    counted = _COUNTED.fullmatch(name.strip())
    if counted is None or _is_device(name):
        return
    number, device = counted["n"] or counted["m"], counted["after"] or counted["before"]
    if _is_device(device):
        raise InvalidInputError(
            f"{name!r} is a number and a device; give --gpu {quote(device)} --num-gpus {number}."
        )


def _is_device(name: str) -> bool:
    """Tell whether the name means at least one accelerator."""
    from specs.catalogue import get_accelerator

    try:
        get_accelerator(name)
    except UnknownNameError:
        return False
    except RooflineError:  # known, though not which, or not fully
        return True
    return True


def scenario_of(args: Namespace) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Return model and device, and the keyword arguments of `roofline.predict`."""
    device: Any = args.gpu
    named = {name: getattr(args, name) for name in (*_SIZES, *_DTYPES, "engine")}
    if args.gpu is not None and args.gpu.strip().lower() == "measured":
        from roofline.cli.measured import measured_scenario

        device, named["engine"] = measured_scenario(
            args.model,
            args.engine,
            args.weight_dtype,
            batch=args.batch or args.concurrency or 1,
            input_len=args.input_len,
        )
    elif args.gpu is not None:
        check_device_name(args.gpu)
    if args.gpu_file is not None:
        from specs.gpufile import load_gpu_file

        device = load_gpu_file(args.gpu_file)
    asked = {
        **named,
        "power_limit_w": args.power_limit,
        "engine_year": args.engine_year,
        "max_batched_tokens": args.max_batched_tokens,
        "held_steps": args.held_steps,
    }
    if args.no_correction:
        asked["correction"] = None
    elif args.correction:
        from roofline.corrected import read_correction

        asked["correction"] = read_correction(args.correction)
    return (args.model, device), asked
