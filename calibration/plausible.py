# SPDX-License-Identifier: Apache-2.0
"""Which measurements cannot be true, by physics and by their own arithmetic.

Answers, per row: is a time shorter than the ideal machine needs, is a power outside idle
to limit, is a figure a power of ten away from any machine (a unit slip), do the figures
of one row contradict each other. A finding is a question to whoever measured; a row that
cannot be checked says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.predict import predict_table
from specs.accelerator import Accelerator
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.errors import RooflineError
from specs.hub import get_model
from specs.measurement import Measurement
from specs.model import Model

FLOOR_SLACK_FRAC = 0.03
"""Clocks boost a little above the rated one, and sources round."""

POWER_SLACK_FRAC = 0.10
"""Board sensors are stated to 5%, and a limit is held on average, not at every moment."""

SLIPS = {
    1e3: "1000 times too long: milliseconds taken for seconds?",
    1e6: "a million times too long: microseconds taken for seconds?",
    1e-3: "1000 times too short: seconds taken for milliseconds?",
}
ENERGY_SLIPS = {
    1e3: "1000 times too much: millijoules taken for joules?",
    1 / 3.6e3: "3,600 times too little: watt hours taken for joules?",
    1 / 3.6e6: "3.6 million times too little: kilowatt hours taken for joules?",
}
SLIP_FACTOR = 3.0
"""How far from the round factor a slip may lie: predictions are off by less than this for
nearly every known measurement, and honest machines are not off by hundreds."""

STREAMS = frozenset(["read", "copy", "triad", "stream_read", "stream_copy", "stream_triad"])
CACHES = 4.0
"""Arrays that many times the last cache come from memory, all but a remainder."""

SUM_SLACK_FRAC = 0.25
"""How far TTFT and TPOT of a static batch may miss its end-to-end time: medians do not
add up exactly, and some tools count the last step differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One figure of one row that cannot be, and the rule that says so."""

    row: int
    point_id: str
    rule: str
    column: str
    value: float
    limit: float
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All findings, how many rows were held against a floor, and why others were not."""

    findings: tuple[Finding, ...]
    rows: int
    checked: int
    unchecked: Mapping[str, int] = field(default_factory=dict)


Known = Callable[[Measurement], Accelerator | None]
"""Finds the device of a row that names none: one whose rates were measured where it ran."""


def check(measurements: Sequence[Measurement], *, known: Known | None = None) -> Verdict:
    """Hold every row against physics and against itself.

    Parameters
    ----------
    measurements : sequence of Measurement
        `Finding.row` counts them from 1.
    known : callable, optional
        See `Known`; without, requests on devices of no catalogue are not held against a floor.

    Notes
    -----
    Served and static rows are held against the floor of `roofline.predict.predict_table`
    at their own sizes. A rate is held against it as the time that it implies.
    """
    names = _Names(known)
    priced, floors, reasons = _held(measurements, names)
    findings: list[Finding] = []
    for index, row in enumerate(measurements):
        say = _Say(row=index + 1, point_id=row.point_id, findings=findings)
        if index in priced:
            _check_times(row, priced[index], say)
            _check_energy(row, priced[index], say)
        if index in floors:
            _check_kernel(row, floors[index], say)
        device = names.device(row.gpu)
        _check_power(row, device if isinstance(device, Accelerator) else None, say)
        _check_sums(row, say)
    return Verdict(
        findings=tuple(findings),
        rows=len(measurements),
        checked=len(priced) + len(floors),
        unchecked=dict(reasons.most_common()),
    )


def _held(
    measurements: Sequence[Measurement], names: _Names
) -> tuple[dict[int, dict[str, float]], dict[int, float], Counter[str]]:
    """Predictions by row, floors of kernels by row, and why other rows have neither."""
    scenarios: dict[int, dict[str, Any]] = {}
    floors: dict[int, float] = {}
    reasons = Counter[str]()
    for index, row in enumerate(measurements):
        if row.quality == "failed":
            reason = "point failed: no figures"
        elif row.kind == "kernel":
            floors[index], reason = _kernel_floor_s(row, names)
        else:
            scenarios[index], reason = _scenario(row, names)
        if reason:
            reasons[reason] += 1
            floors.pop(index, None)
            scenarios.pop(index, None)
    priced, failed = _price(scenarios)
    for index in list(priced):
        # What a cache holds may pass the measured rates of memory, which are no data sheet's.
        cache_bytes = CACHES * scenarios[index]["gpu"].cache_bytes
        if not measurements[index].gpu and priced[index]["weights_bytes"] < cache_bytes:
            del priced[index]
            failed["weights that a cache may hold"] += 1
    return priced, floors, reasons + failed


@dataclass(frozen=True, slots=True)
class _Say:
    """Collects findings of one row."""

    row: int
    point_id: str
    findings: list[Finding]

    def __call__(self, rule: str, column: str, value: float, limit: float, says: str) -> None:
        self.findings.append(
            Finding(
                row=self.row,
                point_id=self.point_id,
                rule=rule,
                column=column,
                value=value,
                limit=limit,
                says=says,
            )
        )


class _Names:
    """Devices and models by name, each looked up once; a str is the reason it is none."""

    def __init__(self, known: Known | None) -> None:
        self._known = known
        self._devices: dict[str, Accelerator | str] = {"": "accelerator not identified"}
        self._models: dict[str, Model | str] = {"": "model not stated"}

    def device_of(self, row: Measurement) -> Accelerator | str:
        found = self._known(row) if self._known and not row.gpu else None
        return found or self.device(row.gpu)

    def device(self, name: str) -> Accelerator | str:
        if name not in self._devices:
            try:
                self._devices[name] = get_accelerator(name)
            except RooflineError:
                self._devices[name] = "accelerator not in the catalogue"
        return self._devices[name]

    def model(self, name: str) -> Model | str:
        if name not in self._models:
            try:
                # A catalogue of thousands of rows must not wait for a network.
                self._models[name] = get_model(name, offline=True)
            except RooflineError:
                self._models[name] = "model neither shipped nor on disk"
        return self._models[name]


def _scenario(row: Measurement, names: _Names) -> tuple[dict[str, Any], str]:
    """What the row asks of the predictor, or why it cannot be asked."""
    if row.kind != "llm":
        return {}, f"no floor for {row.kind} rows"
    if row.mode == "disagg":
        return {}, "disaggregated prefill and decode"
    device, model = names.device_of(row), names.model(row.model)
    for found in (device, model):
        if isinstance(found, str):
            return {}, found
    if row.mode != "serving" and row.batch_size is None:
        return {}, "batch not stated"
    sizes = {name: getattr(row, name) or 0 for name in ("num_gpus", "tp", "pp", "ep", "dp")}
    prompt = max(round(row.input_tokens or 0), 1)
    served = max(round(row.concurrency or 1.0), 1) if row.mode == "serving" else 0
    return {
        "model": model,
        "gpu": device,
        "engine": _engine(row.engine),
        "weight_dtype": row.weight_dtype,
        "kv_dtype": row.kv_dtype,
        **sizes,
        "batch": 0 if served else row.batch_size,
        "concurrency": served,
        # Where no prompt is stated only decode is checked; it takes longer after a longer one.
        "input_len": prompt,
        "cached_len": min(round(row.cached_tokens or 0), prompt - 1),
        "output_len": max(round(row.output_tokens or 1), 1),
        "power_limit_w": row.power_limit_w or np.inf,
    }, ""


def _engine(name: str) -> str:
    """The engine's profile; the plainest one for engines without: only gross slips count."""
    try:
        return get_engine(name).name
    except RooflineError:
        return "transformers"


def _price(
    scenarios: Mapping[int, Mapping[str, Any]],
) -> tuple[dict[int, dict[str, float]], Counter[str]]:
    """Predictions by row, and why the others have none."""
    if not scenarios:
        return {}, Counter()
    columns = {
        name: [scenario[name] for scenario in scenarios.values()]
        for name in next(iter(scenarios.values()))
    }
    table = predict_table(columns, errors="column")
    priced, failed = {}, Counter[str]()
    for place, index in enumerate(scenarios):
        if table["error"][place]:
            failed[str(table["error"][place]).split(";")[0][:100]] += 1
        else:
            priced[index] = {name: float(table[name][place]) for name in _WANTED}
    return priced, failed


_WANTED = (
    *("ttft_s", "tpot_s", "e2e_s", "floor_ttft_s", "floor_tpot_s", "floor_e2e_s"),
    *("energy_per_output_token_j", "weights_bytes"),
)


def _times(row: Measurement) -> Iterator[tuple[str, str, float, float]]:
    """Every figure that is or implies a time: column, floor, the time, amount over it."""
    tokens, output = row.input_tokens, row.output_tokens
    figures = [("tpot_s", "tpot_s"), ("itl_s", "tpot_s")]
    if tokens is not None:
        figures.append(("ttft_s", "ttft_s"))
        if output is not None:
            figures.append(("e2e_s", "e2e_s"))
    for column, floor in figures:
        if getattr(row, column) is not None:
            yield column, floor, getattr(row, column), 0.0
    batch = row.batch_size if row.mode != "serving" else row.concurrency
    if batch is None:
        return
    if row.decode_tok_s is not None:
        yield "decode_tok_s", "tpot_s", batch / row.decode_tok_s, batch
    if row.mode == "serving" or row.cached_tokens or not tokens:
        return
    if row.prefill_tok_s is not None:
        yield "prefill_tok_s", "ttft_s", batch * tokens / row.prefill_tok_s, batch * tokens
    if row.total_tok_s is not None and output:
        amount = batch * (tokens + output)
        yield "total_tok_s", "e2e_s", amount / row.total_tok_s, amount


def _check_times(row: Measurement, priced: Mapping[str, float], say: _Say) -> None:
    for column, name, time_s, amount in _times(row):
        floor_s, predicted_s = priced[f"floor_{name}"], priced[name]
        if not floor_s > 0:
            continue
        value = getattr(row, column)
        slip = _slip(time_s / predicted_s, SLIPS)
        if slip and not (time_s > predicted_s and _waits(row, column)):
            says = f"its time is {slip}" if amount else slip
            say("unit", column, value, amount / predicted_s if amount else predicted_s, says)
        elif time_s * (1.0 + FLOOR_SLACK_FRAC) < floor_s:
            ideal = "the ideal machine" if row.gpu else "measured bandwidth and peaks allow"
            says = f"{floor_s / time_s:.2f} times faster than {ideal}"
            say("floor", column, value, amount / floor_s if amount else floor_s, says)


def _waits(row: Measurement, column: str) -> bool:
    """Whether the figure may hold a queue of any length: a server that is overloaded."""
    closed = row.concurrency is not None and row.request_rate is None
    return row.mode == "serving" and not (closed and column in ("tpot_s", "itl_s"))


def _slip(ratio: float, slips: Mapping[float, str]) -> str:
    """What kind of slip a ratio of measured to predicted looks like, if any."""
    for factor, says in slips.items():
        if factor / SLIP_FACTOR < ratio < factor * SLIP_FACTOR:
            return says
    return ""


def _check_energy(row: Measurement, priced: Mapping[str, float], say: _Say) -> None:
    value, predicted = row.energy_per_output_token_j, priced["energy_per_output_token_j"]
    if value is None or not predicted > 0:
        return
    slip = _slip(value / predicted, ENERGY_SLIPS)
    if slip:
        say("unit", "energy_per_output_token_j", value, predicted, slip)


def _kernel_floor_s(row: Measurement, names: _Names) -> tuple[float, str]:
    """Shortest time of a kernel, or 0 and why there is none."""
    device = names.device(row.gpu)
    if isinstance(device, str):
        return 0.0, device
    if row.latency_s is None:
        return 0.0, "no time"
    if row.op in STREAMS and row.size_bytes:
        if not row.size_bytes > CACHES * device.cache_bytes > 0:
            return 0.0, "arrays that a cache may hold"
        return row.size_bytes / device.mem_bytes_per_s, ""
    work_flops = _kernel_flops(row)
    if not work_flops:
        return 0.0, f"no floor for {row.op or 'kernel'} rows"
    peak = device.peak_flops_per_s.get(row.dtype)
    if peak is None:
        return 0.0, f"no {row.dtype or 'stated'} peak of the accelerator"
    return work_flops / peak, ""


def _kernel_flops(row: Measurement) -> float:
    """Operations that must be done; a multiply-add counts as two."""
    if row.op == "gemm":
        return 2.0 * (row.m or 0) * (row.n or 0) * (row.k or 0) * (row.batch or 1)
    if row.op.startswith("attention"):
        queries, keys = row.q_len or 0, row.kv_len or 0
        # A causal prefill masks half: no query sees a key after it.
        pairs = queries * (queries + 1) / 2 if row.op == "attention_prefill" else queries * keys
        return 4.0 * (row.batch or 1) * (row.heads or 0) * (row.head_dim or 0) * pairs
    return 0.0


def _check_kernel(row: Measurement, floor_s: float, say: _Say) -> None:
    assert row.latency_s is not None  # `_kernel_floor_s` found a floor for it
    if row.latency_s * (1.0 + FLOOR_SLACK_FRAC) < floor_s:
        slip = _slip(row.latency_s / floor_s, SLIPS)
        says = slip or f"{floor_s / row.latency_s:.2f} times faster than the ideal machine"
        say("unit" if slip else "floor", "latency_s", row.latency_s, floor_s, says)


def _check_power(row: Measurement, device: Accelerator | None, say: _Say) -> None:
    limit_w = row.power_limit_w or (device.tdp_w if device else None)
    idle_w = row.idle_power_w or (device.idle_w if device else None)
    for column in ("power_w", "prefill_power_w", "decode_power_w", "idle_power_w"):
        value = getattr(row, column)
        if value is None:
            continue
        if limit_w and value > limit_w * (1.0 + POWER_SLACK_FRAC):
            slip = value > 100.0 * limit_w
            says = "milliwatts taken for watts?" if slip else f"above the limit of {limit_w:g} W"
            say("unit" if slip else "power", column, value, limit_w, says)
        elif column != "idle_power_w" and idle_w and value < idle_w * (1.0 - POWER_SLACK_FRAC):
            says = f"below the idle power of {idle_w:g} W: a stuck sensor, or another device?"
            say("power", column, value, idle_w, says)


def _check_sums(row: Measurement, say: _Say) -> None:
    """Figures of one row against each other."""
    ttft, tpot, e2e = row.ttft_s, row.tpot_s, row.e2e_s
    if ttft and e2e and ttft > e2e * (1.0 + FLOOR_SLACK_FRAC):
        say("sum", "ttft_s", ttft, e2e, "longer than the whole request")
    elif ttft and tpot and e2e and row.output_tokens and row.mode == "static":
        whole = ttft + max(row.output_tokens - 1.0, 0.0) * tpot
        if not 1.0 - SUM_SLACK_FRAC < whole / e2e < 1.0 + SUM_SLACK_FRAC:
            says = f"TTFT and TPOT make {whole:.4g} s of it: other units or other statistics"
            say("sum", "e2e_s", e2e, whole, says)
    if row.energy_j and row.power_w and e2e and row.kind == "llm" and row.mode == "static":
        expected = row.power_w * (row.num_gpus or 1) * e2e
        if not 0.5 < row.energy_j / expected < 2.0:
            says = f"mean power over the whole makes {expected:.4g} J"
            say("sum", "energy_j", row.energy_j, expected, says)
