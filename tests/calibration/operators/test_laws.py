# SPDX-License-Identifier: Apache-2.0
"""The laws: bounds, monotony, and terms worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.operators.facts import DeviceFacts, LinkFacts, facts_of
from calibration.operators.features import (
    SCHEMES,
    causal_pairs,
    collective_terms,
    decode_terms,
    gemm_terms,
    moe_terms,
    prefill_terms,
)
from calibration.operators.laws import LAWS, blended_s
from calibration.operators.routing import rank_load
from roofline.residual import family_of
from specs.catalogue import get_accelerator

FACTS = DeviceFacts(
    name="test-gpu",
    family="test",
    peak_flops_per_s={"bf16": 1e15, "fp8": 2e15, "fp4": 4e15},
    mem_bytes_per_s=4e12,
    cache_bytes=50e6,
    unit_count=128.0,
    special_per_s=3.7e12,
    free_w=600.0,
    flop_j=0.6e-12,
    links={
        2: LinkFacts(bytes_per_s=400e9, floor_s=4e-6),
        8: LinkFacts(bytes_per_s=400e9, floor_s=4e-6),
    },
)


def _constants(law):
    return {param.name: param.prior for param in LAWS[law].params}


def test_blend_lies_between_the_larger_and_the_sum():
    c, m = np.array([1.0, 2.0, 0.0]), np.array([1.0, 0.5, 3.0])
    result = blended_s(c, m, 0.4)
    assert np.all(result >= np.maximum(c, m))
    assert np.all(result <= c + m + 1e-12)
    # 2 + 0.4 * 0.5**2 / 2; nothing beside 3.
    assert result == pytest.approx([1.4, 2.05, 3.0])


def test_params_decode_within_bounds_and_round_trip():
    for law in LAWS.values():
        for param in law.params:
            for x in (-100.0, -3.0, 0.0, 3.0, 100.0):
                value = float(param.decode(x))
                assert value > 0
                if param.kind == "share":
                    assert param.low <= value <= param.high
            assert float(param.decode(param.encode(param.prior))) == pytest.approx(param.prior)


def test_gemm_terms_of_part_of_a_wave_by_hand():
    # 2100 x 1024 outputs: 2100 rows fill 132 tiles of 16 x 64 each 16 columns wide; the least
    # padded shape wins: 16 * ceil(2100 / 16) = 2112 rows. 17.6 us at 1e15 FLOP/s, unpadded.
    # 132 * 16 = 2112 tiles are 16.5 waves of 128 units: 17 whole ones.
    terms = gemm_terms(2100, 1024, 4096, scheme=SCHEMES["bf16"], facts=FACTS)
    assert terms["ideal_s"][0] == pytest.approx(17.616e-6, rel=1e-3)
    # 128 x 128 tiles: 17 * 8 = 136, over one wave of 128: two whole. 256 x 128: 9 * 8 = 72,
    # under one: 72 * 32768 outputs for 2150400. 64 x 128: 33 * 8 = 264: 3 waves of 8192.
    # 64 x 64: 33 * 16 = 528: 5 waves of 4096, 2621440; 16 x 64: 17 waves of 1024, 2228224.
    assert terms["tiled_s"][0] / terms["ideal_s"][0] == pytest.approx(17 * 128 * 1024 / 2150400)
    # Weights 1024 * 4096 * 2 B = 8.39 MB; activations stay in the 50 MB cache.
    assert terms["memory_s"][0] == pytest.approx(8.389e6 / 4e12, rel=1e-3)


@given(
    m=st.integers(1, 20000), n=st.integers(16, 20000), k=st.integers(16, 20000), x=st.floats(-5, 5)
)
def test_gemm_is_never_below_its_roofline(m, n, k, x):
    law = LAWS["gemm"]
    terms = gemm_terms(m, n, k, scheme=SCHEMES["bf16"], facts=FACTS)
    time_s = law.time_s(law.constants(law.prior() + x), terms)
    assert time_s[0] >= max(terms["ideal_s"][0], terms["memory_s"][0])


def test_more_work_is_never_faster():
    law, m = LAWS["gemm"], np.array([1, 16, 64, 128, 512, 2048, 8192])
    times = law.time_s(
        _constants("gemm"), gemm_terms(m, 4096, 4096, scheme=SCHEMES["bf16"], facts=FACTS)
    )
    assert np.all(np.diff(times) >= -1e-12)
    kv = np.array([16, 256, 1024, 8192, 65536])
    terms = decode_terms(
        batch=8,
        kv=kv,
        heads=32,
        kv_heads=8,
        qk_dim=128,
        v_dim=128,
        kv_bytes_per_token_head=512,
        window=0,
        arithmetic="bf16",
        facts=FACTS,
    )
    assert np.all(np.diff(LAWS["decode"].time_s(_constants("decode"), terms)) > 0)


def test_causal_pairs_by_hand():
    # 4 queries after none: 1 + 2 + 3 + 4 = 10; with 2 cached: 3 + 4 + 5 + 6 = 18;
    # with a window of 3 and none cached: 1 + 2 + 3 + 3 = 9.
    q, kv, window = np.array([4.0, 4.0, 4.0]), np.array([4.0, 6.0, 4.0]), np.array([0.0, 0.0, 3.0])
    assert causal_pairs(q, kv, window).tolist() == [10.0, 18.0, 9.0]


def test_long_prefill_spends_as_much_on_exponentials_as_hopper_does():
    # 4096 matrix FLOP per clock and unit, 16 exponentials: a pair of width 128 takes
    # 512 / 4096 = 0.125 clocks of one and 0.0625 of the other, so the ratio is 2; the vector
    # rate that exponentials are counted by is stated at 1.98 GHz, the matrix rate at 1.83.
    facts = facts_of(get_accelerator("h100-sxm5-80gb"))
    terms = prefill_terms(
        batch=1,
        q=8192,
        kv=8192,
        heads=32,
        head_dim=128,
        v_head_dim=128,
        kv_bytes_per_token=4096.0,
        window=0,
        arithmetic="bf16",
        facts=facts,
    )
    assert terms["pairs_s"][0] / terms["special_s"][0] == pytest.approx(2.0 * 1.98 / 1.83, rel=0.01)
    # Diagonal tiles: half a tile per row of 8192 / 2 keys on average.
    assert terms["diagonal"][0] == pytest.approx(64 / 4096.5, rel=1e-6)
    # 32 heads x 64 tiles on 132 units: 15.5 waves, 16 whole.
    assert terms["waves"][0] == pytest.approx(16 * 132 / 2048)
    # Keys and values 8192 x 4096 B, queries and outputs 8192 x 32 x 256 x 2 B, at 3.35 TB/s.
    moved = 8192 * 4096 + 8192 * 32 * 256 * 2
    assert terms["memory_s"][0] == pytest.approx(moved / 3.35e12, rel=1e-2)


def test_few_items_of_decode_do_not_fill_the_memory():
    # Two KV heads of 512 B per key on 128 units: an item is 256 keys, so half the rate at
    # h items per unit adds h * 128 * 256 * 512 B, whatever the number of sequences.
    asked = {"kv": 1024, "heads": 16, "kv_heads": 2, "qk_dim": 128, "v_dim": 128, "window": 0}
    asked |= {"kv_bytes_per_token_head": 512, "arithmetic": "bf16", "facts": FACTS}
    one, many = (decode_terms(batch=batch, **asked) for batch in (1, 64))
    for terms in (one, many):
        assert terms["item_memory_s"][0] == pytest.approx(128 * 256 * 512 / 4e12)
    # Eight query heads share a KV head; the matrix instruction has 16 rows.
    assert one["compute_s"][0] == pytest.approx(2 * 2.0 * 16 * 1024 * 256 / 1e15)


def test_moe_reads_only_experts_awake():
    common = {"hidden": 4096, "inter": 1536, "matrices": 3, "skew": 0}
    common |= {"scheme": SCHEMES["fp8"], "facts": FACTS}
    few = moe_terms(pairs=8, awake=8, local_experts=128, **common)
    all_awake = moe_terms(pairs=4096, awake=128, local_experts=128, **common)
    # Gate and up together, then down.
    assert few["memory_s"][:, 0] == pytest.approx(8 * 4096 * 1536 / 4e12 * np.array([2, 1]))
    assert all_awake["memory_s"] == pytest.approx(16 * few["memory_s"])


def test_balanced_routing_deals_evenly_and_skew_wakes_fewer():
    assert rank_load(64, 8, 128, 4, 0.0) == (128.0, 32.0)
    pairs, awake = rank_load(64, 8, 128, 4, 1.2)
    assert pairs > 128.0
    assert awake < 32.0


def test_small_all_reduce_goes_in_one_shot():
    terms = collective_terms([1e4, 1e8], [8, 8], kind="all_reduce", facts=FACTS)
    # Ring: 2 * 7/8 of the buffer; one shot: 7 buffers.
    assert terms["ring_s"] == pytest.approx([1.75e4 / 400e9, 1.75e8 / 400e9])
    assert terms["oneshot_s"] == pytest.approx([7e4 / 400e9, 7e8 / 400e9])
    constants = {"e_link": 1.0, "t_0": 4e-6, "t_sync": 3e-6, "grow": 1e-9}
    small, large = LAWS["collective"].time_s(constants, terms)
    assert small == pytest.approx(4e-6 + 7e4 / 400e9)
    assert large == pytest.approx(4e-6 + 3e-6 + 1.75e8 / 400e9)


def test_families_and_headroom():
    assert family_of(get_accelerator("rtx-pro-6000-blackwell")) == "blackwell-rtx"
    assert family_of(get_accelerator("b200-sxm-180gb")) == "blackwell"
    assert family_of(get_accelerator("arc-pro-b60")) == "xe"
    assert family_of(get_accelerator("mi300x")) == "cdna"
    # 600 W over 1e15 * 0.6e-12 = 600 W.
    assert FACTS.headroom("bf16") == pytest.approx(1.0)
    t4, h100 = facts_of(get_accelerator("t4")), facts_of(get_accelerator("h100-sxm5-80gb"))
    assert t4.headroom("fp16") < h100.headroom("bf16")


def test_missing_arithmetic_widens():
    assert FACTS.peak("fp32") if "fp32" in FACTS.peak_flops_per_s else FACTS.peak("fp16") == 1e15
    assert FACTS.peak("int8") == 1e15
    with pytest.raises(KeyError, match="fp32"):
        FACTS.peak("fp32")
