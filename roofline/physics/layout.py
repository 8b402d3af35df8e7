# SPDX-License-Identifier: Apache-2.0
"""How a model is laid over ranks, and how its numbers are stored."""

from __future__ import annotations

from dataclasses import dataclass

from specs.formats import Precision
from specs.model import Linear, Quantisation
from specs.precision import get_precision
from specs.quantisation import storage_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Degrees of parallelism: a replica has ``tp * pp`` ranks.

    `dp` replicas share experts when `ep` exceeds `tp`.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1

    @property
    def expert_split(self) -> int:
        """Ranks that one expert's own matrices are cut over."""
        return max(1, self.tp // self.ep)

    @property
    def pooled_replicas(self) -> int:
        """Replicas whose tokens meet at the same experts."""
        return max(1, self.ep // self.tp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """How weights, activations and KV cache are stored.

    `plain` is the dtype of whatever is not quantised; `activation` what products of
    quantised weights cast their input to (empty: stays plain); `kv` the cache.
    """

    plain: str
    activation: str
    kv: str
    quantisation: Quantisation | None

    @property
    def plain_bytes(self) -> float:
        """Bytes per plain element."""
        return get_precision(self.plain).bytes_per_element

    @property
    def kv_bytes(self) -> float:
        """Bytes per cached element."""
        return get_precision(self.kv).bytes_per_element

    def storage(self, place: str, linear: Linear) -> Precision:
        """Storage of a linear; `place` is ``layers``, ``experts`` or ``top``."""
        return storage_precision(
            self.quantisation,
            f"{place}.{linear.name}",
            self.plain,
            in_features=linear.in_features,
        )
