# SPDX-License-Identifier: Apache-2.0
"""Say what can be measured on this machine, what cannot, and why."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser

if TYPE_CHECKING:
    from profiler.checkup import Checkup, DeviceReport

_UNITS = {
    "memory_bytes": (1e-9, "GB", "memory"),
    "clock_hz": (1e-6, "MHz", "clock"),
    "mem_clock_hz": (1e-6, "MHz", "memory clock"),
    "temperature_c": (1.0, "C", "temperature"),
    "power_limit_w": (1.0, "W", "power limit"),
    "energy_j": (1e-3, "kJ", "energy counter"),
    "power_w": (1.0, "W", "power now"),
    "average_power_w": (1.0, "W", "power, average"),
}


def add_arguments(parser: Parser) -> None:
    """Declare the form of the answer; there is nothing to ask."""
    add_json_argument(parser)


def run(args: Namespace) -> None:
    """Look at this machine and print what was found."""
    from profiler.checkup import check_up

    found = check_up()
    if args.json:
        from profiler.environment import describe

        print_json({**asdict(found), "environment": describe()})
        return
    print_text(_text(found))


def _text(found: Checkup) -> str:
    width = max(len(check.what) for check in found.checks)
    lines = ["measured here"]
    for check in found.checks:
        lines.append(f"  {check.status:6}  {check.what:{width}}  {check.says}")
        if check.todo:
            lines.append(f"  {'':6}  {'':{width}}  to do: {check.todo}")
    for device in found.devices:
        lines += ["", f"{device.name} ({device.source})", *_fields(device)]
    return "\n".join(lines)


def _fields(device: DeviceReport) -> list[str]:
    lines = []
    for field, (scale, unit, title) in _UNITS.items():
        sensor = device.fields[field]
        says = f"none: {sensor.reason}"
        if sensor.value is not None:
            says = f"{sensor.value * scale:,.6g} {unit}"
        lines.append(f"  {title:16}  {says}")
    return [*lines, f"  {'held back by':16}  {device.throttle or 'nothing, or untold'}"]
