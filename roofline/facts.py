# SPDX-License-Identifier: Apache-2.0
"""What is known of a device or a model before anything is predicted, ready to be listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from roofline.physics.layout import Layout
from roofline.physics.memory import Footprint, footprint
from roofline.setups import FormatNames, formats_of, weight_name
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.model import Attention, Block, Dense, LatentAttention, Model, MoE, Recurrent
from specs.node import get_interconnect
from specs.sources import Source, load_sources

_UNITS = {
    "mem_bytes": "B",
    "mem_bytes_per_s": "B/s",
    "vector_flops_per_s": "FLOP/s",
    "cache_bytes": "B",
    "clock_hz": "Hz",
    "tdp_w": "W",
    "idle_w": "W",
    "process_nm": "nm",
}
_COUNTS = ("unit_count", "dies", "devices_per_board")
_WORDS = ("vendor", "kind", "architecture", "mem_kind", "link", "host_link", "released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One fact with its unit (empty for counts and words) and the key of its source."""

    name: str
    value: float | int | str | bool
    unit: str
    source: str


def accelerator_facts(accelerator: Accelerator) -> tuple[Fact, ...]:
    """Return every stated fact of `accelerator`, in SI units; what is unknown is absent."""
    found = []
    for name, unit in _UNITS.items():
        found.append((name, getattr(accelerator, name), unit))
    for precision, peak in accelerator.peak_flops_per_s.items():
        unit = "op/s" if precision.startswith("int") else "FLOP/s"
        found.append((f"peak_flops_per_s.{precision}", peak, unit))
    for name in (*_COUNTS, "unified_memory", *_WORDS):
        found.append((name, getattr(accelerator, name), ""))
    sources = accelerator.sources
    return tuple(
        Fact(name=name, value=value, unit=unit, source=sources.get(name, ""))
        for name, value, unit in found
        if value is not None and value != "" and not (name == "cache_bytes" and value == 0)
    )


def interconnect_facts(accelerator: Accelerator) -> dict[str, Any]:
    """Return how devices of this kind reach each other: per device and one-directional."""
    join = get_interconnect(accelerator)
    return {
        "devices_per_node": join.devices_per_node,
        **{
            role: {
                "name": link.name,
                "title": link.title,
                "bytes_per_s": link.bytes_per_s,
                "latency_s": link.latency_s,
                "sources": sorted(set(link.sources.values())),
            }
            for role, link in (("scale_up", join.scale_up), ("scale_out", join.scale_out))
            if link.kind != "none"
        },
    }


def cited(keys: Iterable[str]) -> dict[str, Source]:
    """Return the documents behind source keys; a key of no document is left out."""
    known = load_sources()
    return {key: known[key] for key in sorted(set(keys)) if key in known}


def model_facts(model: Model, engine: Engine) -> dict[str, Any]:
    """Return the shape of `model` and what one device would hold of it under `engine`.

    Bytes are without parallelism, in the formats of the checkpoint; the KV cache per
    token counts full and windowed layers alike, since a short context fills both.
    """
    names = FormatNames(weight="", kv="", activation="")
    formats = formats_of(model, names, engine)
    sizes = footprint(model, Layout(), formats)
    quantisation = model.quantisation
    return {
        "name": model.name,
        "model_type": model.model_type,
        "params": model.params,
        "active_params": model.active_params,
        "card_params": model.card_params,
        "card_active_params": model.card_active_params,
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "vocab_size": model.vocab_size,
        "max_position": model.max_position or None,
        "tie_word_embeddings": model.tie_word_embeddings,
        "dtype": model.dtype,
        "weight_dtype": weight_name(formats, ""),
        "kv_dtype": formats.kv,
        "quantisation": quantisation.method if quantisation else None,
        "weights_bytes": sizes.weights_bytes,
        "kv_bytes_per_token": _growing_bytes(sizes, windows=True),
        "kv_bytes_per_token_beyond_windows": _growing_bytes(sizes, windows=False),
        "state_bytes_per_sequence": sizes.state_bytes_per_sequence,
        "blocks": [_block_facts(block) for block in model.blocks],
        "encoder": [_block_facts(block) for block in model.encoder],
        "mtp_layers": sum(block.count for block in model.mtp),
        "source": model.source,
        "warnings": list(model.warnings),
    }


def _growing_bytes(sizes: Footprint, *, windows: bool) -> float:
    """Cache bytes that a token adds, in all layers or in those that see everything."""
    return sum(
        kind.count * kind.bytes_per_token for kind in sizes.caches if windows or kind.window is None
    )


def _block_facts(block: Block) -> dict[str, Any]:
    """Return one group of equal layers."""
    return {
        "count": block.count,
        "params": block.params,
        "active_params": block.active_params,
        "mixer": _mixer_facts(block),
        "cross_attention": block.cross is not None,
        "ffn": _ffn_facts(block),
    }


def _mixer_facts(block: Block) -> dict[str, Any] | None:
    mixer = block.mixer
    if isinstance(mixer, Attention):
        return {
            "kind": "attention" if mixer.causal else "bidirectional attention",
            "num_heads": mixer.num_heads,
            "num_kv_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "v_head_dim": mixer.v_head_dim,
            "window": mixer.window,
            "sparse_topk": mixer.sparse.topk if mixer.sparse else None,
        }
    if isinstance(mixer, LatentAttention):
        return {
            "kind": "latent attention",
            "num_heads": mixer.num_heads,
            "kv_lora_rank": mixer.kv_lora_rank,
            "qk_rope_head_dim": mixer.qk_rope_head_dim,
            "window": mixer.window,
            "sparse_topk": mixer.sparse.topk if mixer.sparse else None,
        }
    if isinstance(mixer, Recurrent):
        return {
            "kind": mixer.kind,
            "num_heads": mixer.num_heads,
            "key_dim": mixer.key_dim,
            "value_dim": mixer.value_dim,
            "state_bytes": mixer.state_bytes,
        }
    return None


def _ffn_facts(block: Block) -> dict[str, Any] | None:
    ffn = block.ffn
    if isinstance(ffn, Dense):
        return {"kind": "dense", "inter": ffn.inter, "gated": ffn.gated}
    if isinstance(ffn, MoE):
        return {
            "kind": "mixture of experts",
            "num_experts": ffn.num_experts,
            "topk": ffn.topk,
            "inter": ffn.expert.inter,
            "gated": ffn.expert.gated,
            "shared_inter": ffn.shared.inter if ffn.shared else None,
        }
    return None
