# SPDX-License-Identifier: Apache-2.0
"""Progress of a run on stderr: a bar with the time left, or plain lines into a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any


class Progress:
    """Shows which point runs, how many are left, and for how long about.

    On a terminal it is a bar of rich; elsewhere one line per point.

    Parameters
    ----------
    weights : sequence of float
        How long each point should take, in any unit. The time left is that of the points
        to come at the pace of those that are done.
    """

    def __init__(self, weights: Sequence[float], *, quiet: bool = False) -> None:
        self._weights = weights
        self._total = len(weights)
        self._done = 0
        self._start_s = time.perf_counter()
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        """Draw the bar, where there is a terminal."""
        if not self._quiet and sys.stderr.isatty():
            self._bar = _bar()
            if self._bar is not None:
                self._bar.start()
                self._task = self._bar.add_task("", total=self._total, left="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def start(self, title: str) -> None:
        """Say which point runs now."""
        if self._bar is not None:
            self._bar.update(self._task, description=title, left=self._left(), refresh=True)

    def finish(self, title: str, outcome: str) -> None:
        """Say what became of a point."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, left=self._left(), refresh=True)
        if self._quiet:
            return
        line = f"[{self._done}/{self._total}] {title}: {outcome}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            left = self._left()
            print(f"{line}{f' ({left})' if left else ''}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        done, left = sum(self._weights[: self._done]), sum(self._weights[self._done :])
        if not done or not left:
            return ""
        seconds = (time.perf_counter() - self._start_s) / done * left
        if seconds < 90:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
    except ImportError:  # lines do as well
        return None
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,  # a thread that draws would be timed too
    )
