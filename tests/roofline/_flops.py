# SPDX-License-Identifier: Apache-2.0
"""Matrix FLOPs of one forward pass, as torch counts them and as the plan has them.

Where torch's eager model does other work than an engine, the plan's own figures are
put together the way torch multiplies, and nothing else is changed:

* scores and weighted sums over the whole rectangle of queries and keys, masked
  afterwards (causality, windows and sparse picks save nothing);
* latent attention on expanded heads in decode too, not absorbed: torch expands the
  whole cached past again at every step;
* the output projection on as many positions as the model returns.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from roofline.physics.layout import Formats, Layout
from roofline.physics.operators import decoder_plan, encoder_plan
from roofline.physics.plan import CROSS, ROUTED, SEQUENCES, TOKENS, Plan
from specs.config import model_from_config
from specs.engine import get_engine
from specs.model import Model

FORMATS = Formats(plain="bf16", activation="", kv="bf16", quantisation=None)
PLAIN, BATCHED = ("aten.mm", "aten.addmm"), ("aten.bmm", "aten.baddbmm")


def small_models() -> ModuleType:
    """The small configurations that parameter counts are checked on."""
    path = Path(__file__).parents[1] / "specs" / "test_exact_params.py"
    spec = importlib.util.spec_from_file_location("small_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(config: Any, name: str) -> Model:
    """Our description of a transformers config."""
    data = json.loads(config.to_json_string(use_diff=False))
    data.setdefault("model_type", config.model_type)
    return model_from_config(data, name=name, source="test")


class Counted(NamedTuple):
    """What a call returned, and the FLOPs that torch saw: plain, batched, convolutions."""

    result: Any
    plain: float
    batched: float
    convolved: float

    @property
    def total(self) -> float:
        return self.plain + self.batched


def counted(call: Callable[[], Any]) -> Counted:
    """Run `call` under torch's own counter."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        result = call()
    kinds = {str(op): float(flops) for op, flops in counter.get_flop_counts()["Global"].items()}
    plain = sum(kinds.pop(op, 0.0) for op in PLAIN)
    batched = sum(kinds.pop(op, 0.0) for op in BATCHED)
    convolved = kinds.pop("aten.convolution", 0.0)
    assert not kinds, f"torch counts operators that this test does not: {kinds}"
    return Counted(result, plain, batched, convolved)


def plan_of(model: Model, *, encoder: bool = False) -> Plan:
    """The plan that any engine starts from, without parallelism or quantisation."""
    make = encoder_plan if encoder else decoder_plan
    plan = make(model, Layout(), FORMATS, get_engine("ideal"))
    assert plan is not None
    return plan


def projections(
    plan: Plan,
    *,
    tokens: float,
    heads: float,
    encoder_tokens: float = 0.0,
    experts: float = 0.0,
    expanded: float = 0.0,
) -> float:
    """FLOPs of all projections; `heads` positions go through the output projection.

    `experts` says how many experts each token goes through where that is not the
    router's choice; `expanded` how many cached tokens latent attention expands.
    """
    units = {
        TOKENS: tokens,
        SEQUENCES: heads,
        ROUTED: tokens * (experts or plan.topk),
        CROSS: encoder_tokens,
    }
    total = 0.0
    for op in plan.operators:
        if op.kind in ("gemm", "moe_gemm"):
            again = expanded if op.name.endswith("kv_b_proj") else 0.0
            total += op.count * op.flops * (units[op.driver] + again)
    return total


def rectangles(
    plan: Plan, *, sequences: int, queries: int, keys: int, encoder_keys: int = 0
) -> float:
    """FLOPs of scores and weighted sums over whole rectangles, sparse scorers included."""
    total = 0.0
    for op in plan.attention:
        seen = encoder_keys if op.cross else keys
        if queries == 1 and op.window is not None and not op.cross:
            seen = min(seen, op.window)  # the cache of such a layer holds no more
        per_pair = 2.0 * op.num_heads * (op.head_dim + op.v_head_dim) + op.index_flops_per_pair
        total += op.count * sequences * queries * seen * per_pair
    return total
