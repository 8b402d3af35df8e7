# SPDX-License-Identifier: Apache-2.0
"""An inference engine: what it does differently from the ideal machine, physically.

Every constant is a documented default (``specs/data/engines/<name>.toml``), stated
or measured by others, to be replaced by fitted ones. The profile ``ideal`` has no
overhead at all and is the hard floor.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from specs.accelerator import APIS
from specs.errors import SpecDataError, UnknownNameError

ENGINES_DIR = Path(__file__).parent / "data" / "engines"

_ALIASES = {
    "tensorrt-llm": "trtllm",
    "trt-llm": "trtllm",
    "tensorrt_llm": "trtllm",
    "hf": "transformers",
    "huggingface": "transformers",
    "llamacpp": "llama.cpp",
    "llama-cpp": "llama.cpp",
    "text-generation-inference": "tgi",
}

BY_API = ("gap_s", "plain_ops", "cache_ops")
"""Constants stated by the interface that launches kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine profile.

    Parameters
    ----------
    name, title : str
    fuses_qkv, fuses_gate_up : bool
        Projections that read the same input run as one GEMM.
    fuses_norm : bool
        Residual addition and norm are one pass over the activations.
    fuses_attention : bool
        Scores stay on chip (FlashAttention); False writes and reads them.
    overlaps : bool
        Operators of a phase overlap perfectly: only total bytes and total FLOPs bound
        the time. True for ``ideal`` alone.
    graph_decode : bool
        Decode steps replay a captured graph: host launches are off the path.
    eager_apis : tuple of str
        Interfaces (``Accelerator.api``) on which nothing is captured all the same.
    kernel_floor_s, attention_floor_s : float
        Shortest device time of a small kernel, of an attention kernel.
    host_launch_s : float
        Host time to launch one kernel where nothing is captured; the phase is never
        faster than all its launches.
    host_layer_s : float
        Further host time per layer where nothing is captured: the framework's own work
        beside the launches that are counted.
    host_step_s, host_sequence_s : float
        Host time per engine step, and per running sequence and step (scheduling,
        sampling, detokenising) that the device waits for.
    host_vocab_s : float
        Further host time per running sequence and step for each entry of the vocabulary, where
        the host samples from all of them.
    request_s : float
        Time per request outside the model: tokenising, queue hand-over, HTTP.
    compute_frac, memory_frac, attention_frac, link_frac : float
        Share of the dense peak, of the memory bandwidth, of the dense peak in fused
        attention, and of the link bandwidth that large kernels reach.
    cache_frac : float
        Share of the memory bandwidth at which decode attention reads the KV cache; 0 is
        `memory_frac`.
    pass_frac : float
        Rate of norms, activations and other passes over activations, as a share of the
        memory bandwidth. They are then paced by the processor and take their time within the
        last-level cache too; may exceed 1. 0: they run at `memory_frac`, and take no time
        for what stays in that cache.
    copies_cache : bool
        Each decode step writes the whole KV cache anew, as appending by concatenation does.
    tile_weight_frac : float
        Share of tile and wave quantisation that shows in GEMM time.
    vector_rows : int
        Most rows of a product that runs on the ordinary vector units, row by row, instead of
        in matrix tiles; 0 where tiles are always used.
    unpack_frac : float
        Share of a device's integer rate at which kernels unpack block-quantised weights; 0
        where unpacking takes no time of its own.
    plain_ops : tuple of (str, float)
        Lane instructions per 16-bit weight of a product of one row by the interface that
        launches it, at `unpack_frac` too; none for interfaces that are not named.
    cache_ops : tuple of (str, float)
        Likewise per element of the KV cache and query head that a decode step reads, where
        attention is not one kernel that all query heads of a KV head share.
    overlap_loss_frac : float
        How badly the arithmetic of a product and its traffic overlap: 0 perfectly, 1 not at
        all (``shares.blended``).
    gap_s : tuple of (str, float)
        Further time per kernel by the interface that launches it (``Accelerator.api``),
        beyond `kernel_floor_s`; none for interfaces that are not named.
    prefill_chunk_tokens : int
        Most prompt tokens in one step; 0 prefills the whole batch in one.
    mixes_prefill : bool
        A step may carry prompt chunks and decode tokens together.
    pipelines_decode : bool
        With pipeline stages a batch that decodes goes through in as many parts as there are
        stages, which work at once; False: whole, one stage after the other.
    held_steps : float
        Decode steps that an engine at work lets a new prompt wait before it takes it in, in
        the mean and unless told otherwise.
    int8_products : bool
        Products with integer-quantised weights run on 8-bit integers (llama.cpp's MMQ)
        instead of dequantising to 16 bits.
    dequantise_above_tokens : int
        Weight-only formats are unpacked to a plain copy by a pass of their own where a
        product has more rows than this; 0 where kernels always unpack inside.
    half_accumulate : bool
        16-bit products may accumulate in 16 bits (twice the rate on GeForce cards).
    memory_rule : {"total", "free", "fixed", "all"}
        KV cache gets `memory_frac_kv` of all memory less the rest; that share of what
        is free after weights and runtime; just what the request needs; everything left.
    memory_kv_frac : float
    runtime_bytes, graph_bytes : float
        Context, libraries and workspace per device; captured graphs per device.
    kv_block_tokens : int
        Tokens per page; sequences round up to it.
    max_sequences : int
        Default cap on sequences running at once; 0 for none.
    vendors : tuple of str
        Vendors whose devices it runs on, and ``"cpu"``; empty for all.
    default_split : {"tp", "pp"}
        What GPUs are used for when only their number is given.
    narrows_fp32 : bool
        Checkpoints stored in fp32 run in 16 bits unless told otherwise.
    converts_plain : bool
        Runs plain dtypes that the device lacks by converting; others refuse to start.
    routing_skew : float
        Exponent of the power law that expert popularity follows; 0 is uniform.
    check_command : str
        Command of the engine's own benchmark, with ``{model}``, ``{input_len}``... .
    serving_check_command, embedding_check_command : str
        The same under load, and for models that generate nothing; empty if there is none.
    source : str
        Where the constants come from.
    until_year : int
        Last year of the releases that it is of; 0 is today's.
    base : str
        Engine whose kernels it is a build of; empty for none.
    """

    name: str
    title: str
    fuses_qkv: bool
    fuses_gate_up: bool
    fuses_norm: bool
    fuses_attention: bool
    overlaps: bool
    graph_decode: bool
    kernel_floor_s: float
    attention_floor_s: float
    host_launch_s: float
    host_layer_s: float
    host_step_s: float
    host_sequence_s: float
    request_s: float
    compute_frac: float
    memory_frac: float
    attention_frac: float
    link_frac: float
    tile_weight_frac: float
    prefill_chunk_tokens: int
    mixes_prefill: bool
    int8_products: bool
    dequantise_above_tokens: int
    half_accumulate: bool
    memory_rule: Literal["total", "free", "fixed", "all"]
    memory_kv_frac: float
    runtime_bytes: float
    graph_bytes: float
    kv_block_tokens: int
    max_sequences: int
    vendors: tuple[str, ...]
    default_split: Literal["tp", "pp"]
    narrows_fp32: bool
    converts_plain: bool
    routing_skew: float
    check_command: str
    serving_check_command: str
    embedding_check_command: str
    source: str
    pass_frac: float = 0.0
    copies_cache: bool = False
    cache_frac: float = 0.0
    vector_rows: int = 0
    unpack_frac: float = 0.0
    overlap_loss_frac: float = 0.0
    gap_s: tuple[tuple[str, float], ...] = ()
    pipelines_decode: bool = True
    eager_apis: tuple[str, ...] = ()
    held_steps: float = 0.0
    host_vocab_s: float = 0.0
    plain_ops: tuple[tuple[str, float], ...] = ()
    cache_ops: tuple[tuple[str, float], ...] = ()
    until_year: int = 0
    base: str = ""

    def __post_init__(self) -> None:
        for name in ("compute_frac", "memory_frac", "attention_frac", "link_frac"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise SpecDataError(f"engine {self.name!r}: {name} must be in (0, 1].")
        for name in (*BY_API, "eager_apis"):
            named = getattr(self, name)
            apis = named if name == "eager_apis" else dict(named)
            if unknown := sorted(set(apis) - set(APIS)):
                raise SpecDataError(
                    f"engine {self.name!r}: {name} names {', '.join(unknown)}; interfaces are "
                    f"{', '.join(APIS)}."
                )
        for name in ("cache_frac", "unpack_frac", "overlap_loss_frac"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SpecDataError(f"engine {self.name!r}: {name} must be in [0, 1].")
        if not self.pass_frac >= 0.0:
            raise SpecDataError(f"engine {self.name!r}: pass_frac must not be negative.")


def list_engines() -> tuple[str, ...]:
    """Names of the shipped engine profiles."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in ENGINES_DIR.glob("*.toml")))


@lru_cache(maxsize=256)
def get_engine(name: str, year: float = 0) -> Engine:
    """Engine profile called `name`.

    Parameters
    ----------
    name : str
    year : float
        Year that the engine's version is of: older releases do some things otherwise
        (``[until.YEAR]`` of its file); 0 is today's.

    Raises
    ------
    UnknownNameError
        No such profile is shipped; the message lists those that are.
    """
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    known = list_engines()
    if key not in known:
        from difflib import get_close_matches

        near = get_close_matches(key, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownNameError(
            f"no engine is called {name!r}; profiles are {', '.join(known)}.{hint}"
        )
    releases = _releases(key)
    last = min((until for until in releases if until >= year), default=0) if year else 0
    return releases[last]


def list_releases() -> tuple[Engine, ...]:
    """All shipped profiles: each engine's of today, then its older ones, newest first."""
    return tuple(
        releases[year]
        for releases in map(_releases, list_engines())
        for year in sorted(releases, key=lambda year: -(year or 9999))
    )


@lru_cache(maxsize=64)
def _releases(key: str) -> dict[int, Engine]:
    """Profiles of an engine by the last year of the releases they are of; 0 is today's."""
    raw = tomllib.loads((ENGINES_DIR / f"{key}.toml").read_text(encoding="utf-8"))
    if base := raw.get("base"):
        raw = {**tomllib.loads((ENGINES_DIR / f"{base}.toml").read_text(encoding="utf-8")), **raw}
    older = raw.pop("until", {})
    found = {0: _engine(key, raw)}
    for year, differences in older.items():
        found[int(year)] = _engine(key, {**raw, **differences, "until_year": int(year)})
    return found


def _engine(key: str, raw: dict[str, Any]) -> Engine:
    nouns = {name: v for name, v in raw.items() if isinstance(v, dict) and "value" in v}
    values = {**raw, **{name: v["value"] for name, v in nouns.items()}}
    known = {field.name for field in fields(Engine)}
    needed = {field.name for field in fields(Engine) if field.default is MISSING} - {"name"}
    unknown, missing = sorted(values.keys() - known), sorted(needed - values.keys())
    if unknown or missing:
        raise SpecDataError(
            f"engine file {key}.toml: unknown keys {unknown or 'none'}, "
            f"missing {missing or 'none'}."
        )
    values["vendors"] = tuple(values["vendors"])
    values["eager_apis"] = tuple(values.get("eager_apis", ()))
    for name in BY_API:
        values[name] = tuple((str(api), float(each)) for api, each in values.get(name, {}).items())
    return Engine(name=key, **values)
