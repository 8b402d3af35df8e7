# SPDX-License-Identifier: Apache-2.0
import pytest

import roofline

LLAMA = "meta-llama/Llama-3.1-8B"


def warnings_of(*names, **asked):
    return roofline.predict(*names, **asked).warnings


def having(text, warnings):
    return [warning for warning in warnings if text in warning]


def test_what_does_not_fit_comes_first_with_a_way_out():
    warnings = warnings_of("meta-llama/Llama-3.1-70B", "RTX 4090", input_len=200_000)
    assert warnings[0].startswith("does not fit: needs ")
    assert "too much" in warnings[0]
    assert "GPUs" in warnings[0]


def test_too_large_a_batch_is_told_from_too_large_a_model():
    warnings = warnings_of(LLAMA, "RTX 4090", batch=4096, input_len=4096)
    assert warnings[0].startswith("does not fit as asked: needs ")
    estimate = roofline.predict(LLAMA, "RTX 4090", batch=4096, input_len=4096)
    assert f"at most {estimate.memory.max_batch} such" in warnings[0]


@pytest.mark.parametrize(("tokens", "warned"), [(1024, False), (1025, True)])
def test_context_beyond_the_positions_of_the_model(tokens, warned):
    # GPT-2 has 1,024 learned positions.
    warnings = warnings_of("gpt2", "L4", input_len=tokens - 24, output_len=24)
    assert bool(having("1,024 positions", warnings)) is warned


@pytest.mark.parametrize(
    ("limit_w", "says"), [(500.0, "changes nothing"), (3.0, "idle power"), (50.0, None)]
)
def test_power_limits_that_do_nothing_or_cannot_be_kept(limit_w, says):
    # An L4 has a limit of 72 W and idles well above 3 W.
    warnings = having("a limit of", warnings_of(LLAMA, "L4", power_limit_w=limit_w))
    assert bool(warnings) is (says is not None)
    assert not says or says in warnings[0]


def test_missing_arithmetic_is_named():
    warnings = warnings_of("nvidia/Llama-3.1-70B-Instruct-FP8", "A100 SXM4 80GB", tp=2)
    assert having("no fp8 matrix arithmetic", warnings)


def test_groups_that_span_nodes_say_so():
    warnings = warnings_of("meta-llama/Llama-3.1-405B", "H100 SXM", tp=16)
    assert having("span nodes", warnings)


def test_nothing_to_say_says_nothing():
    assert warnings_of(LLAMA, "RTX 4090", input_len=512) == ()
