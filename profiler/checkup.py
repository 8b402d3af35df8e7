# SPDX-License-Identifier: Apache-2.0
"""What can be measured on this machine, what cannot, and why.

Every check answers on its own and never fails: what is not installed, not there or not
allowed is its answer. Nothing is measured, changed, or kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import Any

from profiler import environment
from profiler.device import FIELDS, REASONS, Device, Sensor, SensorError
from profiler.sensors import FINDERS
from profiler.timers import run_delays_s
from specs.errors import RooflineError

YES, PARTLY, NO = "yes", "partly", "no"

SOURCE_TITLES = {
    "nvml": "NVIDIA devices",
    "amdsmi": "AMD devices",
    "zeus": "Apple or Jetson chip",
    "rapl": "host processors' energy",
}
#: Vendor of a display or compute device on the PCI bus -> its name, by the PCI ID list.
PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
#: Base classes of display controllers and processing accelerators, by the PCI code list.
PCI_CLASSES = ("0x03", "0x12")
#: Seconds that a rented-machine server gets to answer.
SERVER_WAIT_S = 10.0
#: Share of the last ten seconds in which somebody waited for a processor; above it,
#: processor time takes the place of wall time more often than not.
BUSY_PERCENT = 20.0
SOURCE_INSTALL = {"nvml": "pip install nvidia-ml-py", "amdsmi": "use the amdsmi of ROCm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One answer: whether `what` can be had, what was found, and what would help."""

    what: str
    status: str
    says: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """One device and every field of it, as read now."""

    name: str
    slug: str
    source: str
    versions: dict[str, str]
    fields: dict[str, Sensor]
    throttle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All answers about this machine."""

    checks: tuple[Check, ...]
    devices: tuple[DeviceReport, ...]


def check_up() -> Checkup:
    """Look at this machine."""
    found: dict[str, Sequence[Device]] = {}
    checks: list[Check] = []
    for source, finder in FINDERS.items():
        check, found[source] = check_source(source, finder)
        checks.append(check)
    devices = [report(device) for devices in found.values() for device in devices]
    checks += [check_power(devices), check_host(), *check_torch(), check_package("scikit-learn")]
    checks += [check_store(), check_dstack()]
    return Checkup(checks=tuple(checks), devices=tuple(devices))


def report(device: Device) -> DeviceReport:
    """Read every field of `device` once."""
    return DeviceReport(
        name=device.name,
        slug=device.slug,
        source=device.source,
        versions=dict(device.versions),
        fields={field: device.read(field) for field in FIELDS},
        throttle=device.throttle_words(),
    )


def check_source(
    source: str, finder: Callable[[], Sequence[Device]], *, pci: Path = Path("/sys/bus/pci/devices")
) -> tuple[Check, Sequence[Device]]:
    """Say which devices one way of reading them shows."""
    what = SOURCE_TITLES[source]
    try:
        devices = finder()
    except SensorError as error:
        says, todo = REASONS[error.reason], ""
        vendor = {"nvml": "NVIDIA", "amdsmi": "AMD"}.get(source, "")
        if vendor and vendor in pci_vendors(pci):
            says = f"a device of {vendor} is on the bus, but {says}"
            no_package = error.reason == "no package"
            todo = SOURCE_INSTALL[source] if no_package else f"install {vendor}'s driver"
        return Check(what=what, status=NO, says=f"{error.reason}: {says}", todo=todo), ()
    if not devices:
        return Check(what=what, status=NO, says="none that this process may use"), ()
    names = [device.name + (f" ({device.slug})" if device.slug else "") for device in devices]
    counted = [
        f"{names.count(name)} x {name}" if names.count(name) > 1 else name
        for name in dict.fromkeys(names)
    ]
    versions = ", ".join(f"{name} {text}" for name, text in devices[0].versions.items())
    says = "; ".join(filter(None, (", ".join(counted), versions)))
    return Check(what=what, status=YES, says=says), devices


def pci_vendors(root: Path) -> set[str]:
    """Return the vendors of graphics devices and accelerators on the PCI bus."""
    vendors: set[str] = set()
    for folder in root.glob("*"):
        try:
            kind = (folder / "class").read_text()
            vendor = PCI_VENDORS.get((folder / "vendor").read_text().strip())
        except OSError:
            continue
        if vendor and kind.startswith(PCI_CLASSES):
            vendors.add(vendor)
    return vendors


def check_power(devices: Sequence[DeviceReport]) -> Check:
    """Say whether watts and joules can be had, of which devices, and by what sensor."""
    what = "power and energy"
    if not devices:
        says = "no sensor; the power columns stay empty, and everything else is measured"
        return Check(what=what, status=NO, says=says)
    lines, works = [], []
    for device in devices:
        sensors = {name: device.fields[name] for name in ("energy_j", "power_w", "average_power_w")}
        works.append(any(sensor.works for sensor in sensors.values()))
        parts = [
            f"{title} {'yes' if sensors[name].works else 'no (' + sensors[name].reason + ')'}"
            for name, title in (
                ("energy_j", "counter"),
                ("power_w", "instant"),
                ("average_power_w", "average"),
            )
        ]
        lines.append(f"{device.source}: {', '.join(parts)}")
    denied = any(s.reason == "permission" for device in devices for s in device.fields.values())
    status = YES if all(works) else PARTLY if any(works) else NO
    todo = "run as root, or let this user read the sensors" if denied else ""
    return Check(what=what, status=status, says="; ".join(dict.fromkeys(lines)), todo=todo)


def check_host() -> Check:
    """Say what the host's processor is, and whether its timings can be told from noise."""
    facts = environment.describe()
    share = facts.get("cpu_quota") or facts.get("cpus")
    says = [f"{facts.get('cpu', 'unknown processor')}, {share:g} processors" if share else ""]
    waiting = waiting_percent()
    if waiting is not None:
        says.append(f"somebody waited for one {waiting:.0f}% of the last 10 s")
    if run_delays_s() is None:
        says.append("the system does not tell run delay, so a neighbour's load goes unseen")
        return Check(what="host timing", status=PARTLY, says="; ".join(filter(None, says)))
    if waiting is not None and waiting > BUSY_PERCENT:
        todo = "stop other work, or set OMP_NUM_THREADS=1; times on the host are marked otherwise"
        return Check(
            what="host timing", status=PARTLY, says="; ".join(filter(None, says)), todo=todo
        )
    return Check(what="host timing", status=YES, says="; ".join(filter(None, says)))


def waiting_percent(pressure: Path = Path("/proc/pressure/cpu")) -> float | None:
    """Return how much of the last ten seconds some task waited for a processor.

    Source: ``some avg10`` of Documentation/accounting/psi.rst of the Linux kernel.
    """
    try:
        words = pressure.read_text().split()
        return float(words[1].removeprefix("avg10="))
    except (OSError, IndexError, ValueError):
        return None


def check_torch() -> Iterable[Check]:
    """Say which models and kernels can run, and on what."""
    models = "language models"
    if importlib.util.find_spec("torch") is None:
        todo = "pip install 'roofline[profile]', with the torch build for your device"
        yield Check(what=models, status=NO, says="torch is not installed", todo=todo)
        yield Check(what="kernels", status=NO, says="torch is not installed", todo=todo)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old driver is told below, in one line
            torch = importlib.import_module("torch")
            target = importlib.import_module("profiler.run_target").find_target()
            dtypes = importlib.import_module("profiler.kernels").default_dtypes(target)
            missing = accelerator_missing(torch)
    except Exception as error:  # a torch for another driver or processor fails in many ways
        says = f"torch does not start: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
        yield Check(what=models, status=NO, says=says)
        yield Check(what="kernels", status=NO, says=says)
        return
    on = f"torch {torch.__version__} on {target.name or target.kind}"
    lacking = package_missing("transformers")
    yield Check(
        what=models,
        status=NO if lacking else PARTLY if missing else YES,
        says="transformers is not installed" if lacking else f"{on}{missing}",
        todo="pip install 'roofline[profile]'" if lacking else "",
    )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 1
    collectives = f"all-reduce over {count}" if count > 1 else "no all-reduce: one device"
    yield Check(
        what="kernels", status=YES, says=f"{', '.join(dtypes)} on {target.kind}; {collectives}"
    )


def accelerator_missing(torch: Any) -> str:
    """Say why torch uses no accelerator although this machine has one; "" if it does."""
    if torch.cuda.is_available():
        return ""
    vendors = pci_vendors(Path("/sys/bus/pci/devices")) & {"NVIDIA", "AMD"}
    if not vendors:
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"; this build has no support for the {' and '.join(sorted(vendors))} device here"
    return "; it cannot use the device here: its driver is missing or older than this build"


def check_package(name: str) -> Check:
    """Say whether tabular estimators can be measured."""
    if package_missing(name):
        todo = "pip install scikit-learn xgboost-cpu"
        return Check(
            what="tabular estimators", status=NO, says=f"{name} is not installed", todo=todo
        )
    boosted = [found for found in ("xgboost", "xgboost-cpu") if not package_missing(found)]
    extra = f", xgboost {version(boosted[0])}" if boosted else ", no xgboost"
    return Check(
        what="tabular estimators",
        status=YES if boosted else PARTLY,
        says=f"{name} {version(name)}{extra}",
    )


def package_missing(name: str) -> bool:
    """Whether no distribution of that name is installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return True
    return False


def check_store() -> Check:
    """Say whether measurements can be kept."""
    from profiler.store import default_store_path

    what, path = "store", default_store_path()
    if package_missing("pyarrow"):
        return Check(
            what=what,
            status=NO,
            says="pyarrow is not installed",
            todo="pip install 'roofline[profile]'",
        )
    parent = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        return Check(
            what=what,
            status=NO,
            says=f"{path} cannot be written: {error.strerror or error}",
            todo="set ROOFLINE_STORE to a folder of yours",
        )
    return Check(
        what=what, status=YES, says=f"{path}{'' if os.path.exists(path) else ', not made yet'}"
    )


def check_dstack(home: Path | None = None) -> Check:
    """Say whether machines can be rented; asks the configured server, if there is one."""
    what = "rented machines"
    if package_missing("dstack"):
        return Check(
            what=what,
            status=NO,
            says="dstack is not installed",
            todo="pip install 'roofline[dstack]'",
        )
    if not os.path.exists((home or Path.home()) / ".dstack" / "config.yml"):
        return Check(
            what=what,
            status=NO,
            says="no dstack server and token are configured",
            todo="dstack project add",
        )
    return _ask_server(what)


def _ask_server(what: str) -> Check:
    answer: list[Check] = []

    def ask() -> None:
        try:
            server = importlib.import_module("profiler.launch.server").DstackServer()
            says = f"dstack {version('dstack')}, project {server.project}"
            answer.append(Check(what=what, status=YES, says=says))
        except RooflineError as error:
            answer.append(Check(what=what, status=NO, says=str(error)))
        except Exception as error:  # not ours: whatever it is, other checks go on
            answer.append(Check(what=what, status=NO, says=f"dstack fails: {type(error).__name__}"))

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SERVER_WAIT_S)
    if not answer:
        says = f"the dstack server did not answer in {SERVER_WAIT_S:g} s"
        return Check(what=what, status=NO, says=says, todo="check its address and that it runs")
    return answer[0]
