# SPDX-License-Identifier: Apache-2.0
import getpass
import json
import platform
from pathlib import Path

import pytest

from profiler.environment import (
    cpu_quota,
    describe,
    memory_bytes,
    package_versions,
)
from profiler.nvml import nvml_devices


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_share_of_a_control_group(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


def test_memory_is_in_bytes(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:       16384 kB\nMemFree: 1 kB\n")
    assert memory_bytes(tmp_path / "meminfo") == 16 * 2**20
    assert memory_bytes(tmp_path / "none") is None


def test_only_installed_packages_have_versions():
    versions = package_versions(("pytest", "no-such-distribution"))
    assert versions == {"pytest": pytest.__version__}


def test_nothing_says_whose_machine_it_was(nvml):
    text = json.dumps(describe(nvml_devices()))
    assert "570.00" in text
    assert "GPU-" not in text
    names = {getpass.getuser(), platform.node(), str(Path.home()), str(Path.cwd())}
    for name in names - {""}:
        assert f'"{name}' not in text
    assert "/" not in text  # no path of any kind


def test_what_is_unknown_is_left_out():
    assert None not in describe().values()
