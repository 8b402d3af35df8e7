# SPDX-License-Identifier: Apache-2.0
"""Tables of measured kernels, read from a folder, one frame per device.

Two layouts, told apart by the column ``kind``:

* tables of kernels: columns ``gpu`` (name in the catalogue), ``op``, ``dtype``, ``latency_s``,
  the sizes that `readers` takes for the operation, and where they are known ``framework``,
  ``framework_version``, ``kernel``, ``launch``, ``op_detail``, ``kv_dtype``;
* measurements (`specs.measurement`), as the store of ``roofline profile --kernels`` and
  ``roofline records export`` have them: `of_measurements` says which rows count as what.

pandas is imported when tables are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specs.catalogue import get_accelerator
from specs.errors import InvalidInputError, RooflineError

if TYPE_CHECKING:
    import pandas as pd

    Frame = pd.DataFrame
else:
    Frame = Any

Say = Callable[[str], None]

NEEDED = ("gpu", "op", "dtype", "latency_s")
_TEXTS = (
    "framework", "framework_version", "kernel", "launch", "op_detail", "kv_dtype", "distribution",
)  # fmt: skip

SIZES = {
    "gemm": ("m", "n", "k"),
    "attention_prefill": ("batch", "q_len", "kv_len", "heads", "head_dim"),
    "attention_decode": ("batch", "kv_len", "heads", "head_dim"),
    "mla_prefill": ("batch", "q_len", "kv_len", "heads"),
    "mla_decode": ("batch", "kv_len", "heads"),
    "moe": ("tokens", "hidden", "inter", "topk", "experts"),
    "all_reduce": ("bytes", "num_gpus"),
}
"""Sizes without which a kernel says nothing; rows that lack one are left out."""

OPERATORS = {
    "gemm": "gemm",
    "attention_prefill": "context_attention",
    "attention_decode": "generation_attention",
}
"""Operations of measurements that are those of a law, and what tables of kernels call them.

Not products in fp8, which laws take with the quantisation of their inputs, nor local
operations, which engines fuse otherwise, nor collectives timed with their launch.
"""

DTYPES = {"bf16": "bf16", "fp16": "bf16", "fp32": "fp32"}
"""Number formats of such measurements; the two of 16 bits run at one rate."""

QUALITIES = ("ok", "noisy", "partial")
"""Qualities whose latency counts; a throttled kernel is not at the clock that laws know."""


def table_paths(folder: Path) -> list[Path]:
    """Files of tables in a folder; not those hidden, or named with an underscore in front.

    Raises
    ------
    InvalidInputError
        No such folder, or it holds none.
    """
    from calibration.tables import SUFFIXES

    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidInputError(
            f"no folder {folder}; give the one that holds tables of kernels, such as the store "
            f"of `roofline profile --kernels`."
        )
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "_"))
    )
    if not paths:
        raise InvalidInputError(
            f"no kernel tables (*{', *'.join(SUFFIXES)}) in {folder}; "
            f"give the folder that holds them."
        )
    return paths


def data_hash(folder: Path) -> str:
    """SHA-256 of the tables' names and contents, first 16 digits."""
    digest = hashlib.sha256()
    for path in table_paths(folder):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def kernel_tables(folder: Path, *, say: Say | None = None) -> Iterator[Frame]:
    """Tables of a folder by device: each file of kernels by itself, measurements together.

    Parameters
    ----------
    folder : Path
    say : callable, optional
        Called with what is passed over.

    Raises
    ------
    InvalidInputError
        No such folder, no table in it, or a file that is neither layout.
    """
    import pandas as pd

    from calibration.tables import read_table

    measured = []
    for path in table_paths(folder):
        table = read_table(path, needed=NEEDED, what="kernels")
        if "kind" in table:
            measured.append(table)
        else:
            yield from _by_device(table)
    if measured:
        rows = pd.concat([t.dropna(axis=1, how="all") for t in measured], ignore_index=True)
        yield from _by_device(of_measurements(rows, say=say))


def _by_device(table: Frame) -> Iterator[Frame]:
    """Rows with a time and all sizes of their operation, device by device."""
    for name in _TEXTS:
        if name not in table:
            table[name] = ""
    if "num_gpus" not in table:
        table["num_gpus"] = np.nan
    good = np.isfinite(table.latency_s) & (table.latency_s > 0)
    for op, names in SIZES.items():
        asked = table.op.eq(op)
        if asked.any():
            sized = [table[name].gt(0).fillna(False) for name in names if name in table]
            good &= ~asked | (np.logical_and.reduce(sized) if len(sized) == len(names) else False)
    for _, part in table[good.astype(bool)].groupby("gpu", sort=False):
        yield part


def of_measurements(rows: Frame, *, say: Say | None = None) -> Frame:
    """Measured kernels as a table of kernels.

    `OPERATORS` in `DTYPES`, of devices that the catalogue has. What was timed on the device,
    its caches emptied before, has launch ``"events"``; what was timed from the host holds its
    launches and is ``"eager"``.
    """
    kernels = rows[rows["kind"].eq("kernel") & _text(rows, "quality", "ok").isin(QUALITIES)]
    kernels = kernels[kernels["op"].isin(OPERATORS) & kernels["dtype"].isin(DTYPES)]
    devices = _text(kernels, "gpu")
    known = devices.isin([name for name in devices.unique() if _is_known(name)])
    if say is not None and not known.all():
        say(f"{int((~known).sum()):,} kernels passed over: no name in the catalogue for their GPU")
    kernels = kernels[known]
    clock = _text(kernels, "environment").map(_clock)
    found: Frame = kernels.assign(
        framework=_text(kernels, "engine"),
        framework_version=_text(kernels, "engine_version"),
        op_detail=kernels["op"].map(OPERATORS),
        dtype=kernels["dtype"].map(DTYPES),
        kv_dtype="bf16",
        kernel="",
        launch=clock.map({"device": "events"}).fillna("eager"),
    )
    return found


def _is_known(name: str) -> bool:
    try:
        get_accelerator(name)
    except RooflineError:
        return False
    return True


def _text(rows: Frame, name: str, otherwise: str = "") -> Any:
    """A column of text, `otherwise` where nothing stands."""
    if name not in rows:
        return rows["op"].map(lambda _: otherwise)
    return rows[name].astype(object).where(rows[name].notna(), otherwise).astype(str)


def _clock(environment: str) -> str:
    """Clock that a measurement was taken by, ``""`` where it is not said."""
    try:
        found = json.loads(environment)
        return str(found["timing"]["clock"])
    except (KeyError, TypeError, ValueError):
        return ""
