# SPDX-License-Identifier: Apache-2.0
import pytest

from profiler.importers.dstack_log import ALWAYS_UNSAID

LOG = """\
\x1b[32mProvisioning\x1b[0m
|   0  NVIDIA GeForce RTX 3090        On  | 00000000:01:00.0 Off |
Loading model mistralai/Mistral-7B-v0.1
Running model on the device: cuda:0
Time taken for 15 inferences: 40.5 seconds
Loading model Qwen/Qwen1.5-14B
Some parameters are on the meta device because they were offloaded to the cpu.
Time taken for 15 inferences: 3 min
model: Qwen/Qwen1.5-32B
torch.cuda.OutOfMemoryError: CUDA out of memory
model_name = "gpt2"
"""


def test_times_models_and_what_is_not_said(read):
    found = read(LOG, "run.log")
    first, second = found.rows
    assert (first.method, first.gpu, first.model) == (
        *("dstack-log", "rtx-3090", "mistralai/Mistral-7B-v0.1"),
    )
    assert first.e2e_s == pytest.approx(2.7)  # 40.5 / 15
    assert first.n_samples == 15
    assert first.quality == "partial"
    for words in (*ALWAYS_UNSAID, "input tokens", "batch size", "weight format"):
        assert words in first.reason
    assert (first.ttft_s, first.tpot_s, first.input_tokens) == (None, None, None)
    assert second.e2e_s == pytest.approx(12.0)  # 180 / 15
    assert "offloaded" in second.reason
    assert "offloaded" not in first.reason
    assert first.source_ref == "run.log, line 5"
    assert found.refused == (
        "model Qwen/Qwen1.5-32B: no time: torch.cuda.OutOfMemoryError: CUDA out of memory",
        "model gpt2: no time in the log; cut short?",
    )


def test_what_the_caller_says_is_no_longer_unsaid(read):
    facts = {"input_tokens": 20, "output_tokens": 100, "batch_size": 1, "weight_dtype": "fp16"}
    row = read(LOG, "run.log", **facts).rows[0]
    assert (row.input_tokens, row.output_tokens, row.batch_size) == (20, 100, 1)
    assert row.weight_dtype == "fp16"
    assert "batch size" not in row.reason
    assert row.quality == "partial"
    assert "power" in row.reason


def test_a_log_without_device_or_model_needs_both(read):
    found = read("Time taken for 2 inferences: 1500 ms\n", "run.log")
    assert found.refused == ("missing: --gpu, --model",)
    (row,) = read("Time taken for 2 inferences: 1500 ms\n", gpu="L4", model="gpt2").rows
    assert row.e2e_s == pytest.approx(0.75)


def test_a_log_that_says_no_time(read):
    with pytest.raises(Exception, match="without 'Time taken"):
        read("model: gpt2\nDone.\n", "run.log")
