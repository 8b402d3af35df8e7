# SPDX-License-Identifier: Apache-2.0
"""How fast a processor is at this moment: two calls that never change, timed beside each point.

Neighbours that share a core's units or the memory slow a call down without making it wait,
so that processor time and run delay look clean and the figure is off all the same, by a
factor of two where it was tried. Two fixed calls tell: one that stays in the first cache,
one that streams. numpy runs both on one thread whatever the rest is set to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from profiler.steady import Samples

CORE_ELEMENTS, CORE_CALLS = 2**12, 500
"""16 KiB in and out, within a first-level cache; about half a millisecond in all."""

MEMORY_ELEMENTS = 2**24
"""64 MiB in fp32, beyond every private cache."""

TRIES = 3
SLOWED_FRAC = 0.15
"""A reference that is slower by more than this than it has been in this run says that the
point is too; repeats of it on a quiet machine differ by 3 to 10%."""


@dataclass(kw_only=True)
class Reference:
    """Times the two calls, and remembers the best of each.

    Parameters
    ----------
    calls : mapping of str to callable, optional
        Return seconds; by default those of this module.
    """

    calls: Mapping[str, Callable[[], float]] = field(default_factory=lambda: _calls())
    best_s: dict[str, float] = field(default_factory=dict)
    most_frac: float = 0.0

    def read(self) -> dict[str, float]:
        """Return seconds of each call now: the median of a few tries."""
        found = {name: median(call() for _ in range(TRIES)) for name, call in self.calls.items()}
        for name, seconds in found.items():
            self.best_s[name] = min(seconds, self.best_s.get(name, seconds))
        return found

    def slowed_frac(self, *readings: Mapping[str, float]) -> float:
        """Return by how much the slowest of `readings` is above the best of the run."""
        worst = max(
            seconds / self.best_s[name] - 1.0
            for reading in readings
            for name, seconds in reading.items()
        )
        self.most_frac = max(self.most_frac, worst)
        return worst


def judged(samples: Samples, slowed_frac: float) -> tuple[str, str]:
    """Return quality and reason of `samples` of a machine that was slowed by `slowed_frac`."""
    if slowed_frac <= SLOWED_FRAC:
        return samples.quality, samples.reason
    quality = "noisy" if samples.quality == "ok" else samples.quality
    said = f"cpu: slowed by neighbours, a reference call took {slowed_frac:.0%} more than its best"
    return quality, "; ".join(filter(None, (samples.reason, said)))


def _calls() -> dict[str, Callable[[], float]]:
    import numpy as np

    near = np.linspace(1.0, 2.0, CORE_ELEMENTS, dtype=np.float32)
    result = np.empty_like(near)
    far = np.ones(MEMORY_ELEMENTS, dtype=np.float32)

    def core() -> Any:
        for _ in range(CORE_CALLS):
            np.multiply(near, near, out=result)

    return {"core": lambda: _spent_s(core), "memory": lambda: _spent_s(far.sum)}


def _spent_s(call: Callable[[], Any]) -> float:
    """Processor time of `call`: waiting for a processor is told by the run delay."""
    start_s = time.thread_time()
    call()
    return time.thread_time() - start_s
