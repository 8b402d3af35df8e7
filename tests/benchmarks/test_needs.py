# SPDX-License-Identifier: Apache-2.0
"""Commands of this folder where the extra that they need is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.needs import leave_without

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["card", "scoreboard"])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, command):
    absent = "raise ModuleNotFoundError(\"No module named 'pandas'\", name='pandas')\n"
    (tmp_path / "pandas.py").write_text(absent)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command}", "--help"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = f"{command} needs pandas: pip install 'roofline[calibrate]'.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("name", "module"),
    [("benchmarks.gone", "__main__"), (None, "__main__"), ("pandas", "benchmarks.card")],
)
def test_bugs_and_imports_keep_their_error(name, module):
    with pytest.raises(ImportError, match="why"):
        leave_without(ImportError("why", name=name), module=module)
