# SPDX-License-Identifier: Apache-2.0
"""The two calls that are timed: one prefill of a batch, one decode step at a context.

A prefill runs the whole prompt into an empty cache and the head on its last position
only. A decode step runs one token per sequence against a cache that holds exactly
`context` tokens; afterwards the cache is put back, so that every call does the same
work. Both choose the next token, as generation does. The decode step exists

- eager, over a cache that grows by concatenation (what ``generate()`` does by default);
- compiled, by ``torch.compile`` over a static cache;
- as a graph, for `profiler.timers.GraphTimer` to capture over a static cache.

Attention over a static cache reads all of its length, written or not: its cost is that
of `static_len`, and `context` is where the step writes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profiler.models import BuiltModel

CAPTURES = ("eager", "compiled", "graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A call to time, and the cache that it works on, if that outlives the call."""

    call: Callable[[], Any]
    cache: Any = None


def mean_context(input_tokens: int, output_tokens: int) -> int:
    """Tokens in the cache before a decode step, averaged over a generation.

    Steps run at ``input, input + 1, ..., input + output - 2``: the first token comes out
    of the prefill. A step's time is nearly linear in its context, so that the step at the
    mean takes the mean time; rounded down where the mean lies between two.
    """
    return input_tokens + max(output_tokens - 2, 0) // 2


def prefill_step(built: BuiltModel, *, batch: int, input_tokens: int) -> Step:
    """Return the call that prefills `batch` prompts of `input_tokens` into a new cache."""
    import torch

    module, tokens = built.module, _tokens(built, batch, input_tokens)
    options = _options(module)

    def call() -> Any:
        with torch.no_grad():
            return _next(module(tokens, use_cache=True, **options))

    return Step(call=call)


def decode_step(
    built: BuiltModel, *, batch: int, context: int, capture: str = "eager", static_len: int = 0
) -> Step:
    """Return the call that decodes one token per sequence after `context` tokens.

    Parameters
    ----------
    capture : {"eager", "compiled", "graph"}
    static_len : int
        Length of the static cache, more than `context`; not read by ``"eager"``.
    """
    return (
        _eager(built, batch, context)
        if capture == "eager"
        else _static(
            built, batch, context, max(static_len, context + 1), compiled=capture == "compiled"
        )
    )


def _eager(built: BuiltModel, batch: int, context: int) -> Step:
    import torch

    module, token, options = built.module, _tokens(built, batch, 1), _options(built.module)
    word = cache_word(module)
    with torch.no_grad():
        cache = getattr(module(_tokens(built, batch, context), use_cache=True, **options), word)
    put_back = rewinder(cache)

    def call() -> Any:
        with torch.no_grad():
            chosen = _next(module(token, use_cache=True, **{word: cache}, **options))
        put_back()
        return chosen

    return Step(call=call, cache=cache)


def _static(
    built: BuiltModel, batch: int, context: int, static_len: int, *, compiled: bool
) -> Step:
    import torch
    from transformers import StaticCache

    module, token, options = built.module, _tokens(built, batch, 1), _options(built.module)
    word = cache_word(module)
    cache = StaticCache(config=module.config, max_cache_len=static_len)
    forward = module
    if compiled:
        torch._dynamo.reset()  # each point compiles for its own shapes
        on_gpu = built.devices[0].startswith("cuda")
        forward = torch.compile(module, mode="reduce-overhead" if on_gpu else "default")
    with torch.no_grad():
        module(_tokens(built, batch, context), use_cache=True, **{word: cache}, **options)
    put_back = rewinder(cache)

    def call() -> Any:
        with torch.no_grad():
            chosen = _next(forward(token, use_cache=True, **{word: cache}, **options))
            put_back()
            return chosen

    return Step(call=call, cache=cache)


def rewinder(cache: Any) -> Callable[[], None]:
    """Return a call that puts `cache` back to the length that it has now.

    A growing cache makes new tensors and leaves the old ones as they are, so the old ones
    are put back in their place. A static one counts in a tensor, which is set, all layers
    in one kernel. Recurrent states, updated in place, go on: they cost the same forever.
    """
    import torch

    layers = list(getattr(cache, "layers", []))
    saved = [(layer, _copied(layer.__dict__)) for layer in layers]
    counters = [
        value
        for layer in layers
        for name, value in layer.__dict__.items()
        if name == "cumulative_length" and isinstance(value, torch.Tensor)
    ]
    lengths = [counter.clone() for counter in counters]

    def put_back() -> None:
        for layer, fields in saved:
            layer.__dict__.update(_copied(fields))
        if counters:
            torch._foreach_copy_(counters, lengths)

    return put_back


def _copied(fields: dict[str, Any]) -> dict[str, Any]:
    """One level deep: recurrent layers keep their states in dictionaries."""
    return {
        name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()
    }


def cache_word(module: Any) -> str:
    """Name under which `module` takes and returns its cache."""
    return "past_key_values" if "past_key_values" in _parameters(module) else "cache_params"


def _options(module: Any) -> dict[str, int]:
    # Without it the head runs on every position, which no engine does.
    return {"logits_to_keep": 1} if "logits_to_keep" in _parameters(module) else {}


def _parameters(module: Any) -> Any:
    return inspect.signature(type(module).forward).parameters


def _tokens(built: BuiltModel, batch: int, length: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(0, built.vocab_size, (batch, length), generator=generator)
    return tokens.to(built.devices[0])


def _next(output: Any) -> Any:
    return output.logits[:, -1].argmax(-1)
