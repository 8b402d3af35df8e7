# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while the command line still loads: one line, as later, and no traceback.

Loading numpy takes most of the time of a start, before `roofline.cli.main.main` can catch
anything. Importing this module, which `roofline` does first, watches from then on; a process
whose program is not called ``roofline`` is left alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import FrameType

EXIT_INTERRUPTED = 130


def _leave(_number: int, _frame: FrameType | None) -> None:
    # An exception would pass through imports, some of which take it for a missing package.
    os.write(2, b"roofline: stopped.\n")
    os._exit(EXIT_INTERRUPTED)


def _is_command() -> bool:
    """Whether this process is ``roofline ...`` or ``python -m roofline ...``."""
    if sys.argv[:1] == ["-m"]:  # python still looks for the module
        given = sys.orig_argv
        return "-mroofline" in given or ("-m", "roofline") in pairwise(given)
    return Path(sys.argv[0] if sys.argv else "").stem in ("roofline", "roofline-script")


def _watch() -> None:
    is_main = threading.current_thread() is threading.main_thread()
    is_free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_main and is_free and _is_command():
        signal.signal(signal.SIGINT, _leave)


def unwatch() -> None:
    """Make Ctrl-C an exception again, for those who catch it."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_watch()
