# SPDX-License-Identifier: Apache-2.0
"""Cache bytes per sequence equal those of the cache that transformers allocates.

Small models in bf16 on the CPU. What differs is put in by name: transformers keeps the
keys of a sparse index in 16 bits (engines keep them in 8, as the plan does), one more
column of a convolution's window than it reads, and one token less of a sliding window.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

from roofline.physics.layout import Layout  # noqa: E402  (after the checks for torch)
from roofline.physics.memory import footprint, sequence_cache_bytes  # noqa: E402
from specs.model import Attention, Recurrent  # noqa: E402


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


flops = _load("_flops")
small = flops.small_models()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SEQUENCES, PROMPT = 2, 37

CASES = (
    "llama", "mistral", "qwen3_moe", "gpt2", "gpt_oss", "gpt_bigcode", "falcon-7b",
    "mpt", "bloom", "phi3", "olmo3", "cohere2", "gemma3_text", "gemma3n_text", "mimo_v2_flash",
    "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "deepseek_v32", "qwen3_next",
    "lfm2", "jamba", "mamba2",
)  # fmt: skip
"""Grouped, single and full heads, latent caches, shared layers (Gemma 3n), heads of two
widths (MiMo), an index (DeepSeek-V3.2), states and convolutions. transformers caches
latent attention as one latent and one rotary vector per token, as engines do. Left out:
Falcon's newer decoder, whose KV heads transformers repeats before it caches them, and
DeepSeek-V4, of which it also keeps what is not compressed yet."""


def _held(found: Any, seen: dict[int, Any]) -> dict[int, Any]:
    """Every tensor that a cache object holds, once."""
    if torch.is_tensor(found):
        if found.dim():  # counters are no cache
            seen[id(found)] = found
    elif isinstance(found, dict):
        for value in found.values():
            _held(value, seen)
    elif isinstance(found, (list, tuple)):
        for value in found:
            _held(value, seen)
    elif type(found).__module__.startswith("transformers"):
        _held(vars(found), seen)
    return seen


def _built(case: str, **changes: Any) -> tuple[Any, Any]:
    model_type, fields = small.SMALL[case]
    config = small.small_config(model_type, {**fields, **changes})
    config._experts_implementation = "eager"
    torch.manual_seed(0)
    built = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return config, built.eval().to(torch.bfloat16)


def _allocated(built: Any, tokens: int) -> float:
    """Bytes per sequence of the cache after a prompt of `tokens`."""
    ids = torch.randint(3, 1000, (SEQUENCES, tokens))
    with torch.no_grad():
        result = built(input_ids=ids, use_cache=True, logits_to_keep=1)
    cache = result.get("past_key_values", result.get("cache_params"))
    tensors = _held(cache, {}).values()
    assert tensors
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / SEQUENCES


def _differences(model: Any, tokens: int) -> float:
    """What transformers keeps beyond the plan, in bytes per sequence."""
    more = 0.0
    for block in model.blocks:
        mixer = block.mixer
        if isinstance(mixer, Recurrent):
            more += block.count * 2.0 * mixer.conv_channels * bool(mixer.conv_kernel)
        elif mixer is not None and mixer.sparse is not None:
            more += block.count * tokens * mixer.sparse.head_dim * (2.0 - 1.0)
    return more


@pytest.mark.parametrize("case", CASES)
def test_cache_bytes(case: str) -> None:
    config, built = _built(case)
    model = flops.described(config, case)
    sizes = footprint(model, Layout(), flops.FORMATS)
    for tokens in (PROMPT, PROMPT + 8):
        ours = float(sequence_cache_bytes(sizes, tokens, 0.0)) + _differences(model, tokens)
        assert _allocated(built, tokens) == pytest.approx(ours, rel=1e-12)


@pytest.mark.parametrize("case", ["mistral", "gemma3_text", "gpt_oss", "olmo3"])
def test_a_window_stops_growing(case: str) -> None:
    config, built = _built(case, sliding_window=16)
    model = flops.described(config, case)
    sizes = footprint(model, Layout(), flops.FORMATS)
    # The token that makes its query is in our window of 16; transformers keeps the 15
    # before it.
    one_less = sum(
        block.count * 2.0 * (block.mixer.head_dim + block.mixer.v_head_dim)
        * block.mixer.num_kv_heads
        for block in model.blocks
        if isinstance(block.mixer, Attention) and block.mixer.window is not None
    )  # fmt: skip
    assert one_less > 0
    for tokens in (PROMPT, PROMPT + 8):
        ours = float(sequence_cache_bytes(sizes, tokens, 0.0)) - one_less
        assert _allocated(built, tokens) == pytest.approx(ours, rel=1e-12)


def test_pages_round_up() -> None:
    model = flops.described(_built("llama")[0], "llama")
    sizes = footprint(model, Layout(), flops.FORMATS)
    tokens = np.arange(1, 40)
    paged = sequence_cache_bytes(sizes, tokens, 0.0, block_tokens=16)
    per_token = float(sequence_cache_bytes(sizes, 1, 0.0))
    np.testing.assert_allclose(paged, per_token * 16 * np.ceil(tokens / 16))
