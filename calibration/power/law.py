# SPDX-License-Identifier: Apache-2.0
"""The fitted constants of board power: read from one small JSON file, with numpy alone.

The law itself is `roofline.physics.power.phase_power_w`, which predictions and the fit both
evaluate; a correction hands the constants over (`roofline.correction.Correction.power`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roofline.devices import DeviceColumns
from roofline.physics.power import PowerConstants, PowerFacts
from specs.accelerator import Accelerator
from specs.errors import SpecDataError

ARTIFACT = Path(__file__).parent.parent / "artifacts" / "power.json"
SCHEMA = 1


def facts_of(accelerators: Sequence[Accelerator], limit_w: ArrayLike = np.inf) -> PowerFacts:
    """Facts of the device of each case, limits in watts (infinite for the default)."""
    index = np.arange(len(accelerators))
    limits_w = np.broadcast_to(np.asarray(limit_w, float), index.shape)
    return DeviceColumns.of(accelerators).take(index, ()).power_facts(limits_w)


def load_constants(raw: Mapping[str, Any]) -> PowerConstants:
    """Constants from the content of an artifact.

    Raises
    ------
    SpecDataError
        Another schema, or constants missing or unknown.
    """
    constants = raw.get("constants")
    if raw.get("schema") != SCHEMA or not isinstance(constants, Mapping):
        raise SpecDataError(
            f"power constants have schema {raw.get('schema')!r}; {SCHEMA} is read. Fit them anew."
        )
    try:
        return PowerConstants(**{name: float(value) for name, value in constants.items()})
    except TypeError as error:
        raise SpecDataError(f"power constants do not fit ({error}); fit them anew.") from None


@lru_cache(maxsize=4)
def load_power(path: Path = ARTIFACT) -> PowerConstants:
    """Shipped constants, or those of another file."""
    return load_constants(json.loads(path.read_text(encoding="utf-8")))
