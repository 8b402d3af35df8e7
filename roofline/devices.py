# SPDX-License-Identifier: Apache-2.0
"""Accelerators as columns: the facts of a few devices, ready to be spread over many cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from roofline.physics.constants import (
    ACTIVE_FRAC,
    BLOCK_PRODUCTS_PER_INTEGER_OP,
    BLOCK_PRODUCTS_PER_VECTOR_FLOP,
    ENERGY_BF16_J_PER_FLOP,
    ENERGY_J_PER_BYTE,
    ENERGY_J_PER_BYTE_UNKNOWN,
    ENERGY_J_PER_LINK_BYTE,
    ENERGY_RELATIVE,
    IDLE_FRAC_OF_TDP,
)
from roofline.physics.kernel import FloatArray
from roofline.physics.passes import LinkRates, Rates
from roofline.physics.phases import Energies
from roofline.physics.plan import ARITHMETIC
from roofline.physics.power import PowerConstants, PowerFacts
from roofline.physics.shares import Shares
from roofline.physics.unpack import integer_ops_per_s
from specs.accelerator import APIS, Accelerator
from specs.node import get_interconnect

FALLBACK = {
    "fp4": ("fp8", "bf16", "fp16", "fp32"),
    "fp6": ("fp8", "bf16", "fp16", "fp32"),
    "fp8": ("bf16", "fp16", "fp32"),
    "int4": ("int8", "fp16", "bf16", "fp32"),
    "int8": ("fp16", "bf16", "fp32"),
    "bf16": ("fp16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "tf32": ("fp32",),
    "fp64": ("fp32",),
    "fp32": (),
}
"""What runs where a device lacks the arithmetic: operands are widened, never narrowed,
except bf16 and fp16, which stand in for each other. The caller warns."""


_OWN = ("fp16_acc16", "int8_block", "any8", "any4", "vector")
_FASTEST = {
    "any8": ("fp8", "int8", "fp16_acc16", "bf16"),
    "any4": ("fp4", "int4", "fp8", "int8", "fp16_acc16", "bf16"),
}


def runs_as(accelerator: Accelerator, precision: str) -> str:
    """Arithmetic that products of `precision` really run in on this device.

    The wanted one if the device has it, else the first of `FALLBACK` that it has.
    Rates that are no precision of their own (``"vector"``, ``"any8"``...) always exist.
    """
    if precision in _OWN:
        return precision
    for name in (precision, *FALLBACK[precision]):
        if name in accelerator.peak_flops_per_s:
            return name
    return "vector"


def rate_of(accelerator: Accelerator, precision: str) -> float:
    """FLOP/s that products of `precision` run at, fallbacks applied.

    ``fp16_acc16``: tensor cores from Turing to Blackwell do fp16 products with fp16
    accumulation at half their int8 rate (NVIDIA whitepapers of Turing, GA102, Ada and
    RTX Blackwell, tables of peak rates), which is twice the rate with fp32
    accumulation on GeForce cards and the same elsewhere.
    """
    peaks = accelerator.peak_flops_per_s
    if precision == "vector":
        return accelerator.vector_flops_per_s
    if precision == "fp16_acc16":
        full = rate_of(accelerator, "fp16")
        half_of_int8 = 0.5 * peaks.get("int8", 0.0) if accelerator.vendor == "nvidia" else 0.0
        return max(full, half_of_int8)
    if precision == "int8_block":
        return _block_rate(accelerator)
    if precision in _FASTEST:
        return max(rate_of(accelerator, name) for name in _FASTEST[precision])
    name = runs_as(accelerator, precision)
    return accelerator.vector_flops_per_s if name == "vector" else peaks[name]


def _block_rate(accelerator: Accelerator) -> float:
    """FLOP/s of products of integer blocks with a scale each, as llama.cpp's kernels do them.

    Every 32 multiply-adds on integer units are followed by conversion and scaling of the
    sum on the vector units, which then set the pace (`BLOCK_PRODUCTS_PER_VECTOR_FLOP`).
    Never above the integer (or 16-bit) matrix rate.
    """
    vector = accelerator.vector_flops_per_s
    matrix = rate_of(accelerator, "int8")
    if accelerator.kind not in ("gpu", "igpu"):
        return min(matrix, vector * BLOCK_PRODUCTS_PER_VECTOR_FLOP["cpu"])
    if accelerator.vendor != "nvidia":
        return min(matrix, _integer_rate(accelerator) * BLOCK_PRODUCTS_PER_INTEGER_OP)
    beside = _integer_rate(accelerator) > 0.4 * vector
    kind = "dp4a" if rate_of(accelerator, "fp16") < 1.9 * vector else "tensor"
    kind = "tensor-beside" if kind == "tensor" and beside else kind
    return min(matrix, vector * BLOCK_PRODUCTS_PER_VECTOR_FLOP[kind])


def _integer_rate(accelerator: Accelerator) -> float:
    """Lane instructions per second; without limit on processors, whose kernels are others."""
    if accelerator.kind not in ("gpu", "igpu"):
        return float("inf")
    return integer_ops_per_s(
        accelerator.vector_flops_per_s, float(accelerator.unit_count), accelerator.clock_hz
    )


def idle_w(accelerator: Accelerator) -> float:
    """Idle power: as stated, else a share of the default limit by kind."""
    if accelerator.idle_w is not None:
        return accelerator.idle_w
    return accelerator.tdp_w * IDLE_FRAC_OF_TDP[accelerator.kind]


def node_energy_j(accelerator: Accelerator) -> float:
    """Energy of a 16-bit FLOP by process node, interpolated."""
    nodes = np.array(sorted(ENERGY_BF16_J_PER_FLOP))
    values = np.array([ENERGY_BF16_J_PER_FLOP[node] for node in nodes])
    node = accelerator.process_nm if accelerator.process_nm else 7.0
    return float(np.exp(np.interp(np.log(node), np.log(nodes), np.log(values))))


def flop_energies_j(accelerator: Accelerator) -> FloatArray:
    """Energy per operation for every arithmetic of ``plan.ARITHMETIC``."""
    base = node_energy_j(accelerator)
    return np.array([base * ENERGY_RELATIVE[runs_as(accelerator, name)] for name in ARITHMETIC])


def byte_energy_j(accelerator: Accelerator) -> float:
    """Energy per byte of device memory, by memory kind."""
    kind = accelerator.mem_kind.lower().replace(" ", "")
    return ENERGY_J_PER_BYTE.get(kind, ENERGY_J_PER_BYTE_UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Facts:
    """One device as numbers."""

    peaks: FloatArray
    energies: FloatArray
    mem_bytes_per_s: float
    cache_bytes: float
    unit_count: float
    integer_ops_per_s: float
    api: int
    mem_bytes: float
    tdp_w: float
    idle_w: float
    byte_j: float
    active_w: float
    products_w: float
    is_host: bool
    hbm: bool
    shared: bool
    links: dict[int, tuple[float, float, float]] = field(default_factory=dict)


_CACHE: dict[int, tuple[Accelerator, _Facts]] = {}


def _facts(accelerator: Accelerator) -> _Facts:
    kept = _CACHE.get(id(accelerator))
    if kept is not None and kept[0] is accelerator:
        return kept[1]
    facts = _Facts(
        peaks=np.array([rate_of(accelerator, name) for name in ARITHMETIC]),
        energies=flop_energies_j(accelerator),
        mem_bytes_per_s=accelerator.mem_bytes_per_s,
        cache_bytes=accelerator.cache_bytes,
        unit_count=float(accelerator.unit_count),
        integer_ops_per_s=_integer_rate(accelerator),
        api=APIS.index(accelerator.api),
        mem_bytes=accelerator.mem_bytes,
        tdp_w=accelerator.tdp_w,
        idle_w=idle_w(accelerator),
        byte_j=byte_energy_j(accelerator),
        active_w=ACTIVE_FRAC[accelerator.kind] * (accelerator.tdp_w - idle_w(accelerator)),
        products_w=max(rate_of(accelerator, "bf16"), rate_of(accelerator, "fp16"))
        * node_energy_j(accelerator),
        is_host=accelerator.kind == "cpu",
        hbm=accelerator.mem_kind.lower().startswith("hbm"),
        shared=accelerator.kind in ("igpu", "cpu"),
    )
    _CACHE[id(accelerator)] = (accelerator, facts)
    return facts


def _link_of(accelerator: Accelerator, ranks: int) -> tuple[float, float, float]:
    """Rate, empty-collective time and all-reduce share of a group of `ranks` devices."""
    kept = _facts(accelerator).links
    if ranks not in kept:
        join = get_interconnect(accelerator).link_for(ranks)
        ring = 2.0 * (ranks - 1.0) / ranks
        added = (ranks + 1.0) / ranks if join.in_network_reduction else ring
        rate = join.group_bytes_per_s(ranks)
        kept[ranks] = (rate, join.captured_floor_of_s(ranks), min(1.0, added / ring))
    return kept[ranks]


@dataclass(frozen=True, slots=True)
class DeviceColumns:
    """Facts of `accelerators`; ``take`` spreads them over cases by index."""

    accelerators: tuple[Accelerator, ...]
    peaks: FloatArray
    energies: FloatArray
    scalars: FloatArray

    @classmethod
    def of(cls, accelerators: Sequence[Accelerator]) -> DeviceColumns:
        """Columns of these devices, in order."""
        facts = [_facts(accelerator) for accelerator in accelerators]
        scalars = [
            (
                f.mem_bytes_per_s,
                f.cache_bytes,
                f.unit_count,
                f.mem_bytes,
                f.tdp_w,
                f.idle_w,
                f.byte_j,
                f.active_w,
                f.is_host,
                f.products_w,
                f.hbm,
                f.shared,
                f.integer_ops_per_s,
                f.api,
            )
            for f in facts
        ]
        return cls(
            tuple(accelerators),
            np.array([f.peaks for f in facts]).T,
            np.array([f.energies for f in facts]).T,
            np.array(scalars, dtype=float).T,
        )

    def take(
        self,
        index: NDArray[np.intp],
        ranks: Sequence[int],
        tensor_ranks: NDArray[np.int64] | int = 0,
    ) -> CaseDevices:
        """Spread over cases; links are made for groups of each size in `ranks`.

        Where `tensor_ranks` holds the degree of each case, the first of `ranks` stands
        for it.
        """
        scalars = self.scalars[:, index]
        bandwidth, cache, units, memory, tdp, idle, byte_j, active, is_host = scalars[:9]
        links = {size: self._links(index, size) for size in set(ranks) - {1}}
        if not isinstance(tensor_ranks, int) and ranks[0] in links:
            links[ranks[0]] = self._links(index, tensor_ranks)
        return CaseDevices(
            rates=Rates(
                peak_flops_per_s=self.peaks[:, index],
                mem_bytes_per_s=bandwidth,
                cache_bytes=cache,
                unit_count=units,
                integer_ops_per_s=scalars[12],
                api=scalars[13].astype(np.intp),
                links=links,
                is_host=is_host,
            ),
            energies=Energies(
                flop_j=self.energies[:, index],
                byte_j=byte_j,
                active_w=active,
                link_byte_j=np.full(index.shape, ENERGY_J_PER_LINK_BYTE),
            ),
            mem_bytes=memory,
            tdp_w=tdp,
            idle_w=idle,
            power_scalars=scalars[9:12],
        )

    def _links(self, index: NDArray[np.intp], sizes: NDArray[np.int64] | int) -> LinkRates:
        """Links of groups of so many devices, one size or one per case."""
        rows = np.empty((3, index.size))
        for size in np.unique(sizes).tolist():
            table = np.array([_link_of(device, size) for device in self.accelerators]).T
            mine = np.broadcast_to(sizes == size, index.shape)
            rows[:, mine] = table[:, index[mine]]
        ranks = np.broadcast_to(np.asarray(sizes, float), index.shape)
        return LinkRates(ranks=ranks, bytes_per_s=rows[0], floor_s=rows[1], reduce_frac=rows[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDevices:
    """The device of each case; arrays of shape ``(n,)`` inside.

    `power` are constants of the power law that were learned, None where energies are summed
    as they are; `power_scalars` what else that law needs, shape ``(3, n)``: power of 16-bit
    products at their peak, whether memory is HBM, whether the package is shared.
    """

    rates: Rates
    energies: Energies
    mem_bytes: FloatArray
    tdp_w: FloatArray
    idle_w: FloatArray
    power_scalars: FloatArray
    power: PowerConstants | None = None

    def at(self, shares: Shares | None, power: PowerConstants | None = None) -> CaseDevices:
        """Return the devices with what kernels reach of them and what boards draw."""
        rates = self.rates if shares is None else replace(self.rates, shares=shares)
        return replace(self, rates=rates, power=power)

    def power_facts(self, limit_w: FloatArray) -> PowerFacts:
        """Facts of the power law under these limits, infinite for the default."""
        products_w, hbm, shared = self.power_scalars
        room_w = np.maximum(self.tdp_w - self.idle_w, 1e-9)
        return PowerFacts(
            idle_w=self.idle_w,
            tdp_w=self.tdp_w,
            limit_w=np.minimum(limit_w, self.tdp_w),
            memory_room_frac=self.rates.mem_bytes_per_s * self.energies.byte_j / room_w,
            compute_room_frac=products_w / room_w,
            hbm=hbm,
            shared=shared,
        )
