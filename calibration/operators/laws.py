# SPDX-License-Identifier: Apache-2.0
"""The operator laws: seconds from physical terms and a few bounded constants.

All share one form, a soft maximum of a compute and a memory time plus a floor,

    t = ((c / e_c)**p + (m / e_m)**p)**(1 / p) + t_0

with ``e_c, e_m`` in (0, 1], ``p`` in (1, 8), ``t_0 > 0``: never below the roofline, a
plateau for large work, a latency for small. The terms (`features`) carry what is known
of a kernel: tiles, waves, exponentials, occupancy. Constants are fitted in an unbounded
coordinate (`Param.encode`), so that means of constants stay in bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
        return {p.name: float(p.decode(x)) for p, x in zip(self.params, coordinates, strict=True)}

    def coordinates(self, constants: Mapping[str, float]) -> FloatArray:
        """Coordinates of named values."""
        return np.array([float(p.encode(constants[p.name])) for p in self.params])

    def time_s(self, constants: Constants, terms: Terms) -> FloatArray:
        """Seconds of each operator."""
        return self.formula(constants, terms)


def soft_max(compute_s: ArrayLike, memory_s: ArrayLike, p: ArrayLike) -> FloatArray:
    """``(c**p + m**p)**(1/p)``: between the larger and the sum."""
    c, m = np.asarray(compute_s, float), np.asarray(memory_s, float)
    high = np.maximum(np.maximum(c, m), 1e-30)
    low = np.minimum(c, m)
    result: FloatArray = high * (1.0 + (low / high) ** p) ** (1.0 / np.asarray(p, float))
    return result


def _at(constants: Constants, name: str) -> FloatArray:
    return np.asarray(constants[name], float)


def gemm_compute_s(constants: Constants, terms: Terms) -> FloatArray:
    """Compute time of a GEMM at its peak, for the best of the tile shapes.

    Waves count whole with weight `w_wave`, else as fractions; a tile smaller than
    128 x 256 pays `small` per halving of its reuse; every tile pays `fill` elements of K.
    """
    wave = _at(constants, "w_wave")
    tiles_s = terms["tiles_s"] + wave * (terms["waves_s"] - terms["tiles_s"])
    tiles_s = tiles_s * (1.0 + _at(constants, "small") * terms["tile_cost"])
    filled: FloatArray = tiles_s.min(axis=0) * (1.0 + _at(constants, "fill") * terms["per_k"])
    return np.maximum(filled, terms["ideal_s"])


def _gemm(constants: Constants, terms: Terms) -> FloatArray:
    compute_s = gemm_compute_s(constants, terms) / _at(constants, "e_c")
    cold_s = terms["memory_s"] * (1.0 - _at(constants, "warm") * terms["resident"])
    memory_s = cold_s / _at(constants, "e_m")
    return soft_max(compute_s, memory_s, _at(constants, "p")) + _at(constants, "t_0")


def _gemm_quantised(constants: Constants, terms: Terms) -> FloatArray:
    quantise_s = terms["quantise_s"] / _at(constants, "e_q")
    return _gemm(constants, terms) + quantise_s


def _prefill(constants: Constants, terms: Terms) -> FloatArray:
    """Pairs on matrix units, exponentials beside them, whole tiles, waves of tiles."""
    tiles = _at(constants, "w_tile")
    pairs_s = terms["pairs_s"] + tiles * (terms["tiled_pairs_s"] - terms["pairs_s"])
    special_s = terms["special_s"] + tiles * (terms["tiled_special_s"] - terms["special_s"])
    compute_s = pairs_s / _at(constants, "e_c") + _at(constants, "w_sfu") * special_s
    compute_s = compute_s * (1.0 + _at(constants, "w_wave") * (terms["waves"] - 1.0))
    compute_s = compute_s + _at(constants, "t_tile") * terms["tiles"]
    memory_s = terms["memory_s"] / _at(constants, "e_m")
    return soft_max(compute_s, memory_s, _at(constants, "p")) + _at(constants, "t_0")


def _decode(constants: Constants, terms: Terms) -> FloatArray:
    """KV over the bandwidth that the work items fill; a cost per item; a warm cache."""
    items = terms["sequences"] * terms["splits"]
    filled = items / (items + _at(constants, "half_items"))
    cold_s = terms["memory_s"] * (1.0 - _at(constants, "warm") * terms["resident"])
    memory_s = cold_s / (_at(constants, "e_m") * filled)
    compute_s = terms["compute_s"] / _at(constants, "e_c")
    p = _at(constants, "p")
    items_s = _at(constants, "t_item") * terms["sequences"]
    busy_s = soft_max(soft_max(compute_s, memory_s, p), items_s, p)
    return busy_s + _at(constants, "t_0")


def _moe(constants: Constants, terms: Terms) -> FloatArray:
    """Grouped GEMMs of the experts awake, imbalance, a cost per local expert."""
    tile = _at(constants, "w_tile")
    compute_s = terms["compute_s"] + tile * (terms["tiled_s"] - terms["compute_s"])
    skewed = 1.0 + _at(constants, "w_skew") * terms["skew"]
    cold_s = terms["memory_s"] * (1.0 - _at(constants, "warm") * terms["resident"])
    activation_s = _at(constants, "w_act") * terms["activation_s"]
    busy_s = soft_max(
        compute_s * skewed / _at(constants, "e_c"),
        cold_s / _at(constants, "e_m"),
        _at(constants, "p"),
    )
    experts_s = _at(constants, "t_expert") * terms["experts"]
    return busy_s + activation_s + experts_s + _at(constants, "t_0")


def _stream(constants: Constants, terms: Terms) -> FloatArray:
    """Element-wise work: bytes over bandwidth, faster while they stay in the cache."""
    cold_s = terms["memory_s"] * (1.0 - _at(constants, "warm") * terms["resident"])
    return cold_s / _at(constants, "e_m") + _at(constants, "t_0")


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


_P = Param(name="p", kind="share", prior=2.5, spread=1.0, low=1.0, high=8.0)
_CORE = (_share("e_c", 0.75), _share("e_m", 0.85), _P)
_TILED = (
    _share("w_wave", 0.5),
    _share("small", 0.2),
    _scale("fill", 100.0),
    _share("warm", 0.4),
)

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
                _P,
                _scale("t_0", 10e-6),
                _scale("t_tile", 0.5e-6),
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
                _share("w_tile", 0.7),
                _share("w_skew", 0.1),
                _scale("w_act", 1.0),
                _share("warm", 0.3),
                _scale("t_expert", 0.05e-6),
            ),
            formula=_moe,
        ),
        Law(
            name="stream",
            params=(_share("e_m", 0.85), _scale("t_0", 2.5e-6), _share("warm", 0.3)),
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
