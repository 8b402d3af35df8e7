# SPDX-License-Identifier: Apache-2.0
"""Models that list their head counts layer by layer."""

import pytest

from specs.config import model_from_config
from specs.errors import ModelConfigError

LAGUNA = {
    "model_type": "laguna",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "sliding_window": 8,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "num_attention_heads_per_layer": [4, 6, 6],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "gating": "per-head",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def read(config):
    return model_from_config(config, name="test", source="test")


def laguna_attention(heads):
    # q and o 32 * 8 * heads each, k and v 32 * 8 * 2 each, one gate per head, two norms of 8.
    return 2 * 32 * 8 * heads + 2 * 32 * 8 * 2 + 32 * heads + 2 * 8


def test_laguna_by_hand():
    model = read(LAGUNA)
    expert = 3 * 32 * 16
    sparse = 4 * expert + expert + 32 * 4 + 4  # experts, shared, router and its bias
    layers = laguna_attention(4) + 3 * 32 * 48 + 64 + 2 * (laguna_attention(6) + sparse + 64)
    assert model.params == 2 * 100 * 32 + 32 + layers
    assert model.warnings == ()
    full, windowed = model.blocks
    assert (full.count, full.mixer.num_heads, full.mixer.window) == (1, 4, None)
    assert (windowed.count, windowed.mixer.num_heads, windowed.mixer.window) == (2, 6, 8)


def test_laguna_gate_per_element():
    wider = read({**LAGUNA, "gating": "per-element"})
    assert wider.params - read(LAGUNA).params == 32 * 7 * (4 + 6 + 6)


def test_laguna_rotates_a_part_by_layer_type():
    rope = {"full_attention": {"partial_rotary_factor": 0.5}, "sliding_attention": {}}
    model = read({**LAGUNA, "rope_parameters": rope})
    assert [block.mixer.rotary_dim for block in model.blocks] == [4, 8]
    rope["full_attention"]["partial_rotary_factor"] = 2
    with pytest.raises(ModelConfigError, match="between 0 and 1"):
        read({**LAGUNA, "rope_parameters": rope})


@pytest.mark.parametrize("listed", [[4, 6], [4, 6, 5], [4, 6, "x"], [4, 6, 0], 7])
def test_broken_list_is_an_error(listed):
    with pytest.raises(ModelConfigError):
        read({**LAGUNA, "num_attention_heads_per_layer": listed})


def test_decilm_caches_what_each_layer_has():
    config = {
        "model_type": "deci",
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads_per_layer": [4, 2, 1],
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    model = read(config)
    # per layer q and o 32 * 32 each, k and v 32 * 8 * kv each, MLP 3 * 32 * 48, norms 64
    layers = 3 * (2 * 32 * 32 + 3 * 32 * 48 + 64) + 2 * 32 * 8 * (4 + 2 + 1)
    assert model.params == 2 * 100 * 32 + 32 + layers
    assert [block.mixer.num_kv_heads for block in model.blocks] == [4, 2, 1]
    with pytest.raises(ModelConfigError, match="divide"):
        read({**config, "num_key_value_heads_per_layer": [4, 3, 1]})
