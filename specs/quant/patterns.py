# SPDX-License-Identifier: Apache-2.0
"""Names and patterns of quantised modules, turned into overrides of a `Quantisation`.

Checkpoints name what they leave in high precision (or what they quantise) by full
module path, glob or regular expression, often layer by layer. A `Model` groups alike
layers, so a path's layer index cannot be matched later: here paths are grouped by what
follows the index, and the share of layers that they cover is counted against the layers
that have such a module. A partial share becomes a blend of precisions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from specs.errors import ModelConfigError
from specs.precision import blend_sum
from specs.quant.names import PLAIN, canonical

MAX_PATTERNS = 200_000
MAX_PATTERN_LENGTH = 400
MAX_REPEATS = 6
"""More would let a hostile file make matching take for ever."""

_REPEAT = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")

_PLACES = r"^(?:layers|experts)\."
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks?)\.(?P<index>[^.]+)(?:\.(?P<rest>.*))?$")
_LAYER_IN_REGEX = re.compile(
    r"(?:layers|h|blocks?)\\?\.(?P<index>\\d[+*]|\[0-9\][+*]|\d+|\((?:\?:)?[\d|]+\)|\[[\d-]+\]"
    r"|\.[*+]\??|\[\^\.\][+*])\\?\."
)
_ELSEWHERE = re.compile(r"vision|visual|\bmtp|\bmm_|multi_modal|audio")
_ROUTER = re.compile(r"(?:gate|router)(?:\(\?:|\$|$)")
_DENSE = re.compile(r"^mlp(\\?\.\(?(\?:)?(gate|up|down|w[123]))")
_CATEGORIES = (
    r"^experts\.",
    r"^layers\.mlp\.shared_expert",
    r"^layers\.mlp\.(?:gate|up|down|gate_up)_proj$",
    r"^layers\.linear_attn\.",
    r"^layers\.",
)


@dataclass(frozen=True, slots=True)
class Layers:
    """Which layers of a model hold what, as far as its config says.

    `sparse` are the layers with experts, `linear` those whose mixer is linear attention.
    """

    count: int
    sparse: frozenset[int] = frozenset()
    linear: frozenset[int] = frozenset()

    @property
    def all(self) -> frozenset[int]:
        """Every layer."""
        return frozenset(range(self.count))

    def holding(self, rest: str) -> frozenset[int]:
        """Layers that have a module matching this pattern (relative to the layer)."""
        if "expert" in rest or _ROUTER.search(rest):
            return self.sparse or self.all
        if "linear_attn" in rest:
            return self.linear or self.all
        if "self_attn" in rest:
            return (self.all - self.linear) or self.all
        if self.sparse and _DENSE.search(rest):
            return (self.all - self.sparse) or self.all
        return self.all


def read_layers(config: Mapping[str, Any]) -> Layers:
    """Read the layer plan from a config, as far as common fields state it."""
    count = _whole(config.get("num_hidden_layers"))
    experts = [config.get(key) for key in ("n_routed_experts", "num_experts", "num_local_experts")]
    sparse: set[int] = set()
    if any(_whole(value) > 1 for value in experts):
        dense_prefix = _whole(config.get("first_k_dense_replace"))
        step = _whole(config.get("decoder_sparse_step")) or 1
        dense = config.get("mlp_only_layers")
        dense_layers = set(dense) if isinstance(dense, list) and _all_ints(dense) else set()
        sparse = {
            i for i in range(dense_prefix, count) if i not in dense_layers and (i + 1) % step == 0
        }
        stated = config.get("mlp_layer_types")
        if isinstance(stated, list):
            sparse = {i for i, kind in enumerate(stated[:count]) if kind == "sparse"}
    types = config.get("layer_types")
    linear: set[int] = set()
    if isinstance(types, list):
        linear = {i for i, kind in enumerate(types[:count]) if kind == "linear_attention"}
    return Layers(count, frozenset(sparse), frozenset(linear))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value <= 10_000 else 0


def _all_ints(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) for value in values)


@dataclass(frozen=True, slots=True)
class Selection:
    """Modules that one pattern selects: a regular expression and layers (None: all)."""

    regex: str
    layers: frozenset[int] | None
    whole_layer: bool = False


def parse_pattern(pattern: str, layers: Layers) -> Selection | None:
    """Read a path, a glob or ``re:`` expression; None for parts that no `Model` has.

    Raises
    ------
    ModelConfigError
        The pattern is too long, too costly to match, or no regular expression.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ModelConfigError(
            f"quantization_config holds a module pattern of {len(pattern)} characters; "
            f"at most {MAX_PATTERN_LENGTH} are read. Check the file."
        )
    if len(_REPEAT.findall(pattern)) > MAX_REPEATS or _REPEATED_GROUP.search(pattern):
        raise ModelConfigError(
            f"quantization_config: pattern {pattern[:60]!r} repeats too much to be a module "
            "name. Check the file."
        )
    if pattern.startswith("re:"):
        return _parse_regex(pattern[3:], layers)
    name = canonical(pattern.strip().removesuffix(".weight").removesuffix("."))
    match = _LAYER.search(name)
    if match is None:
        return _parse_outside(name)
    if _ELSEWHERE.search(name[: match.start()]):
        return None
    index, rest = match["index"], match["rest"]
    if rest is None or rest == "*":
        loose = rest is None and index.endswith("*")
        chosen = {i for i in layers.all if fnmatchcase(f"{i}.x" if loose else str(i), index)}
        return Selection(_PLACES, frozenset(chosen), whole_layer=True)
    chosen = {i for i in layers.all if fnmatchcase(str(i), index)}
    everywhere = frozenset(chosen) == layers.all or not layers.count
    return Selection(_glob(rest), None if everywhere else frozenset(chosen))


def _glob(rest: str) -> str:
    body = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in rest)
    return _PLACES + body + ("" if rest.endswith("*") else r"(?:\.|$)")


def _parse_outside(name: str) -> Selection | None:
    """Read a pattern that names no layer."""
    last = name.rsplit(".", 1)[-1]
    if last in ("lm_head", "head", "output", "embed_out", "lm_head*"):
        return Selection(r"^top\.lm_head", None)
    if "embed" in last and "vision" not in name:
        return Selection(r"^top\.embed", None)
    words = name.strip("*.")
    if not words:
        return Selection("", None)
    if _ELSEWHERE.search(words) or words.endswith("norm"):
        return None
    body = "".join(".*" if c == "*" else re.escape(c) for c in words)
    left = "" if name.startswith("*") and not name.startswith("*.") else r"(?:^|\.)"
    right = "" if name.endswith("*") and not name.endswith(".*") else r"(?:\.|$)"
    return Selection(left + body + right, None)


def _parse_regex(body: str, layers: Layers) -> Selection | None:
    body = canonical(body.removeprefix("^"))
    match = _LAYER_IN_REGEX.search(body)
    chosen: frozenset[int] | None = None
    if match is not None and _ELSEWHERE.search(body[: match.start()]):
        return None
    if match is not None:
        index = re.compile(match["index"])
        chosen = frozenset(i for i in layers.all if index.fullmatch(str(i)))
        rest = body[match.end() :]
        if rest in ("", ".*", ".*$"):
            return Selection(_PLACES, chosen, whole_layer=True)
        text = _PLACES + rest
        chosen = None if chosen == layers.all else chosen
    else:
        text = body if body.startswith(".*") else r"(?:^|\.)(?:" + body + ")"
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise ModelConfigError(
            f"quantization_config: 're:{body}' is no regular expression. Check the file."
        ) from None
    return Selection(text, chosen)


@dataclass(slots=True)
class Overrides:
    """Collects patterns and the precision of what they select; `build` makes overrides.

    `rest` is the precision of what nothing selects; empty for the one given to `build`.
    """

    layers: Layers
    rest: str = ""
    _picked: dict[str, dict[str, frozenset[int] | None]] = field(default_factory=dict)
    _whole: dict[str, frozenset[int]] = field(default_factory=dict)

    def add(self, patterns: Iterable[str], precision: str) -> None:
        """Say that modules which any of `patterns` selects are stored at `precision`."""
        for count, pattern in enumerate(patterns):
            if count > MAX_PATTERNS:
                raise ModelConfigError(
                    f"quantization_config names more than {MAX_PATTERNS} modules. Check the file."
                )
            selected = parse_pattern(str(pattern), self.layers)
            if selected is None or selected.layers == frozenset():
                continue  # another tower, or prediction layers behind the last one
            if selected.whole_layer and selected.layers is not None:
                old = self._whole.get(precision, frozenset())
                self._whole[precision] = old | selected.layers
                continue
            kinds = self._picked.setdefault(selected.regex, {})
            old_layers = kinds.get(precision, frozenset())
            if selected.layers is None or old_layers is None:
                kinds[precision] = None
            else:
                kinds[precision] = old_layers | selected.layers

    def build(self, weight: str) -> tuple[tuple[str, str], ...]:
        """Overrides of named modules: those of all layers first, then blends with the rest.

        `weight` is the precision of the quantised linears.
        """
        rest = self.rest or weight
        made = [(regex, self._share(regex, kinds, rest)) for regex, kinds in self._picked.items()]
        ordered = sorted(made, key=lambda one: "*" in one[1])  # stable: blends last
        return tuple(_plainly(regex, stored) for regex, stored in ordered)

    def build_whole(self, weight: str) -> tuple[tuple[str, str], ...]:
        """Overrides for layers that are selected whole; they belong after all others."""
        rest = self.rest or weight
        if not any(self._whole.values()):
            return ()
        made = [(regex, self._share(regex, {}, rest)) for regex in _CATEGORIES]
        return tuple(_plainly(regex, stored) for regex, stored in made)

    def _share(self, regex: str, kinds: Mapping[str, frozenset[int] | None], rest: str) -> str:
        for precision, chosen in kinds.items():
            if chosen is None:
                return precision
        tail = regex.removeprefix(_PLACES).removeprefix(r"^layers\.").removeprefix("^")
        if regex == r"^layers\.":
            tail = ""
        present = self.layers.holding(tail)
        if not present:
            return rest
        parts: list[tuple[str, float]] = []
        taken: frozenset[int] = frozenset()
        for precision in (*kinds, *(p for p in self._whole if p not in kinds)):
            chosen = (kinds.get(precision) or frozenset()) | self._whole.get(precision, frozenset())
            new = (chosen & present) - taken
            taken |= new
            parts.append((precision, len(new) / len(present)))
        parts.append((rest, len(present - taken) / len(present)))
        return blend_sum(*parts)


def _plainly(regex: str, stored: str) -> tuple[str, str]:
    return regex, "" if stored == PLAIN else stored
