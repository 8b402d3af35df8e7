# SPDX-License-Identifier: Apache-2.0
"""Fitted constants as the shares that a prediction takes: `roofline.correction.Correction`.

    predict(..., correction=load_correction())

Constants come from the device if its kernels were measured, else from its family, its kind
of matrix unit or the population, with compute shares moved by the headroom of the power
limit. Devices and engines whose kernels have no relative among those measured keep what
the engine's profile states; `basis` says which. What is taken from the tables and what is
not was chosen by end-to-end rows (DECISIONS.md): no offsets of engines, floors of products
in 16 bits for all formats, since tables time the quantisation of inputs with the products
and engines fuse it, and half the floor of expert layers for the same reason.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from calibration.operators.apply import ARTIFACT, OperatorLaws, load_operators
from calibration.operators.facts import DeviceFacts, facts_of, kind_of
from calibration.operators.features import LOCAL_CACHED_FRAC, LOCAL_MEMORY_FRAC
from calibration.operators.laws import FloatArray
from roofline.correction import Correction
from roofline.devices import runs_as
from roofline.physics.schemes import SCHEMES
from roofline.physics.shares import Shares, engine_shares
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.node import get_interconnect

ENGINES = ("vllm", "sglang", "trtllm", "tgi", "transformers")
"""Engines that run the kernels measured, or ones like them; llama.cpp has its own."""

FAMILIES = (
    "ampere",
    "ampere-rtx",
    "ada",
    "hopper",
    "blackwell",
    "blackwell-rtx",
    "cdna",
    "rdna",
    "xe",
)
"""Families of GPUs whose 16-bit kernels were measured, or those of a relative."""

EXPERT_FLOOR_FRAC = 0.5
"""Share of the measured floor of an expert layer that shows in a step: tables time sorting,
quantisation and combining one after the other, engines fuse or overlap some. Chosen among 0,
1/4, 1/2 and 1 by end-to-end rows of three engines; it also left out the growth of the floor
with the number of local experts."""

LEAST_FLOOR_S = 1e-6
"""No kernel is shorter."""

_GEMMS = {
    "plain": "gemm_bf16",
    "fp8": "gemm_fp8",
    "fp8_block": "gemm_fp8_block",
    "int8": "gemm_int8_sq",
    "fp4": "gemm_nvfp4",
    "int8_only": "gemm_int8_wo",
    "int4_only": "gemm_int4_wo",
    "fp4_only": "gemm_int4_wo",
    "fp4_fp8": "gemm_fp8",
}
_EXPERTS = {
    "plain": "moe_bf16",
    "fp8": "moe_fp8",
    "fp8_block": "moe_fp8_block",
    "int8": "moe_fp8",
    "fp4": "moe_nvfp4",
    "int8_only": "moe_int4_wo",
    "int4_only": "moe_int4_wo",
    "fp4_only": "moe_w4a16_mxfp4",
    "fp4_fp8": "moe_w4a8_mxfp4_mxfp8",
}
_WIDENED = {"fp8": "int8_only", "fp8_block": "int8_only", "fp4": "int4_only", "fp4_fp8": "fp4_only"}
"""Weight formats on devices that lack their arithmetic: unpacked inside the product."""

_NARROW = {"fp8": "fp8", "fp8_block": "fp8", "fp4_fp8": "fp8", "fp4": "fp4"}
_PREFILLS = ("prefill_bf16_kv_bf16", "prefill_bf16_kv_fp8", "mla_prefill", "mla_prefill")
_DECODES = ("decode_kv_bf16", "decode_kv_fp8", "mla_decode_kv_bf16", "mla_decode_kv_fp8")

_LEVELS = {
    "device": "kernels measured on this device",
    "family": "kernels measured on other {family} devices",
    "kind": "kernels measured on GPUs with {kind} matrix units",
    "population": "kernels measured on other GPUs",
}


class OperatorCorrection(Correction):
    """`Correction` from fitted constants of operators: of what kernels reach, nothing else.

    Parameters
    ----------
    laws : OperatorLaws
        From `load_operators`, or `holdout.without` some devices.
    """

    def __init__(self, laws: OperatorLaws) -> None:
        self.laws = laws
        self._kept: dict[tuple[int, int], tuple[Accelerator, Engine, Shares | None]] = {}

    def applies(self, accelerator: Accelerator, engine: Engine) -> bool:
        """Whether kernels like those of the engine were measured on a relative of the device."""
        return engine.name in ENGINES and facts_of(accelerator).family in FAMILIES

    def basis(self, accelerator: Accelerator, engine: Engine) -> str:
        """Whose kernels the shares come from."""
        facts = facts_of(accelerator)
        if engine.name not in ENGINES:
            return f"operators: as priced, {engine.name} has kernels of its own"
        if not self.applies(accelerator, engine):
            return f"none: no kernels of {engine.name} on {facts.family} or a relative measured"
        level = self.laws.level("gemm_bf16", facts)
        text = _LEVELS[level].format(family=facts.family, kind=kind_of(facts.family))
        return f"operators: {text}"

    def shares(self, accelerator: Accelerator, engine: Engine) -> Shares | None:
        """Shares of the device under the engine; None where nothing like it was measured."""
        key = id(accelerator), id(engine)
        kept = self._kept.get(key)
        if kept is None:
            made = self._made(accelerator, engine) if self.applies(accelerator, engine) else None
            kept = self._kept[key] = accelerator, engine, made
        return kept[2]

    def _made(self, accelerator: Accelerator, engine: Engine) -> Shares:
        facts, base = facts_of(accelerator), engine_shares(engine)
        gemm, quantise = self._gemms(accelerator, facts, base)
        local = base.local.copy()
        local[:2] = np.array([LOCAL_MEMORY_FRAC, LOCAL_CACHED_FRAC])[:, None, None]
        for index, share in quantise.items():
            local[:2, index, 0] = share, 1.0
        return Shares(
            gemm=gemm,
            moe=self._experts(accelerator, facts, engine, base),
            local=local,
            prefill=self._prefills(facts),
            decode=self._decodes(facts),
            all_reduce=self._all_reduce(accelerator, facts, base),
        )

    def _gemms(
        self, accelerator: Accelerator, facts: DeviceFacts, base: Shares
    ) -> tuple[FloatArray, dict[int, float]]:
        """Shares of products by weight format, and those of quantising their inputs."""
        table, quantise = base.gemm.copy(), {}
        floor_s = max(self.laws.floored("gemm_bf16", facts)["t_0"], LEAST_FLOOR_S)
        for index, scheme in enumerate(SCHEMES):
            if scheme not in _GEMMS:
                continue
            c = self.laws.constants(self._known(_GEMMS[_run(scheme, accelerator)]), facts)
            table[:, index, 0] = c["e_c"], c["e_m"], c["b"], c["w_tile"], c["fill"], floor_s, 0.0
            if "e_q" in c:
                quantise[index] = c["e_q"]
        return table, quantise

    def _experts(
        self, accelerator: Accelerator, facts: DeviceFacts, engine: Engine, base: Shares
    ) -> FloatArray:
        """Shares of expert products; a layer is two of them and three local kernels."""
        table = base.moe.copy()
        for index, scheme in enumerate(SCHEMES):
            if scheme not in _EXPERTS:
                continue
            name = _EXPERTS[_run(scheme, accelerator)]
            if scheme == "fp4_only" and runs_as(accelerator, "fp4") == "fp4":
                # Where there is narrow arithmetic, engines quantise the inputs of such experts.
                name = _EXPERTS["fp4_fp8"]
            c = self.laws.floored(self._known(name), facts)
            compute = c["e_c"] / (1.0 + c["w_skew"] * engine.routing_skew)
            products_s = (c["t_0"] - 3.0 * engine.kernel_floor_s) / 2.0
            floor_s = max(EXPERT_FLOOR_FRAC * products_s, engine.kernel_floor_s)
            table[:, index, 0] = compute, c["e_m"], c["b"], c["w_tile"], c["fill"], floor_s, 0.0
        return table

    def _known(self, name: str) -> str:
        """Operator, or the 16-bit one where no kernel of the operator is left."""
        return name if name in self.laws.pools else f"{name.partition('_')[0]}_bf16"

    def _prefills(self, facts: DeviceFacts) -> FloatArray:
        rows = []
        for name in _PREFILLS:
            c = self.laws.floored(name, facts)
            shares = [c["e_c"], c["e_m"], c["b"], c["w_sfu"], c["w_tile"], c["w_wave"]]
            rows.append([*shares, 1.0, 0.0, 0.0, c["t_0"]])
        return np.array(rows).T[:, :, None]

    def _decodes(self, facts: DeviceFacts) -> FloatArray:
        rows = []
        for name in _DECODES:
            c = self.laws.floored(name, facts)
            shares = [c["e_c"], c["e_m"], c["b"], 0.0, 1.0, 0.0, 0.0]
            rows.append([*shares, c["half_items"], c["t_item"], c["t_0"]])
        return np.array(rows).T[:, :, None]

    def _all_reduce(self, accelerator: Accelerator, facts: DeviceFacts, base: Shares) -> FloatArray:
        """Of links through a switch, or measured themselves; others keep the engine's."""
        measured = facts.name in self.laws.pools["all_reduce"].devices
        if not measured and get_interconnect(accelerator).scale_up.kind != "switch":
            return base.all_reduce
        c = self.laws.constants("all_reduce", facts)
        return np.array([c["e_link"], 1.0, c["t_sync"], c["t_0"], c["grow"]])[:, None]


def _run(scheme: str, accelerator: Accelerator) -> str:
    """Weight format as it runs on a device: unpacked first where its arithmetic is missing."""
    wanted = _NARROW.get(scheme)
    if wanted is None or runs_as(accelerator, wanted) == wanted:
        return scheme
    return _WIDENED[scheme]


@lru_cache(maxsize=4)
def load_correction(path: Path = ARTIFACT) -> OperatorCorrection:
    """Correction by the shipped constants, or those of another file."""
    return OperatorCorrection(load_operators(path))
