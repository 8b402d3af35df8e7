# SPDX-License-Identifier: Apache-2.0
"""Weight bytes by llama.cpp's rules against sizes of published files."""

from dataclasses import dataclass

import pytest

from specs.formats import gguf_mix
from specs.gguf import gguf_fallback, gguf_quantisation
from specs.hub import get_model
from specs.model import Attention, Block, Dense, Linear, Model, MoE
from specs.precision import get_precision
from specs.quantisation import default_quantisation, storage_precision


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    inter: int
    heads: int
    kv_heads: int
    vocab: int
    experts: int = 0
    head_dim: int = 128


LLAMA_2_7B = Shape(32, 4096, 11008, 32, 32, 32000)
LLAMA_31_8B = Shape(32, 4096, 14336, 32, 8, 128256)
LLAMA_31_70B = Shape(80, 8192, 28672, 64, 8, 128256)
MIXTRAL_8X22B = Shape(56, 6144, 16384, 48, 8, 32000, experts=8)


def build(shape: Shape) -> Model:
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attn = {"q_proj": q, "k_proj": kv, "v_proj": kv}
    linears = [
        Linear(name=f"self_attn.{name}", in_features=shape.hidden, out_features=out)
        for name, out in attn.items()
    ]
    linears.append(Linear(name="self_attn.o_proj", in_features=q, out_features=shape.hidden))
    prefix = "mlp.experts." if shape.experts else "mlp."
    up = [
        Linear(name=prefix + name, in_features=shape.hidden, out_features=shape.inter)
        for name in ("gate_proj", "up_proj")
    ]
    down = Linear(name=prefix + "down_proj", in_features=shape.inter, out_features=shape.hidden)
    ffn = Dense(inter=shape.inter, gated=True, activation="silu", linears=(*up, down))
    if shape.experts:
        router = Linear(name="mlp.gate", in_features=shape.hidden, out_features=shape.experts)
        ffn = MoE(num_experts=shape.experts, topk=2, expert=ffn, router=router)
    mixer = Attention(
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        v_head_dim=shape.head_dim,
        linears=tuple(linears),
    )
    return Model(
        name="m",
        model_type="llama",
        dtype="bf16",
        hidden_size=shape.hidden,
        vocab_size=shape.vocab,
        blocks=(Block(count=shape.layers, mixer=mixer, ffn=ffn, norm_params=2 * shape.hidden),),
        embedding_params=shape.vocab * shape.hidden,
        lm_head=Linear(name="lm_head", in_features=shape.hidden, out_features=shape.vocab),
        tie_word_embeddings=False,
        final_params=shape.hidden,
    )


def stored_bytes(model: Model, dtype: str) -> float:
    """Matrices as stored, norms in fp32 as GGUF keeps them."""
    quantisation = default_quantisation(dtype, model)

    def linear_bytes(place: str, linear: Linear, copies: int) -> float:
        where = f"{place}.{linear.name}"
        stored = storage_precision(quantisation, where, "fp16", linear.in_features)
        return linear.weight_params * copies * stored.bytes_per_element

    total = 4.0 * model.final_params
    for block in model.blocks:
        for linear, copies, _ in block.linears():
            place = "experts" if copies > 1 else "layers"
            total += block.count * linear_bytes(place, linear, copies)
        total += block.count * 4.0 * block.other_params
    total += linear_bytes("top", model.lm_head, 1)
    embedding = storage_precision(quantisation, "top.embed_tokens", "fp16", model.hidden_size)
    return total + model.embedding_params * embedding.bytes_per_element


# bits per weight of Llama-3.1-8B as llama.cpp's tools/quantize/README.md lists them
README = {
    "iq1_s": 2.0042, "iq1_m": 2.1460, "iq2_xxs": 2.3824, "iq2_xs": 2.5882, "iq2_s": 2.7403,
    "iq2_m": 2.9294, "iq3_xxs": 3.2548, "iq3_xs": 3.4977, "iq3_s": 3.6606, "iq3_m": 3.7628,
    "iq4_xs": 4.4597, "iq4_nl": 4.6818, "q2_k_s": 2.9697, "q2_k": 3.1593, "q3_k_s": 3.6429,
    "q3_k_l": 4.2979, "q4_k_s": 4.6672, "q4_k_m": 4.8944, "q5_k_s": 5.5704, "q5_k_m": 5.7036,
    "q6_k": 6.5633, "q8_0": 8.5008,
}  # fmt: skip


@pytest.mark.parametrize("dtype", README)
def test_llama_31_8b_matches_the_quantisers_own_table(dtype):
    model = build(LLAMA_31_8B)
    bits = 8 * stored_bytes(model, dtype) / model.params
    assert bits == pytest.approx(README[dtype], rel=0.01)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        # llama-bench prints 3.56 GiB for "llama 7B Q4_0"; the file has 3,825,807,040 bytes
        (LLAMA_2_7B, "q4_0", 3.8258e9),
        (LLAMA_2_7B, "q4_k_m", 4.081e9),
        (LLAMA_2_7B, "q8_0", 7.161e9),
        # published file tables of Llama-3.1-70B
        (LLAMA_31_70B, "q8_0", 74.98e9),
        (LLAMA_31_70B, "q6_k", 57.89e9),
        (LLAMA_31_70B, "q5_k_l", 50.60e9),
        (LLAMA_31_70B, "q5_k_m", 49.95e9),
        (LLAMA_31_70B, "q5_k_s", 48.66e9),
        (LLAMA_31_70B, "q4_k_l", 43.30e9),
        (LLAMA_31_70B, "q4_k_m", 42.52e9),
        (LLAMA_31_70B, "q4_k_s", 40.35e9),
        (LLAMA_31_70B, "q4_0", 40.12e9),
        (LLAMA_31_70B, "q3_k_xl", 38.06e9),
        (LLAMA_31_70B, "iq4_xs", 37.90e9),
        (LLAMA_31_70B, "q3_k_l", 37.14e9),
        (LLAMA_31_70B, "q3_k_m", 34.27e9),
        # and of Mixtral-8x22B, whose eight experts have rules of their own
        (MIXTRAL_8X22B, "q5_k_m", 99.96e9),
        (MIXTRAL_8X22B, "q4_k_m", 85.58e9),
        (MIXTRAL_8X22B, "q4_k_s", 80.47e9),
        (MIXTRAL_8X22B, "q3_k_l", 72.57e9),
        (MIXTRAL_8X22B, "q3_k_m", 67.78e9),
        (MIXTRAL_8X22B, "q2_k", 52.10e9),
    ],
)
def test_published_file_sizes(shape, dtype, size):
    # within 1%: files also hold a vocabulary, and blends stand for whole layers
    assert stored_bytes(build(shape), dtype) == pytest.approx(size, rel=0.01)


def test_tied_embedding_is_stored_as_the_head():
    from dataclasses import replace

    model = replace(build(LLAMA_31_8B), tie_word_embeddings=True)
    tied = gguf_quantisation("q4_k_m", model)
    assert storage_precision(tied, "top.embed_tokens", "bf16").name == "q6_k"
    free = gguf_quantisation("q4_k_m")
    assert storage_precision(free, "top.embed_tokens", "bf16").name == "q4_k"


def test_router_stays_fp32_and_mxfp4_touches_experts_only():
    made = gguf_quantisation("mxfp4_moe", build(MIXTRAL_8X22B))
    where = {
        "experts.mlp.experts.down_proj": "mxfp4",
        "layers.self_attn.q_proj": "q8_0",
        "layers.mlp.gate": "fp32",
        "top.lm_head": "q8_0",
    }
    for name, stored in where.items():
        assert storage_precision(made, name, "bf16").name == stored


def test_rows_that_no_block_of_256_fills_fall_back():
    assert gguf_fallback("q4_k", 4096) == "q4_k"
    assert gguf_fallback("q4_k", 896) == "q5_0"
    assert gguf_fallback("q6_k", 896) == "q8_0"
    assert gguf_fallback("0.5*q6_k+0.5*q4_k", 896) == "0.5*q8_0+0.5*q5_0"
    assert gguf_fallback("q4_k", 100) == "fp16"


def test_average_only_mixes_hold_for_every_tensor():
    made = default_quantisation("UD-Q4_K_XL")
    for name in ("layers.self_attn.v_proj", "top.lm_head", "experts.mlp.experts.up_proj"):
        assert storage_precision(made, name, "bf16").bits == gguf_mix("q4_k_xl").bits


def test_hybrids_with_experts_keep_the_rest_in_eight_bits():
    model = get_model("Qwen/Qwen3.6-35B-A3B", offline=True)
    made = default_quantisation("UD-Q4_K_XL", model)
    rest = storage_precision(made, "layers.self_attn.q_proj", "bf16")
    experts = storage_precision(made, "experts.mlp.experts.up_proj", "bf16")
    assert rest.name == "q8_0"
    # the average of the file stays as stated: experts have most of the weights
    assert 0.6 * 5.1 < experts.bits < 5.1
    assert storage_precision(made, "layers.mlp.gate", "bf16").name == "fp32"
    # a dense hybrid's tensors are counted at the average, as before
    dense = default_quantisation("UD-Q4_K_XL", get_model("Qwen/Qwen3.5-4B", offline=True))
    assert storage_precision(dense, "layers.mlp.up_proj", "bf16").bits == gguf_mix("q4_k_xl").bits


def test_stated_averages_agree_with_the_rules():
    # what the data file calls derived is computed here from the rules
    model = build(LLAMA_31_8B)
    for name in ("q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0", "q3_k_xl", "q4_k_l", "q5_k_l",
                 "q6_k_l"):  # fmt: skip
        bits = 8 * stored_bytes(model, name) / model.params
        assert gguf_mix(name).bits == pytest.approx(bits, rel=0.01)
    assert get_precision("q4_k_m").bits == 4.8944


def test_a_stated_average_needs_no_fallback_for_odd_rows():
    # 1,408 columns are no whole number of 256-blocks; the average of a finished file
    # already holds the types that its quantiser fell back to.
    assert gguf_fallback("q4_k_xl", 1408) == "q4_k_xl"
    assert gguf_fallback("q4_k", 1408) == "q5_0"
