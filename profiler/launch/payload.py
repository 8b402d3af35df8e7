# SPDX-License-Identifier: Apache-2.0
"""What a run carries to its machine: this package's own files and the plan, in one zip.

Nothing has to be published or installed first, and the rented machine runs the very code
that planned the run. The same content gives the same bytes.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import profiler
import specs
from profiler.launch.engines import Step
from specs.errors import InvalidInputError

NAME = "roofline-payload"
MOST_BYTES = 2 * 10**6
"""dstack's default limit of one uploaded file (DSTACK_SERVER_CODE_UPLOAD_LIMIT)."""

_EPOCH = (2020, 1, 1, 0, 0, 0)
_SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def plan_of(run: str, steps: Iterable[Step]) -> dict[str, Any]:
    """The agent's input as JSON values."""
    made = []
    for step in steps:
        made.append(
            {
                "name": step.name,
                "argv": step.argv,
                "points": list(step.points),
                "format": step.format,
                "result": step.result,
                "server": step.server,
                "timeout_s": step.timeout_s,
            }
        )
    return {"run": run, "folder": "results", "steps": made}


def payload(plan: Mapping[str, Any], *, whole: bool) -> bytes:
    """Zip of the packages and `plan`.

    Parameters
    ----------
    whole : bool
        Carry ``roofline`` and all data too, for ``roofline profile`` on the machine;
        else the profiler and the catalogue alone.

    Raises
    ------
    InvalidInputError
        It is larger than a dstack server takes by default.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for package in _packages(whole=whole):
            for path in _files(package):
                _add(archive, str(path.relative_to(package.parent)), path.read_bytes())
        _add(archive, "plan.json", json.dumps(plan, indent=1).encode())
    data = buffer.getvalue()
    if len(data) > MOST_BYTES:
        raise InvalidInputError(
            f"the files to carry to the machine are {len(data)} bytes; a dstack server takes "
            f"{MOST_BYTES}. Ask for fewer points, or install without extra files."
        )
    return data


def requirements() -> list[str]:
    """Packages that ``roofline profile`` needs on the machine, without torch.

    The images hold a torch that fits their driver; pip must not put another one over it.

    Raises
    ------
    InvalidInputError
        This copy of the package does not say what it needs.
    """
    wanted = {
        text.partition(";")[0].strip()
        for text in _declared()
        if "extra" not in text.partition(";")[2] or _PROFILE.search(text)
    }
    return sorted(name for name in wanted if not name.lower().startswith(("torch", "roofline")))


_PROFILE = re.compile(r"""extra\s*==\s*['"]profile['"]""")


def _declared() -> list[str]:
    """Requirements as the checkout, or else the installed package, declares them."""
    project = Path(next(iter(profiler.__path__))).parent / "pyproject.toml"
    if project.is_file():
        found = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return [*found["dependencies"], *found["optional-dependencies"]["profile"]]
    try:
        return metadata.requires("roofline") or []
    except metadata.PackageNotFoundError:
        raise InvalidInputError(
            "this copy of roofline is neither a checkout nor installed, so what it needs on a "
            "rented machine is unknown; install it with pip."
        ) from None


def _packages(*, whole: bool) -> list[Path]:
    folders = [Path(next(iter(module.__path__))) for module in (profiler, specs)]
    if whole:
        folders.append(folders[0].parent / "roofline")
    return folders


def _files(package: Path) -> list[Path]:
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and not _SKIPPED & set(path.parts) and path.suffix != ".pyc"
    )


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)
