# SPDX-License-Identifier: Apache-2.0
"""Fit the operator constants and write the artifact and its card.

python -m calibration.operators.fit --kernels DIR --out calibration/artifacts/operators.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from calibration.operators.apply import to_json
from calibration.operators.card import write_card
from calibration.operators.kernels import (
    MOST_ROWS,
    Sample,
    data_hash,
    read_samples,
    table_paths,
)
from calibration.operators.leaveout import Score, leave_out
from calibration.operators.levels import Pool
from calibration.operators.pooling import pool
from calibration.operators.readers import FAMILIES
from specs.errors import InvalidInputError


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


def summary(folder: Path, samples: Sequence[Sample], most_rows: int, out: Path) -> dict[str, Any]:
    """What the constants were fitted on."""
    return {
        "out": str(out),
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
    arithmetic = {name: FAMILIES[name].arithmetic for name in pools}
    out.write_text(to_json(pools, arithmetic, meta), encoding="utf-8")
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
        meta = summary(options.kernels, samples, options.most_rows, options.out)
        write(options.out, pools, scores, meta)
    except (InvalidInputError, ImportError) as error:
        hint = " Install the extra: pip install 'roofline[calibrate]'."
        text = f"{error}{hint if isinstance(error, ImportError) else ''}"
        sys.stderr.write(f"{text}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
