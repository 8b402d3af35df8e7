# SPDX-License-Identifier: Apache-2.0
"""Configs that are empty, broken or made to harm: one line of ModelConfigError, quickly."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.config import model_from_config
from specs.errors import ModelConfigError
from specs.families._index import FAMILIES
from specs.model import Dense
from specs.model_records import RECORDS_DIR, load_record

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}

BAD_VALUES = [
    10**30,
    -1,
    0,
    True,
    "64",
    "",
    [],
    [64],
    {},
    {"a": 1},
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    1e300,
]


def refused(config: Any) -> str:
    """The message of the refusal, checked to be one line."""
    with pytest.raises(ModelConfigError) as caught:
        model_from_config(config, name="org/model", source="test")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def deep(depth: int, leaf: Any = 1) -> Any:
    for _ in range(depth):
        leaf = {"a": leaf}
    return leaf


@pytest.mark.parametrize("value", [None, 3, "text", [], [LLAMA], {}, b"x", 1.0])
def test_what_is_no_object_is_refused(value: Any) -> None:
    refused(value)


@pytest.mark.parametrize(
    "key",
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"],
)
@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
def test_sizes_that_cannot_be_are_named(key: str, value: Any) -> None:
    assert key in refused({**LLAMA, key: value})


@pytest.mark.parametrize(
    "key",
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"],
)
def test_missing_sizes_are_named(key: str) -> None:
    assert key in refused({k: v for k, v in LLAMA.items() if k != key})
    assert key in refused({**LLAMA, key: None})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", 7),
        ("model_type", ["llama"]),
        ("model_type", "x" * 1000),
        ("torch_dtype", "int3"),
        ("torch_dtype", 16),
        ("attention_bias", "yes"),
        ("tie_word_embeddings", 2),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("head_dim", "128"),
        ("layer_types", "full_attention"),
        ("layer_types", ["full_attention"]),
        ("layer_types", ["full_attention", "telepathy"]),
        ("layer_types", ["full_attention", None]),
        ("layer_types", ["sliding_attention"] * 2),
        ("sliding_window", -4),
        ("partial_rotary_factor", 7),
        ("partial_rotary_factor", "half"),
        ("hidden_act", 3),
        ("num_local_experts", 10**20),
        ("quantization_config", 5),
        ("text_config", []),
        ("text_config", {}),
        ("text_config", 3),
    ],
)
def test_other_impossible_values_are_refused(key: str, value: Any) -> None:
    refused({**LLAMA, key: value})


def test_depth_and_size_are_bounded_and_quick() -> None:
    start = time.perf_counter()
    refused({**LLAMA, "x": deep(100_000)})
    refused({**LLAMA, "text_config": deep(5_000)})
    refused({**LLAMA, **{f"key{i}": i for i in range(10_000)}})
    refused({**LLAMA, "layer_types": ["full_attention"] * 200_000, "num_hidden_layers": 200_000})
    refused({**LLAMA, "no_rope_layers": [1] * 2_000_000})
    nested: dict[str, Any] = dict(LLAMA)
    for _ in range(20):
        nested = {"model_type": "llama", "text_config": nested}
    model_from_config(nested, name="x", source="test")
    assert time.perf_counter() - start < 5.0  # seconds; bounded work, not a benchmark


def test_cyclic_objects_end() -> None:
    cyclic: dict[str, Any] = dict(LLAMA)
    cyclic["self"] = cyclic
    refused(cyclic)
    cyclic = dict(LLAMA)
    cyclic["text_config"] = cyclic
    refused(cyclic)


def test_keys_that_are_no_strings_are_refused() -> None:
    refused({**LLAMA, 3: 4})


def test_names_in_messages_are_cut() -> None:
    with pytest.raises(ModelConfigError) as caught:
        model_from_config({}, name="a\nb" * 5000, source="test")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def read_or_refused(config: dict[str, Any]) -> None:
    """A sound model or a one-line refusal; any other exception fails the test."""
    message = ""
    try:
        model = model_from_config(config, name="x", source="test")
    except ModelConfigError as error:
        message = str(error)
    else:
        assert model.params > 0
        assert all(isinstance(block.params, int) for block in model.blocks)
    assert "\n" not in message


SIZES = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 64, 96])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
_FIELD_NAMES = """
hidden_size num_hidden_layers num_attention_heads num_key_value_heads intermediate_size
vocab_size head_dim layer_types sliding_window num_experts num_local_experts n_routed_experts
num_experts_per_tok moe_intermediate_size first_k_dense_replace kv_lora_rank q_lora_rank
qk_nope_head_dim qk_rope_head_dim v_head_dim index_topk rope_parameters n_embd n_head n_layer
d_model d_ff num_layers num_heads text_config torch_dtype architectures moe_layer_freq
mlp_layer_types no_rope_layers attn_config ffn_config block_configs hybrid_override_pattern
linear_attn_config sparse_attention_config compress_ratios layers_block_type
num_nextn_predict_layers tie_word_embeddings
"""
FIELDS = st.sampled_from(_FIELD_NAMES.split())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model_type=st.sampled_from(sorted(FAMILIES)) | st.text(max_size=10),
    config=st.dictionaries(FIELDS, SIZES | ANYTHING, max_size=20),
)
def test_no_config_raises_anything_else(model_type: str, config: dict[str, Any]) -> None:
    read_or_refused({**config, "model_type": model_type})


def one_record_per_type() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(RECORDS_DIR.glob("*.json")):
        config = load_record(path.stem).config
        found.setdefault(str(config.get("model_type")), config)
    return found


RECORDS = one_record_per_type()


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_damaged_record_raises_anything_else(data: st.DataObject) -> None:
    config = dict(RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))])
    inner = next((key for key in ("text_config", "thinker_config") if key in config), None)
    damaged = dict(config[inner]) if inner else config
    for key in data.draw(st.lists(st.sampled_from(sorted(damaged)), min_size=1, max_size=3)):
        value = data.draw(ANYTHING | SIZES | st.just(10**30) | st.just("absent"))
        damaged.pop(key, None)
        if value != "absent":
            damaged[key] = value
    whole = {**config, inner: damaged} if inner else damaged
    read_or_refused(whole)


def test_unknown_types_are_read_by_structure_and_say_so() -> None:
    model = model_from_config({**LLAMA, "model_type": "newest"}, name="x", source="test")
    assert model.params == model_from_config(LLAMA, name="x", source="test").params
    assert any("'newest' is not known" in text for text in model.warnings)


@pytest.mark.parametrize(("act", "matrices"), [("silu", 3), ("relu2", 2), ("gelu", 2)])
def test_unknown_types_have_a_gate_as_their_activation_suggests(act: str, matrices: int) -> None:
    model = model_from_config({**LLAMA, "model_type": "x", "hidden_act": act}, name="x", source="y")
    ffn = model.blocks[0].ffn
    assert isinstance(ffn, Dense)
    assert len(ffn.linears) == matrices


def test_unknown_types_of_foreign_structure_are_refused() -> None:
    for key in ("ssm_state_size", "type_vocab_size", "hc_mult", "kv_channels"):
        assert key in refused({**LLAMA, "model_type": "newest", key: 16})


def test_fields_that_matter_and_are_not_understood_are_named() -> None:
    config = {**LLAMA, "residual_gain_groups": 4, "bos_token_id": 1}
    warnings = model_from_config(config, name="x", source="test").warnings
    assert warnings == ("fields not understood and left out of account: residual_gain_groups",)
