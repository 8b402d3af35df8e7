# SPDX-License-Identifier: Apache-2.0
"""Loose floors per second of processor time, far below what an idle core does: a
regression by a factor is noticed, a busy machine is not. `benchmarks.speed` measures."""

import json
from time import process_time

import numpy as np
import pytest

from benchmarks import speed
from calibration.correct import shipped
from roofline import predict_table
from roofline.predict import predict_table as plain_table


def test_a_prediction_loads_nothing_heavy():
    assert speed.forbidden_imports() == []


def test_one_model_prices_100_000_per_second():
    predict_table(speed.one_model(10))
    assert speed.throughput(speed.one_model, 50_000, repeats=3)["per_cpu_s"] > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("make", [speed.one_model, speed.mixed])
def test_a_correction_costs_about_as_much_as_the_physics(make, monkeypatch):
    # The aim is twice the time on 100,000 rows; a busy machine blurs it, so each is timed in
    # turn, on one thread, and the best of each counts.
    monkeypatch.setattr("roofline.table.usable_cpus", lambda: 1)
    scenarios, times = make(30_000), {id(each): (each, []) for each in (None, shipped())}
    for _ in range(4):
        for correction, spent in times.values():
            start = process_time()
            plain_table(scenarios, errors="column", correction=correction)
            spent.append(process_time() - start)
    plain_s, corrected_s = (min(spent[1:]) for _, spent in times.values())
    assert corrected_s < 3.0 * plain_s


@pytest.mark.slow
def test_mixtures_price_10_000_per_second():
    assert speed.throughput(speed.mixed, 30_000, repeats=3)["per_cpu_s"] > 10_000


def test_most_of_the_mixture_can_be_priced():
    priced = predict_table(speed.mixed(1000), errors="column")
    assert np.isfinite(priced["e2e_s"]).mean() > 0.9


@pytest.mark.slow
def test_a_cold_start_takes_a_few_numpy_imports():
    # The aim is 3; a busy machine stretches the longer of the two.
    assert speed.cold_start(3)["ratio"] < 6.0


def test_report_has_every_figure(capsys, monkeypatch):
    monkeypatch.setattr(speed, "cold_start", lambda repeats: {**COLD, "repeats": repeats})
    assert speed.main(["--most", "100", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rows"] for row in found["mixed"]] == [100]
    assert set(speed.TITLES) < set(found)
    assert all(found[name][0]["per_s"] > 0 for name in speed.TITLES)
    assert "2.00 x the 0.100 s" in speed.as_text(found)
    assert "none loaded" in speed.as_text(found)


COLD = {"predict_s": 0.2, "import_numpy_s": 0.1, "ratio": 2.0, "forbidden_imports": []}
