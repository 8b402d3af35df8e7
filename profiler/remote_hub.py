# SPDX-License-Identifier: Apache-2.0
"""A store elsewhere: a dataset repository of the Hugging Face Hub.

A push is one commit: everything arrives, or nothing.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import getproxies

from profiler.remote import CARD, FOLDER
from specs.errors import (
    AuthenticationError,
    FetchError,
    GatedModelError,
    InvalidInputError,
    OfflineError,
    RooflineError,
    UnknownNameError,
)

_TRANSPORTS = frozenset(["httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"])
CONNECT_S = 10.0
_LOGIN = "run 'hf auth login' or set HF_TOKEN"


class HubRemote:
    """One dataset repository, with the token that ``huggingface_hub`` finds.

    Parameters
    ----------
    repo : str
        ``org/name``.
    create : bool
        Make a private repository on the first `send` where there is none.
    """

    def __init__(self, repo: str, *, create: bool = False) -> None:
        from huggingface_hub import HfApi

        self.title = repo
        self.address = f"hf://datasets/{repo}"
        self._create = create
        self._api = HfApi()
        self._files: list[str] | None = None

    def names(self) -> list[str]:
        """Names of all files in the data folder; none where the repository is to be made."""
        prefix = f"{FOLDER}/"
        return [path.removeprefix(prefix) for path in self._list() if path.startswith(prefix)]

    def fetch(self, name: str, path: Path) -> None:
        """Copy one part-file to `path`."""
        self._download(f"{FOLDER}/{name}", path)

    def card(self) -> str | None:
        """Return the dataset card, None if there is none."""
        if CARD not in self._list():
            return None
        with TemporaryDirectory() as folder:
            path = Path(folder) / CARD
            self._download(CARD, path)
            return path.read_text(encoding="utf-8", errors="replace")

    def send(self, parts: Sequence[Path], card: str | None) -> None:
        """Add part-files and the card in one commit."""
        from huggingface_hub import CommitOperationAdd

        added = [
            CommitOperationAdd(path_in_repo=f"{FOLDER}/{path.name}", path_or_fileobj=path)
            for path in parts
        ]
        if card is not None:
            added.append(CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.encode()))
        with self._told():
            if self._create:
                self._api.create_repo(self.title, repo_type="dataset", private=True, exist_ok=True)
            self._api.create_commit(
                self.title,
                operations=added,
                commit_message=f"Add {len(parts)} part-files of measurements",
                repo_type="dataset",
            )

    def _list(self) -> list[str]:
        if self._files is None:
            self._check_network()
            try:
                with self._told():
                    self._files = self._api.list_repo_files(self.title, repo_type="dataset")
            except UnknownNameError:
                if not self._create:
                    raise
                self._files = []
        return self._files

    def _check_network(self) -> None:
        """Fail now where nothing answers: the library would retry for half a minute."""
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise OfflineError(
                f"HF_HUB_OFFLINE is set; unset it to exchange records with {self.title}."
            )
        if {"http", "https", "all"} & set(getproxies()):
            return  # a proxy decides what can be reached
        address = urlsplit(self._api.endpoint)
        port = address.port or (80 if address.scheme == "http" else 443)
        try:
            socket.create_connection((address.hostname or "", port), timeout=CONNECT_S).close()
        except OSError:
            raise _offline(self.title) from None

    def _download(self, name: str, path: Path) -> None:
        with TemporaryDirectory() as folder, self._told():
            found = self._api.hf_hub_download(
                self.title, name, repo_type="dataset", local_dir=folder
            )
            shutil.copyfile(found, path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the Hub refuses into one line."""
        from huggingface_hub.errors import HFValidationError

        try:
            yield
        except HFValidationError:
            raise InvalidInputError(
                f"{self.title!r:.80} is no name of a Hub repository; give ORG/NAME."
            ) from None
        except RooflineError:
            raise
        except Exception as error:
            explained = _explained(error, self.title)
            if explained is None:
                raise
            raise explained from error


def _explained(error: Exception, repo: str) -> RooflineError | None:
    """Which of the ways to fail this is, None for a bug. Gated is a kind of missing."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return GatedModelError(
            f"{repo} is gated: accept its terms at https://huggingface.co/datasets/{repo} and "
            f"{_LOGIN}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UnknownNameError(
            f"no dataset {repo!r} on the Hub that your token may see; check the name, {_LOGIN}, or "
            f"push with --create to make it (private)."
        )
    if status == 401 or isinstance(error, errors.LocalTokenNotFoundError):
        return AuthenticationError(
            f"the Hub refused the token for {repo}; {_LOGIN} with a valid one."
        )
    if status == 403:
        return AuthenticationError(
            f"your token may not write to {repo}; {_LOGIN} with one that has write access."
        )
    if status in (409, 412):
        return FetchError(f"{repo} changed while it was written; push again, nothing is lost.")
    if status is not None:
        return FetchError(f"the Hub answered HTTP {status} for {repo}; try later, nothing is lost.")
    package = type(error).__module__.partition(".")[0]
    dropped = (ConnectionError, TimeoutError, socket.gaierror, errors.LocalEntryNotFoundError)
    if isinstance(error, dropped) or package in _TRANSPORTS:
        return _offline(repo)
    if isinstance(error, OSError):
        reason = error.strerror or str(error).strip().split("\n")[0][:120]
        return FetchError(f"the exchange with {repo} stopped ({reason}); nothing is lost.")
    return None


def _offline(repo: str) -> OfflineError:
    return OfflineError(
        f"the Hub cannot be reached for {repo}; check the network and try again, nothing is lost."
    )
