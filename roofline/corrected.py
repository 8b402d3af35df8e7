# SPDX-License-Identifier: Apache-2.0
"""The public `predict`, `predict_table`, `explain`: with the learned correction by default.

The functions of `roofline.predict` and `roofline.explain` are the plain roofline unless they
are given a correction. These give them the user's own, if `roofline calibrate tune` made
one, else the one that comes with this version. Fitted constants live in `calibration`,
above this package: its reader is found by name, when it is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from roofline.correction import Correction
from roofline.predict import predict as plain_predict
from roofline.predict import predict_table as plain_predict_table

READER = "calibration.correct"
"""Module with ``shipped()`` and ``load(path)``."""

VARIABLE = "ROOFLINE_CORRECTION"
"""Environment variable that names a correction's file; ``shipped`` and ``none`` are words."""

P = ParamSpec("P")
T = TypeVar("T")


def own_path() -> Path:
    """Where `roofline calibrate tune` keeps the user's own correction."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "roofline" / "correction.json"


def default_correction() -> Correction | None:
    """The correction that predictions use where none is asked for.

    Raises
    ------
    SpecDataError
        The file that `VARIABLE` names, or the user's own, is no correction.
    """
    named = os.environ.get(VARIABLE, "")
    if named == "none":
        return None
    if named and named != "shipped":
        return read_correction(named)
    own = own_path()
    if not named and own.is_file():
        return read_correction(str(own))
    return cast(Correction, import_module(READER).shipped())


@lru_cache(maxsize=8)
def read_correction(path: str) -> Correction:
    """Read a correction's file."""
    return cast(Correction, import_module(READER).load(Path(path)))


def _by_default(function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def corrected(*args: P.args, **asked: P.kwargs) -> T:
        given: dict[str, Any] = dict(asked)
        if "correction" not in given:
            given["correction"] = default_correction()
        return cast(Callable[..., T], function)(*args, **given)

    return corrected


predict = _by_default(plain_predict)
predict_table = _by_default(plain_predict_table)


def explain(*args: Any, **asked: Any) -> Any:
    """`roofline.explain.explain` with the correction by default."""
    from roofline.explain import explain as plain_explain

    return _by_default(plain_explain)(*args, **asked)
