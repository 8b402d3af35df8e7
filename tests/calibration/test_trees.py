# SPDX-License-Identifier: Apache-2.0
"""Exported trees answer as scikit-learn's do, before and after JSON."""

import json

import numpy as np
import pytest

from calibration import trees as module
from calibration.trees import LEAVES, TREES, Trees, grow


def _features(size, seed):
    """Numbers with two decimals: no rounding of a threshold can pass one of them."""
    found = np.round(np.random.default_rng(seed).uniform(0.0, 10.0, (4, size)), 2)
    found[:, 0], found[:, 1] = 0.0, 10.0
    return found


@pytest.fixture(scope="module")
def grown():
    pytest.importorskip("sklearn")
    kept = []
    features = _features(1500, 0)
    noise = np.random.default_rng(1).normal(0.0, 0.1, 1500)
    y = np.sin(features[0]) + (features[1] > 4.0) * features[2] + noise
    with pytest.MonkeyPatch.context() as patch:
        exported = module._exported
        patch.setattr(module, "_exported", lambda model: kept.append(model) or exported(model))
        found = grow(features, y, np.ones(1500))
    return found, kept[0]


def test_export_equals_scikit_learn(grown):
    found, model = grown
    fresh = _features(4000, 2)
    np.testing.assert_allclose(found.predict(fresh), model.predict(fresh.T), rtol=0, atol=1e-9)
    assert found.feature.shape == (TREES, LEAVES - 1)
    assert np.ptp(found.predict(fresh)) > 5.0  # it did learn the slope of y


def test_json_keeps_answers_to_four_decimals(grown):
    found, _ = grown
    text = json.dumps(found.to_json())
    again, fresh = Trees.from_json(json.loads(text)), _features(4000, 3)
    bound = TREES * 5e-5 + 5e-6  # each leaf may be off by half of its last digit
    np.testing.assert_allclose(again.predict(fresh), found.predict(fresh), rtol=0, atol=bound)
    assert json.dumps(again.to_json()) == text


def test_a_tree_by_hand():
    # left of x0 = 1: 10; else by x1 <= 2: 20, above: 30. Bit 0 is the first split.
    raw = {"start": 0.5, "trees": [[[0, 1], [1.0, 2.0], [10.0, 20.0, 10.0, 30.0]], [[], [], [4.0]]]}
    tree = Trees.from_json(raw)
    cases = np.array([[0.0, 1.0, 1.5, 1.5, 1.5], [9.0, 0.0, 2.0, 2.1, 0.0]])
    np.testing.assert_allclose(tree.predict(cases), 4.5 + np.array([10.0, 10.0, 20.0, 30.0, 20.0]))
    assert tree.to_json() == raw


def test_weights_decide_what_is_fitted():
    pytest.importorskip("sklearn")
    features = np.zeros((1, 100))
    y = np.repeat([0.0, 1.0], 50)
    heavy = grow(features, y, np.repeat([1.0, 9.0], 50))
    light = grow(features, y, np.repeat([9.0, 1.0], 50))
    assert heavy.predict(features)[0] > 0.9
    assert light.predict(features)[0] < 0.1
