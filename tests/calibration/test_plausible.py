# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from calibration.plausible import check
from roofline.predict import predict
from specs.catalogue import get_accelerator
from specs.measurement import Measurement

SIZES = {"input_tokens": 512, "output_tokens": 64, "batch_size": 4}


def llm(**more):
    given = {"kind": "llm", "model": "gpt2", "gpu": "l4", "engine": "vllm", "mode": "static"}
    return Measurement(**{**given, **SIZES, "weight_dtype": "bf16", **more})


@pytest.fixture(scope="module")
def predicted():
    return predict(
        "gpt2", "L4", engine="vllm", batch=4, input_len=512, output_len=64, weight_dtype="bf16"
    )


def found(*rows):
    return {(f.row, f.rule, f.column) for f in check(rows).findings}


def test_a_believable_row_has_no_finding(predicted):
    row = llm(
        ttft_s=1.5 * predicted.ttft_s,
        tpot_s=1.5 * predicted.tpot_s,
        e2e_s=1.5 * predicted.e2e_s,
        decode_tok_s=4 / (1.5 * predicted.tpot_s),
        prefill_tok_s=4 * 512 / (1.5 * predicted.ttft_s),
        total_tok_s=4 * 576 / (1.5 * predicted.e2e_s),
        power_w=50.0,
        energy_per_output_token_j=1.5 * predicted.energy_per_output_token_j,
    )
    verdict = check([row])
    assert verdict.findings == ()
    assert (verdict.rows, verdict.checked, verdict.unchecked) == (1, 1, {})


@pytest.mark.parametrize("figure", ["ttft_s", "tpot_s", "e2e_s"])
def test_faster_than_the_ideal_machine(predicted, figure):
    floor_s = getattr(predicted.floor, figure)
    fast, fair = llm(**{figure: floor_s / 1.2}), llm(**{figure: floor_s * 1.01})
    assert found(fair, fast) == {(2, "floor", figure)}
    finding = check([fast]).findings[0]
    assert finding.point_id == fast.point_id
    assert finding.limit == pytest.approx(floor_s)
    assert "1.20 times faster" in finding.says


def test_rates_are_held_against_the_time_they_imply(predicted):
    floor = predicted.floor
    # More tokens per second than a batch of 4 (512 in, 64 out) makes in the floor's time.
    assert found(llm(decode_tok_s=1.2 * 4 / floor.tpot_s)) == {(1, "floor", "decode_tok_s")}
    assert found(llm(prefill_tok_s=1.2 * 2048 / floor.ttft_s)) == {(1, "floor", "prefill_tok_s")}
    assert found(llm(total_tok_s=1.2 * 2304 / floor.e2e_s)) == {(1, "floor", "total_tok_s")}
    assert check([llm(prefill_tok_s=1.2 * 2048 / floor.ttft_s)]).findings[0].limit == (
        pytest.approx(2048 / floor.ttft_s)
    )


@pytest.mark.parametrize("figure", ["ttft_s", "tpot_s", "e2e_s", "itl_s"])
@pytest.mark.parametrize(
    ("factor", "word"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e-3, "seconds taken")]
)
def test_unit_slips_of_times(predicted, figure, factor, word):
    base = predicted.tpot_s if figure == "itl_s" else getattr(predicted, figure)
    for off in (0.6, 1.0, 1.7):  # the prediction may be that wrong
        findings = check([llm(**{figure: off * factor * base})]).findings
        assert [(f.rule, f.column) for f in findings] == [("unit", figure)]
        assert word in findings[0].says


@pytest.mark.parametrize(
    ("factor", "word"), [(1e3, "millijoules"), (1 / 3600, "watt hours"), (1 / 3.6e6, "kilowatt")]
)
def test_unit_slips_of_energy(predicted, factor, word):
    value = factor * predicted.energy_per_output_token_j
    (finding,) = check([llm(energy_per_output_token_j=value)]).findings
    assert finding.rule == "unit"
    assert word in finding.says


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"power_w": 71.0}, set()),
        ({"power_w": 75.0}, set()),  # sensors are good to 5%
        ({"power_w": 90.0}, {("power", "power_w")}),  # an L4 draws 72 W at most
        ({"power_w": 60.0, "power_limit_w": 40.0}, {("power", "power_w")}),
        ({"decode_power_w": 10.0, "idle_power_w": 20.0}, {("power", "decode_power_w")}),
        ({"prefill_power_w": 70e3}, {("unit", "prefill_power_w")}),
        ({"idle_power_w": 20.0}, set()),
        ({"idle_power_w": 200.0}, {("power", "idle_power_w")}),
    ],
)
def test_power_lies_between_idle_and_limit(figures, expected):
    assert {(f.rule, f.column) for f in check([llm(**figures)]).findings} == expected


def test_power_is_checked_where_nothing_can_be_predicted():
    row = Measurement(kind="tabular", gpu="l4", estimator="forest", power_w=90.0)
    verdict = check([row])
    assert [f.rule for f in verdict.findings] == ["power"]
    assert verdict.unchecked == {"no floor for tabular rows": 1}


def test_figures_that_contradict_each_other():
    times = {"ttft_s": 0.1, "tpot_s": 0.01}  # 0.1 + 63 * 0.01 = 0.73 s
    unknown = {"model": "none/such"}
    assert found(llm(**unknown, **times, e2e_s=0.75)) == set()
    assert found(llm(**unknown, **times, e2e_s=3.0)) == {(1, "sum", "e2e_s")}
    assert found(llm(**unknown, **times, e2e_s=3.0, mode="serving")) == set()
    assert found(llm(**unknown, ttft_s=1.0, e2e_s=0.9)) == {(1, "sum", "ttft_s")}
    # 50 W for 0.75 s on two devices are 75 J.
    energy = {**unknown, "e2e_s": 0.75, "power_w": 50.0, "num_gpus": 2}
    assert found(llm(**energy, energy_j=75.0)) == set()
    assert found(llm(**energy, energy_j=0.075)) == {(1, "sum", "energy_j")}


def test_a_matrix_product_beyond_the_dense_peak():
    # L4: 121 TFLOP/s dense bf16; 2 * 4096^3 = 137.4 GFLOP take 1.136 ms at least.
    given = {"kind": "kernel", "gpu": "l4", "op": "gemm", "dtype": "bf16"}
    shape = {"m": 4096, "n": 4096, "k": 4096}
    fair, fast, slip = (
        Measurement(**given, **shape, latency_s=s) for s in (1.3e-3, 0.9e-3, 1.3e-6)
    )
    assert found(fair, fast, slip) == {(2, "floor", "latency_s"), (3, "unit", "latency_s")}
    assert check([fast]).findings[0].limit == pytest.approx(1.136e-3, rel=2e-3)
    twice = replace(fair, batch=2, point_id="")
    assert found(twice) == {(1, "floor", "latency_s")}


def test_other_kernels():
    given = {"kind": "kernel", "gpu": "l4", "dtype": "bf16"}
    # Causal, 4096 tokens, 32 heads of 128: 4*32*128 * 4096*4097/2 = 137.5 GFLOP, 1.136 ms.
    prefill = {"op": "attention_prefill", "q_len": 4096, "kv_len": 4096, "batch": 1}
    heads = {"heads": 32, "head_dim": 128}
    # 3 GB at 300 GB/s take 10 ms; the L4's cache holds 48 MB, so 100 MB may be in it.
    copy, small = ({"op": "copy", "size_bytes": n} for n in (3_000_000_000, 100_000_000))
    rows = [
        Measurement(**given, **prefill, **heads, latency_s=1.2e-3),
        Measurement(**given, **prefill, **heads, latency_s=0.9e-3),
        Measurement(**given, **copy, latency_s=11e-3),
        Measurement(**given, **copy, latency_s=8e-3),
        Measurement(**given, **small, latency_s=1e-5),
        Measurement(**{**given, "dtype": "int3"}, op="gemm", m=8, n=8, k=8, latency_s=1e-5),
        Measurement(**given, op="launch", latency_s=1e-5),
        Measurement(**given, op="gemm", m=8, n=8, k=8, quality="failed", reason="memory"),
    ]
    verdict = check(rows)
    assert found(*rows) == {(2, "floor", "latency_s"), (4, "floor", "latency_s")}
    assert verdict.checked == 4
    assert verdict.unchecked == {
        "arrays that a cache may hold": 1,
        "no int3 peak of the accelerator": 1,
        "no floor for launch rows": 1,
        "point failed: no figures": 1,
    }


def test_rows_that_cannot_be_checked_say_why():
    rows = [
        llm(gpu=""),
        llm(gpu="abacus"),
        llm(model="none/such"),
        llm(mode="disagg"),
        llm(batch_size=None),
        llm(weight_dtype="int77"),
        llm(quality="failed", reason="out of memory"),
    ]
    verdict = check(rows)
    assert verdict.checked == 0
    assert sum(verdict.unchecked.values()) == len(rows)
    assert set(verdict.unchecked) > {"accelerator not identified", "point failed: no figures"}
    assert check([]).findings == ()


def test_an_engine_without_a_profile_is_checked_all_the_same(predicted):
    row = llm(engine="my-own", tpot_s=predicted.floor.tpot_s / 2)
    assert found(row) == {(1, "floor", "tpot_s")}


def test_decode_is_checked_without_a_prompt(predicted):
    bare = {"input_tokens": None, "output_tokens": None}
    # gpt2 in bf16 is 249 MB, which 300 GB/s carry in 0.83 ms, whatever the prompt.
    assert found(llm(**bare, tpot_s=0.5e-3)) == {(1, "floor", "tpot_s")}
    assert found(llm(**bare, tpot_s=2 * predicted.tpot_s)) == set()
    assert found(llm(**bare, ttft_s=1e-6, e2e_s=1e-6, total_tok_s=1e9)) == set()
    assert found(llm(**{**bare, "input_tokens": 0}, decode_tok_s=4 / 0.5e-3)) == {
        (1, "floor", "decode_tok_s")
    }


def test_a_queue_is_no_unit_slip(predicted):
    served = {"mode": "serving", "batch_size": None}
    slow = {"ttft_s": 1000 * predicted.ttft_s}
    assert found(llm(**served, **slow, concurrency=1)) == set()
    assert found(llm(**served, **slow, request_rate=9.0)) == set()
    steps = {"tpot_s": 1000 * predicted.tpot_s}
    assert found(llm(**served, **steps, concurrency=4)) == {(1, "unit", "tpot_s")}
    assert found(llm(**served, tpot_s=predicted.tpot_s / 1000, request_rate=9.0)) == {
        (1, "unit", "tpot_s")
    }


def test_served_requests(predicted):
    served = {"mode": "serving", "batch_size": None, "concurrency": 8}
    assert found(llm(**served, tpot_s=2 * predicted.tpot_s)) == set()
    alone = predict("gpt2", "L4", input_len=512, output_len=64).floor
    assert found(llm(**served, tpot_s=alone.tpot_s / 1.5)) == {(1, "floor", "tpot_s")}


def test_weights_that_a_cache_may_hold_have_no_measured_floor():
    # gpt2: 0.25 GB in bf16, 0.83 ms at 300 GB/s; up to four times the cache may partly stay in it.
    for cache_bytes, checked in ((100e6, 0), (10e6, 1)):
        device = replace(get_accelerator("l4"), cache_bytes=cache_bytes)
        verdict = check([llm(gpu="", tpot_s=5e-4)], known=lambda row, device=device: device)
        assert verdict.checked == checked
        assert [found.rule for found in verdict.findings] == ["floor"] * checked
        assert verdict.unchecked == ({} if checked else {"weights that a cache may hold": 1})
