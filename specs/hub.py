# SPDX-License-Identifier: Apache-2.0
"""The configuration of a model, by name or by path.

Looks in three places, in this order: a local ``config.json`` (or the folder that holds
it), the shipped records (`specs.model_records`), the Hugging Face Hub. Only
``config.json`` and ``hf_quant_config.json`` are ever fetched; a repository's own code
is neither downloaded nor run. Nothing is guessed: a name that cannot be resolved is an
error that says which of missing, gated, offline and refused it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specs.errors import (
    AuthenticationError,
    FetchError,
    GatedModelError,
    ModelConfigError,
    OfflineError,
    UnknownNameError,
)
from specs.model_records import (
    ModelRecord,
    ModelRow,
    find_record,
    list_models,
    load_record,
    nearest_names,
)

if TYPE_CHECKING:
    from specs.model import Model

__all__ = ["ModelRow", "get_config", "get_model", "list_models"]

MAX_CONFIG_BYTES = 32 * 2**20
"""Larger than any real config.json by far; a bigger file is something else."""

_WEIGHT_SUFFIXES = {".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack"}
_HUB_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/((?:[^/?#\s]+/)?[^/?#\s]+)"
    r"(?:/(?:tree|blob|resolve)/main(?:/config\.json)?)?/?(?:[?#].*)?",
    re.IGNORECASE,
)
_HELP_PATH = "or pass the path of a config.json"


def get_model(
    name_or_path: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    token: str | None = None,
) -> Model:
    """Describe a model, from a path, a shipped record or the Hub.

    Parameters
    ----------
    name_or_path : str
        ``config.json``, a folder that holds one, a repository id or the address of its
        page, or the plain name of a shipped model such as ``"gpt2-xl"``.
    revision : str, optional
        Branch, tag or commit on the Hub; shipped records stand for ``main`` and are
        passed over when another is asked for.
    offline : bool
        Look only at what is on disk.
    token : str, optional
        Hub token; by default the one that ``huggingface_hub`` finds.

    Raises
    ------
    ModelConfigError
        The configuration cannot be read as a model.
    UnknownNameError, AmbiguousNameError
        Nothing, or too much, carries the name.
    OfflineError, GatedModelError, AuthenticationError, FetchError
        The Hub could not be asked, or refused.
    """
    from specs.config import model_from_config

    name_or_path = _without_address(name_or_path)
    record = _shipped(name_or_path, revision)
    if record is None:
        config, source = get_config(name_or_path, revision=revision, offline=offline, token=token)
        return model_from_config(config, name=name_or_path, source=source)
    name, shipped = record
    model = model_from_config(shipped.config, name=name, source=_record_source(name, shipped))
    stated = shipped.card.get("params")
    return replace(
        model,
        # Cards count vision and audio towers in; the model here is its text part.
        card_params=None if stated is None else stated - shipped.card.get("left_out", 0),
        card_active_params=shipped.card.get("active_params"),
    )


def get_config(
    name_or_path: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    token: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Return the fields of config.json, and where they came from.

    A ``hf_quant_config.json`` beside it (ModelOpt) is put under
    ``"quantization_config"`` where config.json itself has none. Parameters and errors
    as in `get_model`.
    """
    name_or_path = _without_address(name_or_path)
    path = _local(name_or_path)
    if path is not None:
        return _from_path(path), str(path)
    record = _shipped(name_or_path, revision)
    if record is not None:
        return record[1].config, _record_source(*record)
    return _from_hub(name_or_path, revision=revision, offline=offline, token=token)


def _without_address(name: str) -> str:
    """The repository id, where `name` is the address of its page on the Hub."""
    page = _HUB_PAGE.fullmatch(name.strip())
    return name if page is None else page[1]


def _shipped(name: str, revision: str | None) -> tuple[str, ModelRecord] | None:
    if _local(name) is not None or revision not in (None, "main"):
        return None
    found = find_record(name)
    return None if found is None else (found[0], load_record(found[1]))


def _record_source(name: str, record: ModelRecord) -> str:
    same = "" if name == record.name else f" of {record.name}, which {name} shares"
    return f"shipped record{same} ({record.url}, read {record.read})"


def _local(name: str) -> Path | None:
    """The path that `name` means, or None where it is a repository id."""
    if not name.strip() or "\0" in name:
        raise UnknownNameError(
            f"{name!r} is no model name; give a repository id such as "
            f"'meta-llama/Llama-3.1-8B', {_HELP_PATH}."
        )
    path = Path(name)
    try:
        path = path.expanduser()
        if path.is_file() or (path / "config.json").is_file():
            return path
    except (OSError, RuntimeError) as err:  # RuntimeError: ~user without a home
        reason = getattr(err, "strerror", None) or err
        raise UnknownNameError(
            f"{name[:40] + '...' if len(name) > 40 else name!r} cannot be a model's name or path "
            f"({reason}); give a repository id such as 'meta-llama/Llama-3.1-8B', {_HELP_PATH}."
        ) from None
    explicit = name.startswith((".", "~", "/")) or "\\" in name or name.endswith(".json")
    if explicit or path.suffix.lower() in _WEIGHT_SUFFIXES:
        return path
    return None


def _from_path(path: Path) -> dict[str, Any]:
    if path.suffix.lower() in _WEIGHT_SUFFIXES:
        raise ModelConfigError(
            f"{path} is a weight file, which is not read; give the config.json of the model it "
            f"was made from, or that model's repository id with --weight-dtype."
        )
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        adapter = (path.parent / "adapter_config.json").is_file()
        hint = "an adapter; give its base model" if adapter else "no config.json"
        raise ModelConfigError(f"no file {path} ({hint}). Check the path, or give a repository id.")
    config = read_json(path)
    return _with_modelopt(config, path.parent / "hf_quant_config.json")


def _with_modelopt(config: dict[str, Any], quant_path: Path | None) -> dict[str, Any]:
    if quant_path is None or "quantization_config" in config or not quant_path.is_file():
        return config
    return {**config, "quantization_config": {"quant_method": "modelopt", **read_json(quant_path)}}


def read_json(path: Path) -> dict[str, Any]:
    """Decode one JSON object, distrustfully.

    Raises
    ------
    ModelConfigError
        Unreadable, too large, not JSON (an interrupted download, say), or no object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelConfigError(f"{path} is over 32 MiB: no config.json. Check the path.")
        content = json.loads(path.read_bytes())
    except OSError as err:
        raise ModelConfigError(f"cannot read {path}: {err.strerror or err}.") from None
    except RecursionError:
        raise ModelConfigError(f"{path} is nested too deeply to be a config.json.") from None
    except ValueError as err:
        detail = "empty" if path.stat().st_size == 0 else str(err).split("\n")[0][:80]
        raise ModelConfigError(
            f"{path} is not valid JSON ({detail}); if a download was interrupted, delete the file "
            f"and fetch it again."
        ) from None
    if content is None:
        raise ModelConfigError(f"{path} holds null, not an object; fetch the config.json again.")
    if not isinstance(content, dict):
        raise ModelConfigError(f"{path} holds a {type(content).__name__}, not a JSON object.")
    return content


def _from_hub(
    repo: str, *, revision: str | None, offline: bool, token: str | None
) -> tuple[dict[str, Any], str]:
    if repo.count("/") > 1 or not repo.isascii() or any(char.isspace() for char in repo):
        raise _unknown(repo)
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        offline = True
    path = _download(repo, "config.json", revision=revision, offline=offline, token=token)
    config = read_json(path)
    if "quantization_config" not in config:
        quant = _download_optional(repo, revision=revision, offline=offline, token=token)
        config = _with_modelopt(config, quant)
    return config, f"https://huggingface.co/{repo}/blob/{revision or 'main'}/config.json"


def _download_optional(
    repo: str, *, revision: str | None, offline: bool, token: str | None
) -> Path | None:
    """The ModelOpt file, or None where the repository has none (or it is not cached)."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return _download(
            repo, "hf_quant_config.json", revision=revision, offline=offline, token=token
        )
    except (OfflineError, FetchError) as err:
        if isinstance(err.__cause__, EntryNotFoundError):
            return None
        raise


def _download(
    repo: str, file: str, *, revision: str | None, offline: bool, token: str | None
) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    cached_only = offline or not _resolves()
    try:
        with _quiet():
            return Path(
                hf_hub_download(
                    repo, file, revision=revision, token=token, local_files_only=cached_only
                )
            )
    except HFValidationError:
        raise _unknown(repo) from None
    except OSError as err:
        raise _explained(err, repo, file, revision=revision, offline=offline) from err
    except Exception as err:
        # huggingface_hub lets its HTTP library's transport errors through, and that
        # library has changed twice; by name it stays independent of which is installed.
        if type(err).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore", "requests"}:
            raise _no_network(repo) from err
        raise


def _resolves() -> bool:
    """Tell whether the Hub's name resolves; where a proxy does that, assume so.

    Without a network the library would retry for half a minute before it says so.
    """
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if getproxies():
        return True
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    try:
        socket.getaddrinfo(host, 443)
    except (OSError, UnicodeError):
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings back: what matters of them becomes one error."""
    import logging

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _explained(
    err: OSError, repo: str, file: str, *, revision: str | None, offline: bool
) -> FetchError | UnknownNameError:
    """Which of the ways to fail this is. Order matters: gated is a kind of missing."""
    from huggingface_hub import errors

    if isinstance(err, errors.GatedRepoError):
        return GatedModelError(
            f"{repo} is gated: accept its licence at https://huggingface.co/{repo} and set "
            f"HF_TOKEN, {_HELP_PATH}."
        )
    if isinstance(err, errors.RepositoryNotFoundError):
        return _unknown(repo)
    if isinstance(err, errors.RevisionNotFoundError):
        return FetchError(f"{repo} has no revision {revision!r}; leave it out or check its name.")
    if isinstance(err, errors.RemoteEntryNotFoundError):
        return FetchError(
            f"{repo} exists and holds no {file} (a GGUF or adapter repository?); give the model "
            f"it was made from, {_HELP_PATH}."
        )
    status = getattr(getattr(err, "response", None), "status_code", None)
    if status in (401, 403):
        return AuthenticationError(
            f"the Hub refused the token for {repo} (HTTP {status}); run 'hf auth login' or set a "
            f"valid HF_TOKEN, {_HELP_PATH}."
        )
    if status is not None:
        return FetchError(f"the Hub answered HTTP {status} for {repo}; try later, {_HELP_PATH}.")
    if offline:
        return OfflineError(
            f"{repo} is not shipped (nearest: {nearest_names(repo)}) and not in the local cache; "
            f"allow the network, {_HELP_PATH}."
        )
    if isinstance(err, errors.LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return _no_network(repo)
    reason = err.strerror or str(err).strip().split("\n")[0][:120]
    return FetchError(f"{file} of {repo} did not arrive whole ({reason}); try again, {_HELP_PATH}.")


def _no_network(repo: str) -> OfflineError:
    return OfflineError(
        f"{repo} is not shipped (nearest: {nearest_names(repo)}) and huggingface.co cannot be "
        f"reached; check the network, {_HELP_PATH}."
    )


def _unknown(repo: str) -> UnknownNameError:
    return UnknownNameError(
        f"no model {repo!r} on the Hub or among the shipped ones; nearest: "
        f"{nearest_names(repo)}. Check the name, set HF_TOKEN if it is private, {_HELP_PATH}."
    )
