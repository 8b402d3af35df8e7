# SPDX-License-Identifier: Apache-2.0
"""The light indexer of DeepSeek sparse attention (DeepSeek-V3.2-Exp report, section 2.1)."""

from __future__ import annotations

from ..model import Linear, SparseIndex
from ._reader import Config


def has_indexer(cfg: Config) -> bool:
    """Whether attention is sparse by an index over the cache."""
    return cfg.raw("index_topk") is not None


def indexer_layers(cfg: Config, layers: int) -> list[bool]:
    """Whether each layer scores the cache itself; the others reuse the last choice.

    ``indexer_types`` says so per layer; else ``index_topk_pattern`` (``"FSS..."``), else
    every ``index_topk_freq``-th layer beyond ``index_skip_topk_offset``.
    """
    types = cfg.texts("indexer_types", layers)
    cfg.ignore("index_topk_pattern", "index_topk_freq", "index_skip_topk_offset",
               "indexer_rope_interleave", "index_share_for_mtp_iteration")  # fmt: skip
    if types is not None:
        return [kind != "shared" for kind in types]
    pattern = cfg.raw("index_topk_pattern")
    if isinstance(pattern, str) and len(pattern) >= layers:
        return [letter != "S" for letter in pattern[:layers]]
    step = cfg.size("index_topk_freq", default=1)
    offset = cfg.size("index_skip_topk_offset", default=2, minimum=0)
    return [max(i - offset + 1, 0) % step == 0 for i in range(layers)]


def sparse_index(cfg: Config, own: bool, prefix: str = "self_attn.indexer.") -> SparseIndex:
    """The indexer of one layer; without projections where it reuses an earlier choice."""
    topk = cfg.size("index_topk")
    if not own:
        return SparseIndex(num_heads=0, head_dim=0, topk=topk, linears=())
    hidden, rank = cfg.size("hidden_size"), cfg.size("q_lora_rank")
    heads, width = cfg.size("index_n_heads"), cfg.size("index_head_dim")
    return SparseIndex(
        num_heads=heads,
        head_dim=width,
        topk=topk,
        linears=(
            Linear(name=f"{prefix}wq_b", in_features=rank, out_features=heads * width),
            Linear(name=f"{prefix}wk", in_features=hidden, out_features=width),
            Linear(name=f"{prefix}weights_proj", in_features=hidden, out_features=heads),
        ),
        extra_params=2 * width,  # LayerNorm over the index key
    )
