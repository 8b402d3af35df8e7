# SPDX-License-Identifier: Apache-2.0
"""The timed calls do the work that they stand for, counted by torch itself.

Products of the tiny Llama, two operations per multiply-add, by hand. One layer multiplies
each token with 2 * 64 * 64 (q, o) + 2 * 64 * 32 (k, v) + 3 * 64 * 96 = 30720 weights; its
attention does 2 * 2 * 4 heads * 16 per pair of query and key, masked pairs included; the
head has 64 * 101 weights. Three layers.
"""

import json
from statistics import mean

import pytest

from profiler.models_steps import decode_step, mean_context, prefill_step

pytestmark = pytest.mark.slow

BATCH, PROMPT = 2, 11
WEIGHTS, PAIR, HEAD, LAYERS = 30720, 2 * 2 * 4 * 16, 64 * 101, 3


def step_flops(*, tokens, keys):
    """Of one sequence: `tokens` new ones, each against `keys` keys, one row of logits."""
    return LAYERS * (2 * tokens * WEIGHTS + tokens * keys * PAIR) + 2 * HEAD


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from profiler.models import build_model

    folder = tmp_path_factory.mktemp("tiny")
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 101,
        "max_position_embeddings": 128,
    }
    (folder / "config.json").write_text(json.dumps(config))
    model = build_model(str(folder), dtype="fp32", devices=["cpu"])
    model.module.set_attn_implementation("eager")  # torch counts no fused attention on CPUs
    return model


def counted(call):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        result = call()
    return counter.get_total_flops(), result


# Angles of the rotary embedding are a product too: 8 frequencies per token.
ROTARY = 2 * 8


def test_prefill_runs_the_whole_prompt_and_the_head_once(built):
    step = prefill_step(built, batch=BATCH, input_tokens=PROMPT)
    flops, chosen = counted(step.call)
    expected = BATCH * step_flops(tokens=PROMPT, keys=PROMPT)
    assert flops == pytest.approx(expected, abs=ROTARY * PROMPT)
    # The head on all positions would be 258 560 more, the tolerance is 176.
    assert chosen.shape == (BATCH,)


def test_each_prefill_begins_with_an_empty_cache(built):
    step = prefill_step(built, batch=1, input_tokens=PROMPT)
    assert counted(step.call)[0] == counted(step.call)[0]


@pytest.mark.parametrize(("capture", "keys"), [("eager", PROMPT + 1), ("graph", 40)])
def test_a_decode_step_reads_the_asked_context_every_time(built, capture, keys):
    step = decode_step(built, batch=BATCH, context=PROMPT, capture=capture, static_len=40)
    for _ in range(3):
        flops, _ = counted(step.call)
        # A static cache is read to its end, which is what it costs.
        assert flops == pytest.approx(BATCH * step_flops(tokens=1, keys=keys), abs=ROTARY)
        assert int(step.cache.get_seq_length()) == PROMPT


def test_a_decode_step_continues_the_sequence(built):
    import torch

    from profiler.models_steps import _tokens

    step = decode_step(built, batch=BATCH, context=PROMPT)
    whole = torch.cat([_tokens(built, BATCH, PROMPT), _tokens(built, BATCH, 1)], dim=1)
    with torch.no_grad():
        expected = built.module(whole).logits[:, -1].argmax(-1)
    assert torch.equal(step.call(), expected)
    assert torch.equal(step.call(), expected)


def test_windows_and_recurrent_states_are_put_back_too(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from profiler.models import build_model

    common = {"vocab_size": 101, "hidden_size": 64, "num_hidden_layers": 2}
    sliding = {
        **common,
        "model_type": "mistral",
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "sliding_window": 8,
        "max_position_embeddings": 128,
    }
    recurrent = {**common, "model_type": "mamba", "state_size": 4, "intermediate_size": 128}
    for name, config in (("sliding", sliding), ("recurrent", recurrent)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        model = build_model(str(tmp_path / name), dtype="fp32", devices=["cpu"])
        step = decode_step(model, batch=1, context=12)
        flops = [counted(step.call)[0] for _ in range(3)]
        assert len(set(flops)) == 1, f"{name}: {flops}"


@pytest.mark.parametrize(("n_in", "n_out"), [(128, 32), (128, 33), (7, 2), (512, 129)])
def test_mean_context_is_that_of_a_generation(n_in, n_out):
    contexts = range(n_in, n_in + n_out - 1)  # before each step: the first token is prefill's
    assert mean_context(n_in, n_out) == int(mean(contexts))


def test_a_single_token_has_no_decode_step():
    assert mean_context(128, 1) == 128
