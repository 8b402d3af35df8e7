# SPDX-License-Identifier: Apache-2.0
"""Fit the learned correction anew, score it, or move it with measurements of your own."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.cli.output import add_json_argument, print_json, print_text
from roofline.cli.parser import Parser
from specs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_MEASUREMENTS = "Parquet, CSV, JSON or JSONL files, or folders of them"
_KERNELS = (
    "folder of measured kernels to fit the laws of operators on: files as records export writes "
    "them, the store of profile --kernels, or tables with gpu, op, dtype, latency_s and sizes "
    "(default: the laws that come with roofline)"
)
_CORRECTION = "file that fit or tune wrote (default: the one that comes with roofline)"


def add_arguments(parser: Parser) -> None:
    """Declare what can be done with a correction."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, says: str, act: Callable[[Namespace], None]) -> Parser:
        made: Parser = actions.add_parser(name, help=says, description=says)
        made.set_defaults(act=act)
        add_json_argument(made)
        return made

    def measured(made: Parser) -> None:
        made.add_argument(
            "--measurements", type=Path, nargs="+", required=True, metavar="F", help=_MEASUREMENTS
        )

    one = action("fit", "fit a correction to measurements, with held-out errors (minutes)", _fit)
    measured(one)
    one.add_argument("--kernels", type=Path, metavar="DIR", help=_KERNELS)
    one.add_argument("--out", type=Path, required=True, metavar="A.json", help="file to write")
    one = action("eval", "errors on measurements, corrected beside uncorrected", _eval)
    measured(one)
    one.add_argument("--correction", type=Path, metavar="A.json", help=_CORRECTION)
    one = action("card", "what a correction was fitted on and how wrong it is", _card)
    one.add_argument("--correction", type=Path, metavar="A.json", help=_CORRECTION)
    one = action("tune", "add measurements of your own for your device and engine", _tune)
    measured(one)
    one.add_argument(
        "--correction", type=Path, metavar="A.json",
        help="correction to add to (default: the one of an earlier tune, else the shipped one)",
    )  # fmt: skip
    one.add_argument(
        "--out", type=Path, metavar="MINE.json",
        help="file to write (default: the user's own, which predictions then use)",
    )  # fmt: skip
    one = action("explain", "what the correction learned: features, effects, errors", _explain)
    one.add_argument(
        "--measurements", type=Path, nargs="+", required=True, metavar="F", help=_MEASUREMENTS
    )
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures")


def run(args: Namespace) -> None:
    """Do what was asked."""
    try:
        args.act(args)
    except ImportError as error:
        raise InvalidInputError(
            f"calibrate {args.action} needs {error.name}: pip install 'roofline[calibrate]'."
        ) from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Progress:
    """Steps on stderr: a spinner of rich on a terminal, lines elsewhere."""

    def __enter__(self) -> Callable[[str], None]:
        self._status: Any = None
        if sys.stderr.isatty():
            try:
                from rich.console import Console
            except ImportError:
                return _say
            self._status = Console(stderr=True).status("reading")
            self._status.start()
            return self._show
        return _say

    def _show(self, text: str) -> None:
        self._status.update(text)

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def _table(args: Namespace) -> pd.DataFrame:
    from calibration.tables import read_measurements

    return read_measurements(args.measurements)


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the measured device's name; refused where none is of a device that is known."""
    from roofline.cli.measured import named_measured, unnamed

    rows = named_measured(rows)
    count, says = unnamed(rows)
    if count == len(rows):
        raise InvalidInputError(says)
    if count:
        _say(says)
    return rows


def _artifact(path: Path | None) -> dict[str, Any]:
    """Content of a correction's file, checked."""
    from calibration.correct import ARTIFACT, load

    path = path or ARTIFACT
    load(path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, artifact: Mapping[str, Any]) -> Path:
    """Write a correction and its card; return the card's path."""
    from calibration.card import card_of
    from calibration.fit import to_text

    card = path.with_suffix("").with_name(f"{path.with_suffix('').name}.card.md")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: predictions may read it at any time.
        for place, text in ((path, to_text(artifact)), (card, card_of(artifact, name=path.stem))):
            part = place.with_name(f".{place.name}.part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, place)
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written ({error.strerror or error}); give another --out."
        ) from None
    return card


def _fit(args: Namespace) -> None:
    from calibration.fit import fit

    with _Progress() as say:
        artifact = fit(_table(args), kernels=args.kernels, say=say)
    card = _write(args.out, artifact)
    meta = artifact["meta"]
    laws = artifact["operators"]["meta"] if args.kernels is not None else None
    if args.json:
        print_json({"path": str(args.out), "card": str(card), "meta": meta, "kernels": laws})
        return
    if laws is not None and laws["kept"]:
        _say(f"laws as shipped, for {args.kernels} lacks them: {', '.join(laws['kept'])}")
    print_text(
        f"{args.out}: fitted on {meta['rows_fitted']:,} rows of {meta['devices']} devices\n"
        f"{card}: how wrong it is\nuse it with: roofline predict ... --correction {args.out}"
    )


def _eval(args: Namespace) -> None:
    from calibration.correct import from_dict
    from calibration.scored import scored
    from roofline.cli.measured import with_measured

    artifact = _artifact(args.correction)
    rows = _named(_table(args))
    found = scored(rows, from_dict(artifact), place=with_measured)
    if args.json:
        print_json(found)
        return
    for reason, count in found["not_priced"].items():
        _say(f"{count:,} rows not priced: {reason}")
    print_text("\n".join(_error_lines(found["errors"])))


def _error_lines(errors: list[dict[str, Any]]) -> Iterator[str]:
    names = ["all" if row["by"] == "all" else f"{row['by']} {row['group']}" for row in errors]
    wide = max(map(len, names), default=0) + 2
    head = " " * wide
    head += f"{'rows':>7}{'uncorrected':>13}{'median':>8}{'mean':>8}{'inside':>8}{'width':>7}"
    for metric in dict.fromkeys(row["metric"] for row in errors):
        yield f"{metric}, absolute error"
        yield head
        for name, row in zip(names, errors, strict=True):
            if row["metric"] == metric:
                yield (
                    f"{name:{wide}}{row['rows']:>7,}{row['uncorrected']:>13.1%}"
                    f"{row['corrected']:>8.1%}{row['corrected_mean']:>8.1%}"
                    f"{row['inside']:>8.1%}{row['width']:>7.2f}"
                )
        yield ""


def _card(args: Namespace) -> None:
    from calibration.card import card_of

    artifact = _artifact(args.correction)
    if args.json:
        print_json({"meta": artifact["meta"], "own_notes": artifact.get("own_notes", {})})
        return
    name = args.correction.stem if args.correction else "correction"
    print_text(card_of(artifact, name=name).rstrip("\n"))


def _own_path() -> Path:
    """Where predictions look for the user's own correction."""
    from roofline.corrected import VARIABLE, own_path

    named = os.environ.get(VARIABLE, "")
    return Path(named) if named not in ("", "none", "shipped") else own_path()


def _tune(args: Namespace) -> None:
    from calibration.tune import tune
    from roofline.cli.measured import with_measured

    out = args.out or _own_path()
    before = args.correction
    if before is None and args.out is None and out.is_file():
        before = out
    rows_given = _named(_table(args))
    artifact = tune(_artifact(before), rows_given, place=with_measured)
    _write(out, artifact)
    notes = artifact["own_notes"]
    count = len(artifact["own_rows"])
    if args.json:
        moved = {target: blocks[0]["levels"] for target, blocks in artifact["own"].items()}
        print_json({"path": str(out), "own_rows": count, "moved": moved, "notes": notes})
        return
    for place, texts in notes.items():
        for text in texts:
            _say(f"{place.replace('|', ', ')}: {text}")
    print_text("\n".join((f"{count:,} rows of your own in {out}", *_moved_lines(artifact))))
    if args.out is None:
        print_text("predictions use it from now on; --no-correction or deleting it undoes that")
    else:
        print_text(f"use it with: roofline predict ... --correction {out}")


def _moved_lines(artifact: Mapping[str, Any]) -> Iterator[str]:
    from math import exp

    for target, blocks in artifact["own"].items():
        for place, (effect, _, count) in blocks[0]["levels"].items():
            what = "power" if target == "power" else target.upper()
            yield (
                f"{place.replace('|', ', '):40} {what:6} x {exp(effect):.3f} for any model, "
                f"from {count:,} rows"
            )


def _explain(args: Namespace) -> None:
    from calibration.explain import explain

    with _Progress() as say:
        found = explain(_table(args), args.out, say=say)
    if args.json:
        print_json(found)
        return
    for note in found["notes"]:
        _say(note)
    for target, features in found["importance"].items():
        print_text(f"{target}: rise of the mean absolute log error when a feature is shuffled")
        for row in features[:10]:
            print_text(f"  {row['feature']:24} {row['rise']:.4f}")
    print_text("\n".join(found["files"]))
