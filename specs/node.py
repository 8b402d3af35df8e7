# SPDX-License-Identifier: Apache-2.0
"""How devices reach each other: the link inside a node, the network, the host.

Answers: how many bytes per second one device can send in one direction, how long
one hop takes, and how many devices the link joins. The figures lie in
``specs/data/nodes/<family>.toml``; a key's family is the letters that open it
(``nvlink4`` is in ``nvlink.toml``), so a lookup reads one small file.

Assumes that a link is full duplex and that its two directions are alike.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from specs.accelerator import Accelerator
from specs.errors import InvalidInputError, SpecDataError, UnknownNameError
from specs.sources import nearest

NODES_DIR = Path(__file__).parent / "data" / "nodes"

LinkKind = Literal["switch", "mesh", "ring", "torus", "bus", "network", "none"]

RING_BASE_S = 3.6e-6
"""Latency of a library's ring all-reduce before its first hop, where none was measured.

NCCL's own model (source ``link-nccl-tuning``); measured bases are 3.6 to 8.3 us.
"""

_PCIE_KEY = re.compile(r"pcie([1-9])x(1|2|4|8|16)(-staged)?")
_TEXT = ("title", "note", "scale_out")
_SOURCE_FIELDS = {
    "source": ("bytes_per_s", "devices"),
    "latency_source": ("latency_s",),
    "floor_source": ("captured_floor_s", "library_base_s", "library_step_s", "achieved_frac"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One way between devices. Rates are per device and in one direction.

    Parameters
    ----------
    name, title : str
        The key (``"nvlink4"``) and what people read.
    bytes_per_s : float
        Most that a device sends in one direction with all its ports busy.
    latency_s : float
        One hop: a store here until it is seen there. No collective is shorter.
    kind : {"switch", "mesh", "ring", "torus", "bus", "network", "none"}
        ``"switch"``: any group gets the whole rate; ``"bus"``: through the root
        complex; ``"none"``: the device is never joined to another.
    devices : int
        How many devices the link joins (72 in a rack, 256 in a TPU v5e pod);
        0 without limit.
    ports : int
        Parallel ports that `bytes_per_s` is the sum of.
    ports_used : mapping of int to int
        Size of a group -> ports that lead inside it; empty: all of them, always.
    in_network_reduction : bool
        The switch adds: an all-reduce of S bytes over n devices sends S + S/n per
        device, not 2 S (n-1)/n.
    captured_floor_s : float or None
        Measured: a tiny all-reduce by an engine's own kernel in a captured graph.
    library_base_s, library_step_s : float or None
        Measured: a tiny all-reduce by the vendor's library, ``base + 2 (n-1) step``.
    achieved_frac : float or None
        Measured: of `bytes_per_s`, what a large all-reduce of four devices reaches.
    scale_out : str
        Key of the network that its reference system has; empty for the default.
    sources : mapping of str to str
        Field -> key in ``specs/data/sources``.
    note : str
        A caveat for whoever uses the figures.
    """

    name: str
    title: str = ""
    bytes_per_s: float
    latency_s: float
    kind: LinkKind
    devices: int = 8
    ports: int = 1
    ports_used: Mapping[int, int] = field(default_factory=dict)
    in_network_reduction: bool = False
    captured_floor_s: float | None = None
    library_base_s: float | None = None
    library_step_s: float | None = None
    achieved_frac: float | None = None
    scale_out: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(LinkKind):
            raise SpecDataError(f"link {self.name!r}: {self.kind!r} is no kind of link.")
        if not self.bytes_per_s > 0 or not self.latency_s > 0:
            raise SpecDataError(f"link {self.name!r}: rate and latency must be positive.")
        if self.devices < 0 or self.ports < 1:
            raise SpecDataError(f"link {self.name!r}: devices and ports cannot be negative.")
        if any(not 0 < used <= self.ports for used in self.ports_used.values()):
            raise SpecDataError(f"link {self.name!r}: ports_used lies outside 1..{self.ports}.")

    def group_bytes_per_s(self, devices: int) -> float:
        """Rate, one direction, that a device has towards the others of its group.

        On a mesh, ring or torus a small group reaches only the ports that lead
        inside it: two MI300X share one link of seven.

        Parameters
        ----------
        devices : int
            Size of the group, itself included; at least 1.
        """
        if devices < 1:
            raise InvalidInputError(f"a group has at least 1 device, not {devices}.")
        fitting = [size for size in self.ports_used if size <= devices]
        if not fitting:
            return self.bytes_per_s
        return self.bytes_per_s * self.ports_used[max(fitting)] / self.ports

    def library_floor_s(self, devices: int) -> float:
        """Return the time of a tiny all-reduce by the vendor's library.

        ``base + 2 (n-1) step``: a ring takes n-1 steps to reduce and n-1 to
        spread. Measured where the link has figures (within 10% for 2 to 8 devices),
        else NCCL's model of itself: `RING_BASE_S` and `latency_s` per step.
        """
        base_s = RING_BASE_S if self.library_base_s is None else self.library_base_s
        step_s = self.latency_s if self.library_step_s is None else self.library_step_s
        return base_s + 2 * max(devices - 1, 0) * step_s

    def captured_floor_of_s(self, devices: int) -> float:
        """Return the time of a tiny all-reduce by a custom kernel in a captured graph.

        Such kernels exist for up to eight devices on a switch or mesh; beyond that, and
        where none was measured, it is the library's.
        """
        library_s = self.library_floor_s(devices)
        if self.captured_floor_s is None or devices > 8:
            return library_s
        return min(self.captured_floor_s, library_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interconnect:
    """All that connects one device.

    Parameters
    ----------
    devices_per_node : int
        Devices that reach each other without the network.
    scale_up : Link
        The fastest way to another device; `peer` where there is no better.
    scale_out : Link
        The network, per device.
    host : Link
        To the host's memory.
    peer : Link
        To another device of the node over the host link: what a group larger than a
        bridge must cross.
    """

    devices_per_node: int
    scale_up: Link
    scale_out: Link
    host: Link
    peer: Link

    def link_for(self, devices: int) -> Link:
        """Return the slowest link that a group of `devices` must cross."""
        if devices <= self.scale_up.devices:
            return self.scale_up
        return self.peer if devices <= self.devices_per_node else self.scale_out


def get_interconnect(accelerator: Accelerator) -> Interconnect:
    """Return what connects devices like `accelerator`.

    A device without a scale-up link talks over its host link: PCIe peer to peer
    through the root complex or, on GeForce cards, staged through host memory. The
    network is that of the link's reference system, else one 400 Gb/s adapter per device.
    An unstated host link is taken as PCIe 4.0 x16, and its `note` says so.

    Raises
    ------
    UnknownNameError
        ``link`` or ``host_link`` names a link that no file describes.
    """
    host = _host_link(accelerator)
    staged = host.name.startswith("pcie") and _is_staged(accelerator)
    peer = get_link(f"{host.name}-staged") if staged else host
    if not host.name.startswith("pcie") or accelerator.unified_memory:
        peer = _NO_LINK
    scale_up = get_link(accelerator.link) if accelerator.link else peer
    network = scale_up.scale_out or _family("network")["default"]["name"]
    return Interconnect(
        devices_per_node=max(scale_up.devices, peer.devices),
        scale_up=scale_up,
        scale_out=get_link(network),
        host=host,
        peer=peer,
    )


def _host_link(accelerator: Accelerator) -> Link:
    if accelerator.host_link:
        return get_link(accelerator.host_link)
    if accelerator.kind in ("cpu", "igpu") or accelerator.unified_memory:
        return _NO_LINK
    note = f"The host link of {accelerator.name} is not stated: PCI Express 4.0 x16 assumed."
    return replace(get_link("pcie4x16"), note=note)


def _is_staged(accelerator: Accelerator) -> bool:
    """Tell whether the driver refuses peer access: GeForce (and Titan) cards."""
    words = f"{accelerator.name} {accelerator.title}".lower()
    return accelerator.vendor == "nvidia" and ("geforce" in words or "titan" in words)


@lru_cache(maxsize=128)
def get_link(name: str) -> Link:
    """Return the link that `name` is the key of.

    Raises
    ------
    UnknownNameError
        No file of ``specs/data/nodes`` has that key.
    """
    if name == "none":
        return _NO_LINK
    if match := _PCIE_KEY.fullmatch(name):
        return _pcie(name, match[1], int(match[2]), bool(match[3]))
    letters = re.match("[a-z]+", name)
    table = _family(letters[0]).get(name) if letters else None
    if table is None:
        table = _family("network").get(name)
    if not isinstance(table, Mapping) or "bytes_per_s" not in table:
        raise UnknownNameError(
            f"no link is called {name!r}; nearest: {nearest(name, link_names())}. "
            f"PCI Express is written pcie4x16; add others to specs/data/nodes."
        )
    return _link(name, table)


def link_names() -> tuple[str, ...]:
    """Return every key that `get_link` knows, a few PCI Express ones standing for all."""
    names = [f"pcie{generation}x16" for generation in range(1, 7)]
    for path in sorted(NODES_DIR.glob("*.toml")):
        tables = _family(path.stem)
        names += [key for key, value in tables.items() if "bytes_per_s" in value]
    return tuple(names)


@lru_cache(maxsize=32)
def _family(letters: str) -> Mapping[str, Any]:
    path = NODES_DIR / f"{letters}.toml"
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as err:
        raise SpecDataError(f"{path.name} is not TOML: {err}. Fix it.") from None


def _link(name: str, table: Mapping[str, Any]) -> Link:
    values = {key: value for key, value in table.items() if key not in _SOURCE_FIELDS}
    values["ports_used"] = {int(size): used for size, used in table.get("ports_used", {}).items()}
    sources = {
        field_name: table[key]
        for key, names in _SOURCE_FIELDS.items()
        if key in table
        for field_name in names
        if field_name in table
    }
    try:
        return Link(name=name, sources=sources, **values)
    except TypeError as err:
        raise SpecDataError(f"link {name!r} in specs/data/nodes: {err}. Fix it.") from None


def _pcie(name: str, generation: str, lanes: int, staged: bool) -> Link:
    """Return the link of that many lanes; both ways of a pair share no bandwidth."""
    tables = _family("pcie")
    lane_bytes_per_s = tables["lane_bytes_per_s"].get(generation)
    if lane_bytes_per_s is None:
        raise UnknownNameError(
            f"no rate for PCI Express generation {generation}; nearest: pcie6x16. Add it to "
            f"specs/data/nodes/pcie.toml."
        )
    table = {
        **tables["pcie"],
        "title": f"PCI Express {generation}.0 x{lanes}",
        "bytes_per_s": lanes * lane_bytes_per_s,
    }
    if staged:
        table |= {
            "title": f"{table['title']}, staged through host memory",
            "latency_s": tables["staged"]["latency_s"],
            "latency_source": tables["staged"]["source"],
            "note": tables["staged"]["note"],
        }
        for measured in ("library_base_s", "library_step_s", "achieved_frac", "floor_source"):
            table.pop(measured, None)
    return _link(name, table)


_NO_LINK = Link(
    name="none",
    title="no link to another device",
    bytes_per_s=1.0,
    latency_s=1.0,
    kind="none",
    devices=1,
    note="Never joined to another device: only the network leads out.",
)
