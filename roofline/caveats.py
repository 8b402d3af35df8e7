# SPDX-License-Identifier: Apache-2.0
"""What a reader must know before trusting a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from roofline.devices import idle_w, runs_as
from roofline.phase_costs import Setup
from roofline.setups import FormatNames
from specs.accelerator import Accelerator
from specs.node import get_interconnect
from specs.units import format_bytes, format_power


def caveats_of(
    setup: Setup,
    device: Accelerator,
    names: FormatNames,
    row: Mapping[str, Any],
    *,
    tokens: int,
    requests: int,
    power_limit_w: float,
) -> tuple[str, ...]:
    """All warnings of one prediction, the gravest first.

    `tokens` are input and output of a request, `power_limit_w` the limit asked for.
    """
    found = [
        *_memory(setup, row),
        *_waiting(row, requests),
        *_vendor(setup, device),
        *_context(setup, tokens),
        *_power_limit(device, power_limit_w),
        *_arithmetic(setup, device),
        *_dtype(setup, names),
        *_links(setup, device),
        *setup.model.warnings,
        *device.notes,
    ]
    return tuple(dict.fromkeys(found))


def _memory(setup: Setup, row: Mapping[str, Any]) -> list[str]:
    """What does not fit, by how much, and what would make it fit."""
    if row["fits"]:
        return []
    usable = capacity = row["capacity_bytes"]
    part = ""
    if setup.engine.memory_rule == "total":
        usable *= setup.engine.memory_kv_frac
        part = f", of which {setup.engine.name} uses {setup.engine.memory_kv_frac:.0%}"
    needs = (
        f"needs {format_bytes(row['total_bytes'])} per GPU and there are "
        f"{format_bytes(capacity)}{part} ({format_bytes(row['total_bytes'] - usable)} too much)"
    )
    if 1 <= row["max_batch"] < math.inf:
        most = int(row["max_batch"])
        return [f"does not fit as asked: {needs}; at most {most:,} such sequences fit at once."]
    gpus = setup.layout.tp * setup.layout.pp
    shared = row["total_bytes"] - row["runtime_bytes"]
    needed = 2 * gpus
    while needed < 2**40 and shared * gpus / needed + row["runtime_bytes"] > 0.95 * usable:
        needed *= 2
    return [
        f"does not fit: {needs}; times are what it would take if it did. About {needed:,} such "
        "GPUs per replica, narrower weights or shorter requests would hold it."
    ]


def _waiting(row: Mapping[str, Any], requests: int) -> list[str]:
    """Requests in flight that the KV cache does not admit."""
    most = row["max_batch"]
    if not row["fits"] or most >= requests or most < 1:
        return []
    return [
        f"of {requests:,} requests in flight about {int(most):,} run at once, for which the KV "
        "cache has room; the others wait, and TTFT holds their wait."
    ]


def _vendor(setup: Setup, device: Accelerator) -> list[str]:
    """An engine that does not run on such devices."""
    vendors = setup.engine.vendors
    if not vendors or device.vendor in vendors or (device.kind == "cpu" and "cpu" in vendors):
        return []
    return [
        f"{setup.engine.title} has no release for {device.vendor} {device.kind}s: priced as if it "
        "ran there with the constants it has elsewhere."
    ]


def _context(setup: Setup, tokens: int) -> list[str]:
    """More positions than the model has; an encoder has a length of its own."""
    model = setup.model
    if not model.max_position or tokens <= model.max_position or (model.encoder and model.blocks):
        return []
    return [
        f"{tokens:,} tokens per request exceed the {model.max_position:,} positions of "
        f"{model.name}; engines refuse them unless told to extend the context."
    ]


def _power_limit(device: Accelerator, limit_w: float) -> list[str]:
    """A limit that does nothing, or that no clock can keep."""
    if limit_w > device.tdp_w:
        return [
            f"a limit of {format_power(limit_w)} is above the default of "
            f"{format_power(device.tdp_w)} and changes nothing."
        ]
    if limit_w <= (idle := idle_w(device)):
        return [
            f"a limit of {format_power(limit_w)} is not above the idle power of "
            f"{format_power(idle)}: no clock keeps it; times are those of a fifth of the clock."
        ]
    return []


def _arithmetic(setup: Setup, device: Accelerator) -> list[str]:
    """Products that the device cannot run as stored."""
    wanted = {op.arithmetic for op in setup.decoder.operators if op.kind in ("gemm", "moe_gemm")}
    found = []
    for name in sorted(wanted):
        real = runs_as(device, name)
        if real != name:
            found.append(
                f"{device.name} has no {name} matrix arithmetic: products run as {real} "
                f"(dequantised or converted); engines may refuse and ask for another dtype."
            )
    return found


def _dtype(setup: Setup, names: FormatNames) -> list[str]:
    plain = setup.formats.plain
    if setup.model.dtype == "fp32" and plain != "fp32" and not names.weight:
        return [
            f"the checkpoint is fp32; {setup.engine.name} runs it in {plain} unless told otherwise."
        ]
    return []


def _links(setup: Setup, device: Accelerator) -> list[str]:
    ranks = max(setup.ranks)
    if ranks == 1:
        return []
    join = get_interconnect(device)
    link = join.link_for(ranks)
    if link.kind == "none":
        return [f"{device.name} cannot be joined to others; {ranks} ranks do not exist."]
    if link is join.scale_out:
        return [
            f"{ranks} ranks span nodes of {join.devices_per_node}: priced over "
            f"{link.title or link.name}, an assumption."
        ]
    return []
