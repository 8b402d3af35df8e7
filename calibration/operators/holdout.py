# SPDX-License-Identifier: Apache-2.0
"""Constants as if some devices had never been measured: numpy only, from the artifact.

Means of families, kinds and the population are taken anew over the devices that are left.
The devices' own constants stay: a weak pull to their family is all they know of others.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from calibration.operators.apply import OperatorLaws
from calibration.operators.facts import facts_of
from calibration.operators.laws import LAWS
from calibration.operators.levels import Pool, power_lift
from calibration.operators.pooling import drawn_means, kinds_of, without_host_floors
from specs.catalogue import get_accelerator


def without(laws: OperatorLaws, devices: Collection[str]) -> OperatorLaws:
    """Laws that never saw `devices` (slugs); operators of no other device go with them."""
    pools = {
        name: _without(pool, laws.arithmetic[name], devices) for name, pool in laws.pools.items()
    }
    return replace(laws, pools={name: pool for name, pool in pools.items() if pool is not None})


def _without(pool: Pool, arithmetic: str, devices: Collection[str]) -> Pool | None:
    kept = {name: fit for name, fit in pool.devices.items() if name not in devices}
    if len(kept) == len(pool.devices):
        return pool
    if not kept:
        return None
    facts = {name: facts_of(get_accelerator(name)) for name in kept}
    headroom = {
        name: each.headroom(arithmetic) if pool.powered else 1.0 for name, each in facts.items()
    }
    neutral = {
        name: fit.coordinates - power_lift(pool.law, headroom[name]) for name, fit in kept.items()
    }
    eager = {name for name, fit in kept.items() if fit.eager}
    means = drawn_means(
        without_host_floors(neutral, eager, LAWS[pool.law].names),
        {name: each.family for name, each in facts.items()},
        kinds_of(pool.law),
    )
    return replace(
        pool,
        population=means.population,
        kinds=means.kinds,
        families=means.families,
        devices=kept,
    )
