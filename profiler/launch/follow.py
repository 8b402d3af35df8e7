# SPDX-License-Identifier: Apache-2.0
"""Follows runs to their end, together, and shows how far each is.

Looks at the server from time to time; the machines are never spoken to, so a run that
loses its machine still tells everything it had told the server. A server that does not
answer for a while is waited for: the runs do not need it to go on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from profiler.launch.blocks import Decoded, decode
from profiler.launch.server import DstackServer, LogReader, RunState
from specs.errors import LaunchError

POLL_S = 5.0
PATIENCE_S = 900.0
"""How long a server may be silent."""

EMPTY = Decoded(blocks=(), repeated=0, damaged=0, incomplete=(), missing=(), ended=False)


@dataclass(slots=True, kw_only=True)
class Followed:
    """One run as it is being followed."""

    name: str
    state: RunState | None = None
    decoded: Decoded = EMPTY
    log: bytes = b""
    _readers: dict[str, LogReader] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the server has closed the run."""
        return self.state is not None and self.state.finished

    @property
    def steps(self) -> tuple[int, int | None]:
        """Steps reported so far, and in all once the machine has said so."""
        start = next((b for b in self.decoded.blocks if b.get("kind") == "start"), None)
        done = sum(block.get("kind") == "result" for block in self.decoded.blocks)
        return done, int(start["steps"]) if start is not None else None

    def look(self, server: DstackServer) -> None:
        """Read state, then log: a finished state has its whole log."""
        self.state = server.state(self.name)
        tries = []
        for submission in self.state.submissions:
            reader = self._readers.setdefault(submission, LogReader(server, self.name, submission))
            self.log = reader.read()
            tries.append(decode(self.log, self.name))
        self.decoded = merged(tries)


def merged(tries: Sequence[Decoded]) -> Decoded:
    """Blocks of all tries of a run: the last one's, and of earlier ones what it lacks."""
    if not tries:
        return EMPTY
    last = tries[-1]
    if last.complete or len(tries) == 1:
        return last
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for attempt in tries:
        for block in attempt.blocks:
            if block.get("kind") != "end":
                found[(block.get("kind"), block.get("step"), block.get("name"))] = block
    return replace(last, blocks=tuple(found.values()), ended=False)


class Show(Protocol):
    """Tells the user how the runs are."""

    def __call__(self, runs: Sequence[Followed]) -> None:
        """Show all runs as they are now."""


def follow(
    server: DstackServer,
    names: Iterable[str],
    *,
    show: Show,
    poll_s: float | None = None,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Followed]:
    """Follow runs until all have ended.

    Raises
    ------
    LaunchError
        The server has not answered for `patience_s`; the runs may go on.
    """
    runs = [Followed(name=name) for name in names]
    answered = time.monotonic()
    while True:
        for run in runs:
            if run.finished:
                continue
            try:
                run.look(server)
                answered = time.monotonic()
            except LaunchError as error:
                if run.state is None or time.monotonic() - answered > patience_s:
                    raise LaunchError(f"{error} {come_back(runs)}") from None
        show(runs)
        if all(run.finished for run in runs):
            return runs
        sleep(POLL_S if poll_s is None else poll_s)


def come_back(runs: Iterable[Followed | str]) -> str:
    """How to return to runs."""
    names = ",".join(run if isinstance(run, str) else run.name for run in runs)
    return (
        f"The runs go on and cost money; come back with: roofline profile --dstack --attach "
        f"{names}, or end them with: dstack stop {names.replace(',', ' ')}"
    )


class Lines:
    """One line on stderr per change, for logs and pipes."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __call__(self, runs: Sequence[Followed]) -> None:
        """Say what is new."""
        for run in runs:
            text = describe(run)
            if self._said.get(run.name) != text:
                self._said[run.name] = text
                print(f"{run.name}: {text}", file=sys.stderr, flush=True)


class Bars:
    """A bar per run, in a terminal."""

    def __init__(self, progress: Any) -> None:
        self._progress, self._tasks = progress, {}  # type: Any, dict[str, Any]

    def __call__(self, runs: Sequence[Followed]) -> None:
        """Move the bars."""
        for run in runs:
            done, total = run.steps
            if run.name not in self._tasks:
                self._tasks[run.name] = self._progress.add_task(run.name, total=None, says="")
            self._progress.update(
                self._tasks[run.name], completed=done, total=total, says=describe(run)
            )


def describe(run: Followed) -> str:
    """State, progress and place of a run, in a few words."""
    if run.state is None:
        return "asked for"
    done, total = run.steps
    words = [run.state.status]
    if total is not None:
        words.append(f"{done} of {total} steps")
    place = run.state.place
    if place.instance:
        price = f" at {place.price_usd_per_h:g} USD/h" if place.price_usd_per_h else ""
        words.append(f"{place.instance} in {place.region} ({place.backend}){price}")
    if run.state.reason:
        words.append(run.state.reason)
    return ", ".join(words)


def follow_shown(server: DstackServer, names: Sequence[str]) -> list[Followed]:
    """Follow with bars where stderr is a terminal, else with lines."""
    if not (sys.stderr is not None and sys.stderr.isatty()):
        return follow(server, names, show=Lines())
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return follow(server, names, show=Lines())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[says]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return follow(server, names, show=Bars(progress))
