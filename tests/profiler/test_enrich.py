# SPDX-License-Identifier: Apache-2.0
import pytest

from profiler.enrich import FACT_COLUMNS, gpu_facts, model_facts, with_facts
from profiler.parts import table_of
from specs.catalogue import get_accelerator
from specs.measurement import COLUMNS, Measurement


def test_facts_of_names_that_are_known():
    gpu = gpu_facts("l4")
    # The L4's data sheet: 24 GB, 300 GB/s, 72 W.
    assert gpu["gpu_vendor"] == "nvidia"
    assert gpu["gpu_mem_bytes_per_s"] == pytest.approx(300e9, rel=0.01)
    assert gpu["gpu_tdp_w"] == 72
    assert gpu["gpu_peak_fp4_per_s"] is None
    model = model_facts("gpt2")
    # 124,439,808 parameters: 50257*768 + 1024*768 + 12 * 7,087,872 + 1,536.
    assert model["model_params"] == 124_439_808
    assert model["model_type"] == "gpt2"
    assert {*gpu, *model} == set(FACT_COLUMNS)
    assert not set(FACT_COLUMNS) & set(COLUMNS)


def test_a_join_keeps_rows_and_order_and_reports_each_unknown_name_once():
    slug = get_accelerator("l4").name
    rows = [
        Measurement(kind="llm", gpu=slug, model="gpt2", batch_size=1),
        Measurement(kind="llm", gpu="abacus 9", model="gpt2", batch_size=2),
        Measurement(kind="llm", gpu="abacus 9", model="no/such", batch_size=3),
        Measurement(kind="kernel", gpu=slug, op="gemm"),
    ]
    problems = []
    table = with_facts(table_of(rows), on_problem=problems.append)
    assert table.column_names == [*COLUMNS, *FACT_COLUMNS]
    assert table["batch_size"].to_pylist() == [1, 2, 3, None]
    assert table["gpu_tdp_w"].to_pylist() == [72, None, None, 72]
    assert table["model_num_layers"].to_pylist() == [12, 12, None, None]
    assert [problem.where for problem in problems] == [
        "the facts of 'abacus 9'",
        "the facts of 'no/such'",
    ]
