# SPDX-License-Identifier: Apache-2.0
"""Arguments become nouns: what to measure, and what it may cost."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from profiler.launch.ask import Ask
from profiler.launch.task import Limits, secrets_of
from specs.errors import InvalidInputError

_ALIASES = {"hf": "transformers", "llamacpp": "llama.cpp", "text-generation-inference": "tgi"}


def ask_of(args: Namespace) -> Ask:
    """Read what is to be measured; sizes as lists, numbers or comma-separated text.

    Raises
    ------
    InvalidInputError
        No model, or sizes that are none.
    """
    model = getattr(args, "model", None) or ""
    if isinstance(model, (list, tuple)):
        if len(model) > 1:
            raise InvalidInputError("a rented machine measures one model per run; give one.")
        model = model[0] if model else ""
    bare = bool(getattr(args, "kernels", False) or getattr(args, "tabular", False))
    if not model and not bare:
        raise InvalidInputError("no model to measure; give --model, such as Qwen/Qwen3-8B.")
    engine = (getattr(args, "engine", "") or "transformers").lower()
    concurrencies = _sizes(args, "concurrency")
    batches = () if concurrencies and not _given(args, "batch") else _sizes(args, "batch")
    return Ask(
        model=str(model),
        engine=_ALIASES.get(engine, engine),
        batches=batches or (() if concurrencies else (1,)),
        concurrencies=concurrencies,
        input_lens=_sizes(args, "input_len") or (512,),
        output_lens=_sizes(args, "output_len") or (128,),
        weight_dtype=_joined(args, "dtype"),
        capture=_joined(args, "capture") or "eager",
        weights=bool(getattr(args, "weights", False)),
        kernels=bool(getattr(args, "kernels", False)),
        tabular=bool(getattr(args, "tabular", False)),
        max_minutes=getattr(args, "max_minutes", None),
    )


def _given(args: Namespace, name: str) -> bool:
    """Whether an option was written, not defaulted; our parser notes which were."""
    return name in getattr(args, "_given", {name: None})


def _sizes(args: Namespace, name: str) -> tuple[int, ...]:
    given: Any = getattr(args, name, None)
    if given is None or given == "":
        return ()
    words: Sequence[Any] = (
        given.split(",")
        if isinstance(given, str)
        else (given if isinstance(given, (list, tuple)) else (given,))
    )
    try:
        return tuple(dict.fromkeys(int(word) for word in words))
    except (TypeError, ValueError):
        option = name.replace("_", "-")
        raise InvalidInputError(
            f"--{option} {given!r:.40} is no list of whole numbers; write 1,8,32."
        ) from None


def _joined(args: Namespace, name: str) -> str:
    given: Any = getattr(args, name, None) or ""
    return given if isinstance(given, str) else ",".join(map(str, given))


def limits_of(args: Namespace) -> Limits:
    """Read what a run may cost and where it may go.

    Raises
    ------
    InvalidInputError
        No price ceiling, or a value that cannot be.
    """
    if args.max_price is None:
        raise InvalidInputError(
            "no price ceiling; give --max-price, in USD per machine and hour, such as 4."
        )
    words = [word.strip().lower() for word in (args.gpu or "").split(",")]
    small = bool(words) and all(word == "cpu" for word in words)
    disk = args.disk if args.disk is not None else (20 if small else 100)
    if disk < 1:
        raise InvalidInputError(f"--disk {disk} must be a positive number of GB.")
    return Limits(
        max_price_usd_per_h=args.max_price,
        max_duration=args.max_duration,
        spot_policy=args.spot,
        fleet=args.fleet,
        disk_gb=disk,
        memory_gb=8 if small else 16,
        retry_for=args.retry_for,
        backends=_words(args.backend),
        regions=_words(args.region),
        secrets=secrets_of(args.secret or []),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
