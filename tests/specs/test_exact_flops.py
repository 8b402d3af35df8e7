# SPDX-License-Identifier: Apache-2.0
"""Products of the plan against torch's own count, and cached elements against the cache.

Small random models run on the CPU under ``FlopCounterMode``, a prompt and then one more
token. The plan's side is summed here from `Linear` and the head widths alone: two per
multiply-add, every linear per token, scores and mixing per pair of tokens. The eager
attention that runs here multiplies all pairs, masked ones too.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from specs.config import model_from_config
from specs.model import Attention, Block, LatentAttention, Model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

pytestmark = [
    pytest.mark.slow,
    # Third parties warn about their own deprecations and about our odd small sizes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(torch|transformers|huggingface_hub)"),
]

SMALL = runpy.run_path(str(Path(__file__).with_name("test_exact_params.py")))["SMALL"]

CASES = """
afmoe apertus arcee bloom cohere cohere2 deepseek_v2 deepseek_v2-lite deepseek_v3 dots1
ernie4_5 ernie4_5_moe exaone4 falcon-40b falcon-7b falcon-rw gemma gemma2 gemma3_text glm glm4
glm4_moe glm4_moe_lite gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite granitemoe hy_v3
laguna llama llama-biases minicpm3 minimax_m2 ministral mistral mixtral mpt nemotron olmo olmo2
olmoe opt opt-projected persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss
smollm3 solar_open stablelm starcoder2
"""

PROMPT = 13  # tokens; below every window, so that nothing is masked by one

TOLERANCE = 1e-3  # the rotary angles are a matrix product here, too small to plan for


def linear_flops(model: Model, block: Block) -> int:
    """Of one layer for one token."""
    return sum(
        2 * linear.in_features * linear.out_features * linear.copies * run
        for linear, _, run in block.linears()
    )


def pair_flops(block: Block) -> int:
    """Of one layer for one pair of query and key."""
    mixer = block.mixer
    if isinstance(mixer, LatentAttention):
        width = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim
        return 2 * mixer.num_heads * width
    assert isinstance(mixer, Attention)
    return 2 * mixer.num_heads * (mixer.head_dim + mixer.v_head_dim)


def planned_flops(model: Model, tokens: int, keys: int) -> int:
    """Of a step with this many new tokens, each against `keys` keys."""
    assert model.lm_head is not None
    layers = sum(
        block.count * (tokens * linear_flops(model, block) + tokens * keys * pair_flops(block))
        for block in model.blocks
    )
    return layers + 2 * tokens * model.lm_head.weight_params


def running(case: str) -> tuple[Any, Model]:
    """The torch model and the plan of one case."""
    model_type, fields = SMALL[case]
    try:
        config = transformers.AutoConfig.for_model(model_type, **fields)
    except ValueError:
        pytest.skip(f"this transformers has no {model_type}")
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    data = {**json.loads(config.to_json_string()), "model_type": model_type}
    return model, model_from_config(data, name=case, source="test")


def counted(function: Any) -> tuple[int, Any]:
    """Floating-point operations that torch counts in a call, and its result."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = function()
    return counter.get_total_flops(), result


def planned_elements(block: Block) -> int:
    """Cached by one layer for one token."""
    mixer = block.mixer
    if isinstance(mixer, LatentAttention):
        return mixer.kv_lora_rank + mixer.qk_rope_head_dim
    assert isinstance(mixer, Attention)
    return mixer.num_kv_heads * (mixer.head_dim + mixer.v_head_dim)


def expansion_flops(model: Model) -> int:
    """Of expanding one cached latent in every layer, which this library does anew each step."""
    return sum(
        block.count * 2 * linear.weight_params
        for block in model.blocks
        for linear, _, _ in block.linears()
        if linear.name.endswith("kv_b_proj")
    )


def cached_elements(cache: Any) -> int:
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)


BROADCAST = {"falcon-40b"}
"""Whose cache holds every KV head once per query head in this library."""


@pytest.mark.parametrize("case", CASES.split())
def test_prefill_decode_and_cache(case: str) -> None:
    torch.manual_seed(0)
    model, plan = running(case)
    prompt = torch.randint(3, 1000, (1, PROMPT))
    flops, output = counted(lambda: model(prompt, use_cache=True))
    assert flops == pytest.approx(planned_flops(plan, PROMPT, PROMPT), rel=TOLERANCE)

    cache = output.past_key_values
    if case not in BROADCAST:
        per_token = sum(block.count * planned_elements(block) for block in plan.blocks)
        assert cached_elements(cache) == PROMPT * per_token

    token = torch.randint(3, 1000, (1, 1))
    flops, _ = counted(lambda: model(token, past_key_values=cache, use_cache=True))
    expected = planned_flops(plan, 1, PROMPT + 1) + PROMPT * expansion_flops(plan)
    assert flops == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("case", ["t5", "t5-gated", "mt5", "umt5", "bart"])
def test_encoder_decoder(case: str) -> None:
    """Cross attention projects keys and values of the encoder's tokens, once."""
    model_type, fields = SMALL[case]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    data = {**json.loads(config.to_json_string()), "model_type": model_type}
    plan = model_from_config(data, name=case, source="test")
    source, target = PROMPT, 5
    inputs = torch.randint(3, 1000, (1, source))
    outputs = torch.randint(3, 1000, (1, target))
    flops, _ = counted(lambda: model(input_ids=inputs, decoder_input_ids=outputs))

    assert plan.lm_head is not None
    expected = 2 * target * plan.lm_head.weight_params
    for block in plan.encoder:
        per_token = linear_flops(plan, block)
        expected += block.count * (source * per_token + source**2 * pair_flops(block))
    for block in plan.blocks:
        assert block.cross is not None
        made = sum(2 * linear.weight_params for linear in block.cross.linears if linear.kv_heads)
        own = linear_flops(plan, block) - made
        crossing = 2 * block.cross.num_heads * (block.cross.head_dim + block.cross.v_head_dim)
        pairs = target**2 * pair_flops(block) + target * source * crossing
        expected += block.count * (target * own + source * made + pairs)
    assert flops == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("case", ["bert", "roberta", "distilbert", "modernbert"])
def test_encoder_only(case: str) -> None:
    """All tokens through all layers; the pooler reads one token and is no linear of the plan."""
    model_type, fields = SMALL[case]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    config._attn_implementation = "eager"
    model = transformers.AutoModel.from_config(config).eval()
    data = {**json.loads(config.to_json_string()), "model_type": model_type}
    plan = model_from_config(data, name=case, source="test")
    inputs = torch.randint(3, 1000, (1, PROMPT))
    flops, _ = counted(lambda: model(input_ids=inputs))
    pooler = 2 * plan.hidden_size**2 if getattr(model, "pooler", None) is not None else 0
    layers = sum(
        block.count * (PROMPT * linear_flops(plan, block) + PROMPT**2 * pair_flops(block))
        for block in plan.encoder
    )
    assert flops == pytest.approx(layers + pooler, rel=TOLERANCE)
