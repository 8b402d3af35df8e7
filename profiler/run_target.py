# SPDX-License-Identifier: Apache-2.0
"""Where a run is measured: which torch devices, how many threads, how to wait for them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from profiler.models import require
from profiler.processor import cpu_name
from specs.errors import InvalidInputError

KINDS = ("cpu", "cuda", "xpu", "mps")
"""Kinds of torch device; ROCm devices are called ``cuda`` there."""

DEFAULT_CACHE_BYTES = 32 * 2**20
"""Last-level cache that is assumed where the system names none; decides only how much
memory the cold kernels walk through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The devices of one run.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    devices : tuple of str
        Names that torch gives them: ``"cuda:0"``.
    name : str
        As the driver calls one of them; the processor's name for ``"cpu"``.
    threads : int
        Threads that torch computes with on the host.
    """

    kind: str
    devices: tuple[str, ...]
    name: str
    threads: int

    @property
    def events(self) -> bool:
        """Whether device events time it (CUDA and ROCm)."""
        return self.kind == "cuda"

    def sync(self) -> None:
        """Wait until all devices have finished."""
        import torch

        for device in self.devices:
            if self.kind == "cuda":
                torch.cuda.synchronize(device)
            elif self.kind == "xpu":
                torch.xpu.synchronize(device)
            elif self.kind == "mps":
                torch.mps.synchronize()

    def release(self) -> None:
        """Give memory that nothing uses any more back to the devices."""
        import gc

        import torch

        gc.collect()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.kind == "xpu":
            torch.xpu.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()


def find_target(device: str = "auto", *, num_gpus: int = 1, threads: int | None = None) -> Target:
    """Return the devices to measure on, and set torch's number of threads.

    Parameters
    ----------
    device : str
        ``"auto"`` (an accelerator if there is one), one of `KINDS`, or one device such as
        ``"cuda:1"``.
    num_gpus : int
        Devices that a model's layers are spread over, from the one named.
    threads : int, optional
        Threads on the host; by default torch's own choice (``OMP_NUM_THREADS``).

    Raises
    ------
    InvalidInputError
        No torch, an unknown device, one that is not there, fewer than asked for.
    """
    require("torch")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    kind, _, index = device.partition(":")
    if kind not in (*KINDS, "auto") or (index and not index.isdigit()):
        raise InvalidInputError(
            f"no device {device!r}; give auto, {', '.join(KINDS)}, or one of them as cuda:1."
        )
    counts = {name: _count(name) for name in KINDS}
    if kind == "auto":
        kind = next((name for name in ("cuda", "xpu", "mps") if counts[name]), "cpu")
    if not counts[kind]:
        raise InvalidInputError(
            f"device {device}: torch {torch.__version__} sees no {kind} device here; check the "
            f"driver and that this is a torch build for it, or use --device cpu."
        )
    if kind == "cpu":
        if num_gpus > 1 or index:
            raise InvalidInputError(f"device {device} with {num_gpus} GPUs: the CPU is one device.")
        return Target(kind=kind, devices=("cpu",), name=cpu_name(), threads=torch.get_num_threads())
    first = int(index or 0)
    if first + num_gpus > counts[kind]:
        raise InvalidInputError(
            f"{num_gpus} devices from {kind}:{first} were asked for and torch sees "
            f"{counts[kind]}; ask for fewer, or check what CUDA_VISIBLE_DEVICES hides."
        )
    devices = tuple(f"{kind}:{first + i}" for i in range(num_gpus))
    if kind == "cuda":
        torch.cuda.set_device(devices[0])  # events and graphs belong to the current device
    return Target(kind=kind, devices=devices, name=_name(kind, first), threads=_threads())


def host_target(device: str = "auto", *, threads: int | None = None) -> Target:
    """Return the processor as the target, without torch: for tabular models.

    Raises
    ------
    InvalidInputError
        Another device was asked for.
    """
    import os

    if device not in ("auto", "cpu"):
        raise InvalidInputError(
            f"tabular models are measured on the processor; leave out --device {device}."
        )
    if threads is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() and int(given) else os.cpu_count() or 1
    return Target(kind="cpu", devices=("cpu",), name=cpu_name(), threads=threads)


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _count(kind: str) -> int:
    import torch

    if kind == "cuda":
        return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
    if kind == "xpu":
        return int(torch.xpu.device_count()) if torch.xpu.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def _name(kind: str, index: int) -> str:
    import torch

    if kind == "cuda":
        return str(torch.cuda.get_device_name(index))
    if kind == "xpu":
        return str(torch.xpu.get_device_name(index))
    return f"{cpu_name()} GPU"  # Apple's carries the name of its chip


def cache_bytes(target: Target, *, sys: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Return the last-level cache of the device, as the system states it."""
    if target.kind == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(target.devices[0])
        return int(getattr(properties, "L2_cache_size", 0)) or DEFAULT_CACHE_BYTES
    sizes = []
    for path in sys.glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text().strip()
            sizes.append(int(text.rstrip("KMG")) * {"K": 2**10, "M": 2**20}.get(text[-1], 1))
    return max(sizes, default=DEFAULT_CACHE_BYTES)
