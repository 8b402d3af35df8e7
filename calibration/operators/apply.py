# SPDX-License-Identifier: Apache-2.0
"""Times of operators from fitted constants: numpy only, one small JSON file.

    laws = load_operators(ARTIFACT)
    facts = facts_of(accelerator)
    terms = gemm_terms(m, n, k, scheme=SCHEMES["bf16"], facts=facts)
    seconds = laws.time_s("gemm_bf16", terms, facts, engine="vllm")

Constants come from the device if it was measured, else from its family, else from its
kind of matrix unit, else from the population (`level`). Times of cold operands are never
below the roofline of the terms given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from calibration.operators.facts import DeviceFacts
from calibration.operators.laws import LAWS, FloatArray, Terms
from calibration.operators.levels import Fit, Pool
from specs.errors import SpecDataError, UnknownNameError

ARTIFACT = Path(__file__).parent.parent / "artifacts" / "operators.json"
SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorLaws:
    """Fitted constants of every operator.

    `pools` and `arithmetic` by operator name; `meta` says what they were fitted on.
    """

    pools: Mapping[str, Pool]
    arithmetic: Mapping[str, str]
    meta: Mapping[str, Any]

    def _pool(self, operator: str) -> Pool:
        try:
            return self.pools[operator]
        except KeyError:
            raise UnknownNameError(
                f"no constants for operator {operator!r}; there are "
                f"{', '.join(sorted(self.pools))}."
            ) from None

    def constants(self, operator: str, facts: DeviceFacts, engine: str = "") -> dict[str, float]:
        """Named constants of an operator's law on a device, under an engine."""
        pool = self._pool(operator)
        headroom = facts.headroom(self.arithmetic[operator]) if pool.powered else 1.0
        at = pool.coordinates(facts.name, facts.family, engine, headroom=headroom)
        return LAWS[pool.law].constants(at)

    def floored(self, operator: str, facts: DeviceFacts) -> dict[str, float]:
        """`constants`, with floors of relatives where the device's own hold host launches."""
        own, pool = self.constants(operator, facts), self._pool(operator)
        if facts.name in pool.devices and pool.devices[facts.name].eager:
            family = LAWS[pool.law].constants(pool.coordinates("", facts.family))
            own |= {name: value for name, value in family.items() if name.startswith("t_")}
        return own

    def level(self, operator: str, facts: DeviceFacts) -> str:
        """Whose constants answer: ``"device"``, ``"family"``, ``"kind"``, ``"population"``."""
        return self._pool(operator).level(facts.name, facts.family)

    def time_s(
        self,
        operator: str,
        terms: Terms,
        facts: DeviceFacts,
        *,
        engine: str = "",
        cold: bool = True,
    ) -> FloatArray:
        """Seconds of operators with these terms.

        Parameters
        ----------
        operator : str
            Family name, as ``"gemm_bf16"``.
        terms : mapping
            From the matching function of `features`.
        facts : DeviceFacts
        engine : str
            Engine whose kernels run; unknown ones get no offset.
        cold : bool
            Operands come from memory, as in serving, rather than from a warm cache.
        """
        law = LAWS[self._pool(operator).law]
        used = dict(terms)
        if cold and "resident" in used:
            used["resident"] = np.zeros_like(used["resident"])
        return law.time_s(self.constants(operator, facts, engine), used)


def to_dict(laws: OperatorLaws) -> dict[str, Any]:
    """Content of an artifact: coordinates of the laws, to three decimals."""

    def flat(x: FloatArray) -> list[float]:
        return [round(float(value), 3) for value in x]

    operators = {
        name: {
            "law": pool.law,
            "arithmetic": laws.arithmetic[name],
            "powered": pool.powered,
            "params": list(LAWS[pool.law].names),
            "population": flat(pool.population),
            "kinds": {key: flat(x) for key, x in sorted(pool.kinds.items())},
            "families": {key: flat(x) for key, x in sorted(pool.families.items())},
            "devices": {
                key: {
                    "x": flat(fit.coordinates),
                    "rows": fit.rows,
                    "spread": round(fit.spread, 3),
                    **({"eager": True} if fit.eager else {}),
                }
                for key, fit in sorted(pool.devices.items())
            },
            "engines": {
                key: {where: flat(x) for where, x in sorted(offsets.items())}
                for key, offsets in sorted(pool.engines.items())
            },
        }
        for name, pool in sorted(laws.pools.items())
    }
    return {"schema": SCHEMA, "meta": laws.meta, "operators": operators}


def to_json(laws: OperatorLaws) -> str:
    """Text of an artifact."""
    return json.dumps(to_dict(laws), separators=(",", ":"), sort_keys=True) + "\n"


def from_dict(body: Mapping[str, Any]) -> OperatorLaws:
    """Read an artifact's content.

    Raises
    ------
    SpecDataError
        It is of another schema, or its laws have other constants than this version's.
    """
    if body.get("schema") != SCHEMA:
        raise SpecDataError(
            f"operator constants have schema {body.get('schema')!r}, this version reads {SCHEMA}; "
            f"fit them again with --kernels DIR."
        )
    operators = body["operators"]
    return OperatorLaws(
        pools={name: _pool(name, raw) for name, raw in operators.items()},
        arithmetic={name: raw["arithmetic"] for name, raw in operators.items()},
        meta=body["meta"],
    )


def _pool(name: str, raw: Mapping[str, Any]) -> Pool:
    law = LAWS.get(raw["law"])
    if law is None or list(law.names) != raw["params"]:
        raise SpecDataError(f"operator {name!r} has constants of another version; fit them again.")
    return Pool(
        law=law.name,
        powered=bool(raw["powered"]),
        population=np.array(raw["population"]),
        kinds={key: np.array(x) for key, x in raw["kinds"].items()},
        families={key: np.array(x) for key, x in raw["families"].items()},
        devices={
            key: Fit(
                coordinates=np.array(fit["x"]),
                rows=fit["rows"],
                spread=fit["spread"],
                eager=fit.get("eager", False),
            )
            for key, fit in raw["devices"].items()
        },
        engines={
            key: {where: np.array(x) for where, x in offsets.items()}
            for key, offsets in raw["engines"].items()
        },
    )


@lru_cache(maxsize=4)
def load_operators(path: Path = ARTIFACT) -> OperatorLaws:
    """Read the shipped constants, or those of another file."""
    return from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
