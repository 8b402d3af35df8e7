# SPDX-License-Identifier: Apache-2.0
"""Following runs on a server that pages, repeats, is silent, or takes the machine back."""

import pytest

from profiler.launch import follow as following
from profiler.launch.blocks import encode
from profiler.launch.follow import Lines, describe, follow
from profiler.launch.server import LogReader, Place, RunState
from specs.errors import LaunchError

RUN = "run-1"


def state(status="running", tries=("1",), reason=""):
    finished = status in ("done", "failed", "terminated")
    place = Place(instance="g6", region="eu", backend="aws", price_usd_per_h=0.8)
    return RunState(
        name=RUN,
        status=status,
        finished=finished,
        reason=reason,
        submissions=tuple(tries),
        place=place,
        image="",
        env={},
        cost_usd=0.0,
    )


class Server:
    """States one after another; a log per try in pages of two events."""

    def __init__(self, states, logs):
        self.states, self.logs, self.asked = list(states), logs, []

    def state(self, name):
        now = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(now, Exception):
            raise now
        return now

    def log_page(self, run, submission, token):
        self.asked.append(token)
        events, start = self.logs[submission], int(token or 0)
        more = start + 2 < len(events)
        return b"".join(events[start : start + 2]), str(start + 2) if more else None


def events(*payloads):
    return [f"{line}\r\n".encode() for i, p in enumerate(payloads) for line in encode(RUN, i, p)]


WHOLE = events(
    {"kind": "start", "steps": 1}, {"kind": "result", "step": 0}, {"kind": "end", "blocks": 3}
)


def test_a_log_is_read_on_from_its_last_page():
    log = [b"a", b"b", b"c"]
    server = Server([state()], {"1": log})
    reader = LogReader(server, RUN, "1")
    assert reader.read() == b"abc"
    log.append(b"d")
    assert reader.read() == b"abcd"
    log += [b"e", b"e"]
    assert reader.read() == b"abcdee"
    assert server.asked == [None, "2", "2", "2", "4"]


def test_follows_to_the_end_and_tells_changes(capsys):
    server = Server([state("provisioning", ()), state(), state("done")], {"1": WHOLE})
    (run,) = follow(server, [RUN], show=Lines(), poll_s=0, sleep=lambda s: None)
    assert run.decoded.complete
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "run-1: provisioning, g6 in eu (aws) at 0.8 USD/h",
        "run-1: running, 1 of 1 steps, g6 in eu (aws) at 0.8 USD/h",
        "run-1: done, 1 of 1 steps, g6 in eu (aws) at 0.8 USD/h",
    ]


def test_a_second_try_adds_to_what_the_first_had():
    first = events({"kind": "start", "steps": 2}, {"kind": "result", "step": 0, "text": "old"})
    second = events({"kind": "start", "steps": 2}, {"kind": "result", "step": 1, "text": "new"})
    server = Server(
        [state("failed", ("1", "2"), "the spot machine was taken back")], {"1": first, "2": second}
    )
    (run,) = follow(server, [RUN], show=Lines(), poll_s=0)
    said = [block["text"] for block in run.decoded.blocks if block["kind"] == "result"]
    assert said == ["old", "new"]
    assert not run.decoded.complete
    assert "the spot machine was taken back" in describe(run)

    server = Server([state("done", ("1", "2"))], {"1": first, "2": WHOLE})
    (run,) = follow(server, [RUN], show=Lines(), poll_s=0)
    assert run.decoded.complete
    assert len(run.decoded.blocks) == 3


def test_a_silent_server_is_waited_for():
    silent = LaunchError("no dstack server answers at x.")
    server = Server([state(), silent, silent, state("done")], {"1": WHOLE})
    (run,) = follow(server, [RUN], show=Lines(), poll_s=0, sleep=lambda s: None)
    assert run.decoded.complete


def test_patience_ends_with_the_way_back(monkeypatch):
    clock = iter(range(0, 10**6, 400))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(clock))
    silent = LaunchError("no dstack server answers at x.")
    server = Server([state(), silent], {"1": WHOLE})
    with pytest.raises(LaunchError, match="--attach run-1") as caught:
        follow(server, [RUN], show=Lines(), poll_s=0, sleep=lambda s: None)
    assert "dstack stop run-1" in str(caught.value)


def test_bars_move(capsys):
    console = pytest.importorskip("rich.console")
    from rich.progress import Progress

    with Progress(console=console.Console(stderr=True, force_terminal=True)) as progress:
        bars = following.Bars(progress)
        server = Server([state(), state("done")], {"1": WHOLE})
        follow(server, [RUN], show=bars, poll_s=0, sleep=lambda s: None)
        (task,) = progress.tasks
        assert (task.completed, task.total) == (1, 1)
