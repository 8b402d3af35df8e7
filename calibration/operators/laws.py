# SPDX-License-Identifier: Apache-2.0
"""The operator laws: seconds from physical terms and a few bounded constants.

All share the form that `roofline.physics.step` evaluates (what is fitted is what is used):

    t = max(c, m) + b * min(c, m)**2 / max(c, m) + t_0

with a compute time c and a memory time m at their shares ``e_c, e_m`` in (0, 1], b in
(0, 1) for how badly they overlap, ``t_0 > 0``: never below the roofline, a plateau for
large work, a latency for small. The terms (`features`) carry what is known of a kernel:
tiles, waves, exponentials, occupancy. Constants are fitted in an unbounded coordinate
(`Param.encode`), so that means of constants stay in bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Terms = Mapping[str, FloatArray]
Constants = Mapping[str, ArrayLike]

_LOG_EDGE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One constant of a law: range, and the weak prior of a single device's fit.

    `kind` is ``"share"`` (between `low` and `high`) or ``"scale"`` (positive). `spread`
    is the standard deviation of the prior in the unbounded coordinate.
    """

    name: str
    kind: str
    prior: float
    spread: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def encode(self, value: ArrayLike) -> FloatArray:
        """Unbounded coordinate of a value."""
        value = np.asarray(value, float)
        if self.kind == "scale":
            logged: FloatArray = np.log(value)
            return logged
        share = np.clip((value - self.low) / (self.high - self.low), 1e-9, 1.0 - 1e-9)
        result: FloatArray = np.log(share / (1.0 - share))
        return result

    def decode(self, coordinate: ArrayLike) -> FloatArray:
        """Value at an unbounded coordinate."""
        x = np.clip(np.asarray(coordinate, float), -_LOG_EDGE, _LOG_EDGE)
        if self.kind == "scale":
            scale: FloatArray = np.exp(x)
            return scale
        bounded: FloatArray = np.asarray(self.low + (self.high - self.low) / (1.0 + np.exp(-x)))
        return bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A formula and its constants."""

    name: str
    params: tuple[Param, ...]
    formula: Callable[[Constants, Terms], FloatArray]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the constants, in order."""
        return tuple(param.name for param in self.params)

    def prior(self) -> FloatArray:
        """Coordinates of the prior."""
        return np.array([float(param.encode(param.prior)) for param in self.params])

    def spread(self) -> FloatArray:
        """Standard deviations of the prior, in coordinates."""
        return np.array([param.spread for param in self.params])

    def constants(self, coordinates: FloatArray) -> dict[str, float]:
        """Named values at `coordinates`."""
        low, span, scale = _bounds(self.name)
        x = np.clip(np.asarray(coordinates, float), -_LOG_EDGE, _LOG_EDGE)
        values = np.where(scale, np.exp(x), low + span / (1.0 + np.exp(-x)))
        return dict(zip(self.names, values.tolist(), strict=True))

    def coordinates(self, constants: Mapping[str, float]) -> FloatArray:
        """Coordinates of named values."""
        return np.array([float(p.encode(constants[p.name])) for p in self.params])

    def time_s(self, constants: Constants, terms: Terms) -> FloatArray:
        """Seconds of each operator."""
        return self.formula(constants, terms)


@lru_cache(maxsize=64)
def _bounds(law: str) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Low ends, widths, and which constants are scales."""
    params = LAWS[law].params
    low = np.array([param.low for param in params])
    return (
        low,
        np.array([param.high for param in params]) - low,
        np.array([param.kind == "scale" for param in params]),
    )


def blended_s(compute_s: ArrayLike, memory_s: ArrayLike, loss: ArrayLike) -> FloatArray:
    """``max + b min^2 / max``: between the larger and the sum (`shares.blended`)."""
    c, m = np.asarray(compute_s, float), np.asarray(memory_s, float)
    high, low = np.maximum(np.maximum(c, m), 1e-30), np.minimum(c, m)
    result: FloatArray = high + np.asarray(loss, float) * low * low / high
    return result


def _at(constants: Constants, name: str) -> FloatArray:
    return np.asarray(constants[name], float)


def _cold_s(constants: Constants, terms: Terms) -> FloatArray:
    """Memory time, less what a table's loop finds in a warm cache."""
    return terms["memory_s"] * (1.0 - _at(constants, "warm") * terms["resident"])


def _products_s(constants: Constants, terms: Terms) -> FloatArray:
    """Tiles and waves show with weight `w_tile`; every tile pays `fill` elements of K."""
    compute_s = terms["ideal_s"] + _at(constants, "w_tile") * (terms["tiled_s"] - terms["ideal_s"])
    filled: FloatArray = compute_s * (1.0 + _at(constants, "fill") * terms["per_k"])
    return filled / _at(constants, "e_c")


def _gemm(constants: Constants, terms: Terms) -> FloatArray:
    memory_s = _cold_s(constants, terms) / _at(constants, "e_m")
    busy_s = blended_s(_products_s(constants, terms), memory_s, _at(constants, "b"))
    return busy_s + _at(constants, "t_0")


def _gemm_quantised(constants: Constants, terms: Terms) -> FloatArray:
    return _gemm(constants, terms) + terms["quantise_s"] / _at(constants, "e_q")


def _prefill(constants: Constants, terms: Terms) -> FloatArray:
    """Pairs on matrix units, exponentials beside them, whole tiles on the diagonal, waves."""
    compute_s = terms["pairs_s"] / _at(constants, "e_c")
    compute_s = compute_s + _at(constants, "w_sfu") * terms["special_s"]
    compute_s = compute_s * (1.0 + _at(constants, "w_tile") * terms["diagonal"])
    compute_s = compute_s * (1.0 + _at(constants, "w_wave") * (terms["waves"] - 1.0))
    memory_s = terms["memory_s"] / _at(constants, "e_m")
    return blended_s(compute_s, memory_s, _at(constants, "b")) + _at(constants, "t_0")


def _decode(constants: Constants, terms: Terms) -> FloatArray:
    """KV over the bandwidth that items of work fill; a cost per sequence and KV head."""
    memory_s = _cold_s(constants, terms) + _at(constants, "half_items") * terms["item_memory_s"]
    memory_s = memory_s / _at(constants, "e_m")
    busy_s = blended_s(terms["compute_s"] / _at(constants, "e_c"), memory_s, _at(constants, "b"))
    items_s = _at(constants, "t_item") * terms["sequences"]
    return np.maximum(busy_s, items_s) + _at(constants, "t_0")


def _moe(constants: Constants, terms: Terms) -> FloatArray:
    """Grouped GEMMs of the experts awake, imbalance, a cost per local expert.

    Terms of products have a leading axis: into the inner width, and back.
    """
    skewed = 1.0 + _at(constants, "w_skew") * terms["skew"]
    memory_s = _cold_s(constants, terms) / _at(constants, "e_m")
    products_s = _products_s(constants, terms) * skewed
    busy_s = blended_s(products_s, memory_s, _at(constants, "b")).sum(axis=0)
    experts_s = _at(constants, "t_expert") * terms["experts"]
    total_s: FloatArray = busy_s + terms["local_s"] + experts_s + _at(constants, "t_0")
    return total_s


def _stream(constants: Constants, terms: Terms) -> FloatArray:
    """Element-wise work: bytes over bandwidth, fewer while they stay in the cache."""
    moved_s = terms["spilled_s"] + _at(constants, "w_cached") * terms["cached_s"]
    return moved_s / _at(constants, "e_m") + _at(constants, "t_0")


def _collective(constants: Constants, terms: Terms) -> FloatArray:
    """Alpha-beta, one-shot exchange for small buffers, floor growing with the ranks."""
    e_link = _at(constants, "e_link")
    ring_s = terms["ring_s"] / e_link + _at(constants, "t_sync")
    sent_s = np.minimum(terms["oneshot_s"] / e_link, ring_s)
    return sent_s + _at(constants, "t_0") * terms["ranks"] ** _at(constants, "grow")


def _constant(constants: Constants, terms: Terms) -> FloatArray:
    """The rival form: one efficiency over the roofline, and a floor."""
    return terms["plain_s"] / _at(constants, "e") + _at(constants, "t_0")


def _share(name: str, prior: float, spread: float = 1.0) -> Param:
    return Param(name=name, kind="share", prior=prior, spread=spread)


def _scale(name: str, prior: float, spread: float = 1.0) -> Param:
    return Param(name=name, kind="scale", prior=prior, spread=spread)


_CORE = (_share("e_c", 0.75), _share("e_m", 0.85), _share("b", 0.3))
_TILED = (_share("w_tile", 0.5), _scale("fill", 100.0), _share("warm", 0.4))

LAWS: Mapping[str, Law] = {
    law.name: law
    for law in (
        Law(name="constant", params=(_share("e", 0.7), _scale("t_0", 8e-6)), formula=_constant),
        Law(name="gemm", params=(*_CORE, _scale("t_0", 3e-6), *_TILED), formula=_gemm),
        Law(
            name="gemm_quantised",
            params=(*_CORE, _scale("t_0", 6e-6), *_TILED, _share("e_q", 0.5)),
            formula=_gemm_quantised,
        ),
        Law(
            name="prefill",
            params=(
                _share("e_c", 0.75),
                _share("e_m", 0.7, 0.5),
                _share("b", 0.3),
                _scale("t_0", 10e-6),
                _share("w_sfu", 0.5),
                _share("w_tile", 0.5),
                _share("w_wave", 0.5),
            ),
            formula=_prefill,
        ),
        Law(
            name="decode",
            params=(
                *_CORE,
                _scale("t_0", 8e-6),
                _scale("half_items", 0.3),
                _scale("t_item", 0.5e-6),
                _share("warm", 0.4),
            ),
            formula=_decode,
        ),
        Law(
            name="moe",
            params=(
                *_CORE,
                _scale("t_0", 15e-6),
                *_TILED,
                _share("w_skew", 0.1),
                _scale("t_expert", 0.05e-6),
            ),
            formula=_moe,
        ),
        Law(
            name="stream",
            params=(_share("e_m", 0.85), _scale("t_0", 2.5e-6), _share("w_cached", 0.6)),
            formula=_stream,
        ),
        Law(
            name="collective",
            params=(
                _share("e_link", 0.75),
                _scale("t_0", 4e-6),
                _scale("t_sync", 3e-6),
                Param(name="grow", kind="share", prior=0.3),
            ),
            formula=_collective,
        ),
    )
}
"""Laws by name."""
