# SPDX-License-Identifier: Apache-2.0
"""Folds share no group, leave each row out once, and are of like size."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from calibration.split import SPLITS, folds  # noqa: E402


def _rows(size=600, seed=0):
    rng = np.random.default_rng(seed)
    drawn = {
        "source": rng.choice(["a", "b"], size),
        "is_model": rng.choice([f"m{n}" for n in range(17)], size),
        "is_gpu": rng.choice([f"g{n}" for n in range(23)], size),
        "is_engine": rng.choice(["vllm", "tgi"], size),
        "is_weights": rng.choice(["fp8", None], size),
        "tp": rng.choice([1.0, 2.0, np.nan], size),
    }
    return pd.DataFrame(drawn, index=np.arange(size) * 3 + 7)


@pytest.mark.parametrize("split", SPLITS)
def test_no_group_is_on_both_sides(split):
    rows, left_out = _rows(), np.zeros(600, dtype=int)
    names = list(SPLITS[split])
    for fitted, left in folds(rows, split):
        assert (fitted ^ left).all()
        both = [
            set(map(str, part[names].astype(object).itertuples(index=False)))
            for part in (rows[fitted], rows[left])
        ]
        assert both[0]
        assert not both[0] & both[1]
        left_out += left
    assert (left_out == 1).all()


def test_folds_are_of_like_size():
    rows = _rows()
    sizes = [left.sum() for _, left in folds(rows, "known device")]
    assert len(sizes) == 10
    largest = rows.groupby(list(SPLITS["known device"]), dropna=False).size().max()
    assert max(sizes) - min(sizes) <= largest


def test_a_large_group_has_a_fold_of_its_own():
    rows = pd.DataFrame({"is_gpu": ["big"] * 90 + ["b", "c"] * 5})
    left = [set(rows["is_gpu"][left]) for _, left in folds(rows, "unseen device", count=2)]
    assert sorted(map(sorted, left)) == [["b", "c"], ["big"]]


def test_fewer_groups_than_folds_and_the_same_folds_again():
    rows = pd.DataFrame({"is_gpu": list("aabbc")})
    found = [left.tolist() for _, left in folds(rows, "unseen device", count=10)]
    assert len(found) == 3
    assert found == [left.tolist() for _, left in folds(rows, "unseen device", count=10)]
