# SPDX-License-Identifier: Apache-2.0
"""A device with round facts and one pass of a model over it, for arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roofline.devices import DeviceColumns
from roofline.physics.layout import Layout
from roofline.physics.passes import Pass
from roofline.physics.step import operator_costs
from roofline.setups import FormatNames, as_model, setup_of
from specs.accelerator import Accelerator
from specs.engine import get_engine

CARD = Accelerator(
    name="hand-made",
    title="A card with the main figures of an H100 SXM5 and no cache",
    vendor="nvidia",
    kind="gpu",
    architecture="hopper",
    mem_bytes=80e9,
    mem_bytes_per_s=3.35e12,
    mem_kind="hbm3",
    peak_flops_per_s={"bf16": 989.4e12, "fp16": 989.4e12, "fp8": 1978.9e12},
    vector_flops_per_s=66.9e12,
    unit_count=132,
    clock_hz=1.83e9,
    cache_bytes=0.0,
    tdp_w=700.0,
    idle_w=70.0,
    process_nm=4.0,
    link="nvlink4",
)


@pytest.fixture
def card():
    return CARD


class Costs:
    """Operators of one pass, by name."""

    def __init__(self, costs):
        self.costs = costs

    def __getattr__(self, column):
        return lambda name: float(np.ravel(getattr(self.costs, column)[self._row(name)])[0])

    def _row(self, name):
        rows = [i for i, found in enumerate(self.costs.names) if found == name]
        assert rows, f"no {name} among {self.costs.names}"
        return rows[-1]  # the last stack of layers: that with experts


@pytest.fixture
def run():
    """``run(model, tokens=..., context=...)``: one pass of one sequence group.

    Decode: `batch` sequences with `context` keys each, the new one included. Prefill:
    one prompt of `prompt` tokens.
    """

    def price(
        model, *, batch=0, context=0, prompt=0, tp=1, engine="vllm", card=CARD, weight="", **changes
    ):
        profile = replace(get_engine(engine), **changes)
        names = FormatNames(weight=weight, kv="", activation="")
        setup = setup_of(as_model(model), Layout(tp=tp), names, profile)
        one = np.ones(1)
        step = Pass(
            tokens=one * (batch or prompt),
            sequences=one * (batch or 1),
            cached_tokens=one * (context - 1 if batch else 0),
            new_tokens=one * (1 if batch else prompt),
            span_cached=one * (context - 1 if batch else 0),
            span_new=one * (1 if batch else prompt),
            cross_tokens=0.0 * one,
            cross_context=0.0 * one,
            decode=bool(batch),
        )
        devices = DeviceColumns.of([card]).take(np.zeros(1, dtype=np.intp), setup.ranks)
        return Costs(operator_costs(setup.decoder, step, devices.rates, profile))

    return price
