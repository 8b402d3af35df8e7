# SPDX-License-Identifier: Apache-2.0
"""What a prediction asks of a learned correction, and nothing of how it was learned.

``predict(..., correction=)`` takes anything that meets `Correction`; the shipped one is
made from fitted constants in `calibration`, which this package never imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roofline.devices import CaseDevices
from roofline.physics.kernel import FloatArray
from roofline.physics.power import PowerConstants
from roofline.physics.shares import Shares, engine_shares, stacked
from roofline.residual import Keys, Residual
from specs.accelerator import Accelerator
from specs.engine import Engine


class Correction(Protocol):
    """Something learned from measurements, asked four things.

    None says that nothing is known. A class that derives from this one gives that answer to
    all it does not define.
    """

    def shares(self, accelerator: Accelerator, engine: Engine) -> Shares | None:  # noqa: ARG002
        """Return what kernels of an engine reach on a device; None: as the engine's profile says.

        Arrays have a last axis of one device. Shares of peaks, bandwidth and links are in
        (0, 1]. Called once per device and engine of a table: keep what is made.
        """
        return None

    def residual(self, keys: Keys, numbers: FloatArray) -> Residual | None:  # noqa: ARG002
        """Return what multiplies the analytic values, and how sure that is; None: nothing does.

        Parameters
        ----------
        keys : Keys
            Which cases there are, by what measurements are grouped by.
        numbers : ndarray, shape (len(NUMBERS), n)
            Dimensionless quantities of each case.
        """
        return None

    def power(self) -> PowerConstants | None:
        """Return constants of the power of boards; None: energies are summed as they are."""
        return None

    def basis(self, accelerator: Accelerator, engine: Engine) -> str:
        """Return in a few words what the correction stands on here, for people."""
        ...


class CaseShares:
    """Shares of a few devices under each engine, ready to be dealt out to cases."""

    def __init__(self, correction: Correction | None, accelerators: Sequence[Accelerator]) -> None:
        self._correction, self._accelerators = correction, tuple(accelerators)
        self._kept: dict[int, tuple[Engine, Shares | None]] = {}

    def of(self, engine: Engine, index: NDArray[np.intp]) -> Shares | None:
        """Shares of device ``index[i]`` for case i; None if nothing is corrected."""
        if self._correction is None or engine.overlaps:
            return None
        kept = self._kept.get(id(engine))
        if kept is None:
            kept = self._kept[id(engine)] = engine, self._stack(engine, self._correction)
        return None if kept[1] is None else kept[1].take(index)

    def put(self, case: CaseDevices, engine: Engine, index: NDArray[np.intp]) -> CaseDevices:
        """Return cases with what kernels reach of their devices and what boards draw."""
        if self._correction is None or engine.overlaps:
            return case
        return case.at(self.of(engine, index), self._correction.power())

    def _stack(self, engine: Engine, correction: Correction) -> Shares | None:
        found = [correction.shares(device, engine) for device in self._accelerators]
        if all(shares is None for shares in found):
            return None
        stated = engine_shares(engine)
        return stacked([stated if shares is None else shares for shares in found])
