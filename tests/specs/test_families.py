# SPDX-License-Identifier: Apache-2.0
"""What the readers make of configs: counts worked by hand, plans per layer, names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specs.config import model_from_config
from specs.families._index import ARCHITECTURES, FAMILIES, TEXT_TYPES
from specs.model import Attention, Block, LatentAttention, Linear, Model, MoE, Recurrent
from specs.model_records import RECORDS_DIR, find_record, load_record


def shipped(name: str, **changes: Any) -> Model:
    found = find_record(name)
    assert found is not None
    config = {**load_record(found[1]).config, **changes}
    return model_from_config(config, name=name, source="test")


def config_of(name: str) -> dict[str, Any]:
    found = find_record(name)
    assert found is not None
    return load_record(found[1]).config


def attention_of(block: Block) -> Attention:
    assert isinstance(block.mixer, Attention)
    return block.mixer


def experts_of(block: Block) -> MoE:
    assert isinstance(block.ffn, MoE)
    return block.ffn


def test_llama_3_1_8b_by_hand() -> None:
    model = shipped("meta-llama/Llama-3.1-8B")
    query_and_output = 2 * 4096 * (32 * 128)
    key_and_value = 2 * 4096 * (8 * 128)
    feed_forward = 3 * 4096 * 14336
    layer = query_and_output + key_and_value + feed_forward + 2 * 4096
    assert model.params == 32 * layer + 2 * 128256 * 4096 + 4096 == 8_030_261_248
    assert model.active_params == model.params
    (block,) = model.blocks
    mixer = attention_of(block)
    assert (block.count, mixer.num_heads, mixer.num_kv_heads, mixer.head_dim) == (32, 32, 8, 128)
    assert mixer.window is None
    assert mixer.rotary_dim == 128
    # 32 layers x (key and value) x 8 heads x 128 wide x 2 bytes
    per_token = block.count * mixer.num_kv_heads * (mixer.head_dim + mixer.v_head_dim) * 2
    assert per_token == 131_072


def test_gpt2_by_hand() -> None:
    model = shipped("openai-community/gpt2")
    layer = (768 * 2304 + 2304) + (768 * 768 + 768) + (2 * 768 * 3072 + 3072 + 768) + 4 * 768
    assert model.params == 12 * layer + (50257 + 1024) * 768 + 2 * 768 == 124_439_808
    assert model.tie_word_embeddings
    assert model.max_position == 1024
    assert attention_of(model.blocks[0]).rotary_dim == 0


def test_mixtral_by_hand() -> None:
    model = shipped("mistralai/Mixtral-8x7B-v0.1")
    attention = 2 * 4096 * 4096 + 2 * 4096 * 1024
    expert = 3 * 4096 * 14336
    outside = 2 * 32000 * 4096 + 4096
    layer = attention + 4096 * 8 + 2 * 4096
    assert model.params == 32 * (layer + 8 * expert) + outside == 46_702_792_704
    assert model.active_params == 32 * (layer + 2 * expert) + outside
    moe = experts_of(model.blocks[0])
    assert (moe.num_experts, moe.topk, moe.expert.inter) == (8, 2, 14336)
    assert moe.router.shard == "replicated"
    assert moe.shared is None


def test_deepseek_v3_plan() -> None:
    model = shipped("deepseek-ai/DeepSeek-V3")
    dense, sparse = model.blocks
    assert (dense.count, sparse.count) == (3, 58)
    mixer = sparse.mixer
    assert isinstance(mixer, LatentAttention)
    # one latent of 512 and one rotated key of 64 per token and layer, 2 bytes each
    assert 61 * (mixer.kv_lora_rank + mixer.qk_rope_head_dim) * 2 == 70_272
    by_name = {linear.name: linear for linear in mixer.linears}
    assert by_name["self_attn.q_b_proj"].out_features == 128 * (128 + 64)
    assert by_name["self_attn.kv_a_proj_with_mqa"].out_features == 512 + 64
    assert by_name["self_attn.kv_b_proj"].out_features == 128 * (128 + 128)
    moe = experts_of(sparse)
    assert (moe.num_experts, moe.topk, moe.expert.inter) == (256, 8, 2048)
    assert moe.shared is not None
    assert moe.shared.inter == 2048
    # The report counts 671B, 37B active, and 14B for the prediction layer with its own
    # copies of embedding and head.
    assert model.params / 1e9 == pytest.approx(671, abs=0.5)
    prediction = sum(block.count * block.params for block in model.mtp) + 2 * 129280 * 7168
    assert prediction / 1e9 == pytest.approx(14, abs=0.6)


def test_sparse_attention_index() -> None:
    model = shipped("deepseek-ai/DeepSeek-V3.2")
    mixer = model.blocks[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert mixer.sparse is not None
    assert (mixer.sparse.num_heads, mixer.sparse.head_dim, mixer.sparse.topk) == (64, 128, 2048)


def test_layers_that_share_an_index_have_none_of_their_own() -> None:
    model = shipped("zai-org/GLM-5.2")
    own = reused = 0
    for block in model.blocks:
        assert isinstance(block.mixer, LatentAttention)
        assert block.mixer.sparse is not None
        if block.mixer.sparse.linears:
            own += block.count
        else:
            reused += block.count
    listed = config_of("zai-org/GLM-5.2")["indexer_types"]
    assert (own, reused) == (listed.count("full"), listed.count("shared"))


def test_gpt_oss_alternates_and_has_biases_everywhere() -> None:
    model = shipped("openai/gpt-oss-20b")
    windows = {attention_of(block).window: block.count for block in model.blocks}
    assert windows == {128: 12, None: 12}
    block = model.blocks[0]
    assert attention_of(block).extra_params == 64  # one sink per query head
    assert all(linear.bias for linear, _, _ in block.linears())
    moe = experts_of(block)
    assert (moe.num_experts, moe.topk) == (32, 4)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("mistralai/Mistral-7B-v0.1", {4096: 32}),
        ("Qwen/Qwen2.5-7B", {None: 28}),
        ("google/gemma-2-27b", {4096: 23, None: 23}),
        ("google/gemma-3-27b-it", {1024: 52, None: 10}),
        ("allenai/Olmo-3-1125-32B", {4096: 48, None: 16}),
        ("CohereLabs/c4ai-command-r7b-12-2024", {4096: 24, None: 8}),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", {8192: 36, None: 12}),
    ],
)
def test_windows_per_layer(name: str, windows: dict[int | None, int]) -> None:
    found: dict[int | None, int] = {}
    for block in shipped(name).blocks:
        window = attention_of(block).window
        found[window] = found.get(window, 0) + block.count
    assert found == windows


def test_interleaved_experts() -> None:
    model = shipped("meta-llama/Llama-4-Maverick-17B-128E-Instruct")
    sparse = sum(block.count for block in model.blocks if isinstance(block.ffn, MoE))
    assert (model.num_layers, sparse) == (48, 24)
    assert all(attention_of(b).rotary_dim in (0, 128) for b in model.blocks)


def test_delta_hybrid_keeps_a_matrix_per_head() -> None:
    model = shipped("Qwen/Qwen3-Next-80B-A3B-Instruct")
    linear = next(b for b in model.blocks if isinstance(b.mixer, Recurrent))
    full = next(b for b in model.blocks if isinstance(b.mixer, Attention))
    assert (linear.count, full.count) == (36, 12)
    mixer = linear.mixer
    assert isinstance(mixer, Recurrent)
    assert (mixer.num_heads, mixer.key_dim, mixer.value_dim) == (32, 128, 128)
    # 32 x 128 x 128 in fp32, and three tokens of 2 x 16 x 128 + 32 x 128 channels in 16 bits
    assert mixer.state_bytes == 32 * 128 * 128 * 4 + 8192 * 3 * 2
    gated = attention_of(full)
    query = next(x for x in gated.linears if x.name.endswith("q_proj"))
    assert query.out_features == 2 * gated.num_heads * gated.head_dim


def test_one_part_per_layer_and_latent_experts() -> None:
    model = shipped("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    assert all((b.mixer is None) != (b.ffn is None) for b in model.blocks)
    moe = experts_of(next(b for b in model.blocks if isinstance(b.ffn, MoE)))
    assert len(moe.latent) == 2
    assert moe.expert.linears[0].in_features == moe.latent[0].out_features == 1024
    assert not moe.expert.gated


def test_searched_layers_may_lack_attention() -> None:
    model = shipped("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    without = sum(b.count for b in model.blocks if b.mixer is None)
    entries = config_of("nvidia/Llama-3_3-Nemotron-Super-49B-v1")["block_configs"]
    assert without == sum(bool(entry["attention"].get("no_op")) for entry in entries) > 0
    assert model.num_layers == 80


def test_compressed_attention_beyond_a_window() -> None:
    model = shipped("deepseek-ai/DeepSeek-V4-Pro")
    rates = {}
    for block in model.blocks:
        assert isinstance(block.mixer, LatentAttention)
        assert block.mixer.window == 128
        assert block.mixer.kv_lora_rank + block.mixer.qk_rope_head_dim == 512
        rates[block.mixer.compression] = block.mixer.sparse is not None
    assert rates == {4: True, 128: False}


def test_layers_that_share_a_cache_make_none() -> None:
    model = shipped("google/gemma-3n-E4B-it")
    sharing = [block for block in model.blocks if attention_of(block).shares_kv]
    assert sum(block.count for block in sharing) == 15
    for block in sharing:
        assert not any(linear.kv_heads for linear in attention_of(block).linears)


def test_encoder_decoder_and_encoder_only() -> None:
    model = shipped("google-t5/t5-small")
    (decoder,), (encoder,) = model.blocks, model.encoder
    assert decoder.cross is not None
    assert decoder.cross.cross
    assert not attention_of(encoder).causal
    assert attention_of(decoder).causal
    bert = shipped("google-bert/bert-large-uncased")
    assert bert.blocks == ()
    assert bert.lm_head is None
    assert bert.num_layers == 24


def every_model() -> Iterator[Model]:
    seen: set[str] = set()
    for path in sorted(RECORDS_DIR.glob("*.json")):
        record = load_record(path.stem)
        kind = str(record.config.get("model_type"))
        if kind not in seen:
            seen.add(kind)
            yield model_from_config(record.config, name=record.name, source="test")


@pytest.mark.slow
def test_one_record_of_each_type_keeps_the_rules_of_the_plan() -> None:
    for model in every_model():
        for block in (*model.blocks, *model.encoder, *model.mtp):
            linears = [linear for linear, _, _ in block.linears()]
            names = [linear.name for linear in linears]
            assert len(names) == len(set(names)), (model.name, names)
            check_tags(linears, model.name)
            if isinstance(block.mixer, Attention) and not block.mixer.shares_kv:
                made = [x for x in block.mixer.linears if x.kv_heads]
                assert made, model.name
                assert {x.kv_heads for x in made} == {block.mixer.num_kv_heads}
            assert all(size == model.hidden_size for size in block.norm_sizes)
        assert not [text for text in model.warnings if "not understood" in text], model.name
        if model.lm_head is not None:
            assert model.lm_head.shard == "vocab"


def check_tags(linears: list[Linear], name: str) -> None:
    """Linears that may be one GEMM read inputs of one width, within one part."""
    widths: dict[tuple[str, str], set[int]] = {}
    for linear in linears:
        if linear.fuse:
            part = linear.name.rpartition(".")[0]
            widths.setdefault((part, linear.fuse), set()).add(linear.in_features)
    assert all(len(found) == 1 for found in widths.values()), name


def test_text_part_of_a_multimodal_config() -> None:
    inner = config_of("meta-llama/Llama-3.1-8B")
    dtype = inner.pop("torch_dtype", "bfloat16")
    outer = {
        "model_type": "llava",
        "torch_dtype": dtype,
        "text_config": inner,
        "vision_config": {"hidden_size": 1024},
    }
    model = model_from_config(outer, name="x", source="here")
    assert model.params == shipped("meta-llama/Llama-3.1-8B").params
    assert model.dtype == "bf16"
    assert model.source == "here"
    assert model.warnings == ("vision tower left out: only the text model is described",)


def test_a_silent_dtype_is_said_aloud() -> None:
    config = config_of("meta-llama/Llama-3.1-8B")
    config.pop("torch_dtype", None)
    config.pop("dtype", None)
    model = model_from_config(config, name="x", source="test")
    assert model.dtype == "fp32"
    assert any("torch_dtype" in text for text in model.warnings)


def test_what_is_left_beside_quantised_weights_is_16_bit() -> None:
    config = config_of("openai/gpt-oss-20b")
    config.pop("torch_dtype", None)
    model = model_from_config(config, name="x", source="test")
    assert model.dtype == "bf16"
    assert any("torch_dtype" in text for text in model.warnings)


def test_prediction_layers_are_left_out_of_the_count() -> None:
    config = {**config_of("deepseek-ai/DeepSeek-V3"), "num_nextn_predict_layers": 0}
    without = model_from_config(config, name="x", source="test")
    assert without.mtp == ()
    assert without.params == shipped("deepseek-ai/DeepSeek-V3").params


def test_index_points_to_functions_that_exist() -> None:
    from importlib import import_module

    for target in set(FAMILIES.values()):
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(f"specs.families.{module}"), function))
    assert set(ARCHITECTURES.values()) <= set(FAMILIES)
    assert set(TEXT_TYPES.values()) <= set(FAMILIES)


def shared_configs() -> list[Path]:
    """Configs kept outside the repository, where ROOFLINE_SHARED_DATA points to them."""
    root = os.environ.get("ROOFLINE_SHARED_DATA")
    return sorted(Path(root, "hf_configs").glob("*.json")) if root else []


@pytest.mark.skipif(not shared_configs(), reason="ROOFLINE_SHARED_DATA is not set")
def test_every_collected_config_is_read_without_a_guess() -> None:
    for path in shared_configs():
        name = path.stem.replace("--", "/", 1)
        model = model_from_config(json.loads(path.read_bytes()), name=name, source="test")
        doubts = [text for text in model.warnings if "not understood" in text]
        assert not doubts, (name, doubts)
        assert not [t for t in model.warnings if "read by its structure" in t], name
