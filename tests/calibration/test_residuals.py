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
    drawn_effects,
    target,
    trusted,
    weights,
)
from calibration.staged import Staged  # noqa: E402
from roofline.residual import NUMBERS, Labels  # noqa: E402

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


def _damped(known, device, model, y=0.4):
    rows = pd.DataFrame(
        {"is_engine": "vllm", "is_gpu": list("abcabcabc"), "is_model": list("mmmnnnooo")}
    )
    rows = rows.assign(is_weights="fp8", is_era="now")
    unseen = dict(zip(COUNTED, (np.full(9, each) for each in (known, device, model)), strict=True))
    return dampings(rows, np.full(9, y), unseen)["vllm"]


def test_trees_that_hardly_gain_do_not_count():
    # A tenth of the answer would take 0.01 of an error of 0.4: a fortieth, less than 3%.
    assert _damped(0.01, 0.4, 0.4)[0] == 0.0
    assert _damped(0.02, 0.4, 0.4)[0] > 0.0


def test_what_carries_over_to_nothing_does_not_count_for_known_cases_either():
    assert _damped(0.4, -0.4, -0.4) == (0.0, 0.0, 0.0)
    known, device, model = _damped(0.4, -0.4, 0.4)
    assert (known, device, model) == pytest.approx((0.9, 0.0, 0.75))


def test_what_all_rows_share_counts_where_it_may():
    # Forty rows a quarter above the prediction, none apart from the others.
    count = 40
    rows = pd.DataFrame({f"is_{name}": ["?"] * count for name in LABELS})
    rows["is_engine"] = ["vllm"] * 20 + ["llama.cpp"] * 20
    rows["is_gpu"] = ["a", "b"] * 20
    rows["is_model"] = ["m", "m", "n", "n"] * 10

    def answer(name, **words):
        blocks = drawn_effects(rows, np.full(count, 0.25), np.ones(count), name)
        label = Labels(**{**dict.fromkeys(LABELS, "?"), **words})
        model = Staged({}, {}, {}, {}, blocks)
        return model.predict([label], np.zeros(1, dtype=int), np.zeros((len(NUMBERS), 1)))[0]

    known = {"gpu": "a", "engine": "vllm", "model": "m"}
    assert answer("ttft", **known) == pytest.approx(0.25, abs=0.02)
    assert answer("tpot", **known) == pytest.approx(0.25, abs=0.02)
    # Queues are longer on any device; steps of one not measured are what was priced.
    assert answer("ttft", **{**known, "gpu": "c", "model": "o"}) == pytest.approx(0.25, abs=0.03)
    assert answer("tpot", **{**known, "gpu": "c", "model": "o"}) == 0.0
    assert answer("tpot", **{**known, "engine": "llama.cpp"}) == 0.0
    assert answer("ttft", gpu="c", engine="llama.cpp", model="o") == 0.0
