# SPDX-License-Identifier: Apache-2.0
"""The residual model by hand: whose trees count, how much, and what effects add."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration.staged import FEATURES, Block, Staged, word_columns
from calibration.trees import Trees, mean_of
from roofline.residual import NUMBERS, Labels

LABEL = Labels(
    gpu="h100", family="hopper", vendor="nvidia", kind="gpu", memory="hbm", model="llama",
    experts="dense", engine="vllm", era="now", mode="serving", weights="fp8",
)  # fmt: skip

RUNNING, IS_FP8 = FEATURES.index("running"), FEATURES.index("weights=fp8")
TREE = Trees.from_json(
    {"start": 0.1, "trees": [[[RUNNING, IS_FP8], [4.0, 0.5], [0.2, 0.4, 0.0, 0.8]]]}
)
"""0.1 + (fp8: 0 or, with over four running, 0.8; else 0.2 or 0.4)."""

MODEL = Staged(
    trees={"served": TREE},
    damping={"vllm": (1.0, 0.5, 0.25), "tgi": (0.0, 0.0, 0.0)},
    seen={"vllm": ("h100",)},
    models={"vllm": (LABEL.model,)},
    blocks=(
        Block(("gpu",), 0.1, {"h100": (1.0, 0.01, 7)}),
        Block(("gpu", "engine"), 0.1, {"h100|tgi": (2.0, 0.01, 3), "l4|vllm": (4.0, 0.01, 2)}),
    ),
)


def _answers(*labels, running=5.0, model=MODEL):
    numbers = np.zeros((len(NUMBERS), len(labels)))
    numbers[NUMBERS.index("running")] = running
    return model.predict(labels, np.arange(len(labels)), numbers).tolist()


def test_a_device_seen_counts_in_full_and_others_are_damped():
    tree = 0.1 + 0.8
    assert _answers(LABEL) == pytest.approx([1.0 + tree])
    assert _answers(replace(LABEL, gpu="l4")) == pytest.approx([4.0 + 0.5 * tree])
    assert _answers(replace(LABEL, gpu="l40s")) == pytest.approx([0.5 * tree])
    assert _answers(replace(LABEL, weights="16 bit")) == pytest.approx([1.0 + 0.5])
    assert _answers(LABEL, running=3.0) == pytest.approx([1.0 + 0.1])


def test_a_model_not_seen_is_damped_and_the_stronger_damping_counts():
    tree = 0.1 + 0.8
    other = replace(LABEL, model="another")
    assert _answers(other) == pytest.approx([1.0 + 0.25 * tree])
    assert _answers(replace(other, gpu="l40s")) == pytest.approx([0.25 * tree])
    model = replace(MODEL, damping={"vllm": (0.9, 0.2, 0.8)})
    assert _answers(replace(other, gpu="l40s"), model=model) == pytest.approx([0.2 * tree])
    assert _answers(LABEL, model=model) == pytest.approx([1.0 + 0.9 * tree])


def test_an_era_may_be_damped_by_itself():
    tree = 0.1 + 0.8
    model = replace(MODEL, damping={**MODEL.damping, f"vllm|{LABEL.era}": (0.3, 0.2, 0.1)})
    assert _answers(LABEL, model=model) == pytest.approx([1.0 + 0.3 * tree])
    assert _answers(replace(LABEL, gpu="l40s"), model=model) == pytest.approx([0.2 * tree])
    assert _answers(replace(LABEL, era="another"), model=model) == pytest.approx([1.0 + tree])


def test_an_engine_with_trees_of_its_own_answers_with_these():
    own = Trees.from_json({"start": 0.7, "trees": []})
    model = replace(MODEL, trees={"served": TREE, "vllm": own})
    assert _answers(LABEL, model=model) == pytest.approx([1.0 + 0.7])
    half = mean_of(TREE, own)
    model = replace(MODEL, trees={"served": TREE, "vllm": half})
    assert _answers(LABEL, model=model) == pytest.approx([1.0 + (0.9 + 0.7) / 2])
    assert _answers(LABEL, running=3.0, model=model) == pytest.approx([1.0 + (0.1 + 0.7) / 2])


def test_engines_that_were_not_named_get_no_trees():
    assert _answers(replace(LABEL, engine="sglang", gpu="l4")) == [0.0]  # kind has trees
    assert _answers(replace(LABEL, engine="llama.cpp", gpu="l4")) == [0.0]  # kind has none
    assert _answers(replace(LABEL, engine="nobody", gpu="l4")) == [0.0]
    assert _answers(replace(LABEL, engine="tgi")) == [3.0]  # damped to nothing: effects alone


def test_cases_take_the_answers_of_their_labels():
    labels = (LABEL, replace(LABEL, gpu="l4"), replace(LABEL, engine="llama.cpp"))
    place = np.array([2, 0, 1, 0, 2])
    numbers = np.zeros((len(NUMBERS), 5))
    numbers[NUMBERS.index("running")] = [5.0, 5.0, 5.0, 3.0, 3.0]
    found = MODEL.predict(labels, place, numbers)
    np.testing.assert_allclose(found, [1.0, 1.9, 4.45, 1.1, 1.0])


def test_json_round_trip():
    text = json.dumps(MODEL.to_json())
    again = Staged.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    labels = [replace(LABEL, gpu=g, engine=e) for g in ("h100", "l4") for e in ("vllm", "tgi")]
    assert _answers(*labels, model=again) == _answers(*labels)
    assert (again.seen, again.models) == (MODEL.seen, MODEL.models)
    assert again.blocks == MODEL.blocks


def test_word_columns_are_ones_where_the_word_is():
    found = word_columns([LABEL, replace(LABEL, engine="tgi", weights="int4")])
    names = FEATURES[len(NUMBERS) :]
    assert found.shape == (len(names), 2)
    words = [
        {name for name, value in zip(names, column, strict=True) if value} for column in found.T
    ]
    shared = {"vendor=nvidia", "kind=gpu", "memory=hbm", "mode=serving", "era=now"}
    assert words == [
        {*shared, "engine=vllm", "weights=fp8"},
        {*shared, "engine=tgi", "weights=int4"},
    ]
