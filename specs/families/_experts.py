# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts as most configs describe them."""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Dense, Linear, MoE
from ._parts import gated_mlp, moe, plain_mlp, renamed
from ._reader import Config

EXPERT_KEYS = (
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
)  # fmt: skip
TOPK_KEYS = (
    "num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts",
    "moe_topk", "moe_k", "moe_top_k",
)  # fmt: skip
WIDTH_KEYS = ("moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertStyle:
    """What a family's code fixes about its experts and its config does not say.

    `names` are those of gate, up and down projection of an expert; `bias_params`
    counts router biases that are parameters per expert beside the router's own;
    `shared_gate` names the gate on the shared expert, if there is one.
    """

    prefix: str = "mlp."
    router: str = "gate"
    router_bias: bool = False
    expert_bias: bool = False
    gated: bool = True
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    shared: str = "shared_experts"
    shared_gate: str = ""
    bias_params: int = 0


def num_experts(cfg: Config) -> int:
    """How many routed experts a sparse layer holds; 0 for a dense model."""
    value = cfg.raw(*EXPERT_KEYS)
    return 0 if value is None else cfg.as_int("num_experts", value, 0, 100_000)


def expert_mlp(hidden: int, inter: int, activation: str, style: ExpertStyle) -> Dense:
    """One feed-forward of an expert, gated or not, named relative to ``mlp.``."""
    gate, up, down = (f"mlp.{name}" for name in style.names)
    if style.gated:
        return gated_mlp(hidden, inter, activation=activation, bias=style.expert_bias,
                         names=(gate, up, down))  # fmt: skip
    return plain_mlp(
        hidden, inter, activation=activation, bias=style.expert_bias,
        names=(up, down),
    )  # fmt: skip


def shared_width(cfg: Config, inter: int) -> int:
    """Width of all shared experts together; 0 without."""
    for key in ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                "shared_intermediate_size", "share_expert_dim"):  # fmt: skip
        stated = cfg.optional_size(key, minimum=0)
        if stated is not None:
            cfg.ignore("n_shared_experts", "num_shared_experts")
            return stated
    count = cfg.optional_size("n_shared_experts", "num_shared_experts", "num_shared_expert",
                              "moe_num_shared_experts", minimum=0)  # fmt: skip
    return (count or 0) * inter


def latent_norm(cfg: Config) -> bool:
    """Whether the experts' output is normed before it is projected back."""
    return cfg.flag("latent_moe_use_norm", default=False)


def latent_projections(cfg: Config, style: ExpertStyle) -> tuple[int, tuple[Linear, ...]]:
    """Width that routed experts work in, and the projections into it and back."""
    hidden = cfg.size("hidden_size")
    width = cfg.optional_size("moe_latent_size", "routed_expert_hidden_size")
    if width is None:
        return hidden, ()
    return width, (
        Linear(name=f"{style.prefix}fc1_latent_proj", in_features=hidden, out_features=width),
        Linear(name=f"{style.prefix}fc2_latent_proj", in_features=width, out_features=hidden),
    )


def read_moe(cfg: Config, activation: str, style: ExpertStyle) -> MoE:
    """The mixture of experts of this config's sparse layers."""
    hidden = cfg.size("hidden_size")
    experts = num_experts(cfg)
    topk = cfg.size(*TOPK_KEYS, maximum=max(experts, 1))
    inter = cfg.size(*WIDTH_KEYS, default=cfg.raw("intermediate_size"))
    cfg.ignore("norm_topk_prob", "scoring_func", "topk_method", "n_group", "topk_group",
               "routed_scaling_factor")  # fmt: skip
    shared_inter = shared_width(cfg, inter)
    shared = None
    if shared_inter:
        shared = renamed(
            expert_mlp(hidden, shared_inter, activation, style), f"{style.prefix}{style.shared}."
        )
    width, latent = latent_projections(cfg, style)
    return moe(
        hidden,
        experts,
        topk,
        renamed(expert_mlp(width, inter, activation, style), f"{style.prefix}experts."),
        router=style.prefix + style.router,
        router_bias=style.router_bias,
        shared=shared,
        shared_gate=style.prefix + style.shared_gate if style.shared_gate else "",
        latent=latent,
        extra_params=style.bias_params * experts + (width if latent and latent_norm(cfg) else 0),
    )
