# SPDX-License-Identifier: Apache-2.0
"""Files in the shape that each tool documents, and readers of them."""

import json
from pathlib import Path

import pytest

from profiler.importers import Facts, read_results

DATA = Path(__file__).parent / "data"

#: What no serving file of vLLM or SGLang says of itself.
HARDWARE = {
    "gpu": "RTX 4090",
    "engine": "vllm",
    "engine_version": "0.11.0",
    "tp": 1,
    "weight_dtype": "bf16",
}


@pytest.fixture
def data():
    """Folder of real files of tools that run on a CPU."""
    return DATA


@pytest.fixture
def write(tmp_path):
    """Write an object as JSON, a list of them as JSON Lines with ``lines=True``, or text."""

    def _write(content, name="results.json", *, lines=False):
        path = tmp_path / name
        if isinstance(content, str):
            text = content
        elif lines:
            text = "".join(json.dumps(item) + "\n" for item in content)
        else:
            text = json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture
def read(write):
    """Read content with facts; returns what `read_results` does."""

    def _read(content, name="results.json", *, lines=False, column_map=(), importer="", **facts):
        path = content if isinstance(content, Path) else write(content, name, lines=lines)
        return read_results(path, Facts(**facts), column_map=column_map, importer=importer)

    return _read


@pytest.fixture
def one(read):
    """Read content that holds one good point, and return that."""

    def _one(content, **settings):
        found = read(content, **settings)
        assert not found.refused, found.refused
        (row,) = found.rows
        return row

    return _one


@pytest.fixture
def hardware():
    """Facts that complete a serving file."""
    return dict(HARDWARE)


def raw_of(row):
    """Raw figures of a row by name."""
    return {figure.name: figure for figure in row.raw}


@pytest.fixture
def raw():
    """Return `raw_of`."""
    return raw_of
