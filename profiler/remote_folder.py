# SPDX-License-Identifier: Apache-2.0
"""A store elsewhere, through fsspec: local folders, S3, GCS, SSH, memory, ..."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from profiler.remote import CARD, FOLDER
from specs.errors import InvalidInputError, StoreError

_TRANSPORTS = frozenset(
    [
        *("adlfs", "aiobotocore", "aiohttp", "asyncssh", "azure", "botocore", "gcsfs", "google"),
        *("httpx", "httpx2", "paramiko", "requests", "s3fs", "sshfs", "urllib3"),
    ]
)
"""Libraries behind fsspec whose errors are the other side's, not ours."""


class FolderRemote:
    """A folder that fsspec reaches.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/folder`` or ``file:///data/records``. Credentials are those
        that the file system's own library finds.

    Raises
    ------
    InvalidInputError
        No file system of that name.
    StoreError
        Its library is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise StoreError(f"{url} needs fsspec; pip install 'roofline[profile]'.") from None
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise StoreError(f"{url} needs another library: {_line(error)}.") from None
        except ValueError as error:
            raise InvalidInputError(f"{url} cannot be opened: {_line(error)}.") from None
        self._root = root.rstrip("/")
        self.title = url.rstrip("/").rpartition("/")[2] or url
        self.address = url

    def names(self) -> list[str]:
        """Names of all files in the data folder; none where it does not exist yet."""
        with self._told("read"):
            folder = f"{self._root}/{FOLDER}"
            if not self._fs.exists(folder):
                return []
            found = self._fs.ls(folder, detail=False, refresh=True)
            return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def fetch(self, name: str, path: Path) -> None:
        """Copy one part-file to `path`."""
        with self._told("read"):
            path.write_bytes(self._fs.cat_file(f"{self._root}/{FOLDER}/{name}"))

    def card(self) -> str | None:
        """Return the dataset card, None if there is none."""
        with self._told("read"):
            path = f"{self._root}/{CARD}"
            if not self._fs.exists(path):
                return None
            return str(self._fs.cat_file(path).decode("utf-8", errors="replace"))

    def send(self, parts: Sequence[Path], card: str | None) -> None:
        """Add part-files one by one, each whole or not at all, then the card."""
        with self._told("written"):
            self._fs.makedirs(f"{self._root}/{FOLDER}", exist_ok=True)
            for path in parts:
                self._put(path.read_bytes(), f"{FOLDER}/{path.name}")
            if card is not None:
                self._put(card.encode(), CARD)

    def _put(self, content: bytes, name: str) -> None:
        """Write beside the data folder and rename: readers see the file whole."""
        draft = f"{self._root}/.{uuid4().hex[:12]}.tmp"
        try:
            self._fs.pipe_file(draft, content)
            self._fs.mv(draft, f"{self._root}/{name}")
        except BaseException:
            if self._fs.exists(draft):
                self._fs.rm_file(draft)
            raise

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """Turn what the other side refuses into one line."""
        try:
            yield
        except Exception as error:
            package = type(error).__module__.partition(".")[0]
            if not isinstance(error, OSError) and package not in _TRANSPORTS:
                raise
            raise StoreError(
                f"{self.address} cannot be {verb} ({_line(error)}); check its address, the network "
                f"and your credentials. Nothing here was changed."
            ) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")[:160]
