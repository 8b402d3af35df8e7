# SPDX-License-Identifier: Apache-2.0
"""Which layer is of which kind: windows, experts, rotation. One list entry per layer."""

from __future__ import annotations

from collections.abc import Collection

from ._parts import Heads, LatentShape
from ._reader import Config

FULL = frozenset({"full_attention", "attention", "global", "deepseek_sparse_attention",
                  "indexed_attention"})  # fmt: skip
LOCAL = frozenset({"sliding_attention", "chunked_attention", "local"})


def heads(cfg: Config, count: int = 0, kv_heads: int = 0) -> Heads:
    """Head counts and widths; ``head_dim`` is hidden size over heads unless stated.

    `count` and `kv_heads` are a layer's own numbers where it has them.
    """
    hidden = cfg.size("hidden_size")
    stated = cfg.size("num_attention_heads")
    head_dim = cfg.optional_size("head_dim")
    if head_dim is None:
        if hidden % stated:
            raise cfg.error(
                f"'hidden_size' {hidden} does not divide by 'num_attention_heads' {stated} and "
                "there is no 'head_dim'"
            )
        head_dim = hidden // stated
    count = count or stated
    kv_heads = kv_heads or cfg.size("num_key_value_heads", default=stated)
    if count % kv_heads:
        raise cfg.error(
            f"'num_attention_heads' {count} does not divide by 'num_key_value_heads' {kv_heads}"
        )
    return Heads(hidden=hidden, heads=count, kv_heads=kv_heads, head_dim=head_dim)


def latent_shape(cfg: Config) -> LatentShape:
    """Ranks and widths of latent attention."""
    return LatentShape(
        hidden=cfg.size("hidden_size"),
        heads=cfg.size("num_attention_heads"),
        q_rank=cfg.optional_size("q_lora_rank"),
        kv_rank=cfg.size("kv_lora_rank"),
        nope=cfg.size("qk_nope_head_dim"),
        rope=cfg.size("qk_rope_head_dim", minimum=0),
        value=cfg.size("v_head_dim"),
    )


def rotary_dim(
    cfg: Config, head_dim: int, default_frac: float = 1.0, *, windowed: bool = False
) -> int:
    """Width per head that is rotated; ``rope_parameters`` may differ by type of layer."""
    cfg.ignore("rope_theta", "rope_scaling", "rope_interleave", "rope_interleaved")
    fraction = cfg.raw("partial_rotary_factor", "rotary_pct", "rope_pct")
    parameters = cfg.raw("rope_parameters")
    if isinstance(parameters, dict):
        own = parameters.get("sliding_attention" if windowed else "full_attention", parameters)
        stated = own.get("partial_rotary_factor") if isinstance(own, dict) else None
        fraction = fraction if stated is None else stated
    if fraction is None:
        return int(head_dim * default_frac)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float):
        raise cfg.error("'partial_rotary_factor' must be a number between 0 and 1")
    if not 0 <= fraction <= 1:
        raise cfg.error(f"'partial_rotary_factor' is {fraction!r}; it must lie between 0 and 1")
    return int(head_dim * fraction)


def windows(
    cfg: Config, layers: int, rule: str = "all", known: Collection[str] = ()
) -> list[int | None]:
    """The sliding window of each layer; None sees all of the past.

    ``layer_types`` decides where it exists. Otherwise `rule` says what the family's
    code does with ``sliding_window``: ``"all"`` layers, none unless
    ``use_sliding_window`` and then from ``max_window_layers`` on (``"qwen"``), or all
    but each nth (``"pattern"``). `known` are layer types of the family's own.
    """
    window = cfg.optional_size(
        "sliding_window", "sliding_window_size", "attention_chunk_size", minimum=0
    )
    window = window or None  # qwen2_moe writes 0 for none
    types = cfg.texts("layer_types", layers)
    enabled = cfg.flag("use_sliding_window", default=rule != "qwen")
    if types is not None:
        cfg.ignore("max_window_layers", "sliding_window_pattern", "_sliding_window_pattern")
        for kind in types:
            if kind not in FULL and kind not in LOCAL and kind not in known:
                raise cfg.error(f"'layer_types' holds {kind[:40]!r}, which is not understood")
        if window is None and LOCAL.intersection(types):
            raise cfg.error("'layer_types' has sliding layers, but there is no 'sliding_window'")
        return [window if kind in LOCAL else None for kind in types]
    if window is None or not enabled:
        cfg.ignore("max_window_layers", "sliding_window_pattern")
        return [None] * layers
    if rule == "qwen":
        first = cfg.size("max_window_layers", default=layers, minimum=0)
        return [window if i >= first else None for i in range(layers)]
    if rule == "pattern":
        return _pattern_windows(cfg, layers, window)
    return [window] * layers


def _pattern_windows(cfg: Config, layers: int, window: int) -> list[int | None]:
    pattern = cfg.raw("sliding_window_pattern", "_sliding_window_pattern")
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:
        return [window if pattern[i % len(pattern)] == "L" else None for i in range(layers)]
    step = cfg.size("sliding_window_pattern", "_sliding_window_pattern")
    return [None if (i + 1) % step == 0 else window for i in range(layers)]


def rotated(cfg: Config, layers: int) -> list[bool]:
    """Whether each layer rotates queries and keys (``no_rope_layers`` holds 0 where not)."""
    listed = cfg.sizes("no_rope_layers", None)
    if listed:
        if len(listed) < layers:
            raise cfg.error(f"'no_rope_layers' has {len(listed)} entries for {layers} layers")
        cfg.ignore("no_rope_layer_interval")
        return [entry != 0 for entry in listed[:layers]]
    step = cfg.optional_size("no_rope_layer_interval", minimum=1)
    if step is None:
        return [True] * layers
    return [(i + 1) % step != 0 for i in range(layers)]


def sparse_layers(cfg: Config, layers: int) -> list[bool]:
    """Whether each layer's feed-forward is a mixture of experts."""
    types = cfg.texts("mlp_layer_types", layers)
    if types is not None:
        cfg.ignore("first_k_dense_replace", "moe_layer_freq", "decoder_sparse_step",
                   "mlp_only_layers")  # fmt: skip
        return [kind == "sparse" for kind in types]
    first = cfg.size("first_k_dense_replace", default=0, minimum=0)
    dense_only = set(cfg.sizes("mlp_only_layers") or ())
    if isinstance(cfg.raw("moe_layer_freq"), list):
        listed = cfg.sizes("moe_layer_freq", layers) or []
        return [entry != 0 for entry in listed]
    every = cfg.size("moe_layer_freq", default=1)
    step = cfg.size("decoder_sparse_step", default=1)
    return [
        i >= first and i % every == 0 and (i + 1) % step == 0 and i not in dense_only
        for i in range(layers)
    ]
