# SPDX-License-Identifier: Apache-2.0
"""Where the time of a prediction goes: every operator of a prefill and of a decode step.

The operators are those of the passes that `roofline.predict` prices, taken apart instead
of summed, so their times add up to the TTFT and the TPOT of the estimate. What belongs
to no operator has rows of its own: ``host`` (launches and scheduling that the device
waits for), ``other requests`` (queueing and interference in a full server) and
``learned residual`` (what a correction of whole phases adds to the analytic time, or takes
from it: below zero then).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from roofline.correction import CaseShares, Correction
from roofline.devices import CaseDevices, DeviceColumns
from roofline.estimate import Estimate
from roofline.phase_costs import Setup, Stretch, Work, limited
from roofline.physics.constants import MEMORY_CLOCK_FRAC
from roofline.physics.kernel import FloatArray
from roofline.physics.layout import Layout
from roofline.physics.phases import PhaseCost, summed
from roofline.physics.plan import ARITHMETIC
from roofline.physics.power import memory_stretch
from roofline.physics.step import OperatorCosts, operator_costs
from roofline.predict import predict
from roofline.pricing import BOUNDS
from roofline.setups import FormatNames, as_accelerator, as_engine, as_model, setup_of, with_chunk
from specs.accelerator import Accelerator
from specs.model import Model

_BLOCK = re.compile(r"^\d+\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """One operator of a phase, over all its layers and passes, on one rank.

    Parameters
    ----------
    name, kind : str
        What it is; `kind` as in ``plan.KINDS``, or ``"host"``, ``"queueing"``,
        ``"residual"``.
    count : float
        Layers that have it.
    arithmetic : str
        Precision of its products; ``"vector"`` outside matrix units, ``""`` for none.
    flops, moved_bytes, sent_bytes : float
        Work, device-memory traffic, bytes sent to other ranks; sums over `count`.
    time_s, share_frac : float
        Its part of the phase, in seconds and of the whole.
    bound : str
        ``"compute"``, ``"memory"``, ``"link"`` or ``"overhead"``, whichever takes longest.
    """

    name: str
    kind: str
    count: float
    arithmetic: str
    flops: float
    moved_bytes: float
    sent_bytes: float
    time_s: float
    share_frac: float
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseShares:
    """Operators of one phase, the longest first; their times add up to `time_s`.

    `sequences` go through at once on a replica, in `passes` passes; `flops`,
    `moved_bytes` and `sent_bytes` are of one rank.
    """

    time_s: float
    flops: float
    moved_bytes: float
    sent_bytes: float
    sequences: float
    passes: float
    operators: tuple[OperatorShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An estimate taken apart: the prefill behind its TTFT, a mean decode step of its TPOT."""

    estimate: Estimate
    prefill: PhaseShares
    decode: PhaseShares | None

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as ``--json`` prints them."""
        return {
            "estimate": self.estimate.to_dict(),
            "prefill": _plain(self.prefill),
            "decode": None if self.decode is None else _plain(self.decode),
        }


def _plain(phase: PhaseShares) -> dict[str, Any]:
    return {**asdict(phase), "operators": [asdict(row) for row in phase.operators]}


def explain(
    model: str | Model,
    gpu: str | Accelerator,
    *,
    correction: Correction | None = None,
    **asked: Any,
) -> Explanation:
    """Take the prediction of one scenario apart.

    Parameters
    ----------
    model, gpu, correction, **asked
        As for `roofline.predict`.

    Raises
    ------
    RooflineError
        As for `roofline.predict`.
    """
    chosen, device = as_model(model), as_accelerator(gpu)
    engine = as_engine(asked.pop("engine", ""), device, asked.get("engine_year"))
    if asked.get("max_batched_tokens"):
        engine = with_chunk(engine, int(asked["max_batched_tokens"]))
    estimate = predict(chosen, device, engine=engine, correction=correction, **asked)
    layout = Layout(tp=estimate.tp, pp=estimate.pp, ep=estimate.ep, dp=estimate.dp)
    names = FormatNames(
        weight=asked.get("weight_dtype", ""),
        kv=asked.get("kv_dtype", ""),
        activation=asked.get("act_dtype", ""),
    )
    setup = setup_of(chosen, layout, names, engine)
    work = _work_of(estimate, asked.get("cached_len", 0))
    index = np.zeros(1, dtype=np.intp)
    devices = DeviceColumns.of([device]).take(index, setup.ranks)
    devices = CaseShares(correction, [device]).put(devices, engine, index)
    return Explanation(
        estimate=estimate,
        prefill=_prefill(setup, work, devices, estimate),
        decode=_decode(setup, work, devices, estimate),
    )


def _work_of(estimate: Estimate, cached_len: int) -> Work:
    return Work(
        batch=np.array([float(estimate.batch)]),
        serving=np.array([estimate.mode == "serving"]),
        input_tokens=np.array([float(estimate.input_len)]),
        cached_tokens=np.array([float(cached_len)]),
        output_tokens=np.array([float(estimate.output_len)]),
        power_limit_w=np.array([estimate.power_limit_w]),
    )


def _prefill(setup: Setup, work: Work, devices: CaseDevices, estimate: Estimate) -> PhaseShares:
    prompts = np.maximum(work.batch / setup.layout.dp, 1.0)
    prompts = np.where(work.serving, 1.0, prompts)
    stretches = setup.prefill_stretches(prompts, work)
    cost = setup.prefill(prompts, work, devices)
    in_turn = setup.prefill_in_turn(prompts, work, devices)
    staged = float(setup.stage_factor(in_turn, prompts, work, devices)[0])
    clock = _clock(cost, devices, work, stages=setup.layout.pp)
    rows = [row for s in stretches for row in _rows(s, setup, devices, staged, clock)]
    times_s = estimate.ttft_s, _analytic_s(estimate, "ttft_s")
    return _phase(rows, *times_s, float(prompts[0]), float(stretches[0].passes[0]))


def _decode(
    setup: Setup, work: Work, devices: CaseDevices, estimate: Estimate
) -> PhaseShares | None:
    if not setup.generates or estimate.tpot_s == 0.0:
        return None
    running = np.array([estimate.running_batch / setup.layout.dp])
    stretch = setup.decode_stretch(running, work)
    clock = _clock(setup.decode(running, work, devices), devices, work)
    rows = list(_rows(stretch, setup, devices, 1.0, clock))
    times_s = estimate.tpot_s, _analytic_s(estimate, "tpot_s")
    return _phase(rows, *times_s, float(stretch.step.sequences[0]), 1.0)


def _analytic_s(estimate: Estimate, name: str) -> float:
    """A time of the estimate before whole phases were corrected."""
    if estimate.interval is None:
        return float(getattr(estimate, name))
    return estimate.interval.analytic[name]


def _clock(cost: PhaseCost, devices: CaseDevices, work: Work, *, stages: int = 1) -> float:
    """Clock under the power limit, relative to that without."""
    under = limited(cost, devices, work.power_limit_w, stages=stages)
    if under.compute_s[0] > 0:
        return float(cost.compute_s[0] / under.compute_s[0])
    stretch = float(under.memory_s[0] / cost.memory_s[0]) if cost.memory_s[0] > 0 else 1.0
    return MEMORY_CLOCK_FRAC / stretch if stretch > 1.0 else 1.0


def _rows(
    stretch: Stretch, setup: Setup, devices: CaseDevices, staged: float, clock: float
) -> Iterator[OperatorShare]:
    """Operators of a stretch with their times, and the host's row."""
    costs = operator_costs(stretch.plan, stretch.step, devices.rates, setup.engine)
    whole = summed(costs, stretch.step, devices.rates, devices.energies, setup.engine)
    passes = float(stretch.passes[0])
    parts = _times(costs, whole, overlaps=setup.engine.overlaps)
    parts[0] /= clock
    parts[1] *= memory_stretch(clock)
    parts *= costs.count * passes * staged
    labels = _labels(stretch, costs)
    for index, label in enumerate(labels):
        count = float(costs.count[index])
        arithmetic = ARITHMETIC[int(costs.arithmetic[index])]
        flops = float(costs.flops[index, 0])
        yield OperatorShare(
            name=label,
            kind=costs.kinds[index],
            count=count,
            arithmetic=arithmetic if flops else "",
            flops=flops * count * passes,
            moved_bytes=float(costs.moved_bytes[index, 0]) * count * passes,
            sent_bytes=float(costs.sent_bytes[index, 0]) * count * passes,
            time_s=float(parts[:, index].sum()),
            share_frac=0.0,
            bound=BOUNDS[int(np.argmax(parts[:, index]))],
        )
    floors_s = 0.0 if setup.engine.overlaps else float(costs.count @ costs.floor_s[:, 0])
    host_s = (float(whole.overhead_s[0]) - floors_s) * passes * staged
    if host_s > 0.0:
        yield _outside("host", "host", host_s)


def _times(costs: OperatorCosts, whole: PhaseCost, *, overlaps: bool) -> FloatArray:
    """Seconds of one layer's operator by what sets its pace, shape ``(4, n_ops)``.

    Rows as in `BOUNDS`. Where operators overlap perfectly, the phase takes as long as
    its busiest resource, and an operator's part is its time on that one.
    """
    compute, memory = costs.compute_s[:, 0], costs.memory_s[:, 0]
    link, floor = costs.link_s[:, 0], costs.floor_s[:, 0]
    zero = np.zeros_like(compute)
    if overlaps:
        busiest = (whole.compute_s[0] > 0, whole.memory_s[0] > 0, whole.link_s[0] > 0)
        parts = (compute, memory, link)
        picked = [part if used else zero for part, used in zip(parts, busiest, strict=True)]
        return np.stack([*picked, zero])
    slower = memory > compute
    return np.stack([np.where(slower, 0.0, compute), np.where(slower, memory, 0.0), link, floor])


def _labels(stretch: Stretch, costs: OperatorCosts) -> list[str]:
    """Names without the number of their block; windows and expert GEMMs marked."""
    labels = [_BLOCK.sub("", name) for name in costs.names]
    for index, kind in enumerate(costs.kinds):
        if kind == "moe_gemm" and "expert" not in labels[index]:
            labels[index] += " (experts)"
    for index, operator in enumerate(stretch.plan.attention, len(stretch.plan.operators)):
        if operator.window is not None:
            labels[index] += f" (window {operator.window})"
    return labels


def _outside(name: str, kind: str, time_s: float) -> OperatorShare:
    """Time in which no operator runs."""
    return OperatorShare(
        name=name,
        kind=kind,
        count=1.0,
        arithmetic="",
        flops=0.0,
        moved_bytes=0.0,
        sent_bytes=0.0,
        time_s=time_s,
        share_frac=0.0,
        bound="overhead",
    )


def _phase(
    rows: list[OperatorShare], time_s: float, analytic_s: float, sequences: float, passes: float
) -> PhaseShares:
    """Rows collapsed, ordered and set against the whole, of which `analytic_s` is uncorrected."""
    rest_s = analytic_s - sum(row.time_s for row in rows)
    for name, kind, part_s in (
        ("other requests", "queueing", rest_s),
        ("learned residual", "residual", time_s - analytic_s),
    ):
        if abs(part_s) > 1e-9 * time_s:
            rows = [*rows, _outside(name, kind, part_s)]
    merged = sorted(_merged(rows), key=lambda row: -row.time_s)
    shares = [replace(row, share_frac=row.time_s / time_s) for row in merged]
    return PhaseShares(
        time_s=time_s,
        flops=sum(row.flops for row in shares),
        moved_bytes=sum(row.moved_bytes for row in shares),
        sent_bytes=sum(row.sent_bytes for row in shares),
        sequences=sequences,
        passes=passes,
        operators=tuple(shares),
    )


def _merged(rows: Iterable[OperatorShare]) -> Iterable[OperatorShare]:
    """Rows that are alike in everything but the layers that have them, as one."""
    kept: dict[tuple[Any, ...], OperatorShare] = {}
    for row in rows:
        each = [f"{v / row.count:.6e}" for v in (row.flops, row.moved_bytes, row.time_s)]
        key = (row.name, row.kind, row.arithmetic, row.bound, *each)
        if key in kept:
            old = kept[key]
            sums = ("count", "flops", "moved_bytes", "sent_bytes", "time_s")
            row = replace(old, **{name: getattr(old, name) + getattr(row, name) for name in sums})
        kept[key] = row
    return kept.values()
