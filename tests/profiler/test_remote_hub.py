# SPDX-License-Identifier: Apache-2.0
"""The Hub as its client sees it: HTTP answers of a stand-in server on loopback."""

import base64
import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

from profiler.remote import CARD, open_remote, pull, push
from profiler.store import Store
from specs.errors import (
    AuthenticationError,
    FetchError,
    GatedModelError,
    InvalidInputError,
    OfflineError,
    UnknownNameError,
)
from specs.measurement import Measurement


class Hub:
    """Dataset repositories in memory; `refuse` answers everything with a status and headers."""

    def __init__(self):
        self.repos = {}
        self.commits = []
        self.refuse = None
        self.refuse_commit = None

    def answer(self, method, path, token, body):
        """Status, headers and body of one request."""
        if self.refuse:
            return *self.refuse, b"{}"
        if token != "Bearer hf_good":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return 200, {}, b'{"errors": [], "warnings": []}'
        if parts[:3] == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            self.repos.setdefault(repo, {})
            return 200, {}, json.dumps({"url": f"https://huggingface.co/datasets/{repo}"}).encode()
        api = parts[0] == "api"
        repo = "/".join(parts[2:4] if api else parts[1:3])
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if not api:
            return self._file(repo, "/".join(parts[5:]))
        what = parts[4] if len(parts) > 4 else "info"
        return getattr(self, f"_{what}")(repo, body)

    def _file(self, repo, name):
        content = self.repos[repo].get(name)
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        digest = hashlib.sha256(content).hexdigest()
        return 200, {"ETag": f'"{digest}"', "X-Repo-Commit": "0" * 40}, content

    def _info(self, repo, body):
        names = [{"rfilename": name} for name in self.repos[repo]]
        return 200, {}, json.dumps({"id": repo, "sha": "0" * 40, "siblings": names}).encode()

    def _tree(self, repo, body):
        files = [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.repos[repo].items()
        ]
        return 200, {}, json.dumps(files).encode()

    _revision = _info

    def _preupload(self, repo, body):
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
            for file in json.loads(body)["files"]
        ]
        return 200, {}, json.dumps({"files": files}).encode()

    def _commit(self, repo, body):
        if self.refuse_commit:
            return *self.refuse_commit, b"{}"
        lines = [json.loads(line) for line in body.splitlines() if line]
        for line in lines:
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.repos[repo][line["value"]["path"]] = content
        self.commits.append(lines[0]["value"]["summary"])
        done = {
            "commitOid": "1" * 40,
            "commitUrl": f"https://huggingface.co/datasets/{repo}/commit/1",
        }
        return 200, {}, json.dumps({**done, "success": True}).encode()


def use_endpoint(monkeypatch, url):
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=url))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "")
            status, headers, content = state.answer(self.command, self.path, token, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _serve  # noqa: N815

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def point(batch=1):
    return Measurement(kind="llm", model="gpt2", batch_size=batch, tpot_s=0.01, license="MIT")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    made.append([point(1)])
    made.append([point(2)])
    return made


def test_push_is_one_commit_and_pull_brings_it_back(hub, store, tmp_path):
    hub.repos["org/records"] = {}
    sent = push(store, open_remote("org/records"))
    assert (len(sent.moved), sent.target) == (2, "hf://datasets/org/records")
    assert hub.commits == ["Add 2 part-files of measurements"]
    assert set(hub.repos["org/records"]) == {CARD, *(f"data/{p.name}" for p in store.parts())}
    assert b'license: "mit"' in hub.repos["org/records"][CARD]
    other = Store(tmp_path / "other")
    assert len(pull(other, open_remote("hf://datasets/org/records")).moved) == 2
    assert other.read() == store.read()
    assert push(store, open_remote("org/records")).already == 2
    assert len(hub.commits) == 1, "nothing new, and the card is the same"


def test_a_repository_is_made_when_asked_and_not_else(hub, store):
    with pytest.raises(UnknownNameError, match="--create"):
        push(store, open_remote("org/new"))
    assert hub.repos == {}
    push(store, open_remote("org/new", create=True))
    assert len(hub.repos["org/new"]) == 3


@pytest.mark.parametrize("token", ["hf_bad", ""])
def test_a_wrong_token(hub, store, monkeypatch, token):
    hub.repos["org/records"] = {}
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AuthenticationError, match="hf auth login"):
        push(store, open_remote("org/records"))


@pytest.mark.parametrize(
    ("status", "headers", "kind", "word"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, GatedModelError, "accept its terms"),
        (403, {}, AuthenticationError, "write access"),
        (404, {"X-Error-Code": "RepoNotFound"}, UnknownNameError, "no dataset"),
        (401, {"X-Error-Code": "RepoNotFound"}, UnknownNameError, "no dataset"),  # private
        (418, {}, FetchError, "HTTP 418"),
    ],
)
def test_refusals_are_told_apart_in_one_line(hub, store, status, headers, kind, word):
    hub.refuse = (status, headers)
    for exchange in (push, pull):
        with pytest.raises(kind, match=word) as refused:
            exchange(store, open_remote("org/records"))
        assert "\n" not in str(refused.value)
    assert len(store.read()) == 2


@pytest.mark.parametrize(
    ("status", "kind", "word"), [(403, AuthenticationError, "write"), (412, FetchError, "again")]
)
def test_a_refused_commit_leaves_nothing_there(hub, store, status, kind, word):
    hub.repos["org/records"] = {}
    hub.refuse_commit = (status, {})
    with pytest.raises(kind, match=word):
        push(store, open_remote("org/records"))
    assert hub.repos["org/records"] == {}


def test_no_network(store, monkeypatch):
    use_endpoint(monkeypatch, "http://127.0.0.1:9")  # nothing listens
    for exchange in (push, pull):
        with pytest.raises(OfflineError, match="nothing is lost"):
            exchange(store, open_remote("org/records"))


def test_told_to_stay_offline(store, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE"):
        push(store, open_remote("org/records"))


def test_a_name_no_repository_can_have(hub, store):
    with pytest.raises(InvalidInputError, match="ORG/NAME"):
        push(store, open_remote("hf://datasets/a--b/c..d"))


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (OSError(28, "No space left on device"), FetchError, "No space left"),
        (ConnectionResetError(104, "reset"), OfflineError, "network"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    ],
)
def test_what_breaks_on_the_way(hub, store, tmp_path, monkeypatch, error, kind, word):
    hub.repos["org/records"] = {}
    push(store, open_remote("org/records"))

    def breaks(*args, **kwargs):
        raise error

    remote = open_remote("org/records")
    monkeypatch.setattr(remote._api, "hf_hub_download", breaks)
    with pytest.raises(kind, match=word):
        pull(Store(tmp_path / "other"), remote)
