# SPDX-License-Identifier: Apache-2.0
"""What is said about machines that have everything, something, or nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from profiler import checkup
from profiler.device import SensorError
from profiler.nvml import nvml_devices
from roofline.cli.main import main

ROOT = Path(__file__).parents[2]


def pci(root, *devices):
    for index, (vendor, kind) in enumerate(devices):
        folder = root / f"0000:00:0{index}.0"
        folder.mkdir()
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    return root


def refuses(reason):
    def finder():
        raise SensorError(reason, "no")

    return finder


def test_a_machine_with_two_boards(nvml):
    check, devices = checkup.check_source("nvml", nvml_devices)
    assert check.status == "yes"
    assert check.says.startswith("2 x NVIDIA H100 80GB HBM3 (h100-sxm5-80gb); driver 570.00")
    power = checkup.check_power([checkup.report(device) for device in devices])
    assert power.status == "yes"
    assert power.says == "nvml: counter yes, instant yes, average yes"


def test_sensors_that_this_user_may_not_read(nvml):
    nvml.fail("nvmlDeviceGetTotalEnergyConsumption", 4)
    nvml.fail("nvmlDeviceGetFieldValues", 4)
    check = checkup.check_power([checkup.report(device) for device in nvml_devices()])
    assert check.status == "no"
    assert "counter no (permission)" in check.says
    assert "root" in check.todo


def test_a_device_on_the_bus_without_its_driver(tmp_path):
    # 0x0302: a 3D controller of NVIDIA; 0x0200: a network card of Intel.
    bus = pci(tmp_path, ("0x10de", "0x030200"), ("0x8086", "0x020000"))
    check, devices = checkup.check_source("nvml", refuses("no library"), pci=bus)
    assert (check.status, len(devices)) == ("no", 0)
    assert "a device of NVIDIA is on the bus" in check.says
    assert check.todo == "install NVIDIA's driver"
    check, _ = checkup.check_source("nvml", refuses("no package"), pci=bus)
    assert check.todo == "pip install nvidia-ml-py"
    check, _ = checkup.check_source("amdsmi", refuses("no package"), pci=bus)
    assert check.todo == ""  # no AMD device, nothing to install


def test_no_sensor_is_said_and_not_zero():
    check = checkup.check_power([])
    assert check.status == "no"
    assert "stay empty" in check.says


def test_pressure_of_the_last_ten_seconds(tmp_path):
    file = tmp_path / "cpu"
    file.write_text("some avg10=71.25 avg60=60.00 avg300=50.00 total=1\nfull avg10=0.00\n")
    assert checkup.waiting_percent(file) == 71.25
    assert checkup.waiting_percent(tmp_path / "none") is None


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_store_that_cannot_be_written(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "file" / "store"))
    check = checkup.check_store()
    assert check.status == "no"
    assert "ROOFLINE_STORE" in check.todo
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "new" / "store"))
    check = checkup.check_store()
    assert check.status == "yes"
    assert "not made yet" in check.says
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]  # nothing was made


def test_dstack_without_a_server(tmp_path, monkeypatch):
    monkeypatch.setattr(checkup, "package_missing", lambda name: True)
    assert checkup.check_dstack(tmp_path).says == "dstack is not installed"
    monkeypatch.setattr(checkup, "package_missing", lambda name: False)
    assert checkup.check_dstack(tmp_path).todo == "dstack project add"


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    def hang():
        import time

        time.sleep(60)

    monkeypatch.setattr(checkup, "SERVER_WAIT_S", 0.05)
    monkeypatch.setattr("profiler.launch.server.DstackServer", lambda: hang())
    assert "did not answer" in checkup._ask_server("rented machines").says


def test_without_torch(monkeypatch):
    find_spec = checkup.importlib.util.find_spec
    monkeypatch.setattr(
        checkup.importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else find_spec(name),
    )
    checks = list(checkup.check_torch())
    assert [(check.what, check.status) for check in checks] == [
        ("language models", "no"),
        ("kernels", "no"),
    ]
    assert "roofline[profile]" in checks[0].todo


def test_a_torch_that_does_not_start_is_one_line(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so.13: cannot open shared object file\nand more")

    monkeypatch.setattr(checkup.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(checkup.importlib, "import_module", broken)
    check = next(iter(checkup.check_torch()))
    assert (
        check.says
        == "torch does not start: OSError: libcudart.so.13: cannot open shared object file"
    )


def doctor(*options, **environment):
    command = [sys.executable, "-m", "roofline", "doctor", *options]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_the_command_over_the_stand_in(nvml_library, tmp_path):
    pytest.importorskip("pynvml")
    answer = json.loads(
        doctor("--json", LD_LIBRARY_PATH=str(nvml_library.parent), ROOFLINE_STORE=str(tmp_path))
    )
    by_name = {check["what"]: check for check in answer["checks"]}
    assert by_name["NVIDIA devices"]["status"] == "yes"
    assert by_name["power and energy"]["status"] == "yes"
    assert answer["devices"][0]["fields"]["power_limit_w"] == {"value": 700.0, "reason": ""}
    assert answer["environment"]["python"]


BARE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pynvml", "amdsmi", "pyarrow", "rich", "dstack",
                                  "transformers", "sklearn", "pandas", "scipy"):
            raise ImportError(name)

sys.meta_path.insert(0, Nothing())
import importlib.util, importlib.metadata
importlib.util.find_spec = lambda name, package=None: None

def version(name):
    raise importlib.metadata.PackageNotFoundError(name)

import profiler.checkup, profiler.environment
profiler.checkup.version = profiler.environment.version = version
from roofline.cli.main import main
sys.exit(main(["doctor"]))
"""


@pytest.mark.slow
def test_the_command_with_nothing_installed(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", BARE],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "torch is not installed" in answer.stdout
    assert "pyarrow is not installed" in answer.stdout
    assert "no package" in answer.stdout


def test_the_command_prints_every_check(capsys, monkeypatch):
    checks = (
        checkup.Check(what="one", status="yes", says="found"),
        checkup.Check(what="other", status="no", says="missing", todo="install it"),
    )
    monkeypatch.setattr(checkup, "check_up", lambda: checkup.Checkup(checks=checks, devices=()))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "measured here",
        "  yes     one    found",
        "  no      other  missing",
        "                 to do: install it",
    ]
