# SPDX-License-Identifier: Apache-2.0
"""What is left out of a fit is not in it, and too few rows are no fit."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from calibration.evaluate import (  # noqa: E402  # noqa: E402
    NO_INTERVALS,
    absolute_errors,
    kernels_without,
    out_of_fold,
    priced_rows,
    reportable,
    unseen_fold,
)
from calibration.fit import LEAST_ROWS, fit  # noqa: E402
from calibration.operators.apply import load_operators  # noqa: E402
from specs.errors import InvalidInputError  # noqa: E402

ODD, OTHERS = "l40s", ("h100-sxm5-80gb", "a100-sxm4-80gb", "l4")


def _table(factors, seed=0, each=60):
    """Static batches whose TPOT is the predicted one times the factor of its device."""
    rng = np.random.default_rng(seed)
    size = each * len(factors)
    table = pd.DataFrame(
        {
            "source": "made",
            "model": rng.choice(["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B"], size),
            "gpu": np.repeat(list(factors), each),
            "engine": "vllm",
            "mode": "static",
            "weight_dtype": rng.choice(["", "int8"], size),
            "tp": rng.choice([1, 2], size),
            "batch_size": rng.integers(1, 32, size),
            "input_tokens": rng.integers(100, 3000, size),
            "output_tokens": rng.integers(50, 300, size),
        }
    )
    rows = priced_rows(table)
    factor = table["gpu"].map(factors) * np.exp(rng.normal(0.0, 0.02, size))
    table["tpot_s"] = rows["p_tpot_s"] * factor
    return table


@pytest.mark.slow
def test_a_planted_factor_is_not_seen_from_the_fold_that_left_it_out():
    table = _table({**dict.fromkeys(OTHERS, 1.2), ODD: 4.0})
    rows = priced_rows(table)
    odd = rows["is_gpu"].eq(ODD)
    found = {
        split: out_of_fold(rows, split, columns=list(table.columns), count=2)
        for split in ("unseen device", "known device")
    }
    ratio = {split: each["tpot_s"] / rows["p_tpot_s"] for split, each in found.items()}
    for each in found.values():
        assert each.index.equals(rows.index)
        assert each["tpot_s"].notna().all()
    # Kernel constants may move a little without the device, the planted 4 is far away.
    assert ratio["unseen device"][odd].max() < 2.0
    # Other deployments of it say what it does; half of it at least counts, for dampings go by
    # medians, and three rows of four are of devices that need none.
    assert ratio["known device"][odd].median() > 4.0**0.5
    assert ratio["known device"][~odd].median() == pytest.approx(1.2, rel=0.1)
    assert (found["unseen device"]["standing"] > 0).all()


def test_too_few_rows_are_refused_and_told_of_tune():
    table = _table({"l4": 1.2}, each=8)
    with pytest.raises(InvalidInputError, match=f"only 8 rows .* {LEAST_ROWS} .*calibrate tune"):
        fit(table)
    table = pd.concat([table] * 30, ignore_index=True).assign(trust=0.1)
    with pytest.raises(InvalidInputError, match="only 0 rows"):
        fit(table)


def test_figures_of_too_few_devices_are_refused():
    with pytest.raises(InvalidInputError, match=r"no figure .* 5 devices .*calibrate tune"):
        fit(_table({**dict.fromkeys(OTHERS, 1.2), ODD: 1.2}))


def test_rows_to_fit_on_are_priced_without_the_kernels_left_out():
    measured, relative = "h100-sxm5-80gb", "h100-pcie-80gb"
    table = _table({measured: 1.0, relative: 1.0}, each=8)
    rows, columns = priced_rows(table), list(table.columns)
    left = rows["is_gpu"].eq(measured).to_numpy()
    train, kernels = unseen_fold(rows, ~left, left, columns=columns)
    assert measured not in kernels.laws.pools["gemm_bf16"].devices
    assert train.index.equals(rows.index[~left])
    assert list(train.columns) == list(rows.columns)
    # What a family reaches is a mean in which the device left out took part.
    assert (train["p_tpot_s"] / rows["p_tpot_s"][~left]).sub(1.0).abs().min() > 1e-4
    np.testing.assert_array_equal(train["p_floor_tpot_s"], rows["p_floor_tpot_s"][~left])
    # The relative has no kernels that could be left out.
    again, same = unseen_fold(rows, left, ~left, columns=columns)
    assert same is kernels_without([])
    pd.testing.assert_frame_equal(again, rows[left])


def test_kernels_of_a_device_left_out_are_gone():
    measured = {name for pool in load_operators().pools.values() for name in pool.devices}
    name = "h100-sxm5-80gb" if "h100-sxm5-80gb" in measured else sorted(measured)[0]
    pools = kernels_without([name]).laws.pools
    assert all(name not in pool.devices for pool in pools.values())
    assert measured - {name} == {each for pool in pools.values() for each in pool.devices}
    assert kernels_without(["no-such-card"]) is kernels_without([])


def test_errors_and_what_is_reported():
    rows = pd.DataFrame({"is_gpu": ["a"] * 5 + ["b"], "measured_tpot_s": [2.0] * 5 + [0.0]})
    off = absolute_errors(rows, pd.Series([1.0, 2.0, 3.0, 4.0, 2.0, 1.0]), "tpot_s")
    np.testing.assert_allclose(off, [0.5, 0.0, 0.5, 1.0, 0.0, np.nan])
    assert reportable(rows, "unseen device").tolist() == [True] * 5 + [False]
    assert set(NO_INTERVALS) == {"measured here", "interpolated"}
