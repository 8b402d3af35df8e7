# SPDX-License-Identifier: Apache-2.0
"""Answers as nouns: what a prediction says, with its floor, its basis and its warnings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Times that no engine can beat: all bytes over bandwidth, all FLOPs over dense peak.

    Of a served request, `ttft_s` and `tpot_s` are those of a request that has the device
    to itself, and `e2e_s` also holds its turn among all requests in flight, so it is no
    sum of the others.
    """

    ttft_s: float
    tpot_s: float
    e2e_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Mean power per GPU in watts, by phase and over the request."""

    prefill: float
    decode: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes per GPU, and what still fits (`max_batch` over the whole deployment)."""

    weights_bytes: float
    kv_bytes: float
    activation_bytes: float
    runtime_bytes: float
    total_bytes: float
    capacity_bytes: float
    fits: bool
    max_batch: int
    kv_capacity_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What sets the pace: ``"compute"``, ``"memory"``, ``"link"`` or ``"overhead"``."""

    prefill: str
    decode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the numbers stand on.

    `peak_flops_per_s` is the dense peak of `arithmetic`, the arithmetic that most FLOPs
    run in; `sources` maps device facts to source keys; `correction` says which learned
    correction was applied, ``"none"`` for the analytic value.
    """

    peak_flops_per_s: float
    arithmetic: str
    mem_bytes_per_s: float
    sources: dict[str, str]
    engine_profile: str
    model_source: str
    params: float
    active_params: float
    correction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How sure a corrected prediction is, and what it was before the correction.

    Parameters
    ----------
    level : float
        Share of measurements that fall between `low` and `high`, as found on devices left
        out of the fit.
    standing : str
        ``"measured here"``, ``"interpolated"`` or ``"extrapolated"``.
    low, high, analytic : mapping of str to float
        By name of the figure, as ``"tpot_s"``; `power_mean_w` is the mean of `power_w`.
    """

    level: float
    standing: str
    low: dict[str, float]
    high: dict[str, float]
    analytic: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One prediction. Times of one request, rates and `num_gpus` of the whole deployment.

    `batch` is the static batch, or the concurrency where ``mode`` is ``"serving"``;
    `running_batch` the sequences that decode together. `tpot_s` is the mean time per
    output token after the first, `e2e_s` is ``ttft_s + (output_len - 1) * tpot_s``.
    Of the `input_len` tokens, `cached_len` were in the cache already. `mfu` is that of
    the prefill, `mbu` that of the decode. `interval` is there where a learned correction
    was applied.
    """

    model: str
    gpu: str
    num_gpus: int
    tp: int
    pp: int
    ep: int
    dp: int
    engine: str
    mode: str
    weight_dtype: str
    kv_dtype: str
    act_dtype: str
    batch: int
    running_batch: float
    input_len: int
    output_len: int
    cached_len: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    prefill_tok_per_s: float
    decode_tok_per_s: float
    output_tok_per_s: float
    total_tok_per_s: float
    floor: Floor
    power_w: Power
    power_limit_w: float
    energy_per_output_token_j: float
    energy_per_total_token_j: float
    wh_per_million_output_tokens: float
    memory: Memory
    bound: Bound
    mfu: float
    mbu: float
    basis: Basis
    warnings: tuple[str, ...]
    check_command: str
    interval: Interval | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as ``--json`` prints them."""
        result = asdict(self)
        result["warnings"] = list(self.warnings)
        if self.interval is None:
            del result["interval"]
        return result
