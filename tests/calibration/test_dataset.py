# SPDX-License-Identifier: Apache-2.0
"""Rows of measurements become scenarios, and meet the predicted figure that answers them."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from calibration.dataset import (  # noqa: E402
    ASSUMED_TOKENS,
    LABELS,
    SATURATING_REQUESTS,
    joined,
    log_ratios,
    scenario_columns,
)  # fmt: skip
from roofline.predict import predict_table  # noqa: E402
from roofline.residual import NUMBERS  # noqa: E402
from roofline.table import CHUNK  # noqa: E402
from specs.errors import InvalidInputError  # noqa: E402

BASE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "h100-sxm5-80gb", "engine": "vllm"}
STATIC = {**BASE, "mode": "static", "batch_size": 4, "input_tokens": 512, "output_tokens": 65}
SERVING = {**BASE, "mode": "serving", "input_tokens": 512, "output_tokens": 65}


def _asked(*rows):
    return scenario_columns(pd.DataFrame(list(rows)))


def test_static_batches_and_requests_in_flight():
    asked = _asked(
        STATIC,
        {**STATIC, "batch_size": None},
        {**SERVING, "concurrency": 7},
        {**SERVING, "batch_size": 9},
        {**SERVING, "request_rate": 2.0},
        SERVING,
    )
    assert asked["batch"].tolist() == [4, 1, 0, 0, 0, 0]
    flight = [0, 0, 7, 9, 1, SATURATING_REQUESTS]
    assert asked["concurrency"].tolist() == flight


def test_era_lengths_and_defaults():
    asked = _asked(
        {**STATIC, "epoch": "2024-Q3", "cached_tokens": 100, "power_limit_w": 300.0, "tp": 2},
        {**STATIC, "epoch": "2023", "cached_tokens": 512, "weight_dtype": "fp8"},
        {**STATIC, "epoch": "later", "input_tokens": None, "output_tokens": None},
    )
    np.testing.assert_array_equal(asked["engine_year"], [2024, 2023, np.nan])
    assert asked["cached_len"].tolist() == [100, 0, 0]  # all of a prompt cached is no prompt
    assert asked["input_len"].tolist() == [512, 512, ASSUMED_TOKENS["input_len"]]
    assert asked["output_len"].tolist() == [65, 65, ASSUMED_TOKENS["output_len"]]
    assert asked["power_limit_w"].tolist() == [300.0, np.inf, np.inf]
    assert asked["tp"].tolist() == [2, 0, 0]
    assert asked["weight_dtype"].tolist() == ["", "fp8", ""]


def test_a_table_without_a_gpu_is_refused():
    with pytest.raises(InvalidInputError, match="lacks gpu"):
        scenario_columns(pd.DataFrame({"model": ["gpt2"], "mode": ["static"]}))


def test_figures_meet_the_predicted_figure_that_answers_them():
    rows = joined(
        pd.DataFrame(
            [
                {**STATIC, "ttft_s": 0.5, "power_w": 300.0, "output_tokens": 1},
                {**STATIC, "tpot_s": 0.02, "power_w": 400.0},
                {**STATIC, "e2e_s": 2.0, "power_w": 500.0, "decode_tok_s": 100.0},
                {**STATIC, "total_tok_s": 900.0, "decode_tok_s": 100.0},
                {**STATIC, "total_tok_s": 90.0, "decode_tok_s": 100.0},
                {**STATIC, "tpot_s": 0.02, "decode_tok_s": 100.0},
                {**STATIC, "ttft_s": 0.5, "e2e_s": 2.0, "prompt_known": "False"},
                {**STATIC, "ttft_s": 0.5, "reason": "power: sensor stuck"},
                {**STATIC, "gpu": "no-such-card", "ttft_s": 0.5},
            ]
        )
    )
    power = rows["predicted_power_w"].tolist()
    assert power[0] == rows["p_power_prefill_w"][0]
    assert power[1] == rows["p_power_decode_w"][1]
    assert power[2] == rows["p_power_mean_w"][2]
    assert rows["measured_throughput"].tolist()[2:5] == [100.0, 900.0, 100.0]
    assert np.isnan(rows["measured_throughput"][5])  # the step itself is known
    predicted = rows["predicted_throughput"]
    assert predicted[3] == rows["p_total_tok_per_s"][3]
    assert predicted[4] == rows["p_output_tok_per_s"][4]
    assert np.isnan(rows["measured_ttft_s"][6])
    assert rows["reason"].ne("").tolist() == [False] * 7 + [True] * 2
    assert "no-such-card" in rows["reason"][8]
    ratio = log_ratios(rows, "ttft_s")
    assert ratio[0] == pytest.approx(np.log(0.5 / rows["p_ttft_s"][0]))
    assert ratio[1:].isna().all()


def test_descriptions_line_up_with_rows():
    rng = np.random.default_rng(0)
    size = CHUNK + 500  # several chunks of the setups of one engine
    table = pd.DataFrame(
        {
            "model": rng.choice([BASE["model"], "Qwen/Qwen3-8B", "no/such-model"], size),
            "gpu": rng.choice(["h100-sxm5-80gb", "l4", "mi300x"], size),
            "engine": rng.choice(["vllm"] * 30 + ["transformers"], size),
            "weight_dtype": rng.choice(["", "fp8"], size),
            "mode": rng.choice(["static", "serving"], size),
            "epoch": rng.choice(["2023", "2025-Q1"], size),
            "batch_size": rng.integers(1, 64, size),
            "input_tokens": rng.integers(10, 4000, size),
            "output_tokens": rng.integers(2, 500, size),
        }
    )
    table["tp"] = np.where(table["engine"].eq("vllm"), rng.choice([1, 2], size), 1)
    rows = joined(table)
    told = [f"x_{name}" for name in NUMBERS] + [f"is_{name}" for name in LABELS]
    lost = table["model"].eq("no/such-model")
    assert rows.loc[lost, told[0]].isna().all()
    assert rows.loc[~lost, told[0]].notna().all()
    for place in (*np.flatnonzero(~lost)[[0, 1, 2, -2, -1]], *np.flatnonzero(~lost)[::600]):
        alone = joined(table.iloc[[place]])
        for name in told:
            got, wanted = rows[name][place], alone[name][0]
            assert got == (wanted if name.startswith("is_") else pytest.approx(wanted)), name
        assert rows["is_gpu"][place] == table["gpu"][place]
        assert rows["is_mode"][place] == table["mode"][place]
        assert rows["is_era"][place] == {"2023": "2023", "2025-Q1": "now"}[table["epoch"][place]]


def test_without_kernels_it_is_the_plain_roofline():
    rows = joined(pd.DataFrame([STATIC, {**STATIC, "gpu": "l4"}]))
    plain = predict_table({**BASE, "gpu": ["h100-sxm5-80gb", "l4"], "batch": 4,
                           "input_len": 512, "output_len": 65})  # fmt: skip
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        np.testing.assert_allclose(rows[f"p_{name}"], plain[name], rtol=1e-12)


def test_decode_timed_from_an_empty_cache_is_priced_so():
    rows = joined(
        pd.DataFrame([{**STATIC, "input_tokens": 8000, "context_from_zero": z} for z in (0, True)])
    )
    empty = predict_table({**BASE, "batch": 4, "input_len": 1, "output_len": 65})
    assert rows["p_tpot_s"][1] == pytest.approx(empty["tpot_s"][0])
    assert rows["p_tpot_s"][0] > rows["p_tpot_s"][1]
    assert rows["p_ttft_s"][0] == rows["p_ttft_s"][1]
