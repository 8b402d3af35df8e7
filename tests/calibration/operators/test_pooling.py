# SPDX-License-Identifier: Apache-2.0
"""Fits recover a known law, families fall back, folds do not leak, artifacts round-trip."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")

from calibration.operators.apply import OperatorLaws, from_dict, to_json
from calibration.operators.facts import DeviceFacts
from calibration.operators.features import SCHEMES, gemm_terms
from calibration.operators.fitting import fit_sample, log_error
from calibration.operators.kernels import Sample
from calibration.operators.laws import LAWS
from calibration.operators.leaveout import leave_out, split
from calibration.operators.pooling import drawn_means, pool
from specs.errors import SpecDataError, UnknownNameError

LAW = LAWS["gemm"]
TRUTH = {
    "e_c": 0.8,
    "e_m": 0.88,
    "b": 0.3,
    "t_0": 3e-6,
    "w_tile": 0.5,
    "fill": 100.0,
    "warm": 0.4,
}


def _facts(name="alpha", family="one", peak=1e15, bandwidth=4e12):
    return DeviceFacts(
        name=name,
        family=family,
        peak_flops_per_s={"bf16": peak},
        mem_bytes_per_s=bandwidth,
        cache_bytes=50e6,
        unit_count=128.0,
        special_per_s=3.7e12,
        free_w=600.0,
        flop_j=0.6e-12,
    )


def _sample(facts=None, truth=TRUTH, rows=150, seed=0, noise=0.03, engines=("vllm",)):
    facts = facts or _facts()
    rng = np.random.default_rng(seed)
    m = 2.0 ** rng.uniform(0, 14, rows)
    n, k = 2.0 ** rng.uniform(9, 14, rows), 2.0 ** rng.uniform(9, 14, rows)
    terms = gemm_terms(np.ceil(m), np.ceil(n), np.ceil(k), scheme=SCHEMES["bf16"], facts=facts)
    seconds = LAW.time_s(truth, terms) * np.exp(noise * rng.standard_normal(rows))
    return Sample(
        device=facts.name,
        family=facts.family,
        operator="gemm_bf16",
        law="gemm",
        terms=terms,
        seconds=seconds,
        plain_s=np.maximum(terms["ideal_s"], terms["memory_s"]),
        engine=np.resize(np.array(engines), rows),
        cold=np.ones(rows, bool),
        headroom=1.0,
    )


def test_fit_recovers_what_the_kernels_determine():
    found = LAW.constants(fit_sample(_sample(rows=400)).coordinates)
    for name, tolerance in (("e_c", 0.04), ("e_m", 0.04), ("t_0", 0.6e-6)):
        assert found[name] == pytest.approx(TRUTH[name], abs=tolerance)


def test_outliers_do_not_carry_the_fit():
    sample = _sample(rows=400)
    spoiled = replace(sample, seconds=np.where(np.arange(400) % 20 == 0, 5.0, 1.0) * sample.seconds)
    found = LAW.constants(fit_sample(spoiled).coordinates)
    assert found["e_c"] == pytest.approx(TRUTH["e_c"], abs=0.06)


def test_each_level_is_drawn_to_the_one_above_by_its_number():
    fits = {"a": np.array([0.0]), "b": np.array([2.0]), "c": np.array([4.0]), "d": np.array([10.0])}
    means = drawn_means(fits, {"a": "one", "b": "two", "c": "two", "d": "hopper"})
    # Synchronous families: means 0 (one device, weight 1/2) and 3 (two, weight 2/3), so
    # (0/2 + 3 * 2/3) / (7/6) = 12/7; two families weigh 2/3. Hopper alone: 10, weight 1/2.
    population = (12 / 7 * 2 / 3 + 10 / 2) / (7 / 6)
    kind = population + 2 / 3 * (12 / 7 - population)
    assert means.population[0] == pytest.approx(population)
    assert means.kinds["synchronous"][0] == pytest.approx(kind)
    assert means.families["one"][0] == pytest.approx(kind / 2)
    assert means.families["two"][0] == pytest.approx(kind + 2 / 3 * (3 - kind))


def test_unseen_devices_take_their_family_then_the_population():
    samples = [
        _sample(_facts("a", "one")),
        _sample(_facts("b", "one"), seed=1),
        _sample(_facts("c", "two"), TRUTH | {"e_c": 0.6}, seed=2),
    ]
    fitted = pool(samples)
    assert fitted.level("a", "one") == "device"
    assert fitted.level("new", "one") == "family"
    assert fitted.level("new", "never") == "kind"
    assert fitted.level("new", "hopper") == "population"
    at = LAW.names.index("e_c")
    family, population = fitted.coordinates("new", "one"), fitted.coordinates("new", "never")
    other = fitted.coordinates("new", "two")
    assert other[at] < population[at] < family[at]


def test_less_headroom_lowers_the_plateau_of_the_unmeasured_alone():
    fitted = pool([_sample(_facts("a", "one")), _sample(_facts("b", "two"), seed=1)])
    at = LAW.names.index("e_c")
    starved = fitted.coordinates("new", "one", headroom=0.5)
    assert starved[at] < fitted.coordinates("new", "one")[at]
    own = fitted.coordinates("a", "one", headroom=0.5)
    assert own == pytest.approx(fitted.devices["a"].coordinates)


def test_engine_offsets_help_their_engine():
    slow = TRUTH | {"t_0": 9e-6}
    fast, other = _sample(rows=160), _sample(truth=slow, rows=160, engines=("trtllm",), seed=3)
    both = replace(
        fast,
        terms={
            name: value if value.shape[-1] == 1 else np.concatenate([value, other.terms[name]], -1)
            for name, value in fast.terms.items()
        },
        seconds=np.concatenate([fast.seconds, other.seconds]),
        plain_s=np.concatenate([fast.plain_s, other.plain_s]),
        engine=np.concatenate([fast.engine, other.engine]),
        cold=np.ones(320, bool),
    )
    fitted = pool([both])
    base = np.abs(log_error(LAW, fitted.coordinates("alpha", "one"), other))
    offset = np.abs(log_error(LAW, fitted.coordinates("alpha", "one", "trtllm"), other))
    assert np.median(offset) < 0.7 * np.median(base)


def test_folds_hold_out_whole_devices_and_families():
    samples = [
        _sample(_facts(name, family)) for name, family in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    assert [s.device for s in split(samples, samples[0], by="gpu")] == ["b", "c"]
    assert [s.device for s in split(samples, samples[0], by="family")] == ["c"]


def test_left_out_scores_do_not_see_the_left_out_times():
    others = [_sample(_facts("b", "two"), seed=1), _sample(_facts("c", "three"), seed=2)]
    held = _sample(_facts("a", "one"))
    spoiled = replace(held, seconds=held.seconds * 3.0)
    fair, unfair = leave_out([held, *others])[0], leave_out([spoiled, *others])[0]
    # If a fold leaked, the constants would follow the spoiled times and the bias would shrink.
    assert unfair.bias == pytest.approx(fair.bias - np.log(3.0), abs=1e-9)
    assert fair.gpu["power"] < 10.0 < fair.gpu["plain"]


def test_artifact_round_trips_and_predicts():
    fitted = pool([_sample(_facts("a", "one")), _sample(_facts("b", "two"), seed=1)])
    made = OperatorLaws(
        pools={"gemm_bf16": fitted}, arithmetic={"gemm_bf16": "bf16"}, meta={"date": "today"}
    )
    laws = from_dict(json.loads(to_json(made)))
    assert to_json(laws) == to_json(made)
    for facts in (_facts("a", "one"), _facts("new", "two"), _facts("new", "never")):
        terms = gemm_terms(
            [16, 4096], [4096, 4096], [4096, 4096], scheme=SCHEMES["bf16"], facts=facts
        )
        plain = np.maximum(terms["ideal_s"], terms["memory_s"])
        times = laws.time_s("gemm_bf16", terms, facts, engine="vllm")
        assert np.all(times > plain)
        assert np.all(times < 2.5 * plain + 10e-6)
    assert laws.level("gemm_bf16", _facts("new", "hopper")) == "population"
    with pytest.raises(UnknownNameError, match="gemm_bf16"):
        laws.constants("gem", _facts())


def test_other_schema_is_refused():
    with pytest.raises(SpecDataError, match="schema"):
        from_dict({"schema": 99, "operators": {}})


def test_floors_of_eager_launches_stay_with_their_device():
    host = replace(_sample(_facts("b", "two"), TRUTH | {"t_0": 60e-6}, seed=1), eager=True)
    fitted = pool([_sample(_facts("a", "one")), host])
    at = LAW.names.index("t_0")
    assert np.exp(fitted.population[at]) < 5e-6
    assert np.exp(fitted.coordinates("b", "two")[at]) > 40e-6
