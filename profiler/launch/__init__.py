# SPDX-License-Identifier: Apache-2.0
"""Profiling jobs on rented machines, through the user's own dstack server.

``add_launch_arguments`` and ``run_launch`` are what ``roofline profile --dstack`` calls.
This module stays light, and the standard library's alone: the rented machine imports it
too, before anything is installed there.
"""

from __future__ import annotations

from typing import Any

__all__ = ["add_launch_arguments", "run_launch"]


def add_launch_arguments(parser: Any) -> None:
    """Declare the options of ``--dstack`` on an argparse parser, itself included."""
    from profiler.launch.arguments import add_launch_arguments as declare

    declare(parser)


def run_launch(args: Any) -> None:
    """Plan, submit and follow profiling runs, or come back to one, as `args` say.

    Raises
    ------
    RooflineError
        What cannot be done, in one line: no dstack, no server, no offer, a failed job.
    KeyboardInterrupt
        The user stopped following; the runs go on.
    """
    from profiler.launch.run import run_launch as launch

    launch(args)
