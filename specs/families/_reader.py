# SPDX-License-Identifier: Apache-2.0
"""Typed reading of a Hugging Face config, distrustful of what it holds.

A `Config` wraps the dict and hands out checked values. It remembers which keys
were read, so that the front door can name those that nobody understood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ModelConfigError

MAX_SIZE = 10**9
"""No width, count or vocabulary of a real model comes near; larger is a broken file."""

MAX_LAYERS = 10_000
"""Bound on layer counts and on per-layer lists, so that a hostile file stays cheap."""

_ABSENT: Any = object()


def shown(value: object) -> str:
    """Short, single-line form of a value of unknown size, for messages."""
    if isinstance(value, bool | None):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        text = value[:40]
        return repr(text) + ("..." if len(value) > 40 else "")
    return f"a {type(value).__name__}"


class Config:
    """Checked access to one (sub-)configuration.

    Parameters
    ----------
    data : Mapping
        The decoded JSON object.
    model_type : str
        Type that picks the family; the text part's own where it has one.
    name : str
        Repository id or path, for messages.
    defaults : Mapping
        Values of absent keys: what the family's own configuration class fills in.
    quantised : bool
        Whether the checkpoint stores quantised weights.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        model_type: str,
        name: str,
        defaults: Mapping[str, Any] | None = None,
        quantised: bool = False,
    ) -> None:
        self.data = data
        self.model_type = model_type
        self.name = name
        self.defaults: dict[str, Any] = dict(defaults or {})
        self.quantised = quantised
        self.used: set[str] = set()
        self.warnings: list[str] = []

    def error(self, problem: str) -> ModelConfigError:
        """The one-line error to raise about this config."""
        return ModelConfigError(
            f"config of {shown(self.name)} (model_type {shown(self.model_type)}): {problem}"
        )

    def warn(self, text: str) -> None:
        """Add a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def default(self, **values: Any) -> None:
        """Fill in what this family's configuration class would; first caller wins."""
        for key, value in values.items():
            self.defaults.setdefault(key, value)

    def has(self, key: str) -> bool:
        """Whether the key is there and not null (defaults left out)."""
        self.used.add(key)
        return self.data.get(key) is not None

    def raw(self, *keys: str) -> Any:
        """First value under `keys` that is not null, then the first default; else None."""
        self.used.update(keys)
        for key in keys:
            value = self.data.get(key)
            if value is not None:
                return value
        for key in keys:
            if key not in self.data and self.defaults.get(key) is not None:
                return self.defaults[key]
        return None

    def _get(self, keys: Sequence[str], default: Any, kind: str) -> Any:
        value = self.raw(*keys)
        if value is not None:
            return value
        if default is _ABSENT:
            names = " or ".join(repr(key) for key in keys)
            raise self.error(f"{kind} {names} is missing; add it to the config")
        return default

    def as_int(self, label: str, value: Any, minimum: int, maximum: int) -> int:
        """`value` as an integer within bounds, else a `ModelConfigError`."""
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{label!r} must be an integer, not {shown(value)}")
        if not minimum <= value <= maximum:
            raise self.error(
                f"{label!r} is {shown(value)}; it must lie between {minimum} and {maximum}"
            )
        return value

    def size(
        self,
        *keys: str,
        default: Any = _ABSENT,
        minimum: int = 1,
        maximum: int = MAX_SIZE,
    ) -> int:
        """A required (or defaulted) integer under the first of `keys` that is set."""
        value = self._get(keys, default, "size")
        return self.as_int(keys[0], value, minimum, maximum)

    def optional_size(self, *keys: str, minimum: int = 1) -> int | None:
        """An integer, or None where it is absent or null."""
        value = self.raw(*keys)
        return None if value is None else self.as_int(keys[0], value, minimum, MAX_SIZE)

    def layers(self, *keys: str) -> int:
        """A number of layers."""
        return self.size(*(keys or ("num_hidden_layers",)), maximum=MAX_LAYERS)

    def flag(self, *keys: str, default: bool = False) -> bool:
        """A boolean; 0 and 1 pass for one."""
        value = self._get(keys, default, "flag")
        if isinstance(value, bool):
            return value
        if value in (0, 1) and isinstance(value, int):
            return bool(value)
        raise self.error(f"{keys[0]!r} must be true or false, not {shown(value)}")

    def number(self, *keys: str, default: Any = _ABSENT) -> float:
        """A finite number."""
        value = self._get(keys, default, "number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{keys[0]!r} must be a number, not {shown(value)}")
        if (isinstance(value, int) and abs(value) > 10**18) or not math.isfinite(value):
            raise self.error(f"{keys[0]!r} must be a finite number, not {shown(value)}")
        return float(value)

    def text(self, *keys: str, default: Any = _ABSENT) -> str:
        """A short string."""
        value = self._get(keys, default, "text")
        if not isinstance(value, str) or len(value) > 10 * MAX_LAYERS:
            raise self.error(f"{keys[0]!r} must be a string, not {shown(value)}")
        return value

    def items(self, key: str, length: int | None = None) -> list[Any] | None:
        """A list of bounded length, or None where it is absent; `length` is its least."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) > MAX_LAYERS:
            raise self.error(f"{key!r} must be a list of at most {MAX_LAYERS}, not {shown(value)}")
        if length is not None and len(value) < length:
            raise self.error(f"{key!r} has {len(value)} entries for {length} layers")
        return list(value) if length is None else list(value[:length])

    def sizes(self, key: str, length: int | None = None, minimum: int = 0) -> list[int] | None:
        """A list of integers, or None where it is absent."""
        values = self.items(key, length)
        if values is None:
            return None
        return [self.as_int(key, value, minimum, MAX_SIZE) for value in values]

    def texts(self, key: str, length: int | None = None) -> list[str] | None:
        """A list of strings, or None where it is absent."""
        values = self.items(key, length)
        if values is None:
            return None
        for value in values:
            if not isinstance(value, str):
                raise self.error(f"{key!r} must hold strings, not {shown(value)}")
        return values

    def child(self, key: str) -> Config | None:
        """A nested object as a Config of its own, or None where it is absent."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(f"{key!r} must be an object, not {shown(value)}")
        return Config(value, model_type=self.model_type, name=self.name)

    def ignore(self, *keys: str) -> None:
        """Mark keys as understood and without effect here."""
        self.used.update(keys)


Family = Callable[[Config], Any]
