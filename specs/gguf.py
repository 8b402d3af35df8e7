# SPDX-License-Identifier: Apache-2.0
"""GGUF files: which type llama.cpp's quantiser gives to which tensor.

A file type such as ``Q4_K_M`` names a base type; rules by role (value projection,
second feed-forward matrix, output, token embedding...), by grouping and by layer give
some tensors another one. The rules here are those of ``llama-quantize`` without an
importance matrix's extras; where they go by layer, a blend stands for the share of
layers (halves, eighths; for 32 layers exactly what llama.cpp does).
"""

from __future__ import annotations

from specs.formats import Precision, gguf_mix, tables
from specs.model import Attention, Model, MoE, Quantisation, Recurrent
from specs.precision import blend, get_precision


def gguf_fallback(name: str, in_features: int) -> str:
    """Type that a tensor with rows of `in_features` gets when `name` was meant for it."""
    precision = get_precision(name)
    if precision.family != "gguf" or in_features % precision.block == 0:
        return precision.name
    if precision.parts:
        return blend({gguf_fallback(part, in_features): share for part, share in precision.parts})
    other = tables()["fallback"].get(precision.name, "fp16")
    return other if in_features % get_precision(other).block == 0 else "fp16"


# Role of a linear by its name, tried in order over "<place>.<name>" as
# `specs.quant.names.canonical` spells it.
_ROLE_NAMES = (
    ("output", r"^top\.(lm_head|embed_out)"),
    ("token_embd", r"^top\."),
    ("router", r"(mlp|mixer)\.gate$|router|shared_expert_gate$"),
    ("plain", r"indexer\.(q|k|weights)_proj$"),
    ("experts", r"^experts\."),
    ("ffn_down", r"(down_proj|w2|fc2|dense_4h_to_h|fc_out|output_linear|mlp\.c_proj|\.wo)$"),
    ("ffn_gate", r"(gate_proj|gate_up_proj(\.\w+)?|w1|wi_0|input_linear(\.\w+)?)$"),
    ("ffn_up", r"(\bup_proj|w3|fc1|fc_in|c_fc|dense_h_to_4h|\.wi|wi_1)$"),
    ("attn_v", r"(\bv_proj|qkv_proj|query_key_value|c_attn|Wqkv|W_pack|in_proj_qkv|value|\.v)"
               r"(\.[qkv])?$"),
    ("attn_k", r"(\bk_proj|\.key|\.k)$"),
    ("attn_q", r"(\bq_proj|\.query|\.q)$"),
    ("attn_output", r"(self_attn\.(o_proj|out_proj|dense|c_proj|output\.dense)|\.o)$"),
)  # fmt: skip


def gguf_overrides(mix: Precision, *, tied: bool) -> tuple[tuple[str, str], ...]:
    """Patterns over ``"<place>.<linear name>"`` that give each role of a file its type.

    Parameters
    ----------
    mix : Precision
        From `gguf_mix`.
    tied : bool
        The embedding is the head: it is stored as the head would be.
    """
    roles = dict(mix.roles)
    base = roles.get("base", mix.name)
    output = roles.get("output", base)
    kinds = {
        **{role: roles.get(role, base) for role, _ in _ROLE_NAMES},
        "output": output,
        "token_embd": output if tied else roles.get("token_embd", base),
        "router": "fp32",
        "plain": "fp16",
    }
    named = [(pattern, role) for role, pattern in _ROLE_NAMES]
    if "experts" not in roles:  # experts go by what each matrix is, as dense layers do
        named = [(pattern, role) for pattern, role in named if role != "experts"]
    return tuple((pattern, kinds[role]) for pattern, role in named)


def gguf_quantisation(name: str, model: Model | None = None) -> Quantisation:
    """How a GGUF file of this type stores a model.

    Parameters
    ----------
    name : str
        File type: ``"q4_k_m"``, ``"iq4_xs"``, ``"q4_0"``, ``"mxfp4_moe"``.
    model : Model or None
        Its grouping, experts and tied embedding choose between llama.cpp's rules; without
        one, grouped-query attention and an untied head are assumed.

    Raises
    ------
    UnknownNameError
        It is no GGUF file type.
    """
    gqa, experts, tied = 8.0, 0, False
    if model is not None:
        blocks = (*model.blocks, *model.encoder)
        mixers = [block.mixer for block in blocks if isinstance(block.mixer, Attention)]
        gqa = max((m.num_heads / m.num_kv_heads for m in mixers), default=1.0)
        experts = max((b.ffn.num_experts for b in blocks if isinstance(b.ffn, MoE)), default=0)
        tied = model.tie_word_embeddings
    mix = gguf_mix(name, gqa=gqa, num_experts=experts)
    overrides = gguf_overrides(mix, tied=tied)
    if model is not None and not mix.roles:
        overrides = _apart(mix, model) or overrides
    if model is not None and model.num_layers == 80 and not experts:
        overrides = _seventy_billion(overrides)
    return Quantisation(
        method="gguf",
        weight=dict(mix.roles).get("base", mix.name),
        overrides=overrides,
    )


REST_OF_HYBRIDS = "q8_0"
"""Type of what is no expert in files whose types were chosen tensor by tensor, of hybrids of
recurrence and attention: their attention and state projections lose most by quantisation, so
the publisher leaves them in higher precision (``unsloth-hybrids``)."""

LEAST_EXPERT_SHARE = 0.6
"""Least bits of an expert's weight over the file's average."""


def _apart(mix: Precision, model: Model) -> tuple[tuple[str, str], ...]:
    """Experts and the rest apart, so that the file has the average that `mix` states.

    Nothing for models that are no hybrids with experts: there every tensor is counted at
    the average.
    """
    experts = sum(
        block.count * block.ffn.num_experts * sum(each.params for each in block.ffn.expert.linears)
        for block in model.blocks
        if isinstance(block.ffn, MoE)
    )
    if not experts or not any(isinstance(block.mixer, Recurrent) for block in model.blocks):
        return ()
    rest_bits = max(mix.bits, get_precision(REST_OF_HYBRIDS).bits)
    left = mix.bits * model.params - rest_bits * (model.params - experts)
    bits = max(left / experts, LEAST_EXPERT_SHARE * mix.bits)
    rest = mix.name if rest_bits == mix.bits else REST_OF_HYBRIDS
    named = dict(_ROLE_NAMES)
    return (
        (named["router"], "fp32"),
        (named["plain"], "fp16"),
        (named["experts"], f"{mix.name}-{bits:.3f}bpw"),
        ("", rest),
    )


def _seventy_billion(overrides: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """llama.cpp gives attn_v of its 70B models (80 layers) q5_k for q3_k and q4_k."""
    value = dict(_ROLE_NAMES)["attn_v"]
    return tuple(
        (
            pattern,
            kind.replace("q4_k", "q5_k").replace("q3_k", "q5_k") if pattern == value else kind,
        )
        for pattern, kind in overrides
    )
