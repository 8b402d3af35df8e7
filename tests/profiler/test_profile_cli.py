# SPDX-License-Identifier: Apache-2.0
"""``roofline profile`` as a user runs it, on this machine's processor."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from profiler.store import Store
from roofline.cli.main import main

pytest.importorskip("pyarrow")

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 101,
    "max_position_embeddings": 64,
}


@pytest.fixture
def tiny(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    return str(folder)


@pytest.fixture
def one_thread(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    before = torch.get_num_threads()
    yield ["--threads", "1", "--budget", "0.1", "--no-power", "--device", "cpu"]
    torch.set_num_threads(before)


def test_a_missing_package_is_no_failed_point(tiny, tmp_path, monkeypatch, capsys):
    # A point that is stored as failed would be skipped by --resume when it is installed.
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: None if name == "transformers" else real(name, package),
    )
    store = tmp_path / "store"
    assert main(["profile", "--model", tiny, "--store", str(store)]) == 2
    assert "needs transformers" in capsys.readouterr().err
    assert not store.exists()


@pytest.mark.slow
def test_a_model_is_measured_stored_and_shown(tiny, tmp_path, one_thread, capsys):
    store = str(tmp_path / "store")
    asked = ["profile", "--model", tiny, "--batch", "1,3", "--input-len", "16,60"]
    code = main([*asked, "--output-len", "8", "--store", store, *one_thread, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    answer = json.loads(out)
    rows = answer["measurements"]
    assert len(rows) == 4 == len(Store(store).read())
    done = [row for row in rows if row["quality"] != "failed"]
    # 60 + 8 tokens are more than the model's 64 positions.
    assert {row["input_tokens"] for row in done} == {16.0}
    assert {row["reason"].split(":")[0] for row in rows if row not in done} == {"context"}
    for row in done:
        assert row["e2e_s"] == pytest.approx(row["ttft_s"] + 7 * row["tpot_s"])
        assert row["decode_tok_s"] == pytest.approx(row["batch_size"] / row["tpot_s"])
        assert row["capture"] == "eager"
        assert row["power_w"] is None
        environment = json.loads(row["environment"])
        assert environment["decode_context"] == 16 + 3
        assert environment["prefill"]["median_s"] == row["ttft_s"]
        assert row["n_samples"] == len(row["samples_s"]) > 0
    assert main([*asked, "--output-len", "8", "--store", store, *one_thread, "--resume"]) == 0
    assert "4 were there already" in capsys.readouterr().out
    assert len(Store(store).read()) == 4


def _heeding():
    """Take Ctrl-C as at a terminal: a shell makes what it starts in the background deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_ctrl_c_keeps_finished_points_and_resume_measures_the_rest(tiny, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    store = tmp_path / "store"
    command = [sys.executable, "-m", "roofline", "profile", "--model", tiny]
    command += ["--batch", ",".join(map(str, range(1, 7))), "--input-len", "8"]
    command += ["--output-len", "4", "--store", str(store), "--budget", "0.2"]
    command += ["--threads", "1", "--no-power", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
        preexec_fn=_heeding,
    ) as process:  # fmt: skip
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("[2/6]"):
                time.sleep(0.1)  # in the middle of the third
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.read()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "with --resume measures the rest" in said
    kept = [row.point_id for row in Store(store).read()]
    assert 2 <= len(kept) < 6
    finished = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    rows = Store(store).read()
    assert len(rows) == 6 == len({row.point_id for row in rows})
    assert [row.point_id for row in rows][: len(kept)] == kept


def run_lines(capsys, *words):
    code = main(["profile", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to measure"),
        (("--model", "no/such-model-at-all"), "not shipped|no model"),
        (("--model", "gpt2", "--dtype", "fp8"), "fp32, bf16, fp16"),
        (("--model", "gpt2", "--device", "tpu"), "no device 'tpu'"),
        (("--model", "gpt2", "--device", "cpu", "--capture", "graph"), "CUDA or ROCm"),
        (("--model", "gpt2", "--gpu", "H100"), "belongs to --dstack"),
        (("--model", "gpt2", "--max-price", "4"), "belongs to --dstack"),
        (("--tabular", "--device", "cuda"), "on the processor"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words, says, capsys, monkeypatch, tmp_path):
    import re

    pytest.importorskip("torch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path))
    code, out, err = run_lines(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert re.search(says, err), err
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_one_line(capsys):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, _, err = run_lines(capsys, "--model", "gpt2", "--device", "cuda")
    assert code == 2
    assert "sees no cuda device" in err
    assert err.count("\n") == 1


def test_without_torch_it_says_what_to_install(capsys, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = run_lines(capsys, "--model", "gpt2")
    assert code == 2
    assert "pip install 'roofline[profile]'" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_dry_run_lists_the_points_and_measures_nothing(tiny, tmp_path, one_thread, capsys):
    store = tmp_path / "store"
    words = ["--model", tiny, "--batch", "1,2", "--store", str(store), "--dry-run", *one_thread]
    code, out, _ = run_lines(capsys, *words)
    assert code == 0
    assert out.startswith("2 points on ")
    assert not store.exists()


@pytest.mark.slow
def test_when_every_point_fails_it_says_why(tiny, tmp_path, one_thread, capsys):
    words = ["--model", tiny, "--input-len", "70", "--store", str(tmp_path / "store")]
    code, _, err = run_lines(capsys, *words, *one_thread)
    assert code == 2
    assert "the only point failed: context: 198 tokens" in err.splitlines()[-1]
    assert [row.quality for row in Store(tmp_path / "store").read()] == ["failed"]


@pytest.mark.slow
def test_kernels_give_a_device_to_predict_for(tmp_path, one_thread, capsys, monkeypatch):
    from profiler import kernels_peaks, plan
    from profiler.kernels import Kernel

    grid = [
        Kernel(op="launch", dtype="fp32"),
        Kernel(op="copy", dtype="fp32", sizes={"size_bytes": 2**22}),
        Kernel(op="gemm", dtype="fp32", sizes={"m": 64, "n": 64, "k": 64}),
        Kernel(op="gemm", dtype="fp32", sizes={"m": 1, "n": 2048, "k": 2048}),
        Kernel(op="gemm", dtype="fp32", sizes={"m": 128, "n": 256, "k": 64}),
    ]
    monkeypatch.setattr(plan, "kernel_grid", lambda target, dtypes: grid)
    monkeypatch.setattr(kernels_peaks, "stream_size_bytes", lambda target: 2**22)
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    code, out, err = run_lines(capsys, "--kernels", *one_thread)
    assert code == 0, err
    assert "predict with --gpu measured" in out
    assert main(["predict", "gpt2", "--gpu", "measured", "--engine", "transformers"]) == 0
    assert "TTFT" in capsys.readouterr().out
    # A resumed run that finds all kernels stored writes the device again.
    for path in (tmp_path / "store.measured").iterdir():
        path.unlink()
    code, out, _ = run_lines(capsys, "--kernels", *one_thread, "--resume")
    assert code == 0
    assert "5 were there already" in out
    assert main(["predict", "gpt2", "--gpu", "measured"]) == 0
