# SPDX-License-Identifier: Apache-2.0
"""Blocks become rows; what cannot is kept and told."""

import base64
import json

import pytest

from profiler.launch.ask import Ask
from profiler.launch.blocks import Decoded
from profiler.launch.results import collect
from profiler.launch.server import Place, RunState
from profiler.launch.targets import target_of
from profiler.store import Store
from specs.measurement import Measurement

ASK = Ask(model="Qwen/Qwen3-8B", engine="vllm", batches=(8,), output_lens=(129,))
POINT = {"mode": "static", "batch_size": 8, "input_tokens": 512, "output_tokens": 129}
START = {
    "kind": "start",
    "steps": 1,
    "host_cpu": "AMD EPYC 9654 96-Core Processor",
    "devices": [
        {"name": "NVIDIA L4", "slug": "l4", "power_limit_w": 72.0, "versions": {"driver": "570.1"}}
    ],
    "versions": {"vllm": "0.33.0"},
    "power_reason": "",
}


def state(status="done", reason=""):
    return RunState(
        name="run-1",
        status=status,
        finished=True,
        reason=reason,
        submissions=("1",),
        place=Place(instance="g6.xlarge", region="eu", price_usd_per_h=0.8, backend="aws"),
        image="a/b@sha256:" + "1" * 64,
        env={},
        cost_usd=0.1,
    )


def decoded(*blocks, ended=True, missing=()):
    return Decoded(
        blocks=blocks, repeated=0, damaged=0, incomplete=(), missing=missing, ended=ended
    )


def result(text, **more):
    given = {"kind": "result", "step": 0, "error": "", "points": [POINT], "text": json.dumps(text)}
    return {**given, "format": "vllm-latency", "result": "latency.json", **more}


def latency(seconds, out):
    return result(
        {"avg_latency": seconds, "latencies": [seconds] * 3, "percentiles": {"50": seconds}},
        points=[{**POINT, "output_tokens": out}],
    )


def gather(*blocks, run=None, ask=ASK, gpu="L4", **more):
    return collect(
        run or state(), decoded(START, *blocks, **more), ask, target_of(gpu), project="p"
    )


def test_decode_is_the_difference_of_two_static_runs():
    found = gather(latency(0.5, 1), latency(3.06, 129))
    first, whole = found.rows
    assert first.e2e_s == pytest.approx(0.5)
    assert whole.ttft_s == pytest.approx(0.5)
    assert whole.tpot_s == pytest.approx(0.02)  # (3.06 - 0.5) / 128
    assert "difference of two runs" in whole.notes
    assert (whole.engine_version, whole.driver, whole.power_limit_w) == ("0.33.0", "570.1", 72.0)
    assert (whole.gpu, whole.gpu_raw, whole.run_id) == ("l4", "NVIDIA L4", "run-1")
    assert whole.source_ref == "dstack:p/run-1"
    assert json.loads(whole.environment)["backend"] == "aws"


def test_a_run_that_ended_early_is_partial():
    lost = state("failed", "the machine stopped answering")
    (row,) = gather(latency(3.06, 129), run=lost, ended=False).rows
    assert (row.quality, row.reason) == (
        "partial",
        "run ended early: the machine stopped answering",
    )
    (row,) = gather(latency(3.06, 129), missing=(2,)).rows
    assert (row.quality, row.reason) == ("partial", "log incomplete")
    (row,) = gather(latency(3.06, 129)).rows
    assert row.quality == "ok"


def test_a_failed_step_is_a_failed_row_per_point():
    block = result({}, error="out of memory", points=[POINT, {**POINT, "batch_size": 64}])
    rows = gather(block).rows
    assert [(row.batch_size, row.quality, row.reason) for row in rows] == [
        (8, "failed", "out of memory"),
        (64, "failed", "out of memory"),
    ]
    assert gather(block).measured == 0


def test_what_no_importer_takes_is_kept_as_it_came():
    found = gather(result({"surprise": 1}), latency(3.06, 129))
    assert len(found.rows) == 1
    assert found.unread == {"run-1-0-latency.json": '{"surprise": 1}'}
    assert found.notes[0].startswith("step 0: ")


def test_rows_of_the_profiler_inside_keep_what_they_say(tmp_path):
    inside = Measurement(
        kind="llm",
        engine="transformers",
        model="Qwen/Qwen3-8B",
        gpu="l4",
        tpot_s=0.03,
        quality="noisy",
        environment='{"torch": "2.9"}',
        host_cpu="its own word",
    )
    path = Store(tmp_path).append([inside])
    data = base64.b64encode(path.read_bytes()).decode()
    block = {"kind": "rows", "step": 0, "name": path.name, "data": data}
    (row,) = gather(block, ended=False, run=state("failed", "stopped by a user")).rows
    assert (row.tpot_s, row.host_cpu, row.quality) == (0.03, "its own word", "noisy")
    assert "stopped by a user" in row.notes
    assert (row.instance, row.price_usd_per_h) == ("g6.xlarge", 0.8)
    assert json.loads(row.environment)["torch"] == "2.9"


def test_a_kernel_is_of_no_model(tmp_path):
    inside = Measurement(kind="kernel", op="copy", size_bytes=2**20, latency_s=1e-5)
    path = Store(tmp_path).append([inside])
    data = base64.b64encode(path.read_bytes()).decode()
    (row,) = gather({"kind": "rows", "step": 0, "name": path.name, "data": data}).rows
    assert (row.model, row.engine, row.gpu, row.instance) == ("", "", "l4", "g6.xlarge")
    failed = result({}, error="exit 1: no torch", format="rows", points=[{"kind": "kernel"}])
    found = gather({**failed, "files": 0})
    assert not found.rows
    assert "no torch" in found.notes[0]


def test_a_profiler_that_broke_off_says_so_once():
    block = result({}, error="out of memory", format="rows", files=3)
    found = gather(block)
    assert not found.rows
    assert found.notes == ("step 0 broke off after 3 part-files: out of memory",)


def test_a_damaged_part_file_is_no_row():
    block = {"kind": "rows", "step": 0, "name": "x.parquet", "data": "AAAA"}
    found = gather(block)
    assert not found.rows
    assert found.notes


def test_served_load_is_summed_up_by_definition():
    text = {
        "duration_s": 2.0,
        "failed": 1,
        "requests": [
            {"ttft_s": 0.1, "e2e_s": 0.5, "input_tokens": 10, "output_tokens": 5},
            {"ttft_s": 0.3, "e2e_s": 0.5, "input_tokens": 14, "output_tokens": 3},
        ],
    }
    point = {"mode": "serving", "concurrency": 2, "input_tokens": 12, "output_tokens": 5}
    block = result(text, format="client", points=[point], power_w=50.0)
    (row,) = gather(block, ask=Ask(model="gpt2", engine="tgi", concurrencies=(2,))).rows
    assert row.ttft_s == pytest.approx(0.2)
    assert row.tpot_s == pytest.approx(0.1)  # both (0.5 - 0.1) / 4 and (0.5 - 0.3) / 2
    assert row.decode_tok_s == pytest.approx(4.0)  # 8 tokens in 2 s
    assert row.total_tok_s == pytest.approx(16.0)
    assert (row.input_tokens, row.output_tokens, row.power_w) == (12, 4, 50.0)
    assert (row.quality, row.reason) == ("partial", "1 requests failed")


def test_a_machine_without_sensors_is_named_by_its_offer():
    start = {**START, "devices": []}
    blocks = decoded(start, latency(3.06, 129))
    (row,) = collect(state(), blocks, ASK, target_of("MI300X"), project="p").rows
    assert row.gpu == "mi300x"
    assert row.power_w is None


def test_a_processor_is_named_by_itself():
    (row,) = gather(latency(3.06, 129), gpu="cpu").rows
    assert "epyc" in row.gpu
    assert row.gpu_raw == "AMD EPYC 9654 96-Core Processor"
