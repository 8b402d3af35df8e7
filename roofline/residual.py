# SPDX-License-Identifier: Apache-2.0
"""What a residual correction is told of cases, and what it answers.

A correction of whole phases multiplies analytic times. It sees each case as `Labels`,
words that measurements can be grouped by, and as `NUMBERS`, dimensionless quantities that
exist for any device. Nothing here is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from roofline.devices import CaseDevices
from roofline.phase_costs import Setup, Work
from roofline.physics.kernel import FloatArray
from roofline.physics.phases import PhaseCost
from roofline.physics.power import Activity
from specs.accelerator import Accelerator
from specs.engine import Engine
from specs.model import Model, MoE

ERAS = (2024.0, 2025.0)
"""First years of the later two of three eras of engines. Serving engines changed most from
2023 to 2024 (paged attention, chunked prefill) and to 2025 (captured graphs, scheduling
beside the device)."""

ERA_NAMES = ("2023", "2024", "now")

TARGETS = ("ttft", "tpot", "power")
"""What is multiplied."""

QUANTITIES = (
    "ttft_s", "tpot_s", "e2e_s", "output_tok_per_s", "power_mean_w", "energy_per_output_token_j",
)  # fmt: skip
"""What gets an interval."""

NUMBERS = (
    "prompt_host", "prompt_fixed", "queue", "prompt_link", "prompt_compute",
    "step_host", "step_overhead", "step_link", "step_compute", "stall",
    "running", "ranks", "context",
    "ridge", "watts_per_rate", "headless_frac",
    "prompt_peak_share", "prompt_memory_share", "step_peak_share", "step_memory_share",
)  # fmt: skip
"""Per case. Of the prompt and of the decode step: `host` log(1 + a typical cost of launching
over the phase), `fixed` the same of a larger one, shares of overhead, links and compute.
`queue` log(TTFT / prefill alone), `stall` log(TPOT / step). `running`, `ranks`, `context` in
powers of two. Of the device: log of FLOPs per byte over 100; log of W per TFLOP/s; share of
the weights that the last-level cache holds. Of a device in prompt and decode step, at the
default power limit: `peak_share` of its dense peaks, `memory_share` of its bandwidth in use."""

PROMPT_HOST_S, PROMPT_FIXED_S, STEP_HOST_S = 0.03, 0.1, 0.003
"""Scales on which what a host adds to a prompt and to a step shows: serving benchmarks carry
30 to 100 ms per prompt beside the device's work, decode steps a few milliseconds."""

_NVIDIA = ("pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A case in words.

    Parameters
    ----------
    gpu, family, vendor, kind, memory : str
        Slug; architecture family; vendor; kind of device; ``"hbm"`` or ``"other"``.
    model, experts : str
        Shape of the model, alike for all checkpoints of it; ``"moe"`` or ``"dense"``.
    engine, era, mode : str
        Engine profile; one of `ERA_NAMES`; ``"serving"`` or ``"static"``.
    weights : str
        Class of weight format.
    """

    gpu: str
    family: str
    vendor: str
    kind: str
    memory: str
    model: str
    experts: str
    engine: str
    era: str
    mode: str
    weights: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What a correction answers for n cases.

    Parameters
    ----------
    ratio : ndarray, shape (len(TARGETS), n)
        Expected over analytic.
    low, high : ndarray, shape (len(QUANTITIES), n)
        Ends of the interval over the corrected value; those of whole requests are not
        read, they follow from TTFT and TPOT.
    standing : ndarray of int, shape (n,)
        Index into `STANDINGS`.
    """

    ratio: FloatArray
    low: FloatArray
    high: FloatArray
    standing: NDArray[np.intp]


STANDINGS = ("measured here", "interpolated", "extrapolated")
"""Measurements of this model on this device under this engine went into the correction;
of its relatives; or the case leaves their range."""

COMPOSED_SLACK = 1.1
"""Latency and rate of whole requests take their interval from those of TTFT and TPOT, so that
they agree; widened by a tenth (of the log), for they hold 85 to 88% of the measurements of
devices left out where those hold 90%."""

Ask = Callable[[FloatArray], Residual | None]
"""Residual of the cases of a chunk, given their `NUMBERS`, shape ``(len(NUMBERS), n)``; None
where nothing is multiplied."""


def family_of(accelerator: Accelerator) -> str:
    """Family word of a device: devices of one share kernels and constants.

    NVIDIA generations by name; Blackwell boards with GDDR memory are ``blackwell-rtx``
    (other matrix instructions, other kernels); Ampere boards with GDDR ``ampere-rtx``.
    AMD: ``cdna`` and ``rdna``; Intel: ``xe``. Others: vendor and kind.
    """
    architecture = accelerator.architecture.lower()
    for name in _NVIDIA:
        if architecture.startswith(name):
            board = name in ("ampere", "blackwell") and "hbm" not in accelerator.mem_kind.lower()
            return f"{name}-rtx" if board else name
    for name in ("cdna", "rdna", "xe"):
        if architecture.startswith(name):
            return name
    return f"{accelerator.vendor}-{accelerator.kind}"


def era_of(year: float) -> int:
    """Index into `ERA_NAMES` of the year that an engine's version is of; NaN is now."""
    return len(ERAS) if year != year else int(np.searchsorted(ERAS, year, side="right"))


def labels_of(
    setup: Setup,
    accelerator: Accelerator,
    *,
    era: int,
    serving: bool,
    device: Mapping[str, str] | None = None,
) -> Labels:
    """Words for a case; `device` are `device_words`, where they are known."""
    model, experts, weights = setup_words(setup)
    return Labels(
        model=model,
        experts=experts,
        engine=setup.engine.name,
        era=ERA_NAMES[era],
        mode="serving" if serving else "static",
        weights=weights,
        **(device or device_words(accelerator)),
    )


def device_words(accelerator: Accelerator) -> dict[str, str]:
    """Words of `Labels` for a device."""
    return {
        "gpu": accelerator.name,
        "family": family_of(accelerator),
        "vendor": accelerator.vendor,
        "kind": accelerator.kind,
        "memory": "hbm" if "hbm" in accelerator.mem_kind.lower() else "other",
    }


_SETUP_WORDS: dict[int, tuple[Setup, tuple[str, str, str]]] = {}


def setup_words(setup: Setup) -> tuple[str, str, str]:
    """Shape of the model, kind of experts, class of weight format."""
    # By identity: to hash a setup takes its whole architecture.
    kept = _SETUP_WORDS.get(id(setup))
    if kept is None or kept[0] is not setup:
        if len(_SETUP_WORDS) > 20_000:
            _SETUP_WORDS.clear()
        words = shape_of(setup.model), _experts(setup.model), _weights(setup)
        kept = _SETUP_WORDS[id(setup)] = setup, words
    return kept[1]


@lru_cache(maxsize=4096)
def shape_of(model: Model) -> str:
    """Name of the model's shape: fine-tunes and requantised copies share it."""
    return f"{model.model_type}-{model.num_layers}x{model.hidden_size}-{model.params / 1e9:.3g}B"


@lru_cache(maxsize=4096)
def _experts(model: Model) -> str:
    return "moe" if any(isinstance(block.ffn, MoE) for block in model.blocks) else "dense"


def _weights(setup: Setup) -> str:
    """Class of weight format: what the products of most layers are stored in."""
    quantisation = setup.formats.quantisation
    if quantisation is None:
        return "32 bit" if setup.formats.plain == "fp32" else "16 bit"
    name = quantisation.weight
    if quantisation.method == "gguf":
        return "gguf"
    for word in ("nvfp4", "mxfp4", "fp8", "int8"):
        if word in name:
            return word
    return "int4" if "4" in name else "other"


def numbers_of(
    setup: Setup,
    work: Work,
    devices: CaseDevices,
    *,
    prefill: PhaseCost,
    step: PhaseCost,
    ttft_s: FloatArray,
    tpot_s: FloatArray,
    running: FloatArray,
    active: tuple[Activity, Activity],
) -> FloatArray:
    """`NUMBERS` of cases, shape ``(len(NUMBERS), n)``; `active` in prefill and decode."""
    prompt_s, step_s = np.maximum(prefill.time_s, 1e-6), np.maximum(step.time_s, 1e-6)
    plan = setup.decoder if setup.generates else setup.encoder
    assert plan is not None
    peak = devices.rates.peak_flops_per_s[plan.main_arithmetic]
    weights = np.maximum(np.asarray(setup.sizes.weights_bytes, float), 1.0)
    rows = (
        np.log1p(PROMPT_HOST_S / prompt_s),
        np.log1p(PROMPT_FIXED_S / prompt_s),
        np.log(np.maximum(ttft_s / prompt_s, 1.0)),
        prefill.link_s / prompt_s,
        prefill.compute_s / prompt_s,
        np.log1p(STEP_HOST_S / step_s),
        step.overhead_s / step_s,
        step.link_s / step_s,
        step.compute_s / step_s,
        np.log(np.maximum(tpot_s / step_s, 1.0)),
        np.log2(np.maximum(running, 1.0)),
        np.log2(np.asarray(setup.tensor_ranks, float)),
        np.log2(np.maximum(work.input_tokens + 0.5 * work.output_tokens, 1.0)),
        np.log(peak / devices.rates.mem_bytes_per_s / 100.0),
        np.log(devices.tdp_w / peak * 1e12),
        np.minimum(devices.rates.cache_bytes / weights, 1.0),
        active[0].compute_frac,
        active[0].memory_frac,
        active[1].compute_frac,
        active[1].memory_frac,
    )
    found = np.empty((len(rows), prompt_s.size))
    for place, row in enumerate(rows):
        found[place] = row
    return found


@dataclass(frozen=True, slots=True)
class Keys:
    """Distinct (setup, device, era, mode) of the cases of a chunk, and each case's place.

    `rows` are the cases' numbers in the table asked for. Degrees and formats of caches are no
    words, so that many keys share their `Labels`: `worded` is the first key of each, `word`
    which of these a case has.
    """

    setups: tuple[Setup, ...]
    accelerators: tuple[Accelerator, ...]
    eras: tuple[int, ...]
    served: tuple[bool, ...]
    place: NDArray[np.intp]
    rows: NDArray[np.intp]
    worded: NDArray[np.intp]
    word: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        setups: Sequence[Setup],
        accelerators: Sequence[Accelerator],
        *,
        setup_index: NDArray[np.intp],
        device_index: NDArray[np.intp],
        year: FloatArray,
        serving: NDArray[np.bool_],
        rows: NDArray[np.intp],
    ) -> Keys:
        """Find what is distinct."""
        eras = np.where(np.isnan(year), len(ERAS), np.searchsorted(ERAS, year, side="right"))
        rest = (device_index * len(ERA_NAMES) + eras) * 2 + serving
        kinds = len(accelerators) * len(ERA_NAMES) * 2
        _, first, place = np.unique(
            setup_index * kinds + rest, return_index=True, return_inverse=True
        )
        alike: dict[tuple[object, ...], int] = {}
        same = [
            alike.setdefault((*setup_words(each), id(each.engine)), number)
            for number, each in enumerate(setups)
        ]
        _, worded, word = np.unique(
            np.array(same, dtype=np.intp)[setup_index] * kinds + rest,
            return_index=True,
            return_inverse=True,
        )
        return cls(
            tuple(setups[row] for row in setup_index[first].tolist()),
            tuple(accelerators[row] for row in device_index[first].tolist()),
            tuple(eras[first].tolist()),
            tuple(serving[first].tolist()),
            place,
            rows,
            place[worded],
            word,
        )

    def distinct_labels(self) -> list[Labels]:
        """Words that occur, each once; `word` says which of them a case has."""
        return self._labels(self.worded.tolist())

    def labels(self) -> list[Labels]:
        """Words of each key."""
        return self._labels(range(len(self.setups)))

    def _labels(self, keys: Iterable[int]) -> list[Labels]:
        devices = {id(each): each for each in self.accelerators}
        words = {key: device_words(each) for key, each in devices.items()}
        return [
            labels_of(
                self.setups[key],
                self.accelerators[key],
                era=self.eras[key],
                serving=self.served[key],
                device=words[id(self.accelerators[key])],
            )
            for key in keys
        ]


def corrects(engine: Engine) -> bool:
    """Whether there is anything to correct: the ideal machine is what it is."""
    return not engine.overlaps
