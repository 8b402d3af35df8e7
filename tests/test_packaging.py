# SPDX-License-Identifier: Apache-2.0
"""The wheel holds its data and works where there is no checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ("tsv", "jsonl", "toml", "json", "csv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps"]
    done = subprocess.run([*pip, "-w", str(folder), str(ROOT)], capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr and "No matching" in done.stderr:
        pytest.skip("the build back end cannot be had without a package index")
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = folder.glob("roofline-*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_every_data_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [path for ext in DATA for path in (ROOT / "specs" / "data").rglob(f"*.{ext}")]
    assert len(data) > 300
    missing = [path for path in data if path.relative_to(ROOT).as_posix() not in names]
    assert not missing
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)


@pytest.mark.slow
def test_wheel_predicts_outside_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import sys; from roofline.cli.main import entry; sys.argv[0] = 'roofline'; entry()"
    words = ["predict", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "RTX 4090", "--json"]
    away = tmp_path / "elsewhere"
    away.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=away,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["memory"]["fits"] is True
