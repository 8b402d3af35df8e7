# SPDX-License-Identifier: Apache-2.0
"""What clients see of a run: TTFT, TPOT and latency of each request, rates, goodput."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Times of every request, in the order sent; arrays of shape ``(n,)``.

    Parameters
    ----------
    sent_s, first_s, end_s : ndarray
        When a request was sent, and when its first and last token came back.
    input_tokens, output_tokens : ndarray
    busy_s : float
        Time in which the replica ran a step.
    decode_s, decode_steps, decode_tokens : float
        Time, number and tokens of all steps in which sequences decoded.
    """

    sent_s: FloatArray
    first_s: FloatArray
    end_s: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray
    busy_s: float
    decode_s: float
    decode_steps: float
    decode_tokens: float

    @property
    def ttft_s(self) -> FloatArray:
        """Time to first token: queue, prefill, and the steps it had to wait for."""
        return self.first_s - self.sent_s

    @property
    def e2e_s(self) -> FloatArray:
        """Latency of the whole request."""
        return self.end_s - self.sent_s

    @property
    def tpot_s(self) -> FloatArray:
        """Time per output token after the first; NaN where there is no second."""
        steps = self.output_tokens - 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(steps > 0, (self.end_s - self.first_s) / steps, np.nan)

    @property
    def duration_s(self) -> float:
        """From the first request sent to the last token received."""
        return float(self.end_s.max() - self.sent_s.min())

    @property
    def requests_per_s(self) -> float:
        """Requests over the duration, ramp and drain included, as benchmarks report it."""
        return len(self.sent_s) / self.duration_s

    @property
    def output_tok_per_s(self) -> float:
        """Tokens generated over the duration."""
        return float(self.output_tokens.sum()) / self.duration_s

    @property
    def mean_in_flight(self) -> float:
        """Requests in the system, averaged over time (Little's law, exact for a whole run)."""
        return float(self.e2e_s.sum()) / self.duration_s

    @property
    def mean_decoding(self) -> float:
        """Sequences per step that decodes."""
        return self.decode_tokens / self.decode_steps if self.decode_steps else 0.0

    def goodput_per_s(
        self, *, ttft_s: float = np.inf, tpot_s: float = np.inf, e2e_s: float = np.inf
    ) -> float:
        """Requests per second that keep within all the objectives given."""
        tpot = np.nan_to_num(self.tpot_s, nan=0.0)
        kept = (self.ttft_s <= ttft_s) & (tpot <= tpot_s) & (self.e2e_s <= e2e_s)
        return float(kept.sum()) / self.duration_s


def percentiles(values_s: FloatArray, ranks: tuple[float, ...] = (50, 90, 99)) -> dict[str, float]:
    """Mean and percentiles of times, requests without a value left out.

    Linear between order statistics, as numpy does it and the engines' benchmarks with it.
    """
    known = values_s[np.isfinite(values_s)]
    if not known.size:
        return {"mean": float("nan"), **{f"p{rank:g}": float("nan") for rank in ranks}}
    found = np.percentile(known, ranks)
    named = {f"p{rank:g}": float(value) for rank, value in zip(ranks, found, strict=True)}
    return {"mean": float(known.mean()), **named}


def summary(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Means and percentiles of TTFT, TPOT and latency."""
    return {
        "ttft_s": percentiles(outcome.ttft_s),
        "tpot_s": percentiles(outcome.tpot_s),
        "e2e_s": percentiles(outcome.e2e_s),
    }
