# SPDX-License-Identifier: Apache-2.0
"""What the commands of this folder say where a package that they need is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

OURS = ("benchmarks", "calibration", "profiler", "roofline", "specs")


def leave_without(error: ImportError, *, module: str) -> NoReturn:
    """Leave with one line and exit code 2 if a package of an extra is missing.

    Parameters
    ----------
    error : ImportError
        What stopped the imports of a module. That of a package of ours is a bug.
    module : str
        Its ``__name__``: only one that is run as a command ends the process.

    Raises
    ------
    ImportError
        `error`, where it is a bug or the module was imported.
    """
    missing = (error.name or "").partition(".")[0]
    if module != "__main__" or missing in ("", *OURS):
        raise error
    command = Path(sys.argv[0]).stem
    print(f"{command} needs {missing}: pip install 'roofline[calibrate]'.", file=sys.stderr)
    sys.exit(2)
