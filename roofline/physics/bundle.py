# SPDX-License-Identifier: Apache-2.0
"""A bundle: operators of a plan that are priced as one array."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.physics.kernel import FloatArray

COLUMNS = (
    "count",
    "flops",
    "weight_bytes",
    "act_bytes",
    "sent_bytes",
    "columns",
    "scheme",
    "unpack_ops",
    "launches",
)
"""Columns of a bundle."""

TOTALS = ("count", "launches", "flops", "weight_bytes", "act_bytes", "sent_bytes")
COUNT, LAUNCHES, FLOPS, WEIGHT_BYTES, ACT_BYTES, SENT_BYTES = range(6)
"""Rows of ``Bundle.totals``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Operators of a plan that are priced as one array.

    Operators that differ in name, count and launches alone share a row. Columns have
    shape ``(rows, 1)``, or ``(rows, n)`` where every case has a plan of its own.

    Parameters
    ----------
    kind : str
        ``"gemm"``, ``"moe_gemm"``, a collective, or ``"local"`` for all else.
    driver, arithmetic, always_spills, above, ranks
        As in ``plan.Operator``; `arithmetic` indexes ``plan.ARITHMETIC``.
    routed : bool
        The weights are those of one expert.
    works, weighs : bool
        Whether there are any FLOPs, any weights.
    members, row_of : tuple of int
        Positions in ``Plan.operators``, and the row of each.
    table : ndarray, shape (9, rows, 1) or (9, rows, n)
        Columns, as `COLUMNS` names them: each equal for the members of a row, but for
        ``count`` and ``launches``, their sums.
    totals : ndarray, shape (6, 1) or (6, n)
        Sums over rows and layers, as `TOTALS` names them.
    """

    kind: str
    driver: int
    arithmetic: int
    always_spills: bool
    above: float
    routed: bool
    works: bool
    weighs: bool
    ranks: int
    members: tuple[int, ...]
    row_of: tuple[int, ...]
    table: FloatArray
    totals: FloatArray

    def _column(self, number: int) -> FloatArray:
        column: FloatArray = self.table[number]
        return column

    @property
    def count(self) -> FloatArray:
        """Layers that have each row."""
        return self._column(0)

    @property
    def flops(self) -> FloatArray:
        """FLOPs per unit."""
        return self._column(1)

    @property
    def weight_bytes(self) -> FloatArray:
        """Bytes of weights, of one expert where routed."""
        return self._column(2)

    @property
    def act_bytes(self) -> FloatArray:
        """Bytes of activations per unit."""
        return self._column(3)

    @property
    def sent_bytes(self) -> FloatArray:
        """Bytes sent per unit."""
        return self._column(4)

    @property
    def columns(self) -> FloatArray:
        """Output width of GEMMs."""
        return self._column(5)

    @property
    def scheme(self) -> FloatArray:
        """Index into ``schemes.SCHEMES``."""
        return self._column(6)

    @property
    def unpack_ops(self) -> FloatArray:
        """Lane instructions that unpack the weights, of one expert where routed."""
        return self._column(7)

    @property
    def launches(self) -> FloatArray:
        """Kernels of a row in all layers that have it."""
        return self._column(8)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for bundles whose rows can stand side by side."""
        return (
            self.kind,
            self.driver,
            self.arithmetic,
            self.always_spills,
            self.above,
            self.routed,
            self.ranks > 1,
        )
