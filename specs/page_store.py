# SPDX-License-Identifier: Apache-2.0
"""Pages of a public site, asked for politely and kept on disk.

Answers: what does this address say, without asking more than needed. An own
User-Agent, a least pause between requests that outlives the process (the time of
the last one is kept beside the pages), a deadline and a largest size. Knows no
site: `specs.techpowerup_page` says what the pages mean.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from specs.errors import FetchError, OfflineError, PageStructureError, UnknownNameError

if TYPE_CHECKING:
    import requests

TIMEOUT_S = 20.0
PAUSE_S = 10.0
"""Least time between two requests to a site, over all processes of a user."""

MAX_AGE_S = 30 * 86400.0
MAX_PAGE_BYTES = 8_000_000

_BY_HAND = "Or describe the device by hand and pass it with --gpu-file."
_ROBOT_WORDS = ("bot check", "captcha", "are you a robot", "just a moment", "unusual traffic")
_ROBOT_PAGE_CHARS = 30_000  # a challenge is a short page; a long one may name a captcha in passing


def default_cache_dir() -> Path:
    """Return the folder of this product in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "roofline"


def user_agent() -> str:
    """Return how this product names itself to a site."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("roofline")
    except PackageNotFoundError:
        number = "checkout"
    return f"roofline/{number} (performance predictor; one page per user request)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageStore:
    """Kept pages of one site, and the polite way to more of them.

    Parameters
    ----------
    folder : Path
        Where pages are kept.
    timeout_s, pause_s, max_age_s : float
        Deadline of a request; least time between requests; age at which a kept page is
        asked for again. Seconds.
    offline : bool
        Use kept pages only, however old.
    session : requests.Session, optional
        A session of the caller's, for a proxy.
    """

    folder: Path
    timeout_s: float = TIMEOUT_S
    pause_s: float = PAUSE_S
    max_age_s: float = MAX_AGE_S
    offline: bool = False
    session: requests.Session | None = None

    def kept(self, key: str) -> str | None:
        """Return the kept page, or None if there is none or it is too old."""
        path = self.folder / f"{key}.html"
        try:
            age_s = time.time() - path.stat().st_mtime
            if age_s > self.max_age_s and not self.offline:
                return None
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def keep(self, key: str, page: str) -> None:
        """Keep a page, whole or not at all; a cache that cannot be written is no error."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.folder, suffix=".part", delete=False
            ) as file:
                file.write(page)
            os.replace(file.name, self.folder / f"{key}.html")

    def fetched(self, address: str) -> str:
        """Return the page at `address`, after the pause that courtesy asks for."""
        if self.offline:
            raise OfflineError(
                f"{address} is not kept on this machine and offline was asked for. "
                f"Fetch it once with a network. {_BY_HAND}"
            )
        self._wait()
        return _checked(address, *_get(address, self.timeout_s, self.session))

    def _wait(self) -> None:
        stamp = self.folder / "last-request"
        with suppress(OSError):
            since_s = time.time() - stamp.stat().st_mtime
            # A stamp from the future (a clock set back) must not block for long.
            time.sleep(min(max(self.pause_s - since_s, 0.0), self.pause_s))
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            stamp.touch()


def _get(address: str, timeout_s: float, session: requests.Session | None) -> tuple[int, str, str]:
    """Return status, Retry-After and body of one GET."""
    import requests

    getter = session or requests
    deadline_s = time.monotonic() + timeout_s
    try:
        with getter.get(
            address, headers={"User-Agent": user_agent()}, timeout=timeout_s, stream=True
        ) as response:
            body = bytearray()
            for chunk in response.iter_content(65536):
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise PageStructureError(
                        f"{address} sends more than {MAX_PAGE_BYTES} bytes; not a page to read."
                    )
                if time.monotonic() > deadline_s:
                    raise FetchError(f"{address} was not read in {timeout_s:g} s. Try again later.")
            if _host(response.url) != _host(address):
                raise FetchError(f"{address} leads to another site, {response.url}. {_BY_HAND}")
            text = body.decode("utf-8", errors="replace")
            return response.status_code, response.headers.get("Retry-After", ""), text
    except requests.exceptions.Timeout:
        raise FetchError(
            f"{address} did not answer within {timeout_s:g} s. Try again later. {_BY_HAND}"
        ) from None
    except requests.exceptions.ConnectionError as err:
        if "timed out" in str(err).lower():  # how a body that stalls is reported
            raise FetchError(f"{address} stalled for {timeout_s:g} s. Try again later.") from None
        raise OfflineError(
            f"{urlsplit(address).hostname} cannot be reached ({type(err).__name__}). "
            f"Check the network. {_BY_HAND}"
        ) from None
    except requests.exceptions.RequestException as err:
        raise FetchError(f"{address} broke off ({type(err).__name__}). Try again.") from None


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "").removeprefix("www.")


def _checked(address: str, status: int, retry_after: str, page: str) -> str:
    """Return the page if the site gave one; say what it gave otherwise."""
    robot = next((word for word in _ROBOT_WORDS if word in page.lower()), "")
    challenged = robot and len(page) < _ROBOT_PAGE_CHARS and not ("<dl" in page or "<table" in page)
    if status in (401, 403, 429, 503) or challenged:
        why = f"status {status}" + (f", {robot!r}" if robot else "")
        wait = f" It asks to wait {retry_after} s." if retry_after.isdigit() else ""
        raise FetchError(
            f"{urlsplit(address).hostname} refuses automatic requests just now ({why}).{wait} "
            f"Open {address} in a browser and describe the device by hand (--gpu-file)."
        )
    if status == 404:
        raise UnknownNameError(f"there is no page {address}. Search by name instead.")
    if status != 200:
        raise FetchError(f"{address} answers with status {status}. Try again later. {_BY_HAND}")
    return page
