# SPDX-License-Identifier: Apache-2.0
"""Partial pooling recovers what made the data, and knows what it has not seen."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from calibration.pooled import Level, fit_pooled, jacobian, log_multipliers

RNG = np.random.default_rng(7)


def world(n=4000, devices=12, families=3, noise=0.05):
    """Two parts of a time; a multiplier of each per family and device, an offset per source."""
    parts = np.exp(RNG.normal(0.0, 1.5, (n, 2)))
    device = RNG.integers(0, devices, n)
    family = device % families
    source = RNG.integers(0, 4, n)
    truth = {
        "all": np.array([[0.3, -0.2]]),
        "family": RNG.normal(0.0, 0.2, (families, 2)),
        "device": RNG.normal(0.0, 0.05, (devices, 2)),
    }
    logs = truth["all"][0] + truth["family"][family] + truth["device"][device]
    offsets = np.array([0.0, 0.1, -0.1, 0.0])

    def predict(theta):
        return np.log((parts * np.exp(theta)).sum(axis=1))

    measured = predict(logs) + offsets[source] + RNG.normal(0.0, noise, n)
    return predict, measured, device, family, source, truth


def levels_of(device, family, *, devices=12, families=3):
    return [
        Level(
            name="all", groups=("all",), codes=np.zeros(device.size, int), spread=np.full(2, 1.0)
        ),
        Level(
            name="family",
            groups=tuple(f"f{i}" for i in range(families)),
            codes=family,
            spread=np.full(2, 0.3),
        ),
        Level(
            name="device",
            groups=tuple(f"d{i}" for i in range(devices)),
            codes=device,
            spread=np.full(2, 0.1),
        ),
    ]


def test_it_recovers_the_multipliers_that_made_the_data():
    predict, measured, device, family, source, truth = world()
    levels = levels_of(device, family)
    fit = fit_pooled(predict, measured, levels, weights=np.ones(measured.size), offset_codes=source)
    found = log_multipliers(levels, [fit.levels[level.name] for level in levels])
    made = truth["all"][0] + truth["family"][family] + truth["device"][device]
    assert np.abs(predict(found) - predict(made)).max() < 0.12
    assert np.median(np.abs(predict(found) - predict(made))) < 0.04
    assert fit.scale == pytest.approx(0.05, rel=0.15)


def test_outliers_do_not_move_it():
    predict, measured, device, family, _, _ = world()
    levels = levels_of(device, family)
    clean = fit_pooled(predict, measured, levels, weights=np.ones(measured.size))
    spoiled = measured.copy()
    spoiled[::20] += 3.0
    dirty = fit_pooled(predict, spoiled, levels, weights=np.ones(measured.size))
    assert np.abs(clean.levels["all"] - dirty.levels["all"]).max() < 0.1


def test_a_group_without_data_keeps_the_level_above():
    predict, measured, device, family, _, _ = world()
    levels = levels_of(np.where(device == 3, -1, device), family)
    fit = fit_pooled(predict, measured, levels, weights=np.ones(measured.size))
    assert fit.of("device", "d3") == pytest.approx([0.0, 0.0], abs=1e-9)
    assert fit.of("device", "never heard of") is None


def test_no_data_at_all_means_ratio_one():
    predict, measured, device, family, _, _ = world(n=10)
    levels = levels_of(device, family)
    fit = fit_pooled(predict, measured, levels, weights=np.zeros(10))
    assert all(np.abs(theta).max() < 1e-9 for theta in fit.levels.values())


def test_derivatives_are_those_of_the_prediction():
    predict, *_ = world(n=50)
    theta = RNG.normal(0.0, 0.3, (50, 2))
    slopes = jacobian(predict, theta)
    # The shares of a sum of exponentials are its derivatives, and they sum to one.
    assert np.allclose(slopes.sum(axis=1), 1.0, atol=1e-5)
    assert (slopes > 0).all()
