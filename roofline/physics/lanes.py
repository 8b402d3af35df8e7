# SPDX-License-Identifier: Apache-2.0
"""Products of few rows that ordinary lanes pace instead of matrix units or memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roofline.physics.bundle import Bundle
from roofline.physics.kernel import FloatArray
from roofline.physics.passes import Rates
from roofline.physics.plan import ARITHMETIC
from roofline.physics.unpack import FURTHER_ROW_FRAC
from specs.engine import Engine

if TYPE_CHECKING:
    from roofline.physics.step import Load

SIXTEEN_BIT = ("fp16", "bf16", "fp16_acc16")
"""Arithmetic of products whose weights are stored in 16 bits."""


def on_lanes(
    bundle: Bundle, load: Load, rates: Rates, engine: Engine, compute_s: FloatArray
) -> FloatArray:
    """Seconds of products no shorter than by unpacking their weights on vector units.

    Masks and shifts are shared by the rows of a product, loads, dot products and scales are
    each row's own. Beyond `vector_rows` tiles take over, and never sooner than the most rows
    on vector units: an engine changes over where tiles are quicker.
    """
    if not engine.unpack_frac:
        return compute_s
    rows = load.full_units / np.maximum(load.awake, 1e-9)
    further = np.clip(rows, 1.0, max(engine.vector_rows, 1)) - 1.0
    each = load.present * load.awake / (rates.integer_ops_per_s * engine.unpack_frac)
    ops = bundle.unpack_ops * (1.0 + FURTHER_ROW_FRAC * further)
    if engine.plain_ops and ARITHMETIC[bundle.arithmetic] in SIXTEEN_BIT:
        ops = ops + 0.5 * bundle.flops * rates.by_api(engine.plain_ops) * (rows <= 1.0)
    longer: FloatArray = np.maximum(compute_s, ops * each)
    return longer
