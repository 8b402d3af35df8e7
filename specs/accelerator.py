# SPDX-License-Identifier: Apache-2.0
"""One accelerator, as software sees it.

Answers: what can this device compute and move per second, at what power. Peaks
are dense (no 2:4 sparsity), per device, at the clock the vendor quotes them at.
A device is what the driver enumerates and one rank runs on: a B200 (two dies,
one device) is one; an MI250 board is two (``devices_per_board``), and its facts
here are those of the whole board, which engines then use as two ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specs.errors import InvalidInputError, UnsupportedPrecisionError

COMPUTE_PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp6", "fp4", "int4")
"""Arithmetic precisions that a peak can be stated for."""

KINDS = ("gpu", "igpu", "cpu", "tpu", "npu")

APIS = ("cuda-graphs", "cuda", "hip", "metal", "level-zero", "")
"""Interfaces that kernels are launched through; empty for all else."""

_LAUNCHED_BY = {"amd": "hip", "apple": "metal", "intel": "level-zero"}
_BEFORE_GRAPHS = ("kepler", "maxwell", "pascal", "volta", "turing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device. Peaks are dense and per device.

    Parameters
    ----------
    name : str
        Canonical slug, lower case with hyphens: ``"h100-sxm5-80gb"``.
    title : str
        The name people read: ``"NVIDIA H100 SXM5 80 GB"``.
    vendor, kind, architecture : str
        Lower-case family words: ``"nvidia"``, one of `KINDS`, ``"hopper"``.
    mem_bytes, mem_bytes_per_s : float
        Device memory and its peak bandwidth; of the shared pool when `unified_memory`.
    mem_kind : str
        ``"hbm3"``, ``"gddr6x"``, ``"lpddr5x"``, ``"ddr5"``; empty if unknown.
    peak_flops_per_s : mapping of str to float
        Dense matrix peak by compute precision (`COMPUTE_PRECISIONS`), accumulating
        as inference engines do (fp32 for 16-bit inputs); integer precisions in op/s.
        A precision that the hardware lacks is absent.
    vector_flops_per_s : float
        fp32 rate of the ordinary (shader / SIMD) units, a multiply-add counted as two.
    unit_count : int
        SMs, compute units, Xe cores, CPU cores, matrix cores: what work is tiled over.
    clock_hz : float
        The clock that the peaks are stated at.
    cache_bytes : float
        Last-level cache on the device; 0 if unknown.
    tdp_w : float
        Default board (or package) power limit.
    idle_w : float or None
        Measured or stated idle power; None if unknown.
    process_nm : float or None
        Process node of the compute die.
    dies, devices_per_board : int
        Compute dies in the device's package, devices that one board shows to software.
    link, host_link : str
        Keys of the scale-up link and the host link in ``specs/data/nodes``; empty if none.
    released : str
        ISO date or year of release; empty if unknown.
    sources : mapping of str to str
        Field name -> key in ``specs/data/sources.toml``. Peaks as
        ``"peak_flops_per_s.bf16"``.
    notes : tuple of str
        Caveats a user should read with a prediction for this device.
    """

    name: str
    title: str
    vendor: str
    kind: str
    architecture: str
    mem_bytes: float
    mem_bytes_per_s: float
    mem_kind: str = ""
    peak_flops_per_s: Mapping[str, float]
    vector_flops_per_s: float
    unit_count: int
    clock_hz: float
    cache_bytes: float = 0.0
    tdp_w: float
    idle_w: float | None = None
    process_nm: float | None = None
    unified_memory: bool = False
    dies: int = 1
    devices_per_board: int = 1
    link: str = ""
    host_link: str = ""
    released: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mem_bytes", "mem_bytes_per_s", "vector_flops_per_s", "clock_hz", "tdp_w"):
            value = getattr(self, name)
            if not value > 0 or value == float("inf"):
                raise InvalidInputError(
                    f"accelerator {self.name!r}: {name} is {value!r}; it must be positive."
                )
        if self.idle_w is not None and not 0 <= self.idle_w < self.tdp_w:
            raise InvalidInputError(
                f"accelerator {self.name!r}: idle_w is {self.idle_w!r}; it lies between 0 and "
                f"tdp_w, {self.tdp_w!r}."
            )
        if self.unit_count < 1 or self.dies < 1 or self.devices_per_board < 1:
            raise InvalidInputError(
                f"accelerator {self.name!r}: unit_count, dies and devices_per_board are at least 1."
            )
        if self.kind not in KINDS:
            raise InvalidInputError(
                f"accelerator {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}."
            )
        if not self.peak_flops_per_s:
            raise InvalidInputError(f"accelerator {self.name!r} states no peak at all.")
        for precision, peak in self.peak_flops_per_s.items():
            if precision not in COMPUTE_PRECISIONS or not peak > 0:
                raise InvalidInputError(
                    f"accelerator {self.name!r}: peak {precision!r} = {peak!r}; give a positive "
                    f"rate for one of {', '.join(COMPUTE_PRECISIONS)}."
                )

    @property
    def api(self) -> str:
        """Interface that kernels are launched through: of `APIS`, by vendor and generation.

        Engines capture steps as CUDA graphs from Ampere on.
        """
        if self.kind not in ("gpu", "igpu"):
            return ""
        if self.vendor == "nvidia":
            return "cuda" if self.architecture in _BEFORE_GRAPHS else "cuda-graphs"
        return _LAUNCHED_BY.get(self.vendor, "")

    def peak(self, precision: str) -> float:
        """Dense peak at `precision`, in FLOP/s (op/s for integers).

        Raises
        ------
        UnsupportedPrecisionError
            The device lists no such rate.
        """
        try:
            return self.peak_flops_per_s[precision]
        except KeyError:
            raise UnsupportedPrecisionError(
                f"{self.name} has no {precision} matrix arithmetic; it lists "
                f"{', '.join(sorted(self.peak_flops_per_s))}. Choose one of these."
            ) from None
