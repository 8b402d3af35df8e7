# SPDX-License-Identifier: Apache-2.0
"""Plans of the same shape side by side, so that cases of many plans are priced as arrays.

Plans have the same shape where only amounts differ: Llama in any size, at any
quantisation that runs at the same rate. Costs are the same as plan by plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.physics.kernel import FloatArray
from roofline.physics.plan import COLUMNS, AttentionOperator, Bundle, Plan, RecurrentOperator

_ATTENTION_AMOUNTS = (
    "count",
    "num_heads",
    "head_dim",
    "v_head_dim",
    "decode_head_dim",
    "decode_v_head_dim",
    "kv_heads",
    "kv_bytes_per_token",
    "io_bytes_per_token",
    "score_bytes",
    "index_flops_per_pair",
    "index_bytes_per_token",
)
_RECURRENT_AMOUNTS = (
    "count",
    "state_bytes",
    "matrix_flops_per_token",
    "state_flops_per_token",
    "io_bytes_per_token",
)


@dataclass(frozen=True, slots=True)
class _BundleStack:
    """Bundles of the same shape; `columns` has shape ``(6, rows, n_plans)``."""

    first: Bundle
    columns: FloatArray
    totals: FloatArray

    @classmethod
    def of(cls, bundles: Sequence[Bundle]) -> _BundleStack:
        columns = [[getattr(bundle, name)[:, 0] for bundle in bundles] for name in COLUMNS]
        totals = np.concatenate([bundle.totals for bundle in bundles], axis=1)
        return cls(bundles[0], np.array(columns).transpose(0, 2, 1), totals)

    def take(self, index: NDArray[np.intp]) -> Bundle:
        columns = self.columns[:, :, index]
        named = dict(zip(COLUMNS, columns, strict=True))
        return replace(self.first, totals=self.totals[:, index], **named)


@dataclass(frozen=True, slots=True)
class AmountStack:
    """Numbers of nouns that are alike otherwise; `amounts` has shape ``(fields, nouns)``."""

    names: tuple[str, ...]
    amounts: FloatArray

    @classmethod
    def of(cls, nouns: Sequence[object], names: tuple[str, ...]) -> AmountStack:
        """Stack the fields `names` of these nouns."""
        return cls(names, np.array([[getattr(noun, name) for noun in nouns] for name in names]))

    def take(self, index: NDArray[np.intp]) -> dict[str, Any]:
        """Fields by case, each of shape ``(n,)``."""
        return dict(zip(self.names, self.amounts[:, index], strict=True))


@dataclass(frozen=True, slots=True)
class PlanStack:
    """Plans with the same ``shape_key``; ``take`` deals them out to cases."""

    first: Plan
    layers: FloatArray
    bundles: tuple[_BundleStack, ...]
    attention: tuple[tuple[AttentionOperator, AmountStack], ...]
    recurrent: tuple[tuple[RecurrentOperator, AmountStack], ...]

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> PlanStack:
        """Stack plans; all must have the shape of the first."""
        first = plans[0]
        attention = zip(*(plan.attention for plan in plans), strict=True)
        recurrent = zip(*(plan.recurrent for plan in plans), strict=True)
        bundles = zip(*(plan.bundles for plan in plans), strict=True)
        return cls(
            first,
            np.array([plan.layers for plan in plans]),
            tuple(_BundleStack.of(column) for column in bundles),
            tuple((ops[0], AmountStack.of(ops, _ATTENTION_AMOUNTS)) for ops in attention),
            tuple((ops[0], AmountStack.of(ops, _RECURRENT_AMOUNTS)) for ops in recurrent),
        )

    def take(self, index: NDArray[np.intp]) -> Plan:
        """One plan whose columns are those of plan ``index[i]`` for case i."""
        return replace(
            self.first,
            layers=self.layers[index],
            bundles=tuple(bundle.take(index) for bundle in self.bundles),
            attention=tuple(replace(op, **stack.take(index)) for op, stack in self.attention),
            recurrent=tuple(replace(op, **stack.take(index)) for op, stack in self.recurrent),
        )
