# SPDX-License-Identifier: Apache-2.0
"""Device timers over a stand-in for torch whose stream has a clock."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from profiler.timers import EventTimer, GraphTimer, l2_flush


class Stream:
    """A device that runs what is launched, in order; times in milliseconds, as torch's."""

    def __init__(self, *, hip=None, cache_bytes=50 * 2**20):
        self.at_ms, self.log, self.captured, self.zeroed_bytes = 0.0, [], None, 0
        stream = self

        class Event:
            def __init__(self, enable_timing, external=False):
                assert enable_timing
                self.external = external

            def record(self):
                if stream.captured is not None:
                    assert self.external, "an event inside a graph must be external"
                stream.launch(lambda: setattr(self, "ms", stream.at_ms))

            def elapsed_time(self, end):
                return end.ms - self.ms

            def synchronize(self):
                stream.log.append("sync")

        class Graph:
            def replay(self):
                stream.at_ms += 5.0  # the gap before a launch: outside the graph's events
                for step in self.steps:
                    step()

        @contextmanager
        def graph(target):
            stream.captured = []
            yield
            target.steps, stream.captured = stream.captured, None

        @contextmanager
        def side(_):
            yield

        def empty(n_bytes, dtype, device):
            assert (dtype, device) == ("int8", "cuda:0")
            return SimpleNamespace(zero_=lambda: stream.run("flush", n_bytes * 1e-6))

        fake = SimpleNamespace(wait_stream=lambda other: None)
        self.torch = SimpleNamespace(
            version=SimpleNamespace(hip=hip),
            int8="int8",
            empty=empty,
            cuda=SimpleNamespace(
                Event=Event,
                CUDAGraph=Graph,
                graph=graph,
                stream=side,
                Stream=lambda: fake,
                current_stream=lambda: fake,
                get_device_properties=lambda index: SimpleNamespace(L2_cache_size=cache_bytes),
            ),
        )

    def launch(self, step):
        if self.captured is not None:
            self.captured.append(step)
        else:
            step()

    def run(self, name, cost_ms):
        def step():
            self.log.append(name)
            self.at_ms += cost_ms

        self.launch(step)


@pytest.fixture
def device(monkeypatch):
    def make(**options):
        stream = Stream(**options)
        monkeypatch.setitem(sys.modules, "torch", stream.torch)
        return stream

    return make


def test_one_pair_of_events_times_all_calls(device):
    stream = device()
    reading = EventTimer().time(lambda: stream.run("kernel", 2.0), 10)
    assert (reading.n_calls, reading.elapsed_s) == (10, pytest.approx(0.020))
    assert reading.call_s == pytest.approx(0.002)
    assert stream.log.count("sync") == 1
    assert reading.cpu_s is None


def test_the_flush_is_before_every_call_and_in_no_time(device):
    stream = device()
    timer = EventTimer(l2_flush())
    reading = timer.time(lambda: stream.run("kernel", 2.0), 3)
    assert reading.elapsed_s == pytest.approx(0.006)
    assert stream.log == ["flush", "kernel"] * 3 + ["sync"]


@pytest.mark.parametrize(
    ("cache_bytes", "flushed_bytes"), [(50 * 2**20, 256 * 2**20), (512 * 2**20, 1024 * 2**20)]
)
def test_the_flush_covers_twice_the_cache(device, cache_bytes, flushed_bytes):
    stream = device(cache_bytes=cache_bytes)
    l2_flush()()
    assert stream.at_ms == pytest.approx(flushed_bytes * 1e-6)


def test_events_inside_a_graph_leave_launch_gaps_out(device):
    stream = device()
    timer = GraphTimer(lambda: stream.run("kernel", 2.0))
    assert stream.log == ["kernel"] * 3  # warm-ups; the capture itself runs nothing
    reading = timer.time(timer.replay, 4)
    assert reading.elapsed_s == pytest.approx(4 * 0.002)


def test_without_events_inside_a_graph_they_stand_around_it(device):
    stream = device(hip="6.3")
    timer = GraphTimer(lambda: stream.run("kernel", 2.0))
    assert timer.time(timer.replay, 2).elapsed_s == pytest.approx(2 * 0.007)  # gap of 5 ms
