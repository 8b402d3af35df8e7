# SPDX-License-Identifier: Apache-2.0
"""Fit the operator constants and write the artifact and its card.

    python -m calibration.operators.fit --kernels DIR --out calibration/artifacts/operators.json

`refitted` is what ``roofline calibrate fit --kernels DIR`` does: the same from a user's tables,
for the operators that are in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from calibration.operators.apply import OperatorLaws, from_dict, to_dict, to_json
from calibration.operators.card import write_card
from calibration.operators.kernels import (
    LEAST_ROWS,
    MOST_ROWS,
    Sample,
    read_samples,
)
from calibration.operators.leaveout import Score, leave_out
from calibration.operators.levels import Pool
from calibration.operators.pooling import pool
from calibration.operators.readers import FAMILIES
from calibration.operators.tables import Say, data_hash, table_paths
from specs.errors import InvalidInputError

LEAST_DEVICES = 2
"""Of one device alone nothing says what carries over to others."""


def grouped(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by operator, devices in order of name."""
    result: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: (s.operator, s.device)):
        result.setdefault(sample.operator, []).append(sample)
    return result


def fit_all(
    samples: Sequence[Sample], *, score: bool = True
) -> tuple[dict[str, Pool], dict[str, list[Score]]]:
    """Pools of every operator, and their leave-out scores."""
    pools: dict[str, Pool] = {}
    scores: dict[str, list[Score]] = {}
    for operator, members in grouped(samples).items():
        # Engine offsets help on kernels and not end to end: they are scored, not shipped.
        pools[operator] = pool(members, powered=FAMILIES[operator].powered, engines=False)
        if score:
            scores[operator] = leave_out(members)
    return pools, scores


def laws_of(pools: Mapping[str, Pool], meta: Mapping[str, Any]) -> OperatorLaws:
    """Laws of fitted operators."""
    arithmetic = {name: FAMILIES[name].arithmetic for name in pools}
    return OperatorLaws(pools=pools, arithmetic=arithmetic, meta=meta)


def refitted(folder: Path, base: OperatorLaws, *, say: Say | None = None) -> OperatorLaws:
    """Laws fitted on a folder of kernels, those of `base` for operators that it lacks.

    ``meta`` says which are which (``fitted``, ``kept``). An operator is fitted if
    `LEAST_DEVICES` devices or more have `LEAST_ROWS` kernels of it.

    Raises
    ------
    InvalidInputError
        No table of kernels, or no operator that can be fitted.
    UnknownNameError
        A table of kernels names a device that the catalogue lacks.
    """
    samples = read_samples(folder, say=say)
    members = {name: each for name, each in grouped(samples).items() if len(each) >= LEAST_DEVICES}
    if not members:
        raise InvalidInputError(_too_few(folder, samples))
    used = [sample for each in members.values() for sample in each]
    if say is not None:
        say(f"kernels: fitting {', '.join(members)}")
    pools, _ = fit_all(used, score=False)
    kept = {name: pool for name, pool in base.pools.items() if name not in pools}
    meta = {
        **summary(folder, used, MOST_ROWS),
        "fitted": sorted(pools),
        "kept": sorted(kept),
    }
    # As they are read back: coordinates to three decimals.
    return from_dict(to_dict(laws_of({**kept, **pools}, meta)))


def _too_few(folder: Path, samples: Sequence[Sample]) -> str:
    """Why no operator can be fitted."""
    devices = sorted({sample.device for sample in samples})
    found = f"only {devices[0]} has" if len(devices) == 1 else "no two devices have"
    return (
        f"{folder}: {found} {LEAST_ROWS} usable kernels of an operator, and a law takes "
        f"{LEAST_DEVICES} devices or more; add tables, or leave --kernels out for the shipped laws."
    )


def summary(folder: Path, samples: Sequence[Sample], most_rows: int) -> dict[str, Any]:
    """What the constants were fitted on."""
    return {
        "date": date.today().isoformat(),
        "data_hash": data_hash(folder),
        "tables": len(table_paths(folder)),
        "rows": sum(len(sample) for sample in samples),
        "most_rows": most_rows,
        "devices": sorted({sample.device for sample in samples}),
    }


def write(
    out: Path,
    pools: Mapping[str, Pool],
    scores: Mapping[str, Sequence[Score]],
    meta: Mapping[str, Any],
) -> None:
    """Write the artifact, and the card beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_json(laws_of(pools, meta)), encoding="utf-8")
    card = out.with_suffix(".card.md")
    card.write_text(write_card(pools, scores, meta), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m calibration.operators.fit")
    parser.add_argument("--kernels", type=Path, required=True, help="folder of kernel tables")
    parser.add_argument("--out", type=Path, required=True, help="artifact to write (JSON)")
    parser.add_argument("--most-rows", type=int, default=MOST_ROWS)
    parser.add_argument("--no-score", action="store_true", help="skip the leave-out folds")
    options = parser.parse_args(arguments)
    try:
        samples = read_samples(options.kernels, most_rows=options.most_rows)
        pools, scores = fit_all(samples, score=not options.no_score)
        meta = {"out": str(options.out), **summary(options.kernels, samples, options.most_rows)}
        write(options.out, pools, scores, meta)
    except (InvalidInputError, ImportError) as error:
        hint = " Install the extra: pip install 'roofline[calibrate]'."
        text = f"{error}{hint if isinstance(error, ImportError) else ''}"
        sys.stderr.write(f"{text}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
