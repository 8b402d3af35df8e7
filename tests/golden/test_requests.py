# SPDX-License-Identifier: Apache-2.0
"""Whole requests worked by hand: floors, memory, pipeline, energy."""

from dataclasses import replace

import numpy as np
import pytest

import roofline
from roofline.physics.phases import pipelined_s
from roofline.table import predict_table
from specs.engine import get_engine

LLAMA = "meta-llama/Llama-3.1-8B"


def test_floor_of_a_decode_step(card):
    # 512 tokens in, 2 out: the one decode step sees 513 keys. Bytes:
    #   all parameters           8 030 261 248
    #   - embedding table          525 336 576   (128256 * 4096; one row is looked up)
    #   - norms                        266 240   (65 * 4096; too small to bound anything)
    #   = read                   7 504 658 432  * 2 B = 15 009 316 864
    #   KV read     513 * 131 072                     =     67 239 936
    #   KV written    1 * 131 072                     =        131 072
    #   embedding row, read and written  2 * 8192     =         16 384
    #   sum                                             15 076 704 256 B
    #   / 3.35e12 B/s                                 = 4.50051 ms
    estimate = roofline.predict(LLAMA, card, engine="ideal", input_len=512, output_len=2)
    assert estimate.floor.tpot_s == pytest.approx(15_076_704_256 / 3.35e12, rel=1e-9)
    assert estimate.tpot_s == pytest.approx(4.50051e-3, rel=1e-5)
    assert estimate.bound.decode == "memory"


def test_floor_of_a_prefill(card):
    # 512 tokens. Linear weights per layer: q, o 2 * 4096**2 = 33 554 432;
    # k, v 2 * 4096 * 1024 = 8 388 608; gate, up, down 3 * 4096 * 14336 = 176 160 768;
    # 218 103 808 * 32 layers = 6 979 321 856.
    #   GEMMs      2 * 512 * 6 979 321 856            = 7 146 825 580 544
    #   attention  2 * 131 328 pairs * 32 * 256 * 32  =    68 853 694 464
    #   head       2 * 4096 * 128 256, one position   =     1 050 673 152
    #   sum                                             7 216 729 948 160 FLOP
    #   / 989.4e12                                    = 7.29405 ms
    estimate = roofline.predict(LLAMA, card, engine="ideal", input_len=512, output_len=1)
    assert estimate.ttft_s == pytest.approx(7_216_729_948_160 / 989.4e12, rel=1e-9)
    assert estimate.ttft_s == pytest.approx(7.29405e-3, rel=1e-5)
    assert estimate.bound.prefill == "compute"
    assert estimate.mfu == pytest.approx(1.0, rel=1e-9)


def test_memory_of_llama_on_one_card(card):
    # Weights: 8 030 261 248 * 2 B = 16 060 522 496 B.
    # KV: 32 layers * 2 * 8 heads * 128 * 2 B = 131 072 B per token; two sequences of
    # 512 + 128 = 640 tokens, 40 whole pages of 16: 2 * 640 * 131 072 = 167 772 160 B.
    memory = roofline.predict(
        LLAMA, card, engine="vllm", batch=2, input_len=512, output_len=128
    ).memory
    assert memory.weights_bytes == 16_060_522_496
    assert memory.kv_bytes == 167_772_160
    # One token more opens a page of 16 in each: 2 * 656 * 131 072.
    paged = roofline.predict(
        LLAMA, card, engine="vllm", batch=2, input_len=513, output_len=128
    ).memory
    assert paged.kv_bytes == 2 * 656 * 131_072


def test_largest_batch_by_the_rule_of_vllm(card):
    # 0.9 of 80 GB = 72 GB, less weights 16.0605 GB, less context 1 GB, less activations,
    # is the cache; graphs are taken from the rest. A sequence of 640 tokens needs
    # 640 * 131 072 = 83 886 080 B, and 128 256 * 4 = 513 024 B for its logits, of which
    # the activations of one sequence hold one.
    engine = replace(get_engine("vllm"), memory_kv_frac=0.9, runtime_bytes=1e9, graph_bytes=5e8)
    memory = roofline.predict(LLAMA, card, engine=engine, input_len=512, output_len=128).memory
    room = 72e9 - 16_060_522_496 - 1e9 - memory.activation_bytes
    assert memory.max_batch == int((room + 513_024) // (83_886_080 + 513_024))
    assert memory.kv_capacity_tokens == pytest.approx(room / 131_072, abs=1.0)
    assert 600 < memory.max_batch <= 654  # 54.94e9 / 83 886 080 = 654.9 with no activations


def test_pipeline_fill():
    # 8 s of work in all, 4 passes through 2 stages: each stage holds a pass for 1 s, and
    # the last leaves after 4 + 2 - 1 = 5 s.
    assert pipelined_s(np.array(8.0), np.array(2.0), 2) == 5.0
    # One pass finds one stage at work at a time.
    assert pipelined_s(np.array(8.0), np.array(8.0), 2) == 8.0
    assert pipelined_s(np.array(8.0), np.array(2.0), 1) == 8.0
    # 6 s and then 2 s: the second stage works from 3 s to 6 s and, the short pass having
    # waited since 4 s, from 6 s to 7 s.
    assert pipelined_s(np.array(8.0), np.array(6.0), 2) == 7.0


def test_energy_is_power_times_time_over_tokens(card):
    # Energy per request is mean power x latency for one static request on one card.
    estimate = roofline.predict(LLAMA, card, engine="vllm", input_len=512, output_len=128)
    energy_j = estimate.power_w.mean * estimate.e2e_s
    assert estimate.energy_per_output_token_j == pytest.approx(energy_j / 128, rel=1e-9)
    assert estimate.energy_per_total_token_j == pytest.approx(energy_j / 640, rel=1e-9)
    watt_hours = energy_j / 128 * 1e6 / 3600
    assert estimate.wh_per_million_output_tokens == pytest.approx(watt_hours, rel=1e-9)


def test_latency_is_first_token_and_steps(card):
    estimate = roofline.predict(LLAMA, card, batch=4, input_len=100, output_len=11)
    assert estimate.e2e_s == pytest.approx(estimate.ttft_s + 10 * estimate.tpot_s, rel=1e-12)
    assert estimate.prefill_tok_per_s == pytest.approx(4 * 100 / estimate.ttft_s, rel=1e-12)
    assert estimate.decode_tok_per_s == pytest.approx(4 / estimate.tpot_s, rel=1e-12)
    assert estimate.output_tok_per_s == pytest.approx(4 * 11 / estimate.e2e_s, rel=1e-12)


def test_a_batch_that_decodes_goes_through_llama_cpps_devices_whole():
    # Layers are dealt to four cards, which work one after the other on all rows at once; under
    # vLLM four parts of one row follow each other through the stages.
    def tpot_s(engine, batch, pp):
        return roofline.predict(
            LLAMA, "RTX 3090", engine=engine, pp=pp, batch=batch, correction=None, input_len=512,
            output_len=2, weight_dtype="q8_0" if engine == "llama.cpp" else "",
        ).tpot_s  # fmt: skip

    assert tpot_s("llama.cpp", 8, 4) == pytest.approx(tpot_s("llama.cpp", 8, 1), rel=0.01)
    assert tpot_s("vllm", 4, 4) == pytest.approx(tpot_s("vllm", 1, 4), rel=1e-9)


def test_stages_work_on_prompts_of_several_requests_at_once():
    # Prompts of 2,048 tokens, one token each to decode after the first: prefill is all there is.
    # Alone a prompt passes all eight stages; of 64 in flight eight passes of four prompts fill
    # the stages, and one leaves every eighth of that time.
    asked = {"engine": "trtllm", "input_len": 2048, "output_len": 2, "pp": 8}
    alone, loaded, whole = (
        predict_table({"model": LLAMA, "gpu": "L40S", **asked, **more})
        for more in ({"concurrency": 1}, {"concurrency": 64}, {"batch": 4})
    )
    pass_s = float(whole["ttft_s"][0])
    rate = float(loaded["output_tok_per_s"][0]) / 2.0
    assert rate * pass_s / (4 * 8) == pytest.approx(1.0, rel=0.06)
    one_s = float(predict_table({"model": LLAMA, "gpu": "L40S", **asked})["ttft_s"][0])
    assert float(alone["ttft_s"][0]) >= one_s
    assert float(loaded["ttft_s"][0]) >= pass_s
