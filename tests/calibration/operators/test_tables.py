# SPDX-License-Identifier: Apache-2.0
"""Kernel tables are read into samples; the shipped artifact loads and stays small."""

import os
from pathlib import Path

import numpy as np
import pytest

from calibration.operators.apply import ARTIFACT, load_operators
from calibration.operators.facts import facts_of
from calibration.operators.features import SCHEMES, gemm_terms
from calibration.operators.kernels import read_samples
from calibration.operators.tables import table_paths
from specs.catalogue import get_accelerator
from specs.errors import InvalidInputError

SHARED = os.environ.get("ROOFLINE_SHARED_DATA", "")


def test_empty_folder_says_what_to_give(tmp_path):
    with pytest.raises(InvalidInputError, match="kernel tables"):
        table_paths(tmp_path)


def test_table_becomes_samples(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = 60
    m = np.tile([1, 16, 256, 4096], rows // 4)
    table = pd.DataFrame(
        {
            "gpu": "h100-sxm5-80gb",
            "framework": "vllm",
            "framework_version": "1",
            "op": "gemm",
            "op_detail": "gemm",
            "kernel": "k",
            "launch": ["cuda_graph"] * 50 + ["eager"] * 10,
            "dtype": "bf16",
            "m": m,
            "n": 4096,
            "k": [1024] * 30 + [32768] * 30,
            "latency_s": 1e-4,
        }
    )
    table.to_parquet(tmp_path / "x.parquet")
    (sample,) = read_samples(tmp_path)
    assert (sample.device, sample.family, sample.operator) == (
        "h100-sxm5-80gb",
        "hopper",
        "gemm_bf16",
    )
    assert len(sample) == 50  # launches from the host are left out
    # 6 copies of 4096 x 1024 x 2 B = 50 MB fit about one cache; of 32768 they do not.
    assert int(sample.cold.sum()) == 20


def test_shipped_constants_load_and_keep_above_the_roofline():
    assert ARTIFACT.stat().st_size < 200_000
    laws = load_operators()
    for name in ("h100-sxm5-80gb", "l40s", "rtx-4090", "mi300x", "t4"):
        facts = facts_of(get_accelerator(name))
        terms = gemm_terms([1, 64, 8192], 8192, 8192, scheme=SCHEMES["bf16"], facts=facts)
        plain = np.maximum(terms["ideal_s"], terms["memory_s"])
        times = laws.time_s("gemm_bf16", terms, facts, engine="vllm")
        assert np.all(times > plain)
        assert np.all(times < 4.0 * plain)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason="ROOFLINE_SHARED_DATA is not set")
def test_measured_tables_agree_with_the_shipped_constants():
    pytest.importorskip("pyarrow")
    laws = load_operators()
    samples = read_samples(Path(SHARED) / "kernels", most_rows=200)
    wanted = [s for s in samples if s.operator == "gemm_bf16"]
    assert len(wanted) >= 5
    for sample in wanted:
        facts = facts_of(get_accelerator(sample.device))
        times = laws.time_s("gemm_bf16", sample.terms, facts, cold=False)
        assert np.median(np.abs(np.log(times / sample.seconds))) < 0.2
