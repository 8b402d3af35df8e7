# SPDX-License-Identifier: Apache-2.0
"""Operators worked by hand: GEMM, attention, experts, latent attention, all-reduce.

Each case starts from the shapes in the model's config and ends at the operator table,
so that families, fusion, formats and physics are all in it.
"""

import pytest

from specs.node import get_interconnect

LLAMA = "meta-llama/Llama-3.1-8B"  # hidden 4096, 32 heads, 8 KV heads of 128, inter 14336
MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"  # the same layer, 8 experts of 14336, 2 per token
DEEPSEEK = "deepseek-ai/DeepSeek-V3"  # 128 heads, latent 512 + 64, 128 + 64 and 128 wide


def test_decode_gemm(run):
    # gate and up in one GEMM, 4096 -> 2 * 14336 = 28672, one token, bf16:
    #   FLOP    2 * 4096 * 28672                 = 234 881 024
    #   weights 2 * 4096 * 28672                 = 234 881 024 B
    #   in, out 2 * (4096 + 28672)               =      65 536 B
    #   memory  234 946 560 B / (0.85 * 3.35e12) =      82.51 us
    costs = run(LLAMA, batch=1, context=100, memory_frac=0.85, compute_frac=0.75)
    assert costs.flops("gate_up_proj") == 234_881_024
    assert costs.moved_bytes("gate_up_proj") == 234_946_560
    assert costs.memory_s("gate_up_proj") == pytest.approx(82.51e-6, rel=1e-4)
    assert costs.count("gate_up_proj") == 32
    # Compute: one row fills a sixteenth of a tile of 16 x 64; 448 such tiles are 3.39
    # waves of 132 units, four are paid: 4 * 132 * 1024 / 28672 = 18.857 times the work
    # (64 x 64 tiles: 4 waves of 4096, and wider ones, are worse). Half of it shows:
    #   1 + 0.5 * 17.857 = 9.9286; 234 881 024 / (0.75 * 989.4e12) * 9.9286 = 3.143 us
    costs = run(LLAMA, batch=1, context=100, compute_frac=0.75, tile_weight_frac=0.5)
    assert costs.compute_s("gate_up_proj") == pytest.approx(3.1427e-6, rel=1e-4)


def test_fused_projections_read_their_input_once(run):
    # q, k and v: 4096 -> 4096 + 1024 + 1024 = 6144. Fused, 64 tokens read 4096 elements
    # once and write 6144: 64 * 10240 * 2 B = 1 310 720 B; apart, the input is read three
    # times: 64 * (3 * 4096 + 6144) * 2 B = 2 359 296 B. Weights 50 331 648 B either way.
    fused = run(LLAMA, batch=64, context=100, fuses_qkv=True)
    assert fused.moved_bytes("qkv_proj") == 50_331_648 + 1_310_720
    apart = run(LLAMA, batch=64, context=100, fuses_qkv=False)
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    assert sum(apart.moved_bytes(name) for name in names) == 50_331_648 + 2_359_296


def test_attention_prefill_with_grouped_queries(run):
    # Prompt of 1000: 500 500 causal pairs.
    #   FLOP  2 * 500 500 * 32 * (128 + 128)     = 8 200 192 000
    #   KV    1000 * 2 * 8 * 128 * 2 B           = 4 096 000 B
    #   q, o  1000 * 2 * 32 * 128 * 2 B          = 16 384 000 B
    #   time  8 200 192 000 / (0.6 * 989.4e12)   = 13.813 us on the matrix units
    #   exp   500 500 * 32 / (66.9e12 / 16)      =  3.830 us on the special-function units
    costs = run(LLAMA, prompt=1000, attention_frac=0.6, compute_frac=0.75)
    assert costs.flops("attention") == 8_200_192_000
    assert costs.moved_bytes("attention") == 4_096_000 + 16_384_000
    assert costs.compute_s("attention") == pytest.approx(13.813e-6 + 3.830e-6, rel=1e-4)
    # Unfused, the scores of 32 heads are written, read by softmax, written and read:
    #   500 500 pairs * 32 * 4 * 2 B = 128 128 000 B more
    costs = run(LLAMA, prompt=1000, fuses_attention=False)
    assert costs.moved_bytes("attention") == 20_480_000 + 128_128_000


def test_attention_decode_with_grouped_queries(run):
    # 16 sequences of 1000 keys:
    #   FLOP  2 * 16 * 1000 * 32 * 256           = 262 144 000
    #   KV    16 * 1000 * 4096 B                 = 65 536 000 B
    #   q, o  16 * 16 384 B                      = 262 144 B
    costs = run(LLAMA, batch=16, context=1000)
    assert costs.flops("attention") == 262_144_000
    assert costs.moved_bytes("attention") == 65_536_000 + 262_144


def test_sliding_window_keeps_what_it_sees(run):
    # Mistral 7B v0.1 sees 4096 tokens. A prompt of 6000: the first 4096 queries see
    # 4096 * 4097 / 2 = 8 390 656 keys, the other 1904 see 4096 each = 7 798 784:
    #   FLOP 2 * 16 189 440 * 32 * 256 = 265 247 784 960
    costs = run("mistralai/Mistral-7B-v0.1", prompt=6000)
    assert costs.flops("attention") == pytest.approx(265_247_784_960, rel=1e-12)
    # A decode step at 6000 reads 4096 keys of 4096 B, and q and o.
    costs = run("mistralai/Mistral-7B-v0.1", batch=1, context=6000)
    assert costs.moved_bytes("attention") == 4096 * 4096 + 16_384


def test_mixture_of_experts_layer(run):
    # Four tokens, two of eight experts each, uniformly: 8 * (1 - 0.75**4) = 5.46875 wake.
    # gate and up of one expert: 4096 * 28672 * 2 B = 234 881 024 B
    #   weights 5.46875 * 234 881 024            = 1 284 505 600 B
    #   FLOP    8 pairs * 234 881 024            = 1 879 048 192
    #   in, out 8 * (4096 + 28672) * 2 B         = 524 288 B
    # down: 14336 * 4096 * 2 B = 117 440 512 B; 642 252 800 B; 939 524 096 FLOP;
    #   8 * (14336 + 4096) * 2 B = 294 912 B
    costs = run(MIXTRAL, batch=4, context=100, routing_skew=0.0)
    assert costs.flops("gate_up_proj") == 1_879_048_192
    assert costs.moved_bytes("gate_up_proj") == pytest.approx(1_284_505_600 + 524_288, rel=1e-12)
    assert costs.flops("block_sparse_moe.experts.w2") == 939_524_096
    moved = costs.moved_bytes("block_sparse_moe.experts.w2")
    assert moved == pytest.approx(642_252_800 + 294_912, rel=1e-12)
    # The router is a plain GEMM: 4 tokens * 2 * 4096 * 8 FLOP = 262 144.
    assert costs.flops("block_sparse_moe.gate") == 262_144


def test_experts_are_gemms_of_their_own(run):
    # 1.4628 rows each on average: a tile of 16 rows per awake expert and column block.
    # gate and up: 5.46875 * 28672 / 64 = 2450 tiles, 18.56 waves of 132: 19 are paid:
    #   19 * 132 * 1024 / (8 * 28672) = 11.19643 times the work if all of it shows
    costs = run(
        MIXTRAL, batch=4, context=100, routing_skew=0.0, compute_frac=1.0, tile_weight_frac=1.0
    )
    pure_s = 1_879_048_192 / 989.4e12
    assert costs.compute_s("gate_up_proj") == pytest.approx(11.19643 * pure_s, rel=1e-6)


def test_latent_attention_decode_is_absorbed(run):
    # One token with 1001 keys, 128 heads, in the latent width: 512 + 64 for the scores
    # and 512 for the sum.
    #   FLOP  2 * 1001 * 128 * (576 + 512)       = 278 806 528
    #   cache 1001 * 576 * 2 B                   = 1 153 152 B, whatever the heads
    #   q, o  128 * (192 + 128) * 2 B            = 81 920 B
    costs = run(DEEPSEEK, batch=1, context=1001)
    assert costs.flops("1.latent_attention") == 278_806_528
    assert costs.moved_bytes("1.latent_attention") == 1_153_152 + 81_920
    # Absorbing the query and the output through kv_b costs what expanding one token does:
    #   2 * 512 * 128 * (128 + 128) = 33 554 432
    assert costs.flops("self_attn.kv_b_proj") == 33_554_432


def test_latent_attention_prefill_is_expanded(run):
    # Prompt of 1000: heads of 128 + 64 and 128.
    #   FLOP  2 * 500 500 * 128 * (192 + 128)    = 41 000 960 000
    #   kv_b  1000 * 33 554 432                  = 33 554 432 000
    costs = run(DEEPSEEK, prompt=1000)
    assert costs.flops("1.latent_attention") == 41_000_960_000
    assert costs.flops("self_attn.kv_b_proj") == 33_554_432_000


def test_block_quantised_weights_carry_their_scales(run):
    # DeepSeek-V3's o_proj: 16384 -> 7168 in fp8, one fp32 scale per 128 x 128 block:
    #   16384 * 7168 * (1 + 4 / 16384) = 117 469 184 B; one token in, out in bf16:
    #   (16384 + 7168) * 2 = 47 104 B
    costs = run(DEEPSEEK, batch=1, context=100)
    assert costs.moved_bytes("self_attn.o_proj") == 117_469_184 + 47_104


def test_all_reduce_on_nvlink(run, card):
    # 64 tokens x 4096 x 2 B = 524 288 B on each of 8 ranks. A ring sends 2 * 7/8 of it:
    # 917 504 B, at 0.7 of 450 GB/s one way 2.9127 us. A switch that adds needs
    # (1 + 1/8) of it: 589 824 B, 1.8725 us.
    link = get_interconnect(card).link_for(8)
    assert link.bytes_per_s == 450e9
    costs = run(LLAMA, batch=64, context=100, tp=8, link_frac=0.7)
    assert costs.sent_bytes("all_reduce") == 917_504
    expected_s = 1.8725e-6 if link.in_network_reduction else 2.9127e-6
    assert costs.link_s("all_reduce") == pytest.approx(expected_s, rel=1e-4)
    # Nothing of it is shorter than an empty all-reduce among eight.
    assert costs.floor_s("all_reduce") >= link.captured_floor_of_s(8)


def test_one_of_eight_ranks_holds_an_eighth(run):
    # o_proj is cut by its input: 512 -> 4096, weights 512 * 4096 * 2 B = 4 194 304 B;
    # one of eight KV heads: 1000 keys * 256 * 2 B = 512 000 B per sequence;
    # q and o of four heads: 4 * 256 * 2 B = 2048 B.
    costs = run(LLAMA, batch=16, context=1000, tp=8)
    assert costs.moved_bytes("self_attn.o_proj") == 4_194_304 + 16 * (512 + 4096) * 2
    assert costs.moved_bytes("attention") == 16 * (512_000 + 2048)


def test_packed_weights_are_unpacked_by_a_pass_of_their_own(run):
    # A GPTQ product of 512 rows in an engine that unpacks above 50: o_proj has
    # 4096 * 4096 = 16 777 216 weights, whose 16-bit copy is written, then read:
    #   2 * 16 777 216 * 2 B = 67 108 864 B; with one row there is no such pass.
    model = "meta-llama/Llama-2-7b-hf"
    packed = {"weight": "gptq-int4", "dequantise_above_tokens": 50}
    many = run(model, prompt=512, **packed)
    assert many.moved_bytes("self_attn.o_proj.dequantise") == 67_108_864
    one = run(model, batch=1, context=100, **packed)
    assert one.moved_bytes("self_attn.o_proj.dequantise") == 0
    assert one.floor_s("self_attn.o_proj.dequantise") == 0


def test_compressed_layers_see_a_window_and_entries_of_the_whole_past(run):
    # DeepSeek-V4-Flash's sparse layers: the last 128 tokens, and of 65 536 / 4 = 16 384
    # entries the 512 that the index picks: 640 keys of 512 elements in 16 bits.
    #   640 * 512 * 2 B = 655 360 B, and the index keys: 16 384 * 128 B = 2 097 152 B
    #   q and o of 64 heads: 64 * (512 + 512) * 2 B = 131 072 B
    costs = run("deepseek-ai/DeepSeek-V4-Flash", batch=1, context=65_536)
    assert costs.moved_bytes("1.latent_attention") == pytest.approx(
        655_360 + 2_097_152 + 131_072, rel=1e-3
    )
    # Its other layers see 65 536 / 128 = 512 entries beside the window, without an index.
    assert costs.moved_bytes("2.latent_attention") == pytest.approx(
        (128 + 512) * 512 * 2 + 131_072, rel=1e-3
    )
