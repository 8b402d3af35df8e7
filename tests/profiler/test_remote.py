# SPDX-License-Identifier: Apache-2.0
import errno
import uuid

import fsspec
import pyarrow.parquet as pq
import pytest

from profiler.card import BEGIN
from profiler.remote import CARD, FOLDER, open_remote, pull, push
from profiler.remote_folder import FolderRemote
from profiler.remote_hub import HubRemote
from profiler.store import Store
from specs.errors import InvalidInputError, StoreError
from specs.measurement import Measurement


def point(batch=1, **more):
    return Measurement(kind="llm", model="gpt2", batch_size=batch, tpot_s=0.01, **more)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "mine" / "store")
    made.append([point(1), point(2)])
    made.append([point(3)])
    return made


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    where = tmp_path / "there" if request.param == "file" else f"/{uuid.uuid4().hex}"
    return f"{request.param}://{where}"


@pytest.fixture
def problems():
    return []


def files_at(url):
    fs, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/") for path in fs.find(root)}


def test_push_and_pull_carry_everything_once(store, url, tmp_path):
    sent = push(store, open_remote(url))
    assert (len(sent.moved), sent.already, sent.rows, sent.target) == (2, 0, 3, url)
    assert files_at(url) == {CARD, *(f"{FOLDER}/{path.name}" for path in store.parts())}
    other = Store(tmp_path / "other")
    got = pull(other, open_remote(url))
    assert (len(got.moved), got.already, got.rows) == (2, 0, 3)
    assert other.read() == store.read()
    again = pull(other, open_remote(url))
    assert (again.moved, again.already) == ((), 2)
    assert push(store, open_remote(url)).moved == ()


def test_two_people_share_a_place(store, url, tmp_path):
    push(store, open_remote(url))
    other = Store(tmp_path / "other")
    other.append([point(4, gpu_raw="their card")])
    push(other, open_remote(url))
    pull(store, open_remote(url))
    assert sorted(row.batch_size for row in store.read()) == [1, 2, 3, 4]
    assert len(other.read()) == 1
    card = open_remote(url).card()
    assert "4 measurements" in card
    assert "their card" in card


def test_the_owners_page_is_not_overwritten(store, url):
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/{CARD}", b"# My data\n")
    sent = push(store, open_remote(url))
    assert "somebody's own page" in sent.notes[0]
    assert open_remote(url).card() == "# My data\n"
    assert len(sent.moved) == 2


def test_a_broken_part_stays_at_home_and_a_broken_one_there_is_skipped(store, url, problems):
    (store.path / "cut.parquet").write_bytes(b"PAR1")
    push(store, open_remote(url), on_problem=problems.append)
    assert f"{FOLDER}/cut.parquet" not in files_at(url)
    assert [problem.where for problem in problems] == ["cut.parquet"]
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/{FOLDER}/bad.parquet", b"PAR1")
    fs.pipe_file(f"{root}/{FOLDER}/notes.txt", b"hello")
    problems.clear()
    other = Store(store.path.parent / "other")
    got = pull(other, open_remote(url), on_problem=problems.append)
    assert len(got.moved) == 2
    assert sorted(path.name for path in other.path.iterdir()) == sorted(got.moved)
    assert ["notes.txt" in problems[0].where, "bad.parquet" in problems[1].where] == [True, True]


def test_nothing_to_push_and_nothing_to_pull(tmp_path, url):
    with pytest.raises(StoreError, match="no measurements"):
        push(Store(tmp_path / "empty"), open_remote(url))
    with pytest.raises(StoreError, match=r"no records at .*check the address"):
        pull(Store(tmp_path / "empty"), open_remote(url))


def test_an_interrupted_push_leaves_whole_files_and_continues(store, url, monkeypatch):
    remote = open_remote(url)
    real, calls = remote._fs.pipe_file, []

    def fails_second(path, content, **kwargs):
        calls.append(path)
        real(path, content[: len(content) // 2] if len(calls) == 2 else content)
        if len(calls) == 2:
            raise OSError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(remote._fs, "pipe_file", fails_second)
    with pytest.raises(StoreError, match="Connection reset") as refused:
        push(store, remote)
    assert "\n" not in str(refused.value)
    assert files_at(url) == {f"{FOLDER}/{store.parts()[0].name}"}
    monkeypatch.undo()
    sent = push(store, open_remote(url))
    assert (len(sent.moved), sent.already) == (1, 1)
    assert len(store.read()) == 3


def test_an_interrupted_pull_keeps_what_came(store, url, tmp_path, monkeypatch):
    push(store, open_remote(url))
    remote, other = open_remote(url), Store(tmp_path / "other")
    first, real = store.parts()[0].name, remote.fetch

    def drops(name, path):
        if name != first:
            raise StoreError("gone")
        real(name, path)

    monkeypatch.setattr(remote, "fetch", drops)
    with pytest.raises(StoreError, match="gone"):
        pull(other, remote)
    assert [path.name for path in other.parts()] == [first]


@pytest.mark.parametrize(
    ("target", "kind", "error", "word"),
    [
        ("nonsense://x/y", None, InvalidInputError, "nonsense"),
        ("justaword", None, InvalidInputError, "no place"),
        ("a/b/c", None, InvalidInputError, "no place"),
        ("org/name", HubRemote, None, ""),
        ("hf://datasets/org/name", HubRemote, None, ""),
        ("./out", FolderRemote, None, ""),
        ("memory://x", FolderRemote, None, ""),
    ],
)
def test_what_a_target_means(target, kind, error, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if error:
        with pytest.raises(error, match=word):
            open_remote(target)
    else:
        assert isinstance(open_remote(target), kind)


def test_a_folder_that_looks_like_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=r"\./org/name or hf://datasets/org/name"):
        open_remote("org/name")


def test_a_missing_library_is_named(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StoreError, match="Install s3fs"):
        open_remote("s3://bucket/folder")


def test_errors_of_the_transport_are_told_and_bugs_are_not(store, monkeypatch):
    class ClientError(Exception):
        """As cloud libraries raise: no OSError."""

    ClientError.__module__ = "botocore.exceptions"
    remote = open_remote(f"memory://{uuid.uuid4().hex}")
    for error, expected in ((ClientError("Access\nDenied"), StoreError), (KeyError("x"), KeyError)):

        def refuse(path, error=error, **kwargs):
            raise error

        monkeypatch.setattr(remote._fs, "exists", refuse)
        with pytest.raises(expected) as refused:
            push(store, remote)
        if expected is StoreError:
            assert "Access Denied" in str(refused.value)


def test_names_from_elsewhere_cannot_leave_the_folder(store, url, tmp_path, monkeypatch, problems):
    push(store, open_remote(url))
    remote = open_remote(url)
    real = remote.names()
    monkeypatch.setattr(remote, "names", lambda: [*real, "../evil.parquet", "/etc/x.parquet"])
    other = Store(tmp_path / "other")
    assert len(pull(other, remote, on_problem=problems.append).moved) == 2
    assert len(problems) == 2


def test_parts_elsewhere_are_plain_parquet(store, tmp_path):
    push(store, open_remote(str(tmp_path / "there")))
    table = pq.read_table(tmp_path / "there" / FOLDER)
    assert sorted(table["batch_size"].to_pylist()) == [1, 2, 3]
    assert BEGIN in (tmp_path / "there" / CARD).read_text()
