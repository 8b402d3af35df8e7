# SPDX-License-Identifier: Apache-2.0
"""What an engine's scheduler puts into its next step, by name.

A policy is a function of what waits and what runs; `simulate` asks it before each step
and fills prompts into the budget it returns, first come first served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from specs.engine import Engine
from specs.errors import UnknownNameError

UNLIMITED = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the scheduler of one replica.

    Parameters
    ----------
    policy : str
        A key of `POLICIES`.
    chunk_tokens : int
        Tokens that one step may carry; 0 for no limit.
    max_sequences : int
        Sequences admitted at once; 0 for no limit.
    kv_tokens : float
        Tokens that the KV cache holds.
    reserved_output_frac : float
        Share of a request's output for which room must be free to admit it. 0.5 is what
        a full cache holds on average, so that admission is right in the mean without
        simulating preemption; 1 never has to evict.
    held_steps : int
        Steps that a prompt waits before it is admitted while anything decodes.
    request_s : float
        Time of a request outside the engine's loop: HTTP, tokenising, hand-over.
    """

    policy: str = "mixed-chunk"
    chunk_tokens: int = 8192
    max_sequences: int = 0
    kv_tokens: float = float("inf")
    reserved_output_frac: float = 0.5
    held_steps: int = 0
    request_s: float = 0.0


Policy = Callable[[int, int], tuple[int, bool]]
"""Of the sequences decoding and the tokens that a step may carry: tokens left for
prompts, and whether decoding sequences take part in a step that carries prompts."""


def mixed_chunk(decoding: int, chunk_tokens: int) -> tuple[int, bool]:
    """Every decoding sequence gets its token, prompts fill what is left of the step.

    Scheduling of vLLM V1, TensorRT-LLM's in-flight batching with chunked context, and
    llama.cpp's server.
    """
    return max(chunk_tokens - decoding, 0), True


def prefill_first(decoding: int, chunk_tokens: int) -> tuple[int, bool]:  # noqa: ARG001
    """Prompts run by themselves as soon as they wait, and decoding stands still.

    Scheduling of SGLang by default, of TGI, and of vLLM V0.
    """
    return chunk_tokens, False


POLICIES: dict[str, Policy] = {"mixed-chunk": mixed_chunk, "prefill-first": prefill_first}


def get_policy(name: str) -> Policy:
    """Policy called `name`.

    Raises
    ------
    UnknownNameError
        There is none; the message lists those there are.
    """
    if name not in POLICIES:
        raise UnknownNameError(
            f"no scheduling policy is called {name!r}; there are {', '.join(sorted(POLICIES))}."
        )
    return POLICIES[name]


def policy_of(engine: Engine) -> str:
    """Name of the policy that an engine follows."""
    return "mixed-chunk" if engine.mixes_prefill else "prefill-first"
