# SPDX-License-Identifier: Apache-2.0
"""Boosted trees grown by scikit-learn, kept as plain numbers and evaluated by numpy alone.

A tree of at most `LEAVES` leaves has few splits, so that all of them are decided at once
and the outcomes, read as bits of a number, look the leaf up in a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.physics.kernel import FloatArray

LEAVES, TREES, RATE, LEAST_ROWS, RIDGE = 6, 40, 0.2, 25, 10.0
"""Small trees that generalise: each sees up to five splits, each step takes a fifth of what
is left, a leaf stands on 25 rows or more. Chosen by whole devices left out."""

BINS = 200
"""Values that a feature may be split at."""


@dataclass(frozen=True)
class Trees:
    """Splits and leaves of boosted trees.

    Parameters
    ----------
    start : float
    feature, threshold : ndarray, shape (n_trees, LEAVES - 1)
        Of each split; where a tree has fewer, threshold is infinite.
    leaf : ndarray, shape (n_trees, 2 ** (LEAVES - 1))
        Value by the outcomes of the splits, bit k set where split k goes right.
    """

    start: float
    feature: NDArray[np.intp]
    threshold: FloatArray
    leaf: FloatArray

    def predict(
        self,
        columns: FloatArray,
        shared: FloatArray | None = None,
        place: NDArray[np.intp] | None = None,
    ) -> FloatArray:
        """Sum of the leaves of cases.

        Parameters
        ----------
        columns : ndarray, shape (n_features, n)
        shared : ndarray, shape (n_more, n_groups), optional
            Further features, the same for all cases of a group.
        place : ndarray of int, shape (n,), optional
            Group of each case.

        Notes
        -----
        Splits that all cases pass alike (one device, one engine) are decided once.
        """
        plan, known = self._plan, columns.shape[0]
        lowest, highest = columns.min(axis=1), columns.max(axis=1)
        common = np.empty((0, 1)) if shared is None else shared
        if len(common):
            lowest = np.concatenate([lowest, common.min(axis=1)])
            highest = np.concatenate([highest, common.max(axis=1)])
        right = plan.threshold < lowest[plan.feature]
        open_splits = ~right & (plan.threshold < highest[plan.feature])
        bits = np.zeros((plan.threshold.size + 1, columns.shape[1]), dtype=bool)
        bits[:-1] = right[:, None]
        for feature, first, last in plan.ranges(open_splits):
            column = columns[feature] if feature < known else common[feature - known][place]
            np.greater(column, plan.threshold[first:last, None], out=bits[first:last])
        return plan.summed(bits, open_splits, self.start)

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan.of(self)

    def to_json(self) -> dict[str, Any]:
        """Plain lists; leaves that no case reaches are left out by their splits."""
        trees = []
        for feature, threshold, leaf in zip(self.feature, self.threshold, self.leaf, strict=True):
            used = int(np.isfinite(threshold).sum())
            trees.append(
                [
                    feature[:used].tolist(),
                    [float(f"{value:.5g}") for value in threshold[:used]],
                    [round(float(value), 4) for value in leaf[: 2**used]],
                ]
            )
        return {"start": round(self.start, 5), "trees": trees}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Trees:
        """Read what `to_json` wrote."""
        count, splits = len(raw["trees"]), LEAVES - 1
        feature = np.zeros((count, splits), dtype=np.intp)
        threshold = np.full((count, splits), np.inf)
        leaf = np.zeros((count, 2**splits))
        for row, (features, thresholds, leaves) in enumerate(raw["trees"]):
            feature[row, : len(features)] = features
            threshold[row, : len(thresholds)] = thresholds
            leaf[row, : len(leaves)] = leaves
        return cls(float(raw["start"]), feature, threshold, leaf)


def mean_of(first: Trees, second: Trees) -> Trees:
    """Trees that answer with the mean of two."""
    return Trees(
        (first.start + second.start) / 2.0,
        np.concatenate([first.feature, second.feature]),
        np.concatenate([first.threshold, second.threshold]),
        np.concatenate([first.leaf, second.leaf]) / 2.0,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """Splits by feature, and leaves of pairs of trees: fewer, longer steps for numpy.

    Parameters
    ----------
    feature, threshold : ndarray, shape (n_splits,)
        In rising order.
    split : ndarray of int, shape (2 * (LEAVES - 1), n_pairs)
        Which split decides each bit of a pair's code; ``n_splits`` for none: always left.
    leaf : ndarray, shape (n_pairs, 4 ** (LEAVES - 1))
        Sum of the two leaves by code.
    """

    feature: NDArray[np.intp]
    threshold: FloatArray
    split: NDArray[np.intp]
    leaf: FloatArray

    @classmethod
    def of(cls, trees: Trees) -> _Plan:
        """Lay out trees; an odd one gets a partner that adds nothing."""
        odd = ((0, len(trees.feature) % 2), (0, 0))
        feature = np.pad(trees.feature, odd)
        threshold = np.pad(trees.threshold, odd, constant_values=np.inf)
        one, other = np.pad(trees.leaf, odd).reshape(-1, 2, trees.leaf.shape[1]).swapaxes(0, 1)
        order = np.lexsort((threshold.ravel(), feature.ravel()))
        order = order[np.isfinite(threshold.ravel()[order])]
        place = np.full(threshold.size, order.size, dtype=np.intp)
        place[order] = np.arange(order.size)
        return cls(
            feature.ravel()[order],
            threshold.ravel()[order],
            place.reshape(len(one), 2 * threshold.shape[1]).T.copy(),
            (one[:, None, :] + other[:, :, None]).reshape(len(one), one.shape[1] ** 2),
        )

    def ranges(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
        """Feature, first and last split of each feature of the chosen splits."""
        rows = np.flatnonzero(chosen)
        # Of one feature they follow each other: what lies between two undecided is undecided.
        firsts = np.flatnonzero(np.diff(self.feature[rows], prepend=-1))
        for part in np.split(rows, firsts[1:]) if rows.size else ():
            yield int(self.feature[part[0]]), int(part[0]), int(part[-1]) + 1

    def summed(
        self, bits: NDArray[np.bool_], open_splits: NDArray[np.bool_], start: float
    ) -> FloatArray:
        """`start` and leaves of cases, given the outcomes of splits, ``(n_splits + 1, n)``."""
        open_pairs = np.append(open_splits, False)[self.split].any(axis=0)
        closed, pairs = np.flatnonzero(~open_pairs), np.flatnonzero(open_pairs)
        weight = 1 << np.arange(len(self.split), dtype=np.uint16)
        alike = weight @ bits[:, 0][self.split[:, closed]]
        total = np.full(bits.shape[1], start + self.leaf[closed, alike].sum())
        code = np.zeros((pairs.size, bits.shape[1]), dtype=np.uint16)
        for value, rows in zip(weight, self.split[:, pairs], strict=True):
            code += np.multiply(bits[rows], value, dtype=np.uint16)
        for pair, where in zip(pairs.tolist(), code, strict=True):
            total += self.leaf[pair].take(where)
        return total


def grow(features: FloatArray, y: FloatArray, weight: FloatArray) -> Trees:
    """Fit to `y` by absolute error; features of shape ``(n_features, n)``."""
    return _exported(grow_model(features, y, weight))


def grow_model(features: FloatArray, y: FloatArray, weight: FloatArray) -> Any:
    """The same as scikit-learn has it."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_leaf_nodes=LEAVES,
        max_iter=TREES,
        learning_rate=RATE,
        min_samples_leaf=LEAST_ROWS,
        l2_regularization=RIDGE,
        early_stopping=False,
        random_state=0,
    )
    # On a few thousand rows its threads wait for each other most of the time.
    with threadpool_limits(limits=1):
        model.fit(_gridded(features).T, y, sample_weight=weight)
    return model


def _gridded(features: FloatArray) -> FloatArray:
    """Features on a grid of `BINS` steps: finding the quantiles of so few values is quick."""
    low, high = features.min(axis=1, keepdims=True), features.max(axis=1, keepdims=True)
    step = np.maximum((high - low) / BINS, 1e-12)
    found: FloatArray = low + np.round((features - low) / step) * step
    return found


def _exported(model: Any) -> Trees:
    """Read the nodes that scikit-learn keeps (private; a test holds them to `predict`)."""
    trees = [each[0].nodes for each in model._predictors]
    splits = LEAVES - 1
    feature = np.zeros((len(trees), splits), dtype=np.intp)
    threshold = np.full((len(trees), splits), np.inf)
    leaf = np.zeros((len(trees), 2**splits))
    for row, nodes in enumerate(trees):
        inner = [number for number, node in enumerate(nodes) if not node["is_leaf"]]
        bit_of = {number: bit for bit, number in enumerate(inner)}
        for number, bit in bit_of.items():
            feature[row, bit] = nodes[number]["feature_idx"]
            threshold[row, bit] = nodes[number]["num_threshold"]
        for code in range(2**splits):
            leaf[row, code] = _leaf(nodes, bit_of, code)
    start = float(np.asarray(model._baseline_prediction).ravel()[0])
    return Trees(start, feature, threshold, leaf)


def _leaf(nodes: Any, bit_of: Mapping[int, int], code: int) -> float:
    number = 0
    while not nodes[number]["is_leaf"]:
        right = code >> bit_of[number] & 1
        number = int(nodes[number]["right" if right else "left"])
    return float(nodes[number]["value"])
