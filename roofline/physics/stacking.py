# SPDX-License-Identifier: Apache-2.0
"""Plans side by side, so that cases of many plans are priced as arrays.

Bundles that run alike are laid beside each other; a plan that lacks one gets rows that
count nothing. Costs are the same as plan by plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from roofline.physics.bundle import COLUMNS, TOTALS, Bundle
from roofline.physics.kernel import FloatArray
from roofline.physics.plan import AttentionOperator, Plan, RecurrentOperator

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
N = TypeVar("N", bound="DataclassInstance")

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
    "variant",
)
_RECURRENT_AMOUNTS = (
    "count",
    "state_bytes",
    "matrix_flops_per_token",
    "state_flops_per_token",
    "io_bytes_per_token",
)


def aligned(lists: Sequence[Sequence[T]], key: Callable[[T], object]) -> list[list[T | None]]:
    """Columns of items with the same key, one item per list, None where a list has none."""
    columns: dict[tuple[object, int], list[T | None]] = {}
    for place, items in enumerate(lists):
        seen: dict[object, int] = {}
        for item in items:
            name = key(item)
            seen[name] = seen.get(name, 0) + 1
            column = columns.setdefault((name, seen[name]), [None] * len(lists))
            column[place] = item
    return list(columns.values())


def _first(column: Sequence[T | None]) -> T:
    return next(item for item in column if item is not None)


@dataclass(frozen=True, slots=True)
class _BundleStack:
    """Bundles of the same key; `table` has shape ``(9, rows, n_plans)``.

    Short bundles and absent ones are filled up with rows that cost and count nothing.
    """

    like: Bundle
    table: FloatArray
    totals: FloatArray

    @classmethod
    def of(cls, bundles: Sequence[Bundle | None]) -> _BundleStack:
        found = [(place, bundle) for place, bundle in enumerate(bundles) if bundle is not None]
        rows = max(bundle.table.shape[1] for _, bundle in found)
        table = np.zeros((len(COLUMNS), rows, len(bundles)))
        table[COLUMNS.index("columns")] = 1.0
        totals = np.zeros((len(TOTALS), len(bundles)))
        for place, bundle in found:
            table[:, : bundle.table.shape[1], place] = bundle.table[:, :, 0]
            totals[:, place] = bundle.totals[:, 0]
        like = replace(
            found[0][1],
            works=any(bundle.works for _, bundle in found),
            weighs=any(bundle.weighs for _, bundle in found),
        )
        return cls(like, table, totals)

    def take(self, index: NDArray[np.intp]) -> Bundle:
        return replace(self.like, table=self.table[:, :, index], totals=self.totals[:, index])


@dataclass(frozen=True, slots=True)
class AmountStack(Generic[N]):
    """Nouns that differ in numbers alone; `amounts` has shape ``(fields, nouns)``.

    Where there is none, all its numbers are zero.
    """

    like: N
    names: tuple[str, ...]
    amounts: FloatArray

    @classmethod
    def of(cls, nouns: Sequence[N | None], names: tuple[str, ...]) -> AmountStack[N]:
        """Stack the fields `names` of these nouns."""
        numbers_of, absent = attrgetter(*names), (0.0,) * len(names)
        rows = [absent if noun is None else numbers_of(noun) for noun in nouns]
        return cls(_first(nouns), names, np.array(rows, dtype=float).T)

    def take(self, index: NDArray[np.intp]) -> N:
        """One noun whose numbers are arrays by case, of shape ``(n,)``."""
        amounts: dict[str, Any] = dict(zip(self.names, self.amounts[:, index], strict=True))
        return replace(self.like, **amounts)


@dataclass(frozen=True, slots=True)
class PlanStack:
    """Plans with the same ``stack_key``; ``take`` deals them out to cases."""

    first: Plan
    layers: FloatArray
    experts: NDArray[np.int64]
    bundles: tuple[_BundleStack, ...]
    attention: tuple[AmountStack[AttentionOperator], ...]
    recurrent: tuple[AmountStack[RecurrentOperator], ...]

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> PlanStack:
        """Stack plans."""
        bundles = aligned([plan.bundles for plan in plans], lambda each: each.key)
        attention = aligned([plan.attention for plan in plans], _attention_key)
        recurrent = aligned([plan.recurrent for plan in plans], lambda op: op.arithmetic)
        return cls(
            plans[0],
            np.array([plan.layers for plan in plans], dtype=float),
            np.array([(plan.num_experts, plan.topk) for plan in plans], dtype=np.int64).T,
            tuple(_BundleStack.of(column) for column in bundles),
            tuple(AmountStack.of(column, _ATTENTION_AMOUNTS) for column in attention),
            tuple(AmountStack.of(column, _RECURRENT_AMOUNTS) for column in recurrent),
        )

    def take(self, index: NDArray[np.intp]) -> Plan:
        """One plan whose columns are those of plan ``index[i]`` for case i."""
        return replace(
            self.first,
            layers=self.layers[index],
            num_experts=self.experts[0, index],
            topk=self.experts[1, index],
            bundles=tuple(bundle.take(index) for bundle in self.bundles),
            attention=tuple(stack.take(index) for stack in self.attention),
            recurrent=tuple(stack.take(index) for stack in self.recurrent),
        )


def _attention_key(op: AttentionOperator) -> tuple[object, ...]:
    return op.window, op.causal, op.cross, op.topk, op.compression, op.arithmetic
