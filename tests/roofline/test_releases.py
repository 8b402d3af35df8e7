# SPDX-License-Identifier: Apache-2.0
"""Older releases of engines: the year of a scenario picks the profile."""

from dataclasses import replace

import numpy as np
import pytest

from roofline.predict import predict
from roofline.table import predict_table
from specs.engine import get_engine
from specs.errors import InvalidInputError

LLAMA = "meta-llama/Meta-Llama-3-8B"
ASKED = {"input_len": 512, "output_len": 128}


def _tpot_s(gpu, engine="vllm", **asked):
    return predict(LLAMA, gpu, engine=engine, **{**ASKED, **asked}).tpot_s


def test_work_for_each_sequence_comes_on_top_of_the_step():
    # V0 against V1: 1.5 against 0.8 ms a step, 90 against 4 us per sequence. 64 sequences:
    # 0.7 + 64 * 0.086 = 6.204 ms.
    added = _tpot_s("H100 SXM", batch=64, engine_year=2024) - _tpot_s("H100 SXM", batch=64)
    assert added == pytest.approx(6.204e-3, rel=1e-6)


def test_where_nothing_is_captured_more_devices_do_not_help():
    eager = [_tpot_s("H100 SXM", tp=tp, engine_year=2023) for tp in (4, 8)]
    captured = [_tpot_s("H100 SXM", tp=tp, engine_year=2024) for tp in (4, 8)]
    assert eager[0] == pytest.approx(eager[1], rel=0.02)
    assert eager[0] > 1.5 * captured[0]
    # A device that is slower than the launches hides them; scheduling and sampling are left:
    # 5 against 1.5 ms a step, 300 against 90 us a sequence.
    added = _tpot_s("L4", engine_year=2023) - _tpot_s("L4", engine_year=2024)
    assert added == pytest.approx(3.71e-3, rel=1e-3)


def test_amd_was_not_captured_when_nvidia_was():
    assert _tpot_s("MI300X", engine_year=2024) > 1.5 * _tpot_s("H100 SXM", engine_year=2024)
    tp = [_tpot_s("MI300X", tp=tp, engine_year=2024) for tp in (2, 8)]
    assert tp[0] == pytest.approx(tp[1], rel=0.05)


def test_a_column_of_years_prices_each_row_as_alone():
    years = [np.nan, 2023, 2024, 2026, np.nan, 2024]
    table = predict_table({"model": LLAMA, "gpu": "H100 SXM", "engine_year": years, **ASKED})
    for row, year in enumerate(years):
        alone = predict(
            LLAMA, "H100 SXM", engine_year=None if np.isnan(year) else int(year), **ASKED
        )
        assert table["tpot_s"][row] == pytest.approx(alone.tpot_s, rel=1e-12)
    assert len(set(table["tpot_s"].round(9))) == 3


def test_an_engine_given_as_a_noun_is_taken_as_it_is():
    profile = replace(get_engine("vllm"), host_step_s=0.0)
    assert _tpot_s("H100 SXM", engine=profile, engine_year=2023) == _tpot_s(
        "H100 SXM", engine=profile
    )


def test_years_that_cannot_be_are_refused():
    with pytest.raises(InvalidInputError, match="engine_year is 1024"):
        predict(LLAMA, "H100 SXM", engine_year=1024)
    # Half a year would be of one release and of another era.
    with pytest.raises(InvalidInputError, match=r"engine_year is 2023\.5"):
        predict(LLAMA, "H100 SXM", engine_year=2023.5)


def test_sixteen_bits_of_2024_were_read_at_the_pace_of_lanes():
    # llama.cpp on H100 PCIe: 13 instructions for each of 7.5e9 weights, 114 SMs of 64 lanes
    # at 1.755 GHz, 0.7 of them: 97.5e9 / 8.96e12 = 10.9 ms, more than 15 GB at 0.89 of
    # 2.04 TB/s take (8.3 ms); the two overlap in part. An RTX 4090 has more lanes and half
    # the bandwidth, and hardly feels it. Formats of fewer bits ran by another kernel.
    def ratio(gpu, weight):
        asked = {"engine": "llama.cpp", "weight_dtype": weight}
        return _tpot_s(gpu, engine_year=2024, **asked) / _tpot_s(gpu, engine_year=2025, **asked)

    assert 1.4 < ratio("H100 PCIe", "fp16") < 1.7
    assert 1.0 < ratio("RTX 4090", "fp16") < 1.08
    assert ratio("H100 PCIe", "q8_0") == 1.0
    assert ratio("m2-ultra-76", "fp16") == 1.0


def test_without_flash_attention_each_query_head_reads_the_cache():
    # llama.cpp until 2025 on an A100 (108 SMs of 64 lanes at 1.41 GHz, 0.7 of them: 6.82e12/s):
    # 12 instructions for each of 32 layers * 8 KV heads * 256 elements * 4 queries a key, so
    # 262 144 * 12 / 6.82e12 = 0.461 us per token of context; bytes alone take
    # 131 072 / (0.65 * 1.935e12) = 0.104 us. With twice the keys, 8,192 against 4,096:
    def added_s(year):
        few, many = (
            predict(
                LLAMA, "A100 PCIe 80GB", engine="llama.cpp", weight_dtype="q4_0",
                input_len=length, output_len=2, engine_year=year,
            ).tpot_s
            for length in (4096, 8192)
        )  # fmt: skip
        return many - few

    assert added_s(2025) == pytest.approx(4096 * 0.461e-6, rel=0.02)
    assert added_s(None) == pytest.approx(4096 * 0.104e-6, rel=0.02)


def test_several_rows_run_on_tiles():
    asked = {"engine": "llama.cpp", "weight_dtype": "fp16", "batch": 16}
    older, newer = (_tpot_s("H100 PCIe", engine_year=year, **asked) for year in (2024, 2025))
    assert older == newer


def test_ollama_samples_from_the_whole_vocabulary():
    # 3 ns for each of Llama 3's 128 256 entries: 0.385 ms a token more than llama.cpp.
    asked = {"weight_dtype": "q4_0"}
    added = _tpot_s("RTX 4090", engine="ollama", **asked) - _tpot_s(
        "RTX 4090", engine="llama.cpp", **asked
    )
    assert added == pytest.approx(128_256 * 3e-9, rel=1e-9)


def test_a_prompt_waits_under_tgi_as_long_as_it_is_told_to_under_others():
    waits = predict_table({
        "model": LLAMA, "gpu": "A100 SXM 80GB", "engine": "tgi", "concurrency": 16,
        "spread_frac": 1.0, "held_steps": [0.0, get_engine("tgi").held_steps, 10.0], **ASKED,
    })["ttft_s"]  # fmt: skip
    assert waits[0] == waits[1] < waits[2]
