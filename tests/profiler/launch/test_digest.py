# SPDX-License-Identifier: Apache-2.0
"""An image's tag becomes its digest, asked from a registry on loopback."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from profiler.launch import digest
from profiler.launch.digest import digest_in, pinned

DIGEST = "sha256:" + "ab" * 32


class Registry(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        known = self.path == "/v2/group/image/manifests/v1"
        self.send_response(200 if known else 404)
        if known:
            self.send_header("Docker-Content-Digest", DIGEST)
            self.send_header("Content-Type", "application/vnd.oci.image.index.v1+json")
        self.end_headers()


@pytest.fixture
def registry():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_tag_is_pinned(registry):
    pytest.importorskip("dxf")
    image, note = pinned(f"{registry}/group/image:v1", insecure=True)
    assert image == f"{registry}/group/image:v1@{DIGEST}"
    assert digest_in(image) == DIGEST
    assert note == ""


def test_an_unknown_image_stays_as_it_is_and_says_so(registry):
    pytest.importorskip("dxf")
    for name in (f"{registry}/group/image:v2", "127.0.0.1:1/group/image:v1"):
        image, note = pinned(name, insecure=True)
        assert image == name
        assert "is not pinned" in note
        assert digest_in(image) == ""


def test_a_digest_is_not_asked_for_again():
    assert pinned(f"no.where/x@{DIGEST}") == (f"no.where/x@{DIGEST}", "")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "dxf", None)
    assert "python-dxf is not installed" in pinned("a/b:c")[1]


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("python:3.12-slim", ("registry-1.docker.io", "library/python", "3.12-slim")),
        ("vllm/vllm-openai", ("registry-1.docker.io", "vllm/vllm-openai", "latest")),
        ("ghcr.io/a/b:c", ("ghcr.io", "a/b", "c")),
        ("localhost:5000/a", ("localhost:5000", "a", "latest")),
    ],
)
def test_names_of_images(image, parts):
    assert digest._parts(image) == parts
