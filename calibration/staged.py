# SPDX-License-Identifier: Apache-2.0
"""The residual model: boosted trees for what all machines share, drawn effects for the rest.

A log ratio is

    damping x trees(numbers, words) + effects of model and device

with trees half of one kind of engine (`KINDS`: engines of a kind answer alike) and half of the
engine itself, damped by how far they carried over to devices and to models that they had not
seen (none where an engine was measured on one device), and effects (`calibration.mixed`) of what
trees cannot name: one model, one device under one engine. Evaluation is numpy alone; fitting
needs pandas and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.trees import Trees
from roofline.physics.kernel import FloatArray
from roofline.residual import NUMBERS, Labels

KINDS = {
    "vllm": "served", "sglang": "served", "trtllm": "served", "tgi": "served",
    "llama.cpp": "local", "llamafile": "local", "ollama": "local", "openvino": "other",
    "optimum-habana": "other", "transformers": "other",
}  # fmt: skip
"""Engines that batch requests continuously; that run one sequence from a file; others."""

WORDS = {
    "engine": ("vllm", "sglang", "trtllm", "tgi", "transformers", "openvino"),
    "vendor": ("nvidia", "amd", "intel", "apple"),
    "kind": ("gpu", "igpu", "cpu"),
    "experts": ("moe",),
    "memory": ("hbm",),
    "mode": ("serving",),
    "weights": ("16 bit", "fp8", "nvfp4", "mxfp4", "int4", "gguf", "int8"),
    "era": ("2023", "2024", "now"),
}
"""Words that trees see, each as a column of zeros and ones after `NUMBERS`."""

FEATURES = (*NUMBERS, *(f"{name}={word}" for name, words in WORDS.items() for word in words))

EFFECTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ttft": (
        ("model",),
        ("model", "engine"),
        ("model", "weights"),
        ("gpu", "engine"),
        ("gpu", "engine", "model"),
    ),
    "tpot": (("model", "engine"), ("gpu", "engine"), ("gpu", "engine", "model")),
}
"""Groups with an effect of their own, by target."""

SHARED: dict[str, dict[str, tuple[str, ...]]] = {
    "ttft": {"served": ("engine",), "other": ("engine",), "local": ("gpu", "engine", "model")},
    "tpot": {"served": ("gpu", "engine", "model")},
}
"""By target, kinds of engine whose rows have effects, and of which groups of them all that they
share counts, around which effects are drawn. Queues and start-up are a deployment's own and
longer than priced everywhere; the pace of decoding is so only where an engine schedules it, and
only where it was measured."""


def word_columns(labels: Sequence[Labels]) -> FloatArray:
    """Columns of `WORDS` for labels, shape ``(n_words, n_labels)``."""
    rows = []
    for name, words in WORDS.items():
        values = [getattr(label, name) for label in labels]
        rows += [[float(value == word) for value in values] for word in words]
    return np.array(rows).reshape(-1, len(labels))


def level_of(label: Labels, by: Sequence[str]) -> str:
    """Name of a label's level in a block."""
    return "|".join(getattr(label, name) for name in by)


Shares = tuple[float, float, float]
"""Of the trees' answer that count: for known cases, unseen devices, unseen models."""


def shares_of(damping: Mapping[str, Shares], engine: str, era: str) -> Shares:
    """Shares of an engine's era; of the whole engine where the era has none, else nothing.

    Software of one time has traits that no other has.
    """
    whole = damping.get(engine, (0.0, 0.0, 0.0))
    return damping.get(f"{engine}|{era}", whole)


def trees_of(trees: Mapping[str, Trees], engine: str) -> str:
    """Under which name the trees that answer for an engine are kept; they may be none."""
    return engine if engine in trees else KINDS.get(engine, "")


@dataclass(frozen=True, slots=True)
class Block:
    """Effects of one grouping: level to (effect, variance, rows); `prior` of an unseen one."""

    by: tuple[str, ...]
    prior: float
    levels: Mapping[str, tuple[float, float, int]]


@dataclass(frozen=True, slots=True)
class Staged:
    """A fitted residual of one target.

    Parameters
    ----------
    trees : mapping of str to Trees
        By engine; by kind of engine for those of a kind that have none of their own.
    damping : mapping of str to tuple of three floats
        By engine, and by engine and era where enough is known (``vllm|2024``): what counts
        where device and model were seen, on a device, and of a model, that were not. An
        engine not named is not corrected by trees.
    seen, models : mapping of str to tuple of str
        Devices and models that an engine's rows were fitted on.
    blocks : tuple of Block
    """

    trees: Mapping[str, Trees]
    damping: Mapping[str, tuple[float, float, float]]
    seen: Mapping[str, tuple[str, ...]]
    models: Mapping[str, tuple[str, ...]]
    blocks: tuple[Block, ...]
    _sums: dict[tuple[str, ...], float] = field(default_factory=dict, compare=False, repr=False)
    """Effects of labels that were asked for, by all that effects depend on."""

    def predict(
        self, labels: Sequence[Labels], place: np.ndarray, numbers: FloatArray
    ) -> FloatArray:
        """Expected log ratio of cases.

        Parameters
        ----------
        labels : sequence of Labels
            Distinct ones.
        place : ndarray of int, shape (n,)
            Which of them each case has.
        numbers : ndarray, shape (len(NUMBERS), n)
        """
        mean: FloatArray = np.array([self._effects(label) for label in labels], float)[place]
        words = word_columns(labels)
        factors = np.array([self._factor(label) for label in labels])
        names = np.array([trees_of(self.trees, label.engine) for label in labels])
        for name in self.trees:
            chosen = (names == name) & (factors > 0.0)
            if not chosen.any():
                continue
            rows: Any = slice(None) if chosen.all() else np.flatnonzero(chosen[place])
            where = place[rows]
            found = self.trees[name].predict(numbers[:, rows], words, where)
            mean[rows] += factors[where] * found
        return mean

    def _effects(self, label: Labels) -> float:
        key = label.gpu, label.engine, label.model, label.weights
        kept = self._sums.get(key)
        if kept is None:
            nothing = (0.0, 0.0, 0)
            levels = (block.levels.get(level_of(label, block.by), nothing) for block in self.blocks)
            kept = self._sums[key] = sum((effect for effect, _, _ in levels), 0.0)
        return kept

    def _factor(self, label: Labels) -> float:
        known, device, model = shares_of(self.damping, label.engine, label.era)
        seen = (label.gpu in self.seen.get(label.engine, ()), device)
        told = (label.model in self.models.get(label.engine, ()), model)
        return min((share for was, share in (seen, told) if not was), default=known)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "trees": {kind: trees.to_json() for kind, trees in self.trees.items()},
            "damping": {
                name: [round(value, 3) for value in pair] for name, pair in self.damping.items()
            },
            "seen": {name: list(devices) for name, devices in self.seen.items()},
            "models": {name: list(models) for name, models in self.models.items()},
            "blocks": [
                {
                    "by": list(block.by),
                    "prior": round(block.prior, 5),
                    "levels": {
                        name: [round(effect, 4), round(variance, 5), rows]
                        for name, (effect, variance, rows) in sorted(block.levels.items())
                    },
                }
                for block in self.blocks
            ],
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Staged:
        """Read what `to_json` wrote."""
        return cls(
            {kind: Trees.from_json(each) for kind, each in raw["trees"].items()},
            {name: (known, gpu, model) for name, (known, gpu, model) in raw["damping"].items()},
            {name: tuple(devices) for name, devices in raw["seen"].items()},
            {name: tuple(models) for name, models in raw["models"].items()},
            tuple(
                Block(
                    tuple(each["by"]),
                    float(each["prior"]),
                    {name: (e, v, int(n)) for name, (e, v, n) in each["levels"].items()},
                )
                for each in raw["blocks"]
            ),
        )
