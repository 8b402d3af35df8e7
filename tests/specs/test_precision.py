# SPDX-License-Identifier: Apache-2.0
import pytest

from specs.errors import InvalidInputError, UnknownNameError, UnsupportedPrecisionError
from specs.formats import gguf_mix
from specs.precision import blend, compute_precision, get_precision, list_precisions


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        # ggml block structs: bytes * 8 / elements, worked by hand
        ("q4_0", 4.5),  # 2 + 16 bytes per 32
        ("q4_1", 5.0),  # 2 + 2 + 16
        ("q5_0", 5.5),  # 2 + 4 + 16
        ("q5_1", 6.0),  # 2 + 2 + 4 + 16
        ("q8_0", 8.5),  # 2 + 32
        ("q2_k", 2.625),  # 16 + 64 + 4 per 256
        ("q3_k", 3.4375),  # 32 + 64 + 12 + 2
        ("q4_k", 4.5),  # 4 + 12 + 128
        ("q5_k", 5.5),  # 4 + 12 + 32 + 128
        ("q6_k", 6.5625),  # 128 + 64 + 16 + 2
        ("iq1_s", 1.5625),  # 2 + 32 + 16
        ("iq1_m", 1.75),  # 32 + 16 + 8
        ("iq2_xxs", 2.0625),  # 2 + 64
        ("iq2_xs", 2.3125),  # 2 + 64 + 8
        ("iq2_s", 2.5625),  # 2 + 64 + 8 + 8
        ("iq3_xxs", 3.0625),  # 2 + 96
        ("iq3_s", 3.4375),  # 2 + 64 + 8 + 32 + 4
        ("iq4_nl", 4.5),  # 2 + 16 per 32
        ("iq4_xs", 4.25),  # 2 + 2 + 4 + 128
        ("tq1_0", 1.6875),  # 48 + 4 + 2
        ("tq2_0", 2.0625),  # 64 + 2
        ("mxfp4", 4.25),  # 8-bit scale per 32
        ("mxfp8", 8.25),
        ("nvfp4", 4.5),  # 8-bit scale per 16
        ("gptq-int4", 4.15625),  # 16-bit scale and 4-bit zero per 128
        ("int4", 4.125),
        ("bnb-nf4", 4.5),  # fp32 per 64
        ("bnb-nf4-dq", 4.126953125),  # 8/64 + 32/(64*256)
        ("fp8-block", 8.001953125),  # fp32 per 128 x 128
        ("bf16", 16.0),
        ("fp32", 32.0),
    ],
)
def test_bits_by_hand(name, bits):
    assert get_precision(name).bits == bits


def test_names_resolve_the_way_people_write_them():
    assert get_precision("torch.bfloat16").name == "bf16"
    assert get_precision("F16").name == "fp16"
    assert get_precision("FP8_E4M3").name == "fp8"
    assert get_precision("NVFP4").name == "nvfp4"
    assert get_precision("Q4_K_M").name == "q4_k_m"
    assert get_precision("exl3-6.0bpw-mcg").bits == 6.0
    assert get_precision("iq3_s_3.15bpw").bits == 3.15


def test_every_listed_name_reads_and_no_width_is_absurd():
    for name in list_precisions():
        precision = get_precision(name)
        assert precision.name == name
        assert 1.5 <= precision.bits <= 32
        assert precision.weight_only == (precision.activation == "")
        for _, part in precision.roles:
            get_precision(part)


def test_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match="q4-k-m"):
        get_precision("q4_km")


@pytest.mark.parametrize("bad", ["0.5*q4_k+0.4*q6_k", "x*q4_k+0.5*q6_k", "exl3-99bpw"])
def test_bad_shares_and_widths_are_refused(bad):
    with pytest.raises(InvalidInputError):
        get_precision(bad)


def test_blend_is_the_weighted_mean():
    name = blend({"q6_k": 0.5, "q4_k": 0.5})
    assert get_precision(name).bits == 5.53125
    assert blend({"q6_k": 1.0, "q4_k": 0.0}) == "q6_k"


def test_gguf_value_projection_depends_on_grouping():
    assert dict(gguf_mix("q2_k", gqa=1).roles)["attn_v"] == "q3_k"
    assert dict(gguf_mix("q2_k", gqa=8).roles)["attn_v"] == "q4_k"


@pytest.mark.parametrize(
    ("weight", "activation", "plain", "product"),
    [
        ("gptq-int4", "", "fp16", "fp16"),
        ("gptq-int4", "bf16", "bf16", "bf16"),
        ("fp8", "fp8", "bf16", "fp8"),
        ("fp8-block", "", "bf16", "bf16"),
        ("nvfp4", "nvfp4", "bf16", "fp4"),
        ("nvfp4", "fp8", "bf16", "fp8"),
        ("fp8", "nvfp4", "bf16", "fp8"),
        ("nvfp4-w4a16", "fp8", "bf16", "bf16"),
        ("mxfp4", "bf16", "bf16", "bf16"),
        ("mxfp4", "mxfp8", "bf16", "fp8"),
        ("bf16", "fp8", "bf16", "bf16"),
        ("fp32", "bf16", "bf16", "fp32"),
        ("q4_k", "int8", "fp16", "int8"),
        ("q4_k_m", "", "fp16", "fp16"),
        ("int8", "", "bf16", "bf16"),
        ("int8-w8a8", "int8", "bf16", "int8"),
        ("int4", "fp8", "bf16", "fp8"),
    ],
)
def test_product_precision(weight, activation, plain, product):
    assert compute_precision(get_precision(weight), activation, plain) == product


def test_no_kernel_for_integer_weights_and_float_activations():
    with pytest.raises(UnsupportedPrecisionError, match="int8-w8a8"):
        compute_precision(get_precision("int8-w8a8"), "fp8", "bf16")
