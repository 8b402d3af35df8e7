# SPDX-License-Identifier: Apache-2.0
"""Measured kernels, read from tables (`tables`) and cleaned into arrays per operator.

One `Sample` holds the rows of one device and one operator family (``gemm_bf16``,
``decode``): terms of the law, seconds, engine, and which rows are read from memory
rather than from a warm cache. pandas is imported when tables are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.operators.facts import DeviceFacts, facts_of
from calibration.operators.laws import FloatArray
from calibration.operators.readers import FAMILIES, RANKS, Family
from calibration.operators.tables import Say, kernel_tables
from specs.catalogue import get_accelerator

if TYPE_CHECKING:
    import pandas as pd

    Frame = pd.DataFrame
else:
    Frame = Any

MOST_ROWS = 1200
"""Rows kept per device and operator, an even draw over engines and versions."""

LEAST_ROWS = 30
"""Fewer kernels of one device, operator and table are no sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Kernels of one device and operator.

    `terms` feed the law named `law`; `seconds`, `engine`, `cold` have shape ``(n,)``.
    `plain_s` is the roofline of the same rows: the larger of its compute and memory
    (or link) time. `headroom` is that of the power limit (`DeviceFacts.headroom`), 1
    where power does not matter; `eager` says that times hold the host's launches.
    """

    device: str
    family: str
    operator: str
    law: str
    terms: Mapping[str, FloatArray]
    seconds: FloatArray
    plain_s: FloatArray
    engine: NDArray[np.str_]
    cold: NDArray[np.bool_]
    headroom: float = 1.0
    eager: bool = False

    def __len__(self) -> int:
        return int(self.seconds.size)

    def take(self, rows: NDArray[Any]) -> Sample:
        """Sample of some rows, by index or mask."""
        terms = {
            name: value[..., rows] if value.shape[-1] == len(self) else value
            for name, value in self.terms.items()
        }
        return replace(
            self,
            terms=terms,
            seconds=self.seconds[rows],
            plain_s=self.plain_s[rows],
            engine=self.engine[rows],
            cold=self.cold[rows],
        )

    def as_constant(self) -> Sample:
        """Return the same rows for the rival law: one efficiency and a floor."""
        return replace(self, law="constant", terms={"plain_s": self.plain_s}, headroom=1.0)


def read_samples(
    folder: Path, *, most_rows: int = MOST_ROWS, seed: int = 0, say: Say | None = None
) -> list[Sample]:
    """Samples of every device and operator family in a folder of kernel tables.

    Raises
    ------
    InvalidInputError
        As `tables.kernel_tables`.
    UnknownNameError
        A table of kernels names a device that the catalogue lacks.
    """
    found: list[Sample] = []
    for table in kernel_tables(folder, say=say):
        facts = facts_of(get_accelerator(str(table.gpu.iloc[0])), ranks=RANKS)
        for family in FAMILIES.values():
            sample = _sample(table, facts, family, most_rows, seed)
            if sample is not None:
                found.append(sample)
    return merged(found)


def _sample(
    table: Frame, facts: DeviceFacts, family: Family, most_rows: int, seed: int
) -> Sample | None:
    rows = table[(table.op == family.op) & (table.dtype == family.dtype)]
    if len(rows):
        rows = rows[np.asarray(family.where(rows), bool)]
    if len(rows) < LEAST_ROWS:
        return None
    groups = rows.groupby(["framework", "framework_version"], dropna=False)
    each = max(1, most_rows // max(groups.ngroups, 1))
    rows = rows.sample(frac=1.0, random_state=seed)
    kept = rows.groupby(["framework", "framework_version"], dropna=False).head(each)
    terms, plain_s, cold = family.read(kept, facts, family.dtype)
    return Sample(
        device=facts.name,
        family=facts.family,
        operator=family.name,
        law=family.law,
        terms=terms,
        seconds=kept.latency_s.to_numpy(dtype=float),
        plain_s=np.maximum(plain_s, 1e-12),
        engine=kept.framework.astype(str).to_numpy(dtype=str),
        cold=np.asarray(cold, bool),
        headroom=facts.headroom(family.arithmetic) if family.powered else 1.0,
        eager=bool(kept.launch.astype(str).str.startswith("eager").mean() > 0.5),
    )


def merged(samples: list[Sample]) -> list[Sample]:
    """One sample per device and operator: tables of two sources become one."""
    by_key: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        key = (sample.device, sample.operator)
        by_key[key] = _joined(by_key[key], sample) if key in by_key else sample
    return list(by_key.values())


def _joined(one: Sample, two: Sample) -> Sample:
    terms = {
        name: value
        if value.shape[-1] == 1 and len(one) != 1
        else np.concatenate([value, two.terms[name]], axis=-1)
        for name, value in one.terms.items()
    }
    return replace(
        one,
        terms=terms,
        seconds=np.concatenate([one.seconds, two.seconds]),
        plain_s=np.concatenate([one.plain_s, two.plain_s]),
        engine=np.concatenate([one.engine, two.engine]),
        cold=np.concatenate([one.cold, two.cold]),
    )
