# SPDX-License-Identifier: Apache-2.0
"""What cannot be answered: one line on stderr, exit code 2, and what to do next."""

import json
import os
import socket
import subprocess
import sys

import pytest

from roofline.cli import main as face
from specs.hub import get_config

LLAMA = "meta-llama/Llama-3.1-8B"
L4 = ("--gpu", "L4")


def refused(capsys, *words):
    """The one line that a command line is refused with."""
    try:
        code = face.main(list(words))
    except SystemExit as left:
        code = left.code
    done = capsys.readouterr()
    assert code == 2
    assert done.out == ""
    assert done.err.startswith("roofline: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    assert len(done.err) < 700
    assert done.err.isprintable() or done.err[:-1].isprintable()
    return done.err


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def unreachable(*_args, **_more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        # names
        (("gpt3-xl", *L4), ["gpt3-xl", "nearest", "gpt2-xl", "config.json"]),
        (("no such model", *L4), ["no such model", "config.json"]),
        (("", *L4), ["model", "give"]),
        (("a/b/c/d", *L4), ["a/b/c/d", "config.json"]),
        (("../../etc/passwd", *L4), ["passwd"]),
        ((LLAMA, "--gpu", "RTX 9090"), ["RTX 9090", "rtx-4090", "--gpu-file"]),
        ((LLAMA, "--gpu", ""), ["gpu", "give"]),
        ((LLAMA, "--gpu", "cpu"), ["'cpu'", "give a model such as 'EPYC 9654'"]),
        ((LLAMA, "--gpu", "8xH100"), ["8xH100", "give --gpu H100 --num-gpus 8"]),
        ((LLAMA, "--gpu", "4 x RTX 4090"), ["give --gpu 'RTX 4090' --num-gpus 4"]),
        ((LLAMA, "--gpu", "H100 x8"), ["give --gpu H100 --num-gpus 8"]),
        ((LLAMA, "--gpu", "8xZX81"), ["8xZX81", "specs gpus"]),
        ((LLAMA, "--gpu", "a100"), ["a100-pcie-80gb", "a100-sxm4-40gb", "Name one"]),
        ((LLAMA, *L4, "--engine", "vlm"), ["vlm", "vllm", "sglang"]),
        ((LLAMA, *L4, "--engine", ""), None),
        ((LLAMA, *L4, "--weight-dtype", "fp7"), ["fp7", "fp8", "Choose"]),
        ((LLAMA, *L4, "--kv-dtype", "float99"), ["float99"]),
        ((LLAMA, *L4, "--act-dtype", "nonsense"), ["nonsense"]),
        # sizes
        ((LLAMA, *L4, "--batch", "0"), ["batch", "0", "at least 1"]),
        ((LLAMA, *L4, "--batch=-4"), ["batch", "-4", "at least 1"]),
        ((LLAMA, *L4, "--batch", "1.5"), ["batch", "1.5", "whole number"]),
        ((LLAMA, *L4, "--batch", "1e30"), ["batch", "1e+30", "at most"]),
        ((LLAMA, *L4, "--batch", "many"), ["many", "whole number", "--help"]),
        ((LLAMA, *L4, "--batch", "nan"), ["batch", "nan"]),
        ((LLAMA, *L4, "--batch", "9" * 400), ["batch"]),
        ((LLAMA, *L4, "--concurrency", "0"), ["concurrency", "at least 1"]),
        ((LLAMA, *L4, "--concurrency", "inf"), ["concurrency", "inf"]),
        ((LLAMA, *L4, "--batch", "2", "--concurrency", "2"), ["not allowed with"]),
        ((LLAMA, *L4, "--input-len", "0"), ["input_len", "at least 1"]),
        ((LLAMA, *L4, "--isl", "-5"), ["input_len", "-5", "at least 1"]),
        ((LLAMA, *L4, "--isl", "0.5"), ["input_len", "0.5", "whole number"]),
        ((LLAMA, *L4, "--osl", "1e18"), ["output_len", "at most"]),
        ((LLAMA, *L4, "--osl", "0"), ["output_len", "at least 1"]),
        ((LLAMA, *L4, "--power-limit", "0"), ["power", "0"]),
        ((LLAMA, *L4, "--power-limit=-100"), ["power"]),
        ((LLAMA, *L4, "--power-limit", "300 apples"), ["apples", "300W"]),
        ((LLAMA, *L4, "--power-limit", "inf"), ["power"]),
        # parallelism
        ((LLAMA, *L4, "--tp", "3"), ["tp 3", "32 heads", "choose"]),
        ((LLAMA, *L4, "--tp", "0"), ["tp", "at least 1"]),
        ((LLAMA, *L4, "--tp", "2.5"), ["tp", "whole number"]),
        ((LLAMA, *L4, "--pp", "64"), ["pp 64", "32 layers"]),
        ((LLAMA, *L4, "--ep", "2", "--tp", "2"), ["no experts", "ep"]),
        ((LLAMA, *L4, "--num-gpus", "8", "--tp", "3"), ["8 GPUs", "tp 3"]),
        ((LLAMA, *L4, "--num-gpus", "8", "--tp", "2", "--pp", "2"), ["8", "tp 2"]),
        (("Qwen/Qwen3-30B-A3B", *L4, "--tp", "4", "--ep", "3"), ["ep 3", "choose"]),
        # a precision that the card lacks
        ((LLAMA, "--gpu", "a100 sxm4 80gb", "--act-dtype", "fp8"), ["fp8", "int8", "Choose"]),
        ((LLAMA, "--gpu", "h200", "--act-dtype", "fp4"), ["fp4", "fp8"]),
        # usage
        ((LLAMA,), ["--gpu", "--help"]),
        ((*L4,), ["MODEL"]),
        ((LLAMA, *L4, "--gpu-file", "x.toml"), ["--gpu-file", "not allowed"]),
        ((LLAMA, *L4, "--bat", "3"), ["unrecognized", "--bat"]),
        ((LLAMA, *L4, "--gpu", "h100-sxm5-80gb"), ["--gpu", "given twice", "'L4'"]),
        ((LLAMA, *L4, "--isl", "512", "--input-len", "256"), ["--isl", "twice", "512", "256"]),
        ((LLAMA, "--gpu-file", "missing.toml"), ["missing.toml", "gpu-file"]),
        ((LLAMA, "--gpu-file", "."), ["folder"]),
    ],
)
def test_one_line_that_says_what_to_do(capsys, words, says):
    if says is None:
        assert face.main(["predict", *words]) == 0
        return
    for command in ("predict", "explain"):
        line = refused(capsys, command, *words)
        for word in says:
            assert word in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("simulate",), ["simulate", "predict", "explain", "specs"]),
        (("--frobnicate",), ["--frobnicate"]),
        (("specs",), ["WHAT"]),
        (("specs", "cars"), ["cars", "gpus"]),
        (("specs", "gpu", "a100"), ["a100-pcie-80gb"]),
        (("specs", "gpu", "zx81"), ["zx81", "specs gpus"]),
        (("specs", "gpus", "--vendor", "acme"), ["nvidia", "amd"]),
        (("specs", "gpus", "--min-memory", "80XB"), ["80XB", "GiB"]),
        (("specs", "gpus", "--min-memory", "-1GB"), ["min-memory", "-1GB", "positive"]),
        (("specs", "gpus", "--min-memory=-1GB"), ["min-memory", "-1GB", "positive"]),
        (("specs", "gpus", "--min-memory", "80"), ["80", "give a unit, such as 80GB"]),
        (("specs", "gpus", "--min-memory", "8e10"), ["8e10", "give a unit"]),
        (("specs", "model", "gpt3-xl"), ["gpt2-xl"]),
        (("specs", "models", "--match", "zx81"), ["zx81"]),
        (("specs", "fetch", ""), ["name", "address"]),
        (("specs", "fetch", "GeForce RTX 9090", "--offline"), ["9090", "--gpu-file"]),
        (("specs", "fetch", "https://example.org/x.c1"), ["example.org"]),
    ],
)
def test_other_commands_refuse_alike(capsys, tmp_path, monkeypatch, words, says):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    line = refused(capsys, *words)
    for word in says:
        assert word in line


def config_with(**changes):
    config, _ = get_config(LLAMA)
    return {**config, **changes}


def nested(depth):
    return "[" * depth + "]" * depth


HOSTILE = {
    "empty": b"",
    "cut short": b'{"model_type": "llama", "hidden_size": 40',
    "no JSON": b"model_type: llama",
    "no text": b"\x00\xff\xfe\x80",
    "a list": b"[1, 2, 3]",
    "a number": b"7",
    "null": b"null",
    "nothing in it": b"{}",
    "deep": f'{{"model_type": {nested(100_000)}}}'.encode(),
    "deep inside": f'{{"model_type": "llama", "rope_scaling": {nested(60)}}}'.encode(),
    "no type": b'{"hidden_size": 4096}',
    "wrong type of type": b'{"model_type": ["llama"]}',
    "text for a size": json.dumps(config_with(hidden_size="wide")).encode(),
    "list for a size": json.dumps(config_with(num_hidden_layers=[32])).encode(),
    "negative size": json.dumps(config_with(num_hidden_layers=-1)).encode(),
    "zero heads": json.dumps(config_with(num_attention_heads=0)).encode(),
    "huge size": json.dumps(config_with(hidden_size=10**30)).encode(),
    "huge layers": json.dumps(config_with(num_hidden_layers=10**12)).encode(),
    "NaN": json.dumps(config_with(vocab_size=float("nan"))).encode(),
    "infinite": json.dumps(config_with(intermediate_size=float("inf"))).encode(),
    "half a head": json.dumps(config_with(num_attention_heads=31.5)).encode(),
    "quantised wrongly": json.dumps(config_with(quantization_config="yes")).encode(),
    "a million fields": json.dumps({f"field_{i}": i for i in range(100_000)}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configs_are_refused_on_one_line(capsys, tmp_path, name):
    path = tmp_path / "config.json"
    path.write_bytes(HOSTILE[name])
    line = refused(capsys, "predict", str(path), *L4)
    assert "config" in line


def test_strangers_fields_do_not_steer_the_terminal(capsys, tmp_path):
    path = tmp_path / "config.json"
    odd = {"num_widgets\x1b[31m": 7, "quantization_config": {"quant_method": "\x1b[31mred\n"}}
    path.write_text(json.dumps(config_with(**odd)), encoding="utf-8")
    assert face.main(["predict", str(path), *L4]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    # Not understood and said so, rather than guessed or refused.
    assert "num_widgets" in text
    assert "not understood" in text


def test_interrupted_download_is_named(capsys, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(HOSTILE["cut short"])
    assert "delete the file" in refused(capsys, "predict", str(path), *L4)


def test_weight_files_are_not_read(capsys, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    assert "--weight-dtype" in refused(capsys, "predict", str(path), *L4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["lacks", "bandwidth"]),
        ("name = ", ["TOML"]),
        ("\x00\x01", ["TOML"]),
        ("name = 'x'\nbandwith = '1 GB/s'", ["bandwith", "bandwidth"]),
        ("name = 'x'\nmemory = 24", ["no unit"]),
        ("name = 'x'\nmemory = '24 parsecs'", ["24 parsecs"]),
        ("a = " + "[" * 5000 + "]" * 5000, ["TOML"]),
    ],
)
def test_gpu_files_are_checked(capsys, tmp_path, text, says):
    path = tmp_path / "gpu.toml"
    path.write_text(text, encoding="utf-8")
    line = refused(capsys, "predict", LLAMA, "--gpu-file", str(path))
    for word in says:
        assert word in line


def test_no_network_is_quick_and_quiet():
    # The library that fetches retries and warns; a fresh process shows what is left of it.
    watch = (
        "import socket, sys\n"
        "def none(*_args, **_more): raise socket.gaierror(-2, 'Name or service not known')\n"
        "socket.getaddrinfo = none\n"
        "from roofline.cli.main import main\n"
        "sys.exit(main(['predict', 'acme/model-that-is-nowhere', '--gpu', 'L4']))"
    )
    command = [sys.executable, "-c", watch]
    hidden = ("HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    env = {name: value for name, value in os.environ.items() if name.upper() not in hidden}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be reached" in done.stderr
    assert "config.json" in done.stderr
