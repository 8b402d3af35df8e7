# SPDX-License-Identifier: Apache-2.0
"""Which image exactly: a tag is a name that moves, its digest is what ran."""

from __future__ import annotations

import re
import warnings
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DEFAULT_HOST = "registry-1.docker.io"


def digest_in(image: str) -> str:
    """Digest that an image name states, or ""."""
    match = _DIGEST.search(image.partition("@")[2])
    return match.group(0) if match else ""


def pinned(image: str, *, insecure: bool = False) -> tuple[str, str]:
    """Image with its digest now, and a note where that could not be had.

    Asks the image's registry without credentials. A run goes on without a digest: the
    registry may be private, or this machine offline while the rented one is not.
    """
    if digest_in(image):
        return image, ""
    host, repository, tag = _parts(image)
    try:
        digest = _ask(host, repository, tag, insecure=insecure)
    except ImportError:
        return image, f"image {image} is not pinned: python-dxf is not installed"
    except Exception as error:  # requests, dxf and ssl share no base class
        why = " ".join(str(error).split())[:80] or type(error).__name__
        return image, f"image {image} is not pinned, its registry did not answer: {why}"
    if not _DIGEST.fullmatch(digest):
        return image, f"image {image} is not pinned: its registry gave no digest"
    return f"{image.partition('@')[0]}@{digest}", ""


def _ask(host: str, repository: str, tag: str, *, insecure: bool) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dxf import DXF

        def log_in(client: Any, response: Any) -> None:
            client.authenticate(response=response, actions=["pull"])

        auth = None if insecure else log_in
        with DXF(host, repository, auth, insecure=insecure, timeout=10) as client:
            digest, _ = client.head_manifest_and_response(tag)
    return str(digest or "")


def _parts(image: str) -> tuple[str, str, str]:
    """Registry, repository and tag of an image name."""
    name, _, tag = image.rpartition(":")
    if not name or "/" in tag:
        name, tag = image, "latest"
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return first, rest, tag
    return _DEFAULT_HOST, name if rest else f"library/{name}", tag
