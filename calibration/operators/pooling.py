# SPDX-License-Identifier: Apache-2.0
"""Constants for devices that were never measured: population, kind, family, device.

Each device is fitted alone first; a family is the mean of its devices, a kind of matrix
unit (`kind_of`) that of its families, the population that of both kinds; then each device
is fitted again around its family, so that what its own kernels do not determine is taken
from others. Each level is drawn to the one above by ``n / (n + 1)`` of its n members:
groups are taken to differ as much as the members within one. Engines add an offset,
drawn to zero likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from calibration.operators.facts import kind_of
from calibration.operators.fitting import fit_sample
from calibration.operators.kernels import Sample
from calibration.operators.laws import LAWS, FloatArray
from calibration.operators.levels import ANY, Fit, Pool, power_lift

POPULATION_SPREAD = 0.5
"""Prior spread of a device around its family, in coordinates, in the second fit."""

ENGINE_SPREAD = 0.6
"""Prior spread of an engine around its device."""

FEWEST_ENGINE_ROWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means of coordinates at three levels, each drawn to the one above."""

    population: FloatArray
    kinds: Mapping[str, FloatArray]
    families: Mapping[str, FloatArray]


def drawn_means(
    fits: Mapping[str, FloatArray],
    families: Mapping[str, str],
    kind_of_family: Callable[[str], str] = kind_of,
) -> Means:
    """Population mean, means of kinds of matrix unit drawn to it, of families to those.

    Parameters
    ----------
    fits : mapping of str to ndarray
        Coordinates by device.
    families : mapping of str to str
        Family by device.
    kind_of_family : callable
        Kind by family.
    """
    by_family = _grouped(fits, families)
    family_mean = {name: np.mean(x, axis=0) for name, x in by_family.items()}
    weight = {name: len(x) / (len(x) + 1.0) for name, x in by_family.items()}
    kind = {name: kind_of_family(name) for name in family_mean}
    by_kind = _grouped(family_mean, kind)
    kind_mean = {
        name: np.average(x, axis=0, weights=[weight[f] for f in family_mean if kind[f] == name])
        for name, x in by_kind.items()
    }
    shares = {name: len(x) / (len(x) + 1.0) for name, x in by_kind.items()}
    population = np.average(list(kind_mean.values()), axis=0, weights=list(shares.values()))
    kinds = {k: population + shares[k] * (mean - population) for k, mean in kind_mean.items()}
    drawn = {
        name: kinds[kind[name]] + weight[name] * (mean - kinds[kind[name]])
        for name, mean in family_mean.items()
    }
    return Means(population=population, kinds=kinds, families=drawn)


def _grouped(
    values: Mapping[str, FloatArray], groups: Mapping[str, str]
) -> dict[str, list[FloatArray]]:
    result: dict[str, list[FloatArray]] = {}
    for name, value in values.items():
        result.setdefault(groups[name], []).append(value)
    return result


def first_fits(samples: Sequence[Sample]) -> dict[str, Fit]:
    """Each device alone, around the law's weak prior."""
    return {sample.device: fit_sample(sample) for sample in samples}


def pool(
    samples: Sequence[Sample],
    first: Mapping[str, Fit] | None = None,
    *,
    powered: bool = True,
    engines: bool = True,
) -> Pool:
    """Pool the samples of one operator over devices.

    Parameters
    ----------
    samples : sequence of Sample
        One per device.
    first : mapping of str to Fit, optional
        `first_fits`, given to save their time; only those of `samples` are used.
    powered : bool
        Devices are compared at equal headroom of their power limit.
    engines : bool
        Fit offsets of engines.
    """
    alone = first_fits(samples) if first is None else first
    families = {sample.device: sample.family for sample in samples}
    law = LAWS[samples[0].law]
    lifts = {
        sample.device: power_lift(law.name, sample.headroom if powered else 1.0)
        for sample in samples
    }
    own = {device: alone[device].coordinates - lift for device, lift in lifts.items()}
    kind_for = kinds_of(law.name)
    eager = {sample.device for sample in samples if sample.eager}
    means = drawn_means(without_host_floors(own, eager, law.names), families, kind_for)
    spread = np.full(len(law.params), POPULATION_SPREAD)
    again = {}
    for sample in samples:
        kind = means.kinds[kind_for(sample.family)]
        centre = 0.5 * (kind + means.families[sample.family]) + lifts[sample.device]
        begin = alone[sample.device].coordinates
        again[sample.device] = fit_sample(sample, prior=centre, spread=spread, start=begin)
    neutral = {device: again[device].coordinates - lift for device, lift in lifts.items()}
    means = drawn_means(without_host_floors(neutral, eager, law.names), families, kind_for)
    return Pool(
        law=law.name,
        powered=powered,
        population=means.population,
        kinds=means.kinds,
        families=means.families,
        devices=again,
        engines=_engines(samples, again, kind_for) if engines else {},
    )


def kinds_of(law: str) -> Callable[[str], str]:
    """Kind of matrix unit by family; links and plain traffic know none."""
    return kind_of if "e_c" in LAWS[law].names else lambda _family: ANY


def without_host_floors(
    fits: Mapping[str, FloatArray], eager: Set[str], names: Sequence[str]
) -> dict[str, FloatArray]:
    """Coordinates where the floors of eager launches, which are the host's, count for nothing.

    They are replaced by the mean of the devices timed without launches, if there are any.
    """
    captured = [x for device, x in fits.items() if device not in eager]
    if not captured or not eager:
        return dict(fits)
    at = [index for index, name in enumerate(names) if name.startswith("t_")]
    mean = np.mean(captured, axis=0)
    result = {device: x.copy() for device, x in fits.items()}
    for device in eager & result.keys():
        result[device][at] = mean[at]
    return result


def _engines(
    samples: Sequence[Sample],
    fits: Mapping[str, Fit],
    kind_for: Callable[[str], str],
) -> dict[str, dict[str, FloatArray]]:
    """Offset of each engine from its devices: by device, family, kind, and for any.

    The mean over families is drawn to zero, the others to that mean.
    """
    own: dict[str, dict[str, FloatArray]] = {}
    families = {sample.device: sample.family for sample in samples}
    for sample in samples:
        base = fits[sample.device].coordinates
        width = np.full(base.size, ENGINE_SPREAD)
        names, counts = np.unique(sample.engine, return_counts=True)
        for name, count in zip(names, counts, strict=True):
            if count < FEWEST_ENGINE_ROWS or len(names) < 2:
                continue
            part = sample.take(np.flatnonzero(sample.engine == name))
            fit = fit_sample(part, prior=base, spread=width, start=base)
            own.setdefault(str(name), {})[sample.device] = fit.coordinates - base
    result = {}
    for name, offsets in sorted(own.items()):
        means = drawn_means(offsets, families, kind_for)
        mean, shrink = means.population, len(means.families) / (len(means.families) + 1.0)
        levels = {**means.kinds, **means.families}
        moved = {key: offset + (shrink - 1.0) * mean for key, offset in levels.items()}
        result[name] = {ANY: shrink * mean, **moved, **offsets}
    return result
