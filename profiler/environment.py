# SPDX-License-Identifier: Apache-2.0
"""What a measurement depends on beside the device: processor, share of it, versions.

Nothing here says whose machine it was: no names of users or hosts, no paths, no serial
numbers. Everything is optional; what the system does not tell is left out.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from profiler.device import Device, state
from profiler.processor import cpu_facts, is_virtual

#: Distributions whose version changes a timing.
PACKAGES = (
    "accelerate",
    "ctranslate2",
    "flash-attn",
    "flashinfer-python",
    "numpy",
    "scikit-learn",
    "sglang",
    "tensorrt-llm",
    "torch",
    "transformers",
    "triton",
    "vllm",
    "xgboost",
    "xgboost-cpu",
)
#: Variables that set how many threads compute; numbers alone are kept.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VERSION = re.compile(r"\d+(\.\d+)*")


def describe(devices: Sequence[Device] = (), *, torch: Any = None) -> dict[str, Any]:
    """Return everything that a measurement's ``environment`` column holds, for JSON.

    Parameters
    ----------
    devices : sequence of Device
        Accelerators measured; their state now and their driver's versions are included.
    torch : module, optional
        An imported torch, for what it was built with. It is not imported here.
    """
    answer: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.system(),
        "kernel": _number_of(platform.release()),
        "machine": platform.machine(),
        **cpu_facts(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "cpu_quota": cpu_quota(),
        "memory_bytes": memory_bytes(),
        "load": load(),
        "virtual": is_virtual(),
        "threads": {
            name: int(text)
            for name in THREAD_VARIABLES
            if (text := os.environ.get(name, "")).isdigit()
        },
        "packages": package_versions(),
    }
    if torch is not None:
        answer["torch"] = torch_facts(torch)
    if devices:
        answer["versions"] = dict(devices[0].versions)
        answer["sensors"] = devices[0].source
        answer["devices"] = [{"name": device.name, **state(device)} for device in devices]
    return {name: value for name, value in answer.items() if value not in (None, "", {}, [])}


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how many processors the control group may use; None if it is not limited.

    Sources: ``cpu.max`` of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst of the Linux
    kernel), ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` of v1.
    """
    for folder in (root, root / "cpu", root / "cpu,cpuacct"):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
            if quota in ("max", "-1"):
                return None
            return int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None


def memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the memory of the host."""
    try:
        return int(re.findall(r"MemTotal:\s+(\d+) kB", meminfo.read_text())[0]) * 1024
    except (OSError, IndexError):
        return None


def load() -> float | None:
    """Return the load average of the last minute: threads that ran or wanted to."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def torch_facts(torch: Any) -> dict[str, Any]:
    """Return what an imported torch was built with and how it is set."""
    cuda = torch.version.cuda
    facts: dict[str, Any] = {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "float32_matmul": torch.get_float32_matmul_precision(),
    }
    if cuda is not None:
        facts["cuda"] = str(cuda)
        facts["cudnn"] = torch.backends.cudnn.version()
    if torch.version.hip is not None:
        facts["hip"] = str(torch.version.hip)
    if torch.cuda.is_available():
        facts["capability"] = list(torch.cuda.get_device_capability())
    return facts


def _number_of(release: str) -> str:
    """Leave out what a kernel's builder appended to its version."""
    match = _VERSION.match(release)
    return match.group() if match else ""
