# SPDX-License-Identifier: Apache-2.0
"""What residual models are fitted to: targets, weights, trust."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from calibration.dataset import LABELS  # noqa: E402
from calibration.residuals import (  # noqa: E402
    COUNTED,
    LIMIT,
    dampings,
    described,
    target,
    trusted,
    weights,
)
from roofline.residual import NUMBERS  # noqa: E402

METRICS = ("ttft_s", "tpot_s", "e2e_s", "throughput")
NAN = np.nan


def _row(mode="static", prompt_s=0.1, **ratios):
    """A row of 1 s by prediction, with measured over predicted where given."""
    row = {"mode": mode, "reason": "", "p_e2e_s": 1.0, "p_ttft_s": prompt_s}
    for metric in METRICS:
        row[f"predicted_{metric}"] = 2.0
        row[f"measured_{metric}"] = 2.0 * ratios.get(metric, NAN)
    return row


def _targets(*rows, name="tpot"):
    return np.exp(target(pd.DataFrame(list(rows)), name)).tolist()


def test_tpot_is_taken_where_it_was_measured():
    assert _targets(_row(tpot_s=1.5, e2e_s=3.0, throughput=4.0)) == pytest.approx([1.5])


def test_latency_then_rate_stand_in_where_decoding_dominates():
    rows = (
        _row(e2e_s=1.2, throughput=4.0),
        _row(throughput=0.5),  # half the rate: twice the time
        _row(throughput=0.5, mode="serving"),
        _row(e2e_s=1.2, mode="serving"),
        _row(e2e_s=1.2, prompt_s=0.4),
        _row(throughput=0.5, prompt_s=0.4),
    )
    wanted = [1.2, 2.0, NAN, 1.2, NAN, NAN]
    np.testing.assert_allclose(_targets(*rows), wanted)


def test_ttft_has_no_stand_in():
    found = _targets(_row(ttft_s=1.3), _row(e2e_s=1.3, tpot_s=1.3), name="ttft")
    np.testing.assert_allclose(found, [1.3, NAN])


@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_what_is_far_off_is_cut(name):
    found = _targets(_row(**{f"{name}_s": 1e6}), _row(**{f"{name}_s": 1e-6}), name=name)
    np.testing.assert_allclose(np.log(found), [LIMIT, -LIMIT])


def test_rows_that_were_not_priced_are_not_known():
    row = {**_row(tpot_s=1.5), "reason": "no such model"}
    assert np.isnan(_targets(row)[0])


def test_crowded_deployments_count_less_per_row():
    rows = pd.DataFrame({"source": "s", "is_gpu": ["a"] * 32 + ["b"], "is_engine": "vllm"})
    rows = rows.assign(is_model="m", is_weights=None)
    found = weights(rows)
    assert found[-1] == 1.0
    np.testing.assert_allclose(found[:32], 0.125)  # 32 ** -0.6
    assert found[:32].sum() == pytest.approx(4.0)


def test_trust_below_a_half_is_not_fitted_on():
    assert trusted(pd.DataFrame({"x": [1, 2]})).tolist() == [True, True]
    rows = pd.DataFrame({"trust": [1.0, 0.5, 0.49, NAN]})
    assert trusted(rows).tolist() == [True, True, False, False]


def test_described_rows_keep_their_labels():
    rows = pd.DataFrame({f"is_{name}": [name] * 5 for name in LABELS})
    rows["is_gpu"] = list("babca")
    for place, name in enumerate(NUMBERS):
        rows[f"x_{name}"] = 10.0 * place + np.arange(5)
    labels, place, numbers = described(rows)
    assert [labels[each].gpu for each in place] == list("babca")
    assert len(labels) == 3
    assert labels[0].weights == "weights"
    np.testing.assert_array_equal(numbers[2], 20.0 + np.arange(5))


def test_dampings_take_the_share_with_the_least_median_error():
    rows = pd.DataFrame({"is_engine": "vllm", "is_gpu": list("abcabcabc"), "is_model": "m"})
    rows = rows.assign(is_weights="fp8", is_era="now")
    y = np.full(9, 0.4)
    unseen = {
        "known device": np.full(9, 0.5),  # eight tenths of it are right
        "unseen device": np.full(9, -0.5),  # nothing of it is
        # a third of the rows wild: the median does not see them
        "unseen model": np.where(np.arange(9) < 3, 9.0, 0.8),
    }
    found = dampings(rows, y, unseen)["vllm"]
    assert tuple(COUNTED) == ("known device", "unseen device", "unseen model")
    assert found == pytest.approx((0.8 * 3 / 4, 0.0, 0.5 * 1 / 2))
