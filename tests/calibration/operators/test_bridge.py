# SPDX-License-Identifier: Apache-2.0
"""What is fitted is what is used: laws and step agree; shares stay in bounds, levels fall back."""

from dataclasses import fields, replace

import numpy as np
import pytest

from calibration.operators.apply import load_operators
from calibration.operators.bridge import OperatorCorrection, load_correction
from calibration.operators.facts import facts_of
from calibration.operators.features import (
    SCHEMES,
    collective_terms,
    decode_terms,
    gemm_terms,
    moe_terms,
    prefill_terms,
)
from calibration.operators.holdout import without
from calibration.operators.laws import LAWS
from roofline.correction import CaseShares
from roofline.devices import DeviceColumns
from roofline.explain import explain
from roofline.physics.passes import Pass, decode_pass, prefill_pass
from roofline.physics.plan import AttentionOperator, Operator, make_plan
from roofline.physics.schemes import SCHEMES as WEIGHTS
from roofline.physics.step import operator_costs
from roofline.predict import predict, predict_table
from specs.catalogue import get_accelerator, list_accelerators
from specs.engine import get_engine

H100, VLLM = get_accelerator("h100-sxm5-80gb"), get_engine("vllm")
ONE = np.ones(1)


def _costs(operators=(), attention=(), *, step, engine=VLLM, ranks=(1,), **plan):
    """Operators on an H100 at the shipped shares."""
    made = make_plan(list(operators), list(attention), [], **plan)
    index = np.zeros(1, dtype=np.intp)
    case = DeviceColumns.of([H100]).take(index, ranks)
    case = case.at(CaseShares(load_correction(), [H100]).of(engine, index))
    return operator_costs(made, step, case.rates, engine)


def _prompt(tokens: float) -> Pass:
    return prefill_pass(ONE, tokens * ONE, 0.0 * ONE, ONE)


@pytest.mark.parametrize(("scheme", "law"), [("plain", "gemm_bf16"), ("fp8", "gemm_fp8")])
@pytest.mark.parametrize("rows", [1.0, 96.0, 700.0, 8192.0])
def test_products_take_in_a_step_what_their_law_says(scheme, law, rows):
    kind, k, n = SCHEMES[law.removeprefix("gemm_")], 4096.0, 6144.0
    gemm = Operator(
        name="gemm",
        kind="gemm",
        count=1.0,
        flops=2.0 * k * n,
        weight_bytes=k * n * kind.weight_bytes,
        act_bytes=(k + n) * 2.0,
        columns=n,
        arithmetic=kind.arithmetic,
        scheme=scheme,
    )
    facts, laws = facts_of(H100), load_operators()
    constants = laws.constants(law, facts)
    constants["t_0"] = laws.constants("gemm_bf16", facts)["t_0"]
    terms = gemm_terms(rows, n, k, scheme=kind, facts=facts)
    expected = LAWS["gemm"].time_s(constants, terms)
    found = _costs([gemm], step=_prompt(rows)).time_s[0]
    assert found == pytest.approx(expected, rel=1e-9)


def test_experts_take_in_a_step_what_their_law_says_but_for_the_floor():
    d, f, experts, topk, tokens = 2048.0, 768.0, 128, 8, 512.0
    facts, engine = facts_of(H100), replace(VLLM, routing_skew=0.0)
    common = {"kind": "moe_gemm", "count": 1.0, "driver": 2, "experts": experts}
    common |= {"arithmetic": "bf16", "act_bytes": 0.0}
    both = [
        Operator(name=name, flops=2.0 * k * n, weight_bytes=2.0 * k * n, columns=n, **common)
        for name, k, n in (("up", d, 2.0 * f), ("down", f, d))
    ]
    plan = {"num_experts": experts, "topk": topk}
    costs = _costs(both, step=_prompt(tokens), engine=engine, **plan)
    terms = moe_terms(
        pairs=tokens * topk,
        awake=experts * (1.0 - (1.0 - topk / experts) ** tokens),
        local_experts=experts,
        hidden=d,
        inter=f,
        matrices=3.0,
        skew=0.0,
        scheme=SCHEMES["bf16"],
        facts=facts,
    )
    constants = load_operators().constants("moe_bf16", facts) | {"t_0": 0.0, "t_expert": 0.0}
    expected = LAWS["moe"].time_s(
        constants, {**terms, "local_s": np.zeros(1), "resident": np.zeros(1)}
    )
    assert (costs.time_s - costs.floor_s).sum() == pytest.approx(expected[0], rel=1e-9)
    assert (costs.floor_s >= VLLM.kernel_floor_s).all()


HEADS = {"num_heads": 32.0, "head_dim": 128.0, "v_head_dim": 128.0, "kv_heads": 8.0}
ATTENTION = AttentionOperator(
    name="attention",
    count=1.0,
    **HEADS,
    decode_head_dim=128.0,
    decode_v_head_dim=128.0,
    kv_bytes_per_token=4096.0,
    window=None,
    causal=True,
    cross=False,
    topk=None,
    io_bytes_per_token=32 * 256 * 2.0,
    arithmetic="bf16",
    score_bytes=0.0,
)


@pytest.mark.parametrize("tokens", [64.0, 1024.0, 8192.0])
def test_prompts_attend_in_a_step_as_their_law_says(tokens):
    facts, law = facts_of(H100), "prefill_bf16_kv_bf16"
    terms = prefill_terms(
        batch=1,
        q=tokens,
        kv=tokens,
        heads=32,
        head_dim=128,
        v_head_dim=128,
        kv_bytes_per_token=4096.0,
        window=0,
        arithmetic="bf16",
        facts=facts,
    )
    expected = LAWS["prefill"].time_s(load_operators().constants(law, facts), terms)
    found = _costs((), [ATTENTION], step=_prompt(tokens)).time_s[0]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("batch", "context"), [(1.0, 99.0), (4.0, 4095.0), (256.0, 1023.0)])
def test_decode_attends_in_a_step_as_its_law_says(batch, context):
    facts, law = facts_of(H100), "decode_kv_bf16"
    terms = decode_terms(
        batch=batch,
        kv=context + 1.0,
        heads=32,
        kv_heads=8,
        qk_dim=128,
        v_dim=128,
        kv_bytes_per_token_head=512.0,
        window=0,
        arithmetic="bf16",
        facts=facts,
    )
    terms["resident"] = np.zeros(1)
    expected = LAWS["decode"].time_s(load_operators().constants(law, facts), terms)
    step = decode_pass(batch * ONE, context * ONE, ONE, 0.0 * ONE)
    assert _costs((), [ATTENTION], step=step).time_s[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("tokens", [1.0, 8192.0])
@pytest.mark.parametrize("ranks", [2, 8])
def test_sums_over_ranks_take_in_a_step_what_their_law_says(tokens, ranks):
    facts, size = facts_of(H100, ranks=(ranks,)), tokens * 8192.0
    reduce = Operator(
        name="all_reduce",
        kind="all_reduce",
        count=1.0,
        sent_bytes=2.0 * (ranks - 1.0) / ranks * 8192.0,
        ranks=ranks,
    )
    terms = collective_terms(size, ranks, kind="all_reduce", facts=facts)
    expected = LAWS["collective"].time_s(load_operators().constants("all_reduce", facts), terms)
    found = _costs([reduce], step=_prompt(tokens), ranks=(ranks,)).time_s[0]
    assert found == pytest.approx(expected, rel=1e-9)


def test_shares_of_every_device_and_engine_are_shares():
    correction = load_correction()
    applied = 0
    names = [row.name for row in list_accelerators()]
    for name in names[:: max(len(names) // 150, 1)]:
        device = get_accelerator(name)
        for engine in ("vllm", "trtllm", "llama.cpp"):
            shares = correction.shares(device, get_engine(engine))
            if shares is None:
                continue
            applied += 1
            for field in fields(shares):
                values = getattr(shares, field.name)
                assert np.all(np.isnan(values) | (values >= 0.0)), (name, field.name)
            for table in (shares.gemm, shares.moe, shares.prefill, shares.decode):
                assert ((table[:3] >= 0.0) & (table[:3] <= 1.0)).all(), name
                assert (table[:2] > 0.0).all(), name
                assert (table[-1] < 0.5e-3).all(), name
    assert applied > 30


def test_basis_names_the_level_and_what_is_left_alone():
    correction = load_correction()
    said = {
        name: correction.basis(get_accelerator(name), VLLM)
        for name in ("h100-sxm5-80gb", "h100-pcie-80gb", "l40s", "t4", "tpu-v5e")
    }
    assert "on this device" in said["h100-sxm5-80gb"]
    assert "other hopper devices" in said["h100-pcie-80gb"]
    assert "synchronous" in said["l40s"]
    assert said["t4"].startswith("none")
    assert said["tpu-v5e"].startswith("none")
    assert correction.shares(get_accelerator("t4"), VLLM) is None
    assert predict("gpt2", "t4", correction=correction).ttft_s == predict("gpt2", "t4").ttft_s
    estimate = predict("gpt2", "l40s", correction=correction)
    assert estimate.basis.correction == said["l40s"]


def test_device_held_out_takes_its_family_then_the_others():
    laws = load_operators()
    rest = without(laws, ["h100-sxm5-80gb"])
    facts = facts_of(H100)
    assert laws.level("gemm_bf16", facts) == "device"
    assert rest.level("gemm_bf16", facts) == "family"
    hopper = without(laws, ["h100-sxm5-80gb", "h200-sxm-141gb"])
    assert hopper.level("gemm_bf16", facts) == "kind"
    held = OperatorCorrection(rest).shares(H100, VLLM)
    known = load_correction().shares(H100, VLLM)
    assert held is not None
    assert known is not None
    assert not np.allclose(held.gemm, known.gemm)
    plain = WEIGHTS.index("plain")
    assert held.gemm[0, plain] == pytest.approx(known.gemm[0, plain], rel=0.15)
    # A100's alone: nothing is left of it, and 16-bit products stand in.
    gone = OperatorCorrection(without(laws, ["a100-sxm4-80gb"]))
    assert "gemm_int4_wo" not in gone.laws.pools
    assert gone.shares(get_accelerator("a100-sxm4-80gb"), VLLM) is not None


def test_nothing_held_out_changes_nothing_but_rounding():
    laws = load_operators()
    again = without(laws, ["p4"])
    facts = facts_of(get_accelerator("l40s"))
    for name in ("gemm_bf16", "decode_kv_bf16", "moe_fp8"):
        assert again.pools[name] is laws.pools[name]
    pool, less = laws.pools["gemm_fp32"], again.pools["gemm_fp32"]
    assert set(pool.devices) - set(less.devices) == {"p4"}
    assert laws.constants("gemm_bf16", facts) == again.constants("gemm_bf16", facts)


def test_explained_times_add_up_with_the_correction_too():
    asked = {"tp": 4, "input_len": 2048, "output_len": 64, "weight_dtype": "fp8"}
    for model in ("meta-llama/Llama-3.1-70B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3"):
        told = explain(model, H100, correction=load_correction(), **asked)
        for phase in (told.prefill, told.decode):
            assert phase is not None
            assert sum(row.time_s for row in phase.operators) == pytest.approx(phase.time_s)
            assert all(row.name != "other requests" for row in phase.operators)


def test_cases_side_by_side_cost_what_they_cost_alone():
    asked = {
        "model": ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V2-Lite"]
        * 3,
        "gpu": ["h100-sxm5-80gb"] * 3 + ["l40s"] * 3 + ["mi300x"] * 3,
        "weight_dtype": ["", "fp8", "int4"] * 3,
        "kv_dtype": ["fp8", "", ""] * 3,
        "batch": [1, 7, 64] * 3,
        "input_len": 1000,
        "output_len": 100,
    }
    together = predict_table(asked, correction=load_correction())
    for row in range(9):
        alone = {k: v[row] if isinstance(v, list) else v for k, v in asked.items()}
        single = predict_table({k: [v] for k, v in alone.items()}, correction=load_correction())
        for name in ("ttft_s", "tpot_s", "floor_ttft_s", "power_mean_w"):
            assert single[name][0] == pytest.approx(together[name][row], rel=1e-9), (row, name)
