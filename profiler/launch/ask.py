# SPDX-License-Identifier: Apache-2.0
"""What is to be measured, as it travels to the rented machine and back.

The ask is small, holds no secret, and is written into the run's own definition: whoever
comes back to a run later, from any machine, learns from the server what was asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from specs.engine import Engine, get_engine
from specs.errors import InvalidInputError

ENGINES = ("transformers", "vllm", "sglang", "tgi", "llama.cpp")
"""Engines with a recipe in `profiler.launch.engines`."""

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One grid of points on one model and engine.

    Parameters
    ----------
    model : str
        Hugging Face name; for llama.cpp a repository of GGUF files, ``NAME:QUANT``.
    engine : str
        One of `ENGINES`.
    batches, concurrencies : tuple of int
        Static batch sizes; requests kept in flight by a server.
    input_lens, output_lens : tuple of int
        Tokens of a request.
    weight_dtype : str
        Such as "bf16", "" for the checkpoint's; transformers takes several, with commas.
    capture : str
        For transformers: eager, compiled, graph, with commas.
    weights : bool
        Load the real weights instead of random ones.
    kernels, tabular : bool
        Kernels of the device, and tabular models, besides: by transformers' own container.
    max_minutes : float
        What the measuring may take on the machine.
    """

    model: str
    engine: str
    batches: tuple[int, ...] = ()
    concurrencies: tuple[int, ...] = ()
    input_lens: tuple[int, ...] = (512,)
    output_lens: tuple[int, ...] = (128,)
    weight_dtype: str = ""
    capture: str = "eager"
    weights: bool = False
    kernels: bool = False
    tabular: bool = False
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine could run."""
        bare = self.kernels or self.tabular
        if bare and self.engine != "transformers":
            raise InvalidInputError(
                f"--kernels and --tabular need no engine; leave --engine {self.engine} out."
            )
        if not _MODEL.fullmatch(self.model) and (self.model or not bare):
            raise InvalidInputError(
                f"--model {self.model!r:.80} is no Hugging Face name; a rented machine cannot "
                f"see local files. Give one such as Qwen/Qwen3-8B."
            )
        if self.engine not in ENGINES:
            raise InvalidInputError(
                f"--engine {self.engine!r:.40} has no recipe for a rented machine; it can be "
                f"{', '.join(ENGINES)}."
            )
        several = "," if self.engine == "transformers" else ""
        if not re.fullmatch(rf"[a-z0-9_{several}]{{0,60}}", self.weight_dtype):
            raise InvalidInputError(
                f"--dtype {self.weight_dtype!r:.40} is no weight format of {self.engine}; give "
                f"one, such as bf16."
            )
        if not re.fullmatch(r"[a-z,]{1,40}", self.capture):
            raise InvalidInputError(f"--capture {self.capture!r:.40} is none; give eager or graph.")
        if not (self.batches or self.concurrencies or bare):
            raise InvalidInputError("nothing to measure; give --batch or --concurrency.")
        for numbers in (self.batches, self.concurrencies, self.input_lens, self.output_lens):
            if any(number < 1 for number in numbers):
                raise InvalidInputError(f"sizes must be positive, not {min(numbers)}.")

    @property
    def profile(self) -> Engine:
        """Constants of the engine."""
        return get_engine(self.engine)

    def points(self, *, serving: bool) -> tuple[dict[str, Any], ...]:
        """Asked columns of every point, static batches or served load."""
        loads = self.concurrencies if serving else self.batches
        name = "concurrency" if serving else "batch_size"
        return tuple(
            {
                "mode": "serving" if serving else "static",
                name: load,
                "input_tokens": length,
                "output_tokens": out,
            }
            for length in self.input_lens
            for out in self.output_lens
            for load in loads
        )

    def to_json(self) -> str:
        """Text for the run's environment."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Ask:
        """Read what `to_json` wrote.

        Raises
        ------
        InvalidInputError
            The text is not such an ask.
        """
        try:
            given = json.loads(text)
            names = {field.name for field in fields(cls)}
            values = {name: value for name, value in given.items() if name in names}
            for name in ("batches", "concurrencies", "input_lens", "output_lens"):
                values[name] = tuple(int(number) for number in values[name])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InvalidInputError(
                "the run's ROOFLINE_ASK cannot be read; was it launched by this version?"
            ) from None
