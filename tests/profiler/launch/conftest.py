# SPDX-License-Identifier: Apache-2.0
"""A real dstack server on loopback, with a folder in the place of the user's home."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

STANDINS = Path(__file__).parent / "standins"
TOKEN = "standin-token"
CONFIG = "projects: [{name: main, backends: [{type: runpod, creds: {type: api_key, api_key: x}}]}]"
START_S = 120


@pytest.fixture(scope="session")
def dstack_url(tmp_path_factory):
    """Address of a server with project "main", stand-in offers and no fleet."""
    lacking = [name for name in ("dstack", "alembic", "asyncssh", "aiohttp") if not find_spec(name)]
    if lacking:
        pytest.skip(f"a dstack server needs {', '.join(lacking)}; pip install roofline[test]")
    if shutil.which("ssh") is None:
        pytest.skip("a dstack server reaches its machines by ssh, which is not installed")
    folder = tmp_path_factory.mktemp("dstack")
    (folder / "config.yml").write_text(CONFIG)
    subprocess.run(
        [sys.executable, STANDINS / "catalogue.py", folder / "catalogue"], check=True, timeout=60
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "HOME": str(folder),
        "DSTACK_SERVER_DIR": str(folder),
        "DSTACK_DEFAULT_CREDS_DISABLED": "1",
        "GPUHUNT_CATALOG_URL": f"file://{folder / 'catalogue'}",
        "GRPC_ENABLE_FORK_SUPPORT": "false",  # the server starts ssh by fork
    }
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, STANDINS / "server.py", str(port), TOKEN, str(folder)],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server, folder / "server.log")
        yield url
    finally:
        server.kill()
        server.wait()


def _wait(url, server, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthcheck", timeout=5):
            return
        if server.poll() is not None:
            break
        time.sleep(0.3)
    pytest.fail(f"the dstack server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def project(dstack_url, monkeypatch, tmp_path):
    """The server as the user's default project, and a store of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DSTACK_SERVER_URL", dstack_url)
    monkeypatch.setenv("DSTACK_TOKEN", TOKEN)
    monkeypatch.setenv("DSTACK_PROJECT", "main")
    monkeypatch.setenv("ROOFLINE_STORE", str(tmp_path / "store"))
    return dstack_url
