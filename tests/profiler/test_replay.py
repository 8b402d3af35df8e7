# SPDX-License-Identifier: Apache-2.0
"""A run recorded from the stand-in library gives the same watts when it is played back."""

import json

import pytest

from profiler.device import FIELDS
from profiler.nvml import nvml_devices
from profiler.powerlog import DeviceLog
from profiler.replay import Recorder, ReplayDevice, load_replay
from specs.errors import InvalidInputError


def test_a_replay_measures_what_the_run_measured(nvml, tmp_path):
    recorder = Recorder(nvml_devices()[0], now=lambda: nvml.now_s)
    for field in FIELDS:
        recorder.read(field)
    nvml.set(reasons=0x40)
    recorder.throttle_words()
    log = DeviceLog(recorder)
    begin_s = nvml.now_s
    for _ in range(200):
        nvml.advance(0.02)
        log.read(lambda: nvml.now_s)
    live = log.energy(begin_s + 0.5, begin_s + 3.5)
    recorder.save(tmp_path / "run.json")

    clock_s = [0.0]
    device = load_replay(tmp_path / "run.json", now=lambda: clock_s[0])
    assert (device.name, device.slug) == ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb")
    assert device.source == "replay of nvml"
    assert device.throttle_words() == "hardware thermal slowdown"
    log = DeviceLog(device)
    for step in range(200):
        clock_s[0] = 0.02 * (step + 1) + 1e-6
        log.read(lambda: clock_s[0])
    played = log.energy(0.5, 3.5)
    assert played.power_w == pytest.approx(live.power_w, rel=1e-6)
    assert played.samples_w == pytest.approx(live.samples_w, rel=1e-6)
    assert live.power_w == pytest.approx(500, rel=0.01)


def recording(**changes):
    base = {
        "version": 1,
        "name": "n",
        "slug": "",
        "source": "s",
        "versions": {},
        "reads": {"power_w": [[0.0, 5.0, ""], [2.0, None, "lost"]]},
        "throttle": [],
    }
    return base | changes


def test_a_field_holds_until_the_next_reading():
    clock_s = [10.0]
    device = ReplayDevice(recording(), now=lambda: clock_s[0])
    assert device.read("power_w").value == 5.0
    clock_s[0] = 11.9
    assert device.read("power_w").value == 5.0
    clock_s[0] = 12.1
    assert device.read("power_w").reason == "lost"
    assert device.read("energy_j").reason == "unsupported"
    assert device.throttle_words() == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"reads": {"power_w": [[2.0, 1.0, ""], [1.0, 1.0, ""]]}},
        {"reads": {"power_w": [[0.0, None, "broken"]]}},
    ],
)
def test_what_is_no_recording_is_refused(changes, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(recording(**changes)))
    with pytest.raises(InvalidInputError):
        load_replay(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}'])
def test_a_foreign_file_is_refused(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InvalidInputError):
        load_replay(tmp_path / "run.json")
