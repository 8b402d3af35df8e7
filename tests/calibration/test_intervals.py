# SPDX-License-Identifier: Apache-2.0
"""Ends of intervals by hand, and the share of measurements that they hold."""

import math

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from calibration import intervals  # noqa: E402
from calibration.intervals import (  # noqa: E402
    NARROWEST,
    coverage,
    quantiles,
    table,
    weighted_quantile,
)  # fmt: skip
from calibration.intervals_of import METRIC_OF, WIDER, ends_of, group_of  # noqa: E402
from roofline.residual import QUANTITIES  # noqa: E402

METRICS = intervals.METRICS


def test_weighted_quantile_by_hand():
    values, weight = np.array([3.0, 1.0, 2.0, 4.0]), np.array([1.0, 4.0, 4.0, 1.0])
    levels = {0.1: 1.0, 0.4: 1.0, 0.41: 2.0, 0.8: 2.0, 0.9: 3.0, 0.95: 4.0, 1.0: 4.0}
    for level, wanted in levels.items():
        assert weighted_quantile(values, weight, level) == wanted


def test_rows_of_a_device_count_as_their_root():
    # 100 rows of one device weigh 10, of ten others with one row 1 each: half and half.
    score = np.concatenate([np.zeros(100), np.arange(1.0, 11.0)])
    device = ["many"] * 100 + [f"d{number}" for number in range(10)]
    assert quantiles(score, device) == (-NARROWEST, 9.0)
    assert quantiles(-score, device) == (-9.0, NARROWEST)


def _rows(devices=60, each=20, seed=0, engine="vllm"):
    """Errors of 0.2 per device and 0.1 per row around predictions of TTFT and TPOT."""
    rng = np.random.default_rng(seed)
    gpu = np.repeat([f"d{number}" for number in range(devices)], each)
    rows = pd.DataFrame({"is_gpu": gpu, "is_engine": engine, "is_mode": "serving"})
    predicted = pd.DataFrame({name: np.full(gpu.size, np.nan) for name in METRICS})
    for name in METRICS:
        rows[f"measured_{name}"] = np.nan
    prompt, step = (
        np.exp(np.repeat(rng.normal(0, 0.2, devices), each) + rng.normal(0, 0.1, gpu.size))
        for _ in range(2)
    )
    rows["p_ttft_s"], rows["p_e2e_s"] = 1.0, 4.0
    predicted["ttft_s"], predicted["tpot_s"], predicted["e2e_s"] = 1.0, 0.1, 4.0
    rows["measured_ttft_s"], rows["measured_tpot_s"] = prompt, 0.1 * step
    rows["measured_e2e_s"] = prompt + 3.0 * step
    return rows, predicted


@pytest.mark.parametrize("engine", ["vllm", "nobody"])
def test_nine_of_ten_measurements_are_inside(engine):
    found = coverage(*_rows(engine=engine)).set_index("metric")
    assert list(found.index) == ["ttft_s", "tpot_s", "e2e_s"]
    assert found["rows"].tolist() == [1200] * 3
    assert found["devices"].tolist() == [60] * 3
    for name in ("ttft_s", "tpot_s"):
        assert found["inside"][name] == pytest.approx(0.9, abs=0.05)
        # 1.645 deviations of 0.224 to both sides
        assert found["median_width"][name] == pytest.approx(math.exp(2 * 1.645 * 0.224), rel=0.2)
    # ends that are reached together hold more than a tenth apart
    assert found["inside"]["e2e_s"] > found["inside"]["tpot_s"]


def test_a_device_does_not_make_its_own_interval():
    rows, predicted = _rows()
    mine = rows["is_gpu"].eq("d3")
    rows.loc[mine, "measured_tpot_s"] *= 30.0
    found = coverage(rows, predicted).set_index("metric")
    before = coverage(*_rows()).set_index("metric")
    lost = before["inside_by_device"]["tpot_s"] - found["inside_by_device"]["tpot_s"]
    assert 0.0 < lost <= 1.01 / 60
    low, high = intervals._cross_ends(
        rows, intervals.groups(rows), intervals.scores(rows, predicted, "tpot_s")
    )
    assert high[mine].max() < math.log(2.0)
    assert low[mine].min() > -math.log(2.0)


def test_composed_ends_by_hand():
    rows = pd.DataFrame({"p_ttft_s": [1.0], "p_e2e_s": [4.0]})
    ends = {
        "ttft_s": (pd.Series([math.log(0.5)]), pd.Series([math.log(3.0)])),
        "tpot_s": (pd.Series([math.log(0.8)]), pd.Series([math.log(2.0)])),
    }
    low, high = 1.1 * math.log(0.25 * 0.5 + 0.75 * 0.8), 1.1 * math.log(0.25 * 3 + 0.75 * 2)
    found = [end[0] for end in intervals._composed(rows, ends, "e2e_s")]
    assert found == pytest.approx([low, high])
    found = [end[0] for end in intervals._composed(rows, ends, "throughput")]
    assert found == pytest.approx([-high, -low])


def test_groups_with_few_devices_have_no_ends_of_their_own():
    many, few = _rows(), _rows(devices=4, engine="llama.cpp", seed=1)
    rows, predicted = (pd.concat(each, ignore_index=True) for each in zip(many, few, strict=True))
    found = table(rows, predicted)
    assert sorted(found) == ["all", "served serving"]
    low, high = found["served serving"]["tpot_s"]
    assert low < -0.2
    assert high > 0.2
    assert "power_w" not in found["all"]


def test_groups_by_engine_and_mode():
    assert group_of("vllm", "serving") == group_of("tgi", "serving") == "served serving"
    assert group_of("sglang", "static") == "served static"
    assert group_of("llama.cpp", "static") == group_of("llama.cpp", "serving") == "local"
    assert group_of("openvino", "static") == group_of("nobody", "serving") == "other"


def test_ends_are_borrowed_and_widened():
    kept = {
        "measured here": {"all": {"e2e_s": [-0.1, 0.2]}},
        "interpolated": {
            "all": {"e2e_s": [-0.3, 0.4], "tpot_s": [-0.5, 0.6]},
            "local": {"tpot_s": [-0.7, 0.8]},
        },
    }

    def ends(standing, group, quantity):
        return ends_of(kept, standing=standing, group=group, quantity=quantity)

    assert ends(1, "local", "tpot_s") == (-0.7, 0.8)
    assert ends(1, "other", "tpot_s") == (-0.5, 0.6)
    assert ends(0, "local", "tpot_s") == (-0.1, 0.2)  # nothing but latency is known there
    assert ends(2, "local", "tpot_s") == pytest.approx((-0.7 * WIDER, 0.8 * WIDER))
    assert ends(1, "local", "power_mean_w") == (-0.3, 0.4)
    del kept["interpolated"]["all"]["e2e_s"]  # then as unsure as what is least sure
    kept["interpolated"]["all"]["power_w"] = [-0.1, 0.1]
    assert ends(1, "local", "ttft_s") == (-0.5, 0.6)


def test_every_quantity_has_its_metric():
    assert [METRIC_OF[name] for name in QUANTITIES] == [
        "ttft_s", "tpot_s", "e2e_s", "throughput", "power_w", "energy_per_output_token_j",
    ]  # fmt: skip
