# SPDX-License-Identifier: Apache-2.0
"""Partial pooling finds effects that were planted, and stays sober where nothing is known."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("scipy")

from calibration.mixed import PartialPooling  # noqa: E402

NOISE = 0.05
ENGINES = {f"engine{number}": 0.1 * (number - 3.5) for number in range(8)}
DEVICES = {f"device{number}": 0.2 * (-1) ** number for number in range(6)}


def _rows(seed=0, each=20):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        [(engine, device) for engine in ENGINES for device in DEVICES for _ in range(each)],
        columns=["is_engine", "is_gpu"],
    )
    rows["number"] = rng.normal(5.0, 2.0, len(rows))
    y = 0.4 + rows["is_engine"].map(ENGINES) + rows["is_gpu"].map(DEVICES)
    y += 0.1 * (rows["number"] - 5.0) / 2.0
    return rows, y.to_numpy() + rng.normal(0.0, NOISE, len(rows))


@pytest.fixture(scope="module")
def fitted():
    rows, y = _rows()
    return PartialPooling([("is_engine",), ("is_gpu",)], ["number"]).fit(rows, y)


def test_planted_effects_are_found(fitted):
    rows, _ = _rows(each=1)
    rows["number"] = 5.0
    truth = 0.4 + rows["is_engine"].map(ENGINES) + rows["is_gpu"].map(DEVICES)
    np.testing.assert_allclose(fitted.predict(rows), truth, atol=0.03)
    assert fitted.coefficients_[0] == pytest.approx(0.1, abs=0.01)
    assert fitted.noise_any_**0.5 == pytest.approx(NOISE, rel=0.25)
    assert {effect[2] for effect in fitted.effects_[0].levels.values()} == {6 * 20}


def test_an_unseen_level_adds_nothing_and_widens(fitted):
    told = pd.DataFrame({"is_engine": ["engine0"], "is_gpu": ["device0"], "number": [5.0]})
    new = told.assign(is_gpu="another")
    (mean,), (wide,) = fitted.predict(new, return_std=True)
    (told_mean,), (narrow,) = fitted.predict(told, return_std=True)
    effect, variance, _ = fitted.effects_[1].levels["device0"]
    assert told_mean - mean == pytest.approx(effect)
    assert wide**2 - narrow**2 == pytest.approx(fitted.effects_[1].prior - variance)
    assert wide > 1.5 * narrow


def test_numbers_do_not_carry_on_beyond_the_data(fitted):
    far = pd.DataFrame({"is_engine": "engine0", "is_gpu": "device0", "number": [12.0, 1e6]})
    first, second = fitted.predict(far)
    assert second - first < 0.1  # three deviations at most: 11 is the edge


def test_a_level_far_off_does_not_move_the_rest():
    rng = np.random.default_rng(1)
    names = np.repeat([f"d{number:02}" for number in range(13)], 20)
    rows = pd.DataFrame({"is_engine": "vllm", "is_gpu": names})
    y = 0.1 + rng.normal(0.0, NOISE, len(rows)) + np.where(names == "d12", 2.4, 0.0)
    model = PartialPooling([("is_gpu",)], iterations=12).fit(rows, y)
    # The mean of the levels' means is 0.1 + 2.4 / 13 = 0.28.
    assert model.intercept_ == pytest.approx(0.1, abs=0.07)
    off = model.predict(rows[rows["is_gpu"].eq("d12")].head(1))[0]
    assert off == pytest.approx(2.5, abs=0.1)


def test_a_nuisance_is_fitted_and_left_out():
    rng = np.random.default_rng(2)
    sources = np.repeat([f"s{number}" for number in range(10)], 30)
    rows = pd.DataFrame({"is_engine": "vllm", "source": sources})
    off = rng.normal(0.0, 0.3, 10)
    y = 0.2 + np.repeat(off - off.mean(), 30) + rng.normal(0.0, NOISE, len(rows))
    model = PartialPooling([], nuisance=[("source",)]).fit(rows, y)
    assert np.ptp(model.predict(rows)) == 0.0
    assert model.intercept_ == pytest.approx(0.2, abs=0.15)
    found = [model.nuisance_[0].levels[name][0] for name in dict.fromkeys(sources)]
    assert np.corrcoef(found, off)[0, 1] > 0.99


def test_few_rows_take_little_of_their_own():
    rng = np.random.default_rng(3)
    names = ["many"] * 200 + ["one"] + [f"x{n}" for n in range(10) for _ in range(20)]
    rows = pd.DataFrame({"is_engine": "vllm", "is_gpu": names})
    y = rng.normal(0.0, 0.3, len(rows))
    y[:201] += 0.3
    y[200] = 0.3
    model = PartialPooling([("is_gpu",)]).fit(rows, y)
    effects = model.effects_[0].levels
    assert abs(effects["one"][0]) < 0.6 * abs(effects["many"][0])
    assert effects["one"][1] > 2.0 * effects["many"][1]
