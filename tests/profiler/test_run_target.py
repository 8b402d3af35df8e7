# SPDX-License-Identifier: Apache-2.0
"""Where a run is measured; torch's answers about devices are made up."""

import pytest

from profiler import run_session
from profiler.kernels import default_dtypes
from profiler.run_session import _bench
from profiler.run_target import Target, cache_bytes, find_target, host_target
from specs.errors import InvalidInputError

torch = pytest.importorskip("torch")


@pytest.fixture
def two_gpus(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.fixture
def no_gpu(monkeypatch):
    for kind in (torch.cuda, torch.xpu, torch.backends.mps):
        monkeypatch.setattr(kind, "is_available", lambda: False)


def test_an_accelerator_is_taken_where_there_is_one(two_gpus):
    target = find_target()
    assert (target.kind, target.devices, target.name) == ("cuda", ("cuda:0",), "GPU 0")
    assert target.events


def test_one_device_and_those_after_it(two_gpus):
    assert find_target("cuda:1").devices == ("cuda:1",)
    assert two_gpus == ["cuda:1"]  # events and graphs belong to the current device
    assert find_target("cuda", num_gpus=2).devices == ("cuda:0", "cuda:1")


def test_without_an_accelerator_it_is_the_processor(no_gpu):
    before = torch.get_num_threads()
    try:
        target = find_target(threads=1)
        assert (target.kind, target.devices, target.threads) == ("cpu", ("cpu",), 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"device": "cuda:1", "num_gpus": 2}, "torch sees 2"),
        ({"device": "cuda:x"}, "no device 'cuda:x'"),
        ({"device": "cpu", "num_gpus": 2}, "the CPU is one device"),
        ({"device": "xpu"}, "sees no xpu device"),
    ],
)
def test_devices_that_are_not_there_are_one_line(two_gpus, monkeypatch, asked, says):
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match=says):
        find_target(**asked)


def test_the_host_alone_needs_no_torch(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert host_target().threads == 3
    assert host_target(threads=2).threads == 2
    with pytest.raises(InvalidInputError, match="on the processor"):
        host_target("cuda")


def test_the_last_level_is_the_largest_cache(tmp_path):
    for index, text in enumerate(("48K", "2048K", "300M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{text}\n")
    target = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    assert cache_bytes(target, sys=tmp_path) == 300 * 2**20


@pytest.mark.parametrize(
    ("capability", "hip", "dtypes"),
    [
        ((7, 5), None, ("fp32", "fp16")),
        ((8, 0), None, ("fp32", "tf32", "bf16", "fp16")),
        ((8, 9), None, ("fp32", "tf32", "bf16", "fp16", "fp8")),
        ((9, 0), "6.4", ("fp32", "bf16", "fp16")),  # MI200
        ((9, 4), "6.4", ("fp32", "bf16", "fp16", "fp8")),  # MI300
        ((11, 0), "6.4", ("fp32", "bf16", "fp16")),  # RX 7900
    ],
)
def test_precisions_are_those_that_the_device_has(two_gpus, monkeypatch, capability, hip, dtypes):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert default_dtypes(find_target("cuda")) == dtypes


class Board:
    source, slug, versions = "test", "", {}

    def __init__(self, name):
        self.name = name

    def read(self, field):
        raise AssertionError("not read here")


@pytest.mark.parametrize(
    ("names", "taken", "why"),
    [
        (["GPU 0", "GPU 1"], ["GPU 1"], "no sensor"),
        (["GPU 0"], [], "no sensor"),
        (["GPU 0", "another board"], [], "sensors are of another device"),
    ],
)
def test_sensors_are_those_of_the_device(two_gpus, monkeypatch, names, taken, why):
    boards = [Board(name) for name in names]
    monkeypatch.setattr(run_session, "find_devices", lambda sources: (boards, {}))
    bench = _bench(find_target("cuda:1"), power=True)
    assert [board.name for board in bench.sensors] == taken
    assert bench.no_sensor == why
    assert _bench(find_target("cuda:1"), power=False).no_sensor == "switched off"
