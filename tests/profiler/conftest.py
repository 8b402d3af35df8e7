# SPDX-License-Identifier: Apache-2.0
"""A stand-in for NVIDIA's library, compiled here and loaded by the real binding."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("standin_nvml.c")


class Standin:
    """The library's controls; its clock stands still until `advance`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._library.standin_set.argtypes = [ctypes.c_char_p, ctypes.c_double]
        self.now_s = 0.0

    def set(self, **numbers: float) -> None:
        for name, value in numbers.items():
            assert self._library.standin_set(name.encode(), value) == 0, name

    def fail(self, function: str, code: int) -> None:
        self._library.standin_fail(function.encode(), code)

    def advance(self, seconds: float) -> float:
        self.now_s += seconds
        self.set(time_s=self.now_s)
        return self.now_s


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory):
    """Path of the compiled stand-in, in a folder of its own for LD_LIBRARY_PATH."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library)]
    subprocess.run([*command, str(SOURCE), "-lm"], check=True, timeout=60)
    return library


@pytest.fixture
def nvml(nvml_library, tmp_path, monkeypatch):
    """A fresh copy of the stand-in behind the real binding, at time 100 s."""
    pynvml = pytest.importorskip("pynvml")
    own = shutil.copy(nvml_library, tmp_path / "own.so")  # a path of its own: fresh numbers
    library = ctypes.CDLL(str(own))
    monkeypatch.setattr(pynvml, "CDLL", lambda _: library)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    standin = Standin(library)
    standin.advance(100.0)
    return standin
