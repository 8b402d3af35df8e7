# SPDX-License-Identifier: Apache-2.0
"""Tables of a run: whole numbers whole, qualities with the codes of their reasons."""

from profiler.run_report import tables_text
from specs.measurement import Measurement

LONG = {
    "kind": "llm", "model": "gpt2", "weight_dtype": "fp32", "mode": "static", "batch_size": 100_000,
    "input_tokens": 131_072, "output_tokens": 2, "ttft_s": 0.0123456, "prefill_tok_s": 12.34567,
}  # fmt: skip


def cells(row):
    head, *lines = tables_text([row]).splitlines()
    assert head.split()[:2] in (["model", "dtype"], ["kernel", "dtype"])
    return lines[0].split()


def test_large_counts_are_not_rounded():
    said = cells(Measurement(**LONG))
    assert {"100,000", "131,072", "2", "12.35"} <= set(said)
    assert "12.3" in said  # ms


def test_a_step_says_how_many_layers():
    step = Measurement(kind="kernel", op="step", dtype="fp32", m=10, latency_s=1e-3)
    assert cells(step)[:5] == ["step", "of", "10", "layers", "fp32"]


def test_quality_comes_with_its_reasons():
    reason = "cpu: contended, 9% run delay; spread: 4% above 2%; cpu: slowed by neighbours"
    said = tables_text([Measurement(**LONG, quality="noisy", reason=reason)])
    assert said.endswith("noisy (contended, spread)")
