# SPDX-License-Identifier: Apache-2.0
"""Models built from a configuration: whole, on the asked devices, or refused in one line."""

import importlib.util
import json

import pytest

from profiler import models
from profiler.models import (
    ModelBuildError,
    OutOfMemoryError,
    build_model,
    describe,
    free_host_bytes,
    memory_reason,
)
from specs.errors import InvalidInputError

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 101,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}

# Per layer: q and o 64 x 64, k and v 64 x 32, three of 64 x 96, two norms of 64.
LAYER = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64
PARAMS = 3 * LAYER + 2 * 101 * 64 + 64  # two tables of the vocabulary and the last norm


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    return str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "element"), [("fp32", 4), ("bf16", 2)])
def test_random_model_has_the_parameters_of_its_config(tiny, dtype, element):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    built = build_model(tiny, dtype=dtype, devices=["cpu"])
    assert built.n_params == PARAMS
    assert built.weight_bytes == PARAMS * element
    assert (built.vocab_size, built.max_position, built.weights) == (101, 128, "random")
    for name, weight in built.module.named_parameters():
        assert torch.isfinite(weight).all(), name
        assert "norm" in name or weight.float().std() > 1e-3, f"{name} is not random"


@pytest.mark.slow
def test_layers_are_shared_out_and_whole_on_several_devices(tiny):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    one = build_model(tiny, dtype="fp32", devices=["cpu"])
    two = build_model(tiny, dtype="fp32", devices=["cpu", "cpu"])
    assert not any(p.is_meta for p in [*two.module.parameters(), *two.module.buffers()])
    # Buffers that hold no weights are what an empty allocation gets wrong.
    assert torch.equal(two.module.model.rotary_emb.inv_freq, one.module.model.rotary_emb.inv_freq)
    assert two.n_params == PARAMS
    # The first device must not hold everything.
    placed = models.layer_map(_meta(tiny), ["first", "second"])
    layers = {placed[f"model.layers.{i}"] for i in range(3)}
    assert layers == {"first", "second"}
    logits = two.module(torch.zeros(1, 5, dtype=torch.long)).logits
    assert torch.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_the_weights_of_a_checkpoint_are_loaded_where_asked(tiny, devices):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    made = build_model(tiny, dtype="fp32", devices=["cpu"])
    with torch.no_grad():
        made.module.lm_head.weight.fill_(0.25)
    made.module.save_pretrained(tiny)
    loaded = build_model(tiny, dtype="bf16", devices=devices, weights=True)
    assert loaded.weights == "checkpoint"
    head = loaded.module.lm_head.weight
    assert head.dtype == torch.bfloat16
    assert bool((head == 0.25).all())


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there_is_one_line(tiny):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(ModelBuildError) as error:
        build_model(tiny, dtype="fp32", devices=["cpu"], weights=True)
    assert "\n" not in str(error.value)


def _meta(path):
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(models.transformers_config(path))


@pytest.mark.slow
def test_nothing_is_placed_on_the_host_when_devices_are_too_small(tiny, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    empty = _meta(tiny)
    monkeypatch.setattr(models, "free_bytes", lambda device: 60_000)
    with pytest.raises(OutOfMemoryError, match="do not fit on 2 devices"):
        models.layer_map(empty, ["first", "second"])


def test_weights_that_cannot_fit_are_refused_before_they_are_made(tiny, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    monkeypatch.setattr(models, "free_bytes", lambda device: PARAMS * 4)
    with pytest.raises(OutOfMemoryError, match=r"needs .* GB for its weights"):
        build_model(tiny, dtype="fp32", devices=["cpu"])


def test_missing_packages_are_named_with_the_command_that_installs_them(tiny, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match=r"torch and transformers.*pip install"):
        build_model(tiny, dtype="fp32", devices=["cpu"])


def test_encoders_are_refused():
    with pytest.raises(ModelBuildError, match="no decoder-only"):
        describe("google-bert/bert-base-uncased")
    with pytest.raises(ModelBuildError, match="no decoder-only"):
        describe("google-t5/t5-small")


@pytest.mark.slow
def test_an_architecture_that_transformers_lacks_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setattr(
        models, "get_config", lambda name: ({**LLAMA, "model_type": "unheard_of"}, "test")
    )
    with pytest.raises(ModelBuildError, match=r"cannot build .* as a causal language model") as e:
        build_model(str(tmp_path), dtype="fp32", devices=["cpu"])
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_weights_that_are_not_there_are_no_fault_of_the_architecture(tiny):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(ModelBuildError, match=r"cannot be fetched .*; check the network") as e:
        build_model(tiny, dtype="fp32", devices=["cpu"], weights=True)  # a config.json alone
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "host memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "host memory"),
        (RuntimeError("CUDA error: out of memory"), "device memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "device memory"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, reason):
    assert memory_reason(error) == reason


def test_free_memory_respects_the_container(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    proc.mkdir()
    groups.mkdir()
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert free_host_bytes(proc=proc, groups=groups) == 8000 * 1024
    (groups / "memory.max").write_text("max\n")
    (groups / "memory.current").write_text("1000\n")
    assert free_host_bytes(proc=proc, groups=groups) == 8000 * 1024
    (groups / "memory.max").write_text("5000\n")
    assert free_host_bytes(proc=proc, groups=groups) == 4000


def test_only_torch_comes_in_builds_for_devices():
    with pytest.raises(InvalidInputError, match=r"run: pip install 'roofline\[profile\]'\.$"):
        models.require("torch_not_there")


def test_missing_torch_names_its_builds(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match="with the torch build for your device"):
        models.require("torch", "transformers")
