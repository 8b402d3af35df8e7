# SPDX-License-Identifier: Apache-2.0
"""What it costs to unpack block-quantised weights on the ordinary integer units.

A product of few rows reads each weight once and unpacks it once: shifts, masks, look-ups,
sign and scale, then a dot product of four bytes. Where a device has much bandwidth for its
integer rate, that sets the pace of decoding, not the memory.
"""

from __future__ import annotations

from specs.formats import Precision
from specs.precision import get_precision

OPS_PER_WEIGHT = {
    "q4_0": 2.0,
    "q4_1": 2.0,
    "q5_0": 3.5,
    "q5_1": 3.5,
    "q8_0": 2.4,
    "q8_1": 2.4,
    "q8_k": 2.4,
    "q2_k": 5.2,
    "q3_k": 7.4,
    "q4_k": 3.5,
    "q5_k": 3.9,
    "q6_k": 5.0,
    "iq4_nl": 2.9,
    "iq4_xs": 2.9,
    "mxfp4": 4.0,
}
"""Lane instructions per weight of llama.cpp's matrix-vector kernels, counted in their dot
products (``ggml/src/ggml-cuda/vecdotq.cuh``, loads and the scaling of blocks included, the
arithmetic of addresses not); a third more or less is within the count. Three-bit and six-bit
types subtract their offset byte by byte, which newer GPUs emulate. Counted by hand, then
rounded to what Mistral-7B and Qwen2.5-3B in seven formats on an A2 ask for."""

LOOKED_UP_OPS_PER_WEIGHT = 5.0
"""Of types that look groups of weights up in a table (``iq1`` to ``iq3``)."""

LEAST_OPS_PER_WEIGHT = 2.4
"""Of integer formats that are none of these: a load, a dot product and a scale."""

FURTHER_ROW_FRAC = 0.5
"""Instructions of each further row of a product over those of the first: a load, a dot product
and a scale of about twice as many in all (the same count). Decode of gemma-4-12B with 1, 4
and 8 requests at once takes 12.5, 23.4 and 39.7 ms on an RTX 3090."""

INTEGER_LANES = 64.0
"""Integer instructions per clock of one SM, compute unit or core: 64 of compute capability 7.0
to 9.0 (CUDA C++ Programming Guide, table of arithmetic throughput) and of an RDNA compute
unit, whose second issue takes floats alone. No more than there are fp32 lanes."""


def unpack_ops(precision: Precision) -> float:
    """Lane instructions to unpack one weight stored so; 0 for plain types.

    A blend costs what its parts cost. Of a file mix that only states an average, the type
    in its name stands for all.
    """
    if precision.plain:
        return 0.0
    if precision.parts:
        return sum(share * unpack_ops(get_precision(name)) for name, share in precision.parts)
    name = precision.name.partition("-")[0]
    if name in OPS_PER_WEIGHT:
        return OPS_PER_WEIGHT[name]
    if name.startswith(("iq1", "iq2", "iq3")):
        return LOOKED_UP_OPS_PER_WEIGHT
    stem = max((known for known in OPS_PER_WEIGHT if name.startswith(known)), key=len, default="")
    return OPS_PER_WEIGHT.get(stem, LEAST_OPS_PER_WEIGHT)


def integer_ops_per_s(vector_flops_per_s: float, unit_count: float, clock_hz: float) -> float:
    """Integer lane instructions per second of a device.

    ``units * clock * min(lanes, 64)`` with as many fp32 lanes as the vector rate tells: a
    fused multiply-add per lane and clock.
    """
    lanes = vector_flops_per_s / (2.0 * unit_count * clock_hz)
    return unit_count * clock_hz * min(lanes, INTEGER_LANES)
