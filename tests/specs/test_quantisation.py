# SPDX-License-Identifier: Apache-2.0
"""Each method's config, cut down to what is read, against what is stored where."""

import json
import os
from pathlib import Path

import pytest

from specs.errors import ModelConfigError, UnknownNameError
from specs.precision import get_kv_precision, get_precision
from specs.quantisation import (
    default_quantisation,
    quantisation_from_config,
    quantisation_warnings,
    storage_precision,
)

ATTENTION, DENSE = "layers.self_attn.q_proj", "layers.mlp.down_proj"
EXPERT, SHARED = "experts.mlp.experts.down_proj", "layers.mlp.shared_experts.up_proj"
ROUTER, HEAD, EMBEDDING = "layers.mlp.gate", "top.lm_head", "top.embed_tokens"
FP8_BLOCK = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
NV_GROUP = {
    "weights": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16},
    "input_activations": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16},
    "targets": ["Linear"],
}


def read(quant, **model):
    return quantisation_from_config({"quantization_config": quant, **model})


def stored(made, where, dtype="bf16"):
    return storage_precision(made, where, dtype).name


@pytest.mark.parametrize(
    ("quant", "weight", "activation"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq-int4", ""),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "gptq-int4-g32", ""),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq-int8-channel", ""),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "awq-int4", ""),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq-int4-g64", ""),
        (FP8_BLOCK, "fp8-block", "fp8"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", "fp8"),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "fp8-channel", "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb-int8", "int8"),
        (
            {
                "quant_method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
            },
            "bnb-nf4-dq",
            "",
        ),
        ({"quant_method": "mxfp4", "modules_to_not_convert": []}, "mxfp4", ""),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", "nvfp4"),
        ({"quant_algo": "W4A8_AWQ", "producer": {"name": "modelopt"}}, "int4-w4afp8", "fp8"),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "fp8", "fp8"),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}},
         "hqq-int4", ""),
        ({"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 1}, "aqlm-2bit", ""),
        ({"quant_method": "aqlm", "num_codebooks": 2, "nbits_per_codebook": 8}, "aqlm-2bit", ""),
        ({"quant_method": "eetq", "weights": "int8"}, "int8", ""),
        ({"quant_method": "quanto", "weights": "int4"}, "int4", ""),
        ({"quant_method": "exl3", "bits": 4.0, "head_bits": 6}, "exl3-4bpw", ""),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "int8", ""),
        ({"quant_method": "torchao", "quant_type": {"default": {
            "_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}}}, "int4-g32", ""),
        ({"quant_method": "torchao", "quant_type": "float8_dynamic_activation_float8_weight"},
         "fp8-channel", "fp8"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128,
          "packing_format": "auto_round:auto_awq"}, "awq-int4", ""),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp",
          "act_bits": 4}, "mxfp4-w4a4", "mxfp4"),
        ({"bits": 4, "group_size": 64}, "mlx-int4", ""),
        ({"quant_method": "quark", "global_quant_config": {
            "weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32},
            "input_tensors": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}}},
         "mxfp4-w4a4", "mxfp4"),
        ({"quant_method": "vptq", "config_for_layers": {"a": {
            "vector_lens": [-1, 8], "num_centroids": [-1, 65536],
            "num_res_centroids": [-1, 256]}}}, "vptq-3bpw", ""),
    ],
)  # fmt: skip
def test_method_reads_weight_and_activation(quant, weight, activation):
    config = {"quantization_config": quant}
    made = quantisation_from_config(config)
    assert made is not None
    assert (made.weight, made.activation) == (weight, activation)
    assert get_precision(made.weight).bits <= 8.6
    assert quantisation_warnings(config) == ()
    for where in (ATTENTION, DENSE, EXPERT):
        assert stored(made, where) == weight
    assert stored(made, ROUTER) == ("bf16" if made.method != "mlx" else weight)


@pytest.mark.parametrize(
    ("weights", "inputs", "name"),
    [
        ({"num_bits": 4, "type": "int", "group_size": 128, "strategy": "group"}, None, "int4"),
        ({"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group"}, None, "int4-g32"),
        ({"num_bits": 4, "type": "int", "strategy": "channel"}, None, "int4-channel"),
        ({"num_bits": 4, "type": "int", "group_size": 128, "symmetric": False}, None, "int4-zp"),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, None, "int8"),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, {"num_bits": 8}, "int8-w8a8"),
        ({"num_bits": 8, "type": "float", "strategy": "tensor"}, {"num_bits": 8}, "fp8"),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, {"num_bits": 8}, "fp8-channel"),
        ({"num_bits": 8, "type": "float", "strategy": "block"}, {"num_bits": 8}, "fp8-block"),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, None, "fp8-w8a16"),
        ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
         {"num_bits": 4}, "nvfp4"),
        ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, None,
         "nvfp4-w4a16"),
        ({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, None, "mxfp4"),
    ],
)  # fmt: skip
def test_compressed_tensors_schemes(weights, inputs, name):
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    quant = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    cache = {"num_bits": 8, "type": "float"}
    made = read({**quant, "ignore": ["lm_head"], "kv_cache_scheme": cache})
    assert made.weight == name
    assert made.kv == "fp8"
    assert stored(made, ATTENTION) == name
    assert stored(made, HEAD) == "bf16"


def test_head_is_quantised_where_all_linears_are_and_nothing_ignores_it():
    made = read({"quant_method": "compressed-tensors", "config_groups": {"g": NV_GROUP}})
    assert stored(made, HEAD) == "nvfp4"
    assert stored(made, EMBEDDING) == "bf16"


def test_regular_expressions_keep_attention_and_dense_parts_plain():
    # the pattern list of Kimi-K2.5: only routed experts are in int4
    made = read(
        {
            "quant_method": "compressed-tensors",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {"num_bits": 4, "type": "int", "group_size": 32},
                }
            },
            "ignore": [
                "lm_head",
                "re:.*self_attn.*",
                "re:.*shared_experts.*",
                r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
            ],
        }
    )
    assert stored(made, EXPERT) == "int4-g32"
    for where in (ATTENTION, SHARED, DENSE, ROUTER, HEAD):
        assert stored(made, where) == "bf16"


def test_config_inside_text_config_is_found():
    made = quantisation_from_config(
        {"model_type": "vlm", "text_config": {"quantization_config": FP8_BLOCK}}
    )
    assert made.weight == "fp8-block"


def test_gpt_oss_keeps_all_but_experts():
    made = read(
        {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
        },
        num_hidden_layers=24,
    )
    assert stored(made, "experts.mlp.experts.gate_up_proj") == "mxfp4"
    for where in (ATTENTION, "layers.mlp.router", HEAD, EMBEDDING):
        assert stored(made, where) == "bf16"


@pytest.mark.parametrize(
    ("experts", "rest", "stated_gib"), [(114.71e9, 2.12e9, 60.8), (19.12e9, 1.80e9, 12.8)]
)
def test_gpt_oss_checkpoint_sizes(experts, rest, stated_gib):
    # table 1 of the model card (arXiv 2508.10925): MLP weights; attention, embedding and
    # unembedding; checkpoint size
    made = read({"quant_method": "mxfp4", "modules_to_not_convert": []})
    expert = storage_precision(made, EXPERT, "bf16").bytes_per_element
    head = storage_precision(made, HEAD, "bf16").bytes_per_element
    assert (experts * expert + rest * head) / 2**30 == pytest.approx(stated_gib, rel=0.005)


def test_what_deepseek_v4_keeps_beside_its_router():
    # transformers' _keep_in_fp32_modules of deepseek_v4: ship in bf16, hyper-connections fp32
    made = read(FP8_BLOCK, expert_dtype="fp4", num_hidden_layers=3)
    for name in ("kv_proj", "gate_proj", "indexer.kv_proj", "indexer.scorer.weights_proj"):
        assert stored(made, f"layers.self_attn.compressor.{name}") == "bf16"
    assert stored(made, "layers.self_attn.compressor.indexer.q_b_proj") == "fp8-block"
    assert stored(made, "layers.attn_hc.fn") == "fp32"


def test_layers_behind_the_last_one_select_nothing():
    names = ["model.layers.4.eh_proj", "model.layers.4.self_attn.q_proj", "model.layers.4*"]
    made = read({**FP8_BLOCK, "modules_to_not_convert": names}, num_hidden_layers=4)
    assert stored(made, ATTENTION) == "fp8-block"
    assert stored(made, "layers.eh_proj") == "bf16"


def test_whole_layers_count_by_share_of_the_layers_that_have_the_module():
    # 10 layers, the first two dense: ignoring layers 0 and 1 whole leaves every expert
    # quantised, every dense feed-forward plain, and attention plain in 2 of 10
    made = read(
        {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "ignore": ["lm_head", "model.layers.0*", "model.layers.1.*"],
        },
        num_hidden_layers=10,
        n_routed_experts=64,
        first_k_dense_replace=2,
    )
    assert stored(made, EXPERT) == "nvfp4"
    assert stored(made, DENSE) == "bf16"
    assert stored(made, ROUTER) == "bf16"
    attention = storage_precision(made, ATTENTION, "bf16")
    assert attention.bits == pytest.approx(0.2 * 16 + 0.8 * 4.5)
    assert attention.compute == "fp4"


def test_per_layer_names_add_up_to_all_layers():
    names = [f"language_model.model.layers.{i}.self_attn*" for i in range(6)]
    made = read(
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", *names]},
        num_hidden_layers=6,
    )
    assert stored(made, ATTENTION) == "bf16"
    assert stored(made, DENSE) == "nvfp4"


def test_other_towers_and_prediction_layers_do_not_leak_into_the_layers():
    made = read(
        {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "ignore": ["mtp.layers.0*", "mtp*", "model.visual*", "re:.*vision_tower.layers.*"],
        },
        num_hidden_layers=4,
    )
    assert stored(made, ATTENTION) == "nvfp4"
    assert "*" not in stored(made, DENSE)


def test_mixed_precision_lists_what_is_quantised_and_nothing_else():
    listed = {}
    for i in range(4):
        listed[f"model.layers.{i}.self_attn.q_proj"] = {"quant_algo": "FP8"}
        listed[f"model.layers.{i}.mlp.down_proj"] = {"quant_algo": "W4A16_NVFP4"}
    listed["lm_head"] = {"quant_algo": "W4A16_NVFP4", "group_size": 16}
    made = read(
        {
            "quant_method": "modelopt",
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": listed,
            "ignore": ["mtp*"],
            "kv_cache_scheme": {"num_bits": 8, "type": "float"},
        },
        num_hidden_layers=4,
    )
    assert made.kv == "fp8"
    assert made.activation == "fp8"
    assert stored(made, ATTENTION) == "fp8"
    assert stored(made, DENSE) == "nvfp4-w4a16"
    assert stored(made, HEAD) == "nvfp4-w4a16"
    assert stored(made, "layers.self_attn.o_proj") == "bf16"


def test_fp8_checkpoint_with_nvfp4_experts():
    # DeepSeek-V4 NVFP4: the base stays block fp8, experts are listed
    layers = {f"layers.{i}.ffn.experts": {"quant_algo": "NVFP4"} for i in range(3)}
    made = read({**FP8_BLOCK, "quantized_layers": layers, "ignore": ["*.attn.*", "head"]},
                num_hidden_layers=3)  # fmt: skip
    assert stored(made, EXPERT) == "nvfp4"
    assert stored(made, ATTENTION) == "fp8-block"
    assert made.activation == "nvfp4"


def test_deepseek_v4_experts_are_mx_blocks():
    made = read(FP8_BLOCK, expert_dtype="fp4", num_hidden_layers=3)
    assert stored(made, EXPERT) == "mxfp4"
    assert stored(made, SHARED) == "fp8-block"


def test_gptq_dynamic_rules():
    made = read(
        {
            "quant_method": "gptq",
            "bits": 4,
            "group_size": 128,
            "dynamic": {
                r"-:.*\.k_proj": {},
                r"+:.*\.down_proj": {"bits": 8, "group_size": 64},
            },
        }
    )
    assert stored(made, "layers.self_attn.k_proj") == "bf16"
    assert stored(made, DENSE) == "gptq-int8-g64"
    assert stored(made, ATTENTION) == "gptq-int4"


def test_exl3_states_its_head():
    made = read({"quant_method": "exl3", "bits": 4.0, "head_bits": 6})
    assert stored(made, HEAD) == "exl3-6bpw"


def test_mlx_quantises_the_embedding_and_overrides_by_module():
    made = quantisation_from_config(
        {
            "quantization": {
                "group_size": 64,
                "bits": 4,
                "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8},
                "model.layers.1.mlp.gate": {"group_size": 64, "bits": 8},
            },
            "num_hidden_layers": 2,
        }
    )
    assert stored(made, EMBEDDING) == "mlx-int4"
    assert stored(made, ROUTER) == "mlx-int8"


def test_unknown_method_is_none_and_named():
    config = {"quantization_config": {"quant_method": "telepathy", "bits": 1}}
    assert quantisation_from_config(config) is None
    assert "telepathy" in quantisation_warnings(config)[0]


def test_unknown_scheme_is_none_and_named():
    group = {"targets": ["Linear"], "weights": {"num_bits": 7, "type": "int"}}
    config = {"quantization_config": {"quant_method": "compressed-tensors",
                                      "config_groups": {"g": group}}}  # fmt: skip
    assert quantisation_from_config(config) is None
    assert quantisation_warnings(config)


def test_name_that_promises_what_the_config_does_not_state():
    assert "nvfp4" in quantisation_warnings({}, "nvidia/Some-Model-NVFP4")[0]
    assert quantisation_warnings({}, "meta-llama/Llama-3.1-8B") == ()


@pytest.mark.parametrize(
    "quant",
    [
        {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "gptq", "bits": 4.5},
        {"quant_method": "gptq", "bits": 17},
        {"quant_method": "awq", "modules_to_not_convert": 7},
        {"quant_method": "compressed-tensors", "config_groups": {"g": 3}},
        {"quant_method": "compressed-tensors", "config_groups": [1]},
        {"quant_method": "compressed-tensors", "config_groups": {"g": NV_GROUP},
         "ignore": ["re:(("]},
        {"quant_method": "compressed-tensors", "config_groups": {"g": NV_GROUP},
         "ignore": ["x" * 10_000]},
        {"quant_method": "compressed-tensors", "config_groups": {"g": NV_GROUP},
         "ignore": ["re:([a-z]|[a-z_.])+!"]},
        {"quant_method": "compressed-tensors", "config_groups": {"g": NV_GROUP},
         "ignore": ["re:" + ".*" * 20 + "!"]},
        {"quant_method": "modelopt", "ignore": ["*a" * 20], "quant_algo": "FP8"},
        {"quant_method": "modelopt", "quantized_layers": {"a": {"quant_algo": "MAGIC"}}},
        {"quant_method": "exl2"},
        {"quant_method": "vptq", "config_for_layers": {"a": {"vector_lens": []}}},
        "gptq",
    ],
)  # fmt: skip
def test_broken_configs_are_one_line_errors(quant):
    with pytest.raises(ModelConfigError) as caught:
        quantisation_from_config({"quantization_config": quant})
    assert "\n" not in str(caught.value)


def test_users_dtype_keeps_embedding_head_and_router_plain():
    made = default_quantisation("fp8")
    assert made.activation == "fp8"
    assert stored(made, ATTENTION) == stored(made, EXPERT) == "fp8"
    for where in (ROUTER, HEAD, EMBEDDING):
        assert stored(made, where) == "bf16"


def test_plain_dtype_holds_everywhere():
    made = default_quantisation("fp16")
    for where in (ATTENTION, ROUTER, HEAD, EMBEDDING):
        assert stored(made, where, "bf16") == "fp16"


def test_stated_average_of_a_gguf_file_holds_everywhere():
    made = default_quantisation("iq3_s_3.15bpw")
    assert storage_precision(made, HEAD, "bf16").bits == 3.15


def test_no_quantisation_is_the_plain_dtype():
    assert storage_precision(None, ATTENTION, "fp32").name == "fp32"


def test_unknown_dtype_lists_the_nearest():
    with pytest.raises(UnknownNameError, match="fp8"):
        default_quantisation("fp9")


@pytest.mark.parametrize(
    ("name", "bits"),
    [("auto", 16), ("", 16), ("fp8", 8), ("fp8_e5m2", 8), ("q8_0", 8.5), ("q8_0/q4_0", 6.5),
     ("nvfp4", 4.5), ("fp32", 32),
     # K 48 B + 2 B norm, V 64 B + 4 B scale and zero, for 2 x 128 elements
     ("turboquant_k3v4_nc", 3.6875)],
)  # fmt: skip
def test_cache_precisions(name, bits):
    assert get_kv_precision(name, "bf16").bits == bits


SHARED_DATA = os.environ.get("ROOFLINE_SHARED_DATA", "")


@pytest.mark.skipif(not SHARED_DATA, reason="ROOFLINE_SHARED_DATA is not set")
def test_every_collected_config_reads():
    files = sorted(Path(SHARED_DATA, "hf_configs").glob("*.json"))
    assert files
    for path in files:
        config = json.loads(path.read_text(encoding="utf-8"))
        made = quantisation_from_config(config)
        text = config.get("text_config", {})
        if "quantization_config" in config or "quantization_config" in text:
            assert made is not None, path.name
            assert quantisation_warnings(config) == (), path.name
            assert stored(made, EMBEDDING) == "bf16", path.name
