# SPDX-License-Identifier: Apache-2.0
"""Forward FLOPs of prefill and of a decode step equal what torch counts, to 0.1%.

Small models with odd sizes, random weights, eager attention and experts, on the CPU.
`_flops.py` says how the plan's figures are put together the way torch multiplies.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


flops = _load("_flops")
small = flops.small_models()

pytestmark = [
    pytest.mark.slow,
    # Third parties warn about their own deprecations and about our odd small sizes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SEQUENCES, PROMPT = 2, 37
TOLERANCE = 1e-3  # what is left is rotary frequencies (a product of width one) and the like

DECODERS = (
    "llama", "llama-biases", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    "gpt2", "gpt_oss", "deepseek_v2", "deepseek_v2-lite", "deepseek_v3", "deepseek_v32",
    "glm_moe_dsa", "mimo_v2_flash", "gpt_neo", "laguna", "afmoe", "exaone_moe", "hy_v3", "gptj",
    "gpt_neox", "gpt_bigcode", "gpt_bigcode-heads", "opt", "opt-projected", "bloom", "falcon-7b",
    "falcon-40b", "falcon-rw", "mpt", "cohere", "cohere2", "arcee", "apertus", "dots1",
    "ernie4_5", "ernie4_5_moe", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4",
    "glm4_moe", "glm4_moe_lite", "granite", "granitemoe", "hunyuan_v1_dense",
    "minicpm3", "minimax_m2", "minimax_m3_vl_text", "ministral3", "nemotron", "olmo", "olmo2",
    "olmo3", "olmoe", "persimmon", "phi", "phi3", "phimoe", "seed_oss", "smollm3", "solar_open",
    "stablelm", "stablelm-parallel", "starcoder2",
)  # fmt: skip

RECURRENT = (
    "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "kimi_linear", "jamba", "bamba",
    "granitemoehybrid", "nemotron_h", "nemotron_h-moe", "nemotron_h-latent", "minimax", "lfm2",
    "lfm2_moe", "mamba", "falcon_mamba", "mamba2",
)  # fmt: skip
"""Projections only: torch's slow path of a recurrence forms products that no kernel does
(whole chunks squared, states of every position), so its count is no standard for ours."""

LOOSE = {
    # The mixing of its four parallel streams is elementwise in our description, and its
    # small router runs twice: 1% of a model of width 96, less of a real one.
    "gemma3n_text": 0.01,
}

LATENT = ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "kimi_linear")


def _built(case: str) -> tuple[Any, Any, Any]:
    """Config, torch model with random weights, and our description."""
    model_type, fields = small.SMALL[case]
    config = small.small_config(model_type, fields)
    config._experts_implementation = "eager"
    torch.manual_seed(0)
    built = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return config, built.eval(), flops.described(config, case)


def _prompt() -> Any:
    return torch.randint(3, 1000, (SEQUENCES, PROMPT), generator=torch.Generator().manual_seed(1))


def _two_passes(built: Any) -> tuple[Any, Any, int]:
    """Counts of a prefill and of the decode step after it, and the positions projected."""
    ids = _prompt()
    first = flops.counted(lambda: built(input_ids=ids, logits_to_keep=1, use_cache=True))
    cache = "past_key_values" if "past_key_values" in first.result else "cache_params"
    past = {cache: first.result[cache]}
    then = flops.counted(lambda: built(input_ids=ids[:, :1], use_cache=True, **past))
    return first, then, SEQUENCES * first.result.logits.shape[1]


def _expanded(case: str) -> float:
    """Cached tokens that a decode step of latent attention expands again in torch."""
    return float(SEQUENCES * PROMPT) if case.startswith(LATENT) else 0.0


def _weighing(config: Any, plan: Any) -> float:
    """FLOPs per pair of the sum over an index's heads, where torch makes it a product.

    Kernels weigh the heads in the epilogue of the scores, so the plan leaves it out.
    """
    if config.model_type not in ("deepseek_v32", "glm_moe_dsa"):
        return 0.0
    layers = sum(op.count for op in plan.attention if op.index_flops_per_pair)
    return SEQUENCES * layers * 2.0 * config.index_n_heads


@pytest.mark.parametrize("case", [*DECODERS, *LOOSE])
def test_decoders(case: str) -> None:
    config, built, model = _built(case)
    first, then, heads = _two_passes(built)
    plan = flops.plan_of(model)
    assert not plan.recurrent
    rel = LOOSE.get(case, TOLERANCE)
    tokens = SEQUENCES * PROMPT
    expected = flops.projections(plan, tokens=tokens, heads=heads)
    pairs = flops.rectangles(plan, sequences=SEQUENCES, queries=PROMPT, keys=PROMPT)
    weighing = _weighing(config, plan)
    pairs += weighing * PROMPT * PROMPT
    assert first.total == pytest.approx(expected + pairs, rel=rel)
    if case not in LOOSE:
        assert first.plain == pytest.approx(expected, rel=TOLERANCE)
    expected = flops.projections(plan, tokens=SEQUENCES, heads=SEQUENCES, expanded=_expanded(case))
    pairs = flops.rectangles(plan, sequences=SEQUENCES, queries=1, keys=PROMPT + 1)
    pairs += weighing * (PROMPT + 1)
    assert then.total == pytest.approx(expected + pairs, rel=rel)


@pytest.mark.parametrize("case", RECURRENT)
def test_projections_around_recurrences(case: str) -> None:
    _, built, model = _built(case)
    first, then, heads = _two_passes(built)
    plan = flops.plan_of(model)
    assert plan.recurrent
    expected = flops.projections(plan, tokens=SEQUENCES * PROMPT, heads=heads)
    assert first.plain == pytest.approx(expected, rel=TOLERANCE)
    expected = flops.projections(plan, tokens=SEQUENCES, heads=SEQUENCES, expanded=_expanded(case))
    assert then.plain == pytest.approx(expected, rel=TOLERANCE)


def test_llama4_multiplies_every_token_by_every_expert() -> None:
    # transformers' eager experts are one batched product over all of them, with the
    # scores of those not chosen set to zero; engines send tokens to the one chosen.
    config, built, model = _built("llama4_text")
    first, then, heads = _two_passes(built)
    plan, every = flops.plan_of(model), config.num_local_experts
    for seen, tokens, head, queries, keys in (
        (first, SEQUENCES * PROMPT, heads, PROMPT, PROMPT),
        (then, SEQUENCES, SEQUENCES, 1, PROMPT + 1),
    ):
        expected = flops.projections(plan, tokens=tokens, heads=head, experts=every)
        expected += flops.rectangles(plan, sequences=SEQUENCES, queries=queries, keys=keys)
        assert seen.total == pytest.approx(expected, rel=TOLERANCE)


def test_deepseek_v4_projections() -> None:
    # Attention is left out: torch scores compressed entries and the sliding part in one
    # rectangle. The grouped output projection is a batched product in torch.
    config, built, model = _built("deepseek_v4")
    first, then, heads = _two_passes(built)
    plan = flops.plan_of(model)
    grouped = sum(
        op.count * op.flops for op in plan.operators if op.name.endswith("self_attn.o_a_proj")
    )
    for seen, tokens, head in (
        (first, SEQUENCES * PROMPT, heads),
        (then, SEQUENCES, SEQUENCES),
    ):
        expected = flops.projections(plan, tokens=tokens, heads=head) - grouped * tokens
        # The four streams are joined once more in front of the head.
        expected += 2.0 * tokens * config.hidden_size * config.hc_mult**2
        assert seen.plain == pytest.approx(expected, rel=TOLERANCE)
        assert seen.batched >= grouped * tokens


@pytest.mark.parametrize("case", ["bert", "roberta", "xlm-roberta", "distilbert", "modernbert"])
def test_encoders(case: str) -> None:
    model_type, fields = small.SMALL[case]
    config = small.small_config(model_type, fields)
    built = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    if getattr(built, "pooler", None) is not None:
        built.pooler = None  # a classifier's part, not the encoder's
    seen = flops.counted(lambda: built(input_ids=_prompt()))
    plan = flops.plan_of(flops.described(config, case), encoder=True)
    expected = flops.projections(plan, tokens=SEQUENCES * PROMPT, heads=0.0)
    expected += flops.rectangles(plan, sequences=SEQUENCES, queries=PROMPT, keys=PROMPT)
    assert seen.total == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("case", ["t5", "t5-gated", "mt5", "umt5", "bart", "whisper"])
def test_encoder_decoders(case: str) -> None:
    model_type, fields = small.SMALL[case]
    config = small.small_config(model_type, fields)
    if case == "whisper":
        auto, length = transformers.AutoModelForSpeechSeq2Seq, config.max_source_positions
        asked = {"input_features": torch.randn(SEQUENCES, config.num_mel_bins, 2 * length)}
    else:
        auto, length, asked = transformers.AutoModelForSeq2SeqLM, PROMPT, {"input_ids": _prompt()}
    built = auto.from_config(config, attn_implementation="eager").eval()
    start = torch.full((SEQUENCES, 1), 3)
    first = flops.counted(lambda: built(**asked, decoder_input_ids=start, use_cache=True))
    kept = {
        "encoder_outputs": (first.result.encoder_last_hidden_state,),
        "past_key_values": first.result.past_key_values,
    }
    then = flops.counted(lambda: built(decoder_input_ids=start, use_cache=True, **kept))
    model = flops.described(config, case)
    encoder, decoder = flops.plan_of(model, encoder=True), flops.plan_of(model)
    heard = float(SEQUENCES * length)
    expected = flops.projections(encoder, tokens=heard, heads=0.0)
    expected += flops.rectangles(encoder, sequences=SEQUENCES, queries=length, keys=length)
    expected += flops.projections(decoder, tokens=SEQUENCES, heads=SEQUENCES, encoder_tokens=heard)
    expected += flops.rectangles(
        decoder, sequences=SEQUENCES, queries=1, keys=1, encoder_keys=length
    )
    # Whisper's front end is two convolutions; our description has them as products, the
    # first at every second of its positions: under 0.1% of a real one.
    if case == "whisper":
        expected += 2.0 * heard * config.num_mel_bins * 3 * config.d_model
    assert first.total + first.convolved == pytest.approx(expected, rel=TOLERANCE)
    expected = flops.projections(decoder, tokens=SEQUENCES, heads=SEQUENCES)
    expected += flops.rectangles(
        decoder, sequences=SEQUENCES, queries=1, keys=2, encoder_keys=length
    )
    assert then.total == pytest.approx(expected, rel=TOLERANCE)


def test_enough_architectures_are_counted() -> None:
    whole = {small.SMALL[case][0] for case in DECODERS}
    assert len(whole) >= 50
