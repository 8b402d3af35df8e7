# SPDX-License-Identifier: Apache-2.0
"""The agent as it runs on a machine: unpacked from its payload, with stand-in engines."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.launch.ask import Ask
from profiler.launch.blocks import decode
from profiler.launch.engines import Step, steps_of
from profiler.launch.payload import payload, plan_of, requirements
from profiler.launch.results import collect
from profiler.launch.server import Place, RunState
from profiler.launch.targets import target_of

RUN = "roofline-l4-0a1b2c"
STANDINS = Path(__file__).parent / "standins"
ASK = Ask(model="Qwen/Qwen3-8B", engine="vllm", batches=(1,), output_lens=(129,))

VLLM = """
import json, sys
words = sys.argv[1:]
cases = [words[i + 1] for i, word in enumerate(words) if word == "--case"]
record = lambda name, n, q, kv: {"case": name, "median_us": 1000.0 * n,
    "requests": [{"query_len": q, "kv_len": kv, "num_draft_tokens": 0}] * n, "ranks": []}
made = []
for case in cases:
    name, _, shape = case.partition("=")
    number, _, rest = shape.partition("*")
    query, _, context = rest.partition("@")
    made.append(record(name, int(number), int(query), int(context or query)))
open(words[words.index("--output-json") + 1], "w").write(json.dumps(made))
"""


def unpacked(folder, steps, *, whole=False):
    with zipfile.ZipFile(io.BytesIO(payload(plan_of(RUN, steps), whole=whole))) as archive:
        archive.extractall(folder)
    return folder


def run(folder, **env):
    """Exit status and decoded log of an agent in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "profiler.launch.agent", "plan.json"],
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.returncode, done.stdout, decode(done.stdout, RUN)


def step(argv, **more):
    given = {"name": "x", "points": ({"batch_size": 1},), "format": "client", "result": "out.json"}
    return Step(argv=argv, **(given | more))


def state(**more):
    given = {
        "name": RUN,
        "status": "done",
        "finished": True,
        "reason": "",
        "submissions": ("1",),
        "place": Place(
            backend="aws", instance="g6.xlarge", region="eu", price_usd_per_h=0.8, gpu="L4", gpus=1
        ),
        "image": "a/b@sha256:" + "1" * 64,
        "env": {},
        "cost_usd": 0.1,
    }
    return RunState(**(given | more))


@pytest.mark.slow
def test_a_whole_plan(tmp_path):
    """A result, a failure, no memory, no result, no program: each is told, none stops the rest."""
    write = "import sys; print('hello'); open('out.json', 'w').write('{\"x\": 1}')"
    steps = [
        step(["python3", "-c", write]),
        step(["python3", "-c", "import sys; sys.exit('what a pity')"]),
        step(["python3", "-c", "raise SystemExit('torch.OutOfMemoryError: CUDA out of memory.')"]),
        step(["python3", "-c", ""]),
        step(["no-such-program"]),
        step(["python3", "-c", "import time; time.sleep(60)"], timeout_s=0.1),
    ]
    status, log, decoded = run(unpacked(tmp_path, steps))
    assert status == 0
    assert decoded.complete
    start, *results, end = decoded.blocks
    assert start["steps"] == 6
    assert start["python"] == sys.version.split()[0]
    assert start["power_reason"].startswith("power: ")
    assert end == {"kind": "end", "blocks": 8}
    assert [block["error"] for block in results] == [
        "",
        "exit 1: what a pity",
        "out of memory",
        "no result: No such file or directory",
        "no-such-program: No such file or directory",
        "stopped after 0.1 s",
    ]
    assert results[0]["text"] == '{"x": 1}'
    assert results[0]["points"] == [{"batch_size": 1}]
    assert b"| what a pity" in log
    # Small blocks are printed twice: half of the log can be lost.
    assert decode(log[: len(log) // 2 + 200], RUN).blocks[:2] == decoded.blocks[:2]
    first = decoded.repeated
    assert first == len(decoded.blocks)


def test_nothing_measured_is_a_failed_job(tmp_path):
    status, _, decoded = run(unpacked(tmp_path, [step(["no-such-program"])]))
    assert status == 1
    assert decoded.complete


@pytest.mark.slow
def test_a_server_is_started_kept_and_ended(tmp_path):
    marker = tmp_path / "starts"
    code = (
        f"import http.server, sys; open({str(marker)!r}, 'a').write('x');"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])),"
        "http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    server = {
        "argv": ["python3", "-c", code, "{port}"],
        "ready": "http://127.0.0.1:{port}/",
        "timeout_s": 30,
    }
    ask = (
        "import sys, urllib.request as u; u.urlopen('http://127.0.0.1:' + sys.argv[1]);"
        "open('out.json', 'w').write(sys.argv[1])"
    )
    steps = [step(["python3", "-c", ask, "{port}"], server=server)] * 2
    steps.append(step(["python3", "-c", "0"], server={**server, "argv": ["python3", "-c", "0"]}))
    status, _, decoded = run(unpacked(tmp_path / "run", steps))
    results = [block for block in decoded.blocks if block["kind"] == "result"]
    assert status == 0
    assert results[0]["text"] == results[1]["text"]
    assert marker.read_text() == "x"
    assert results[2]["error"] == "server: exit 0: no output"


@pytest.mark.slow
def test_vllm_forward_from_command_to_rows(tmp_path):
    """The real recipe and the real importer around a stand-in for vLLM."""
    package = tmp_path / "fake" / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    (package / "main.py").write_text(VLLM)
    folder = unpacked(tmp_path / "run", steps_of(replace(ASK, batches=(1, 4)), target_of("L4")))
    status, _, decoded = run(folder, PYTHONPATH=str(tmp_path / "fake"))
    assert status == 0
    found = collect(state(), decoded, ASK, target_of("L4"), project="main")
    assert not found.notes
    assert [(row.batch_size, row.input_tokens, row.output_tokens) for row in found.rows] == [
        (1, 512, 0),
        (1, 577, 1),
        (4, 512, 0),
        (4, 577, 1),
    ]
    # The stand-in says 1 ms per sequence: 512 tokens in 1 ms, and 4 ms for a step of four.
    assert found.rows[0].prefill_tok_s == pytest.approx(512_000)
    assert found.rows[3].tpot_s == pytest.approx(4e-3)
    assert {row.gpu for row in found.rows} == {"l4"}
    assert {row.weight_dtype for row in found.rows} == {"bf16"}
    assert {row.image_digest for row in found.rows} == {"sha256:" + "1" * 64}
    assert {(row.instance, row.region, row.price_usd_per_h) for row in found.rows} == {
        ("g6.xlarge", "eu", 0.8)
    }
    assert {row.source for row in found.rows} == {"first-party"}


@pytest.mark.slow
def test_transformers_from_command_to_rows(tmp_path):
    """The profiler inside the payload measures a small model on this machine's CPU."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name)
    ask = Ask(
        model="EleutherAI/pythia-70m",
        engine="transformers",
        batches=(1, 2),
        input_lens=(16,),
        output_lens=(4,),
        weight_dtype="fp32",
    )
    (step,) = steps_of(ask, target_of("cpu"))
    step = replace(step, argv=[*step.argv, "--budget", "0.1", "--no-power"])
    folder = unpacked(tmp_path, [step], whole=True)
    home = {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    status, log, decoded = run(folder, **home)
    assert status == 0, log.decode()[-2000:]
    found = collect(state(), decoded, ask, target_of("cpu"), project="main")
    assert sorted(row.batch_size for row in found.rows) == [1, 2]
    assert all(row.ttft_s and row.tpot_s for row in found.rows)
    assert {row.engine for row in found.rows} == {"transformers"}
    assert {row.instance for row in found.rows} == {"g6.xlarge"}
    assert {row.run_id for row in found.rows} == {RUN}


def test_the_payload_is_small_and_always_the_same():
    plan = plan_of(RUN, steps_of(ASK, target_of("L4")))
    data = payload(plan, whole=True)
    assert data == payload(plan, whole=True)
    assert len(data) < 1_500_000
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("plan.json"))["run"] == RUN
    assert "roofline/cli/profile.py" in names
    assert "profiler/launch/images.toml" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    assert len(payload(plan, whole=False)) < len(data)


def test_the_machines_own_torch_is_left_alone():
    assert not [name for name in requirements() if name.startswith("torch")]
    names = {re.split(r"[<>=~!]", name)[0] for name in requirements()}
    assert {"numpy", "pyyaml", "transformers", "pyarrow", "accelerate"} <= names
    assert not names & {"pytest", "dstack", "scikit-learn"}
