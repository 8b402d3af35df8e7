# SPDX-License-Identifier: Apache-2.0
"""The dstack configurations of a run: a task, and the fleet that it may be placed in.

Every task states what dstack would otherwise decide at the user's cost or guess from an
image registry: a price ceiling, a longest duration, no idle time after it, the processor
architecture, and the user. Secrets appear as references to the server's own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Any

from profiler.launch.ask import Ask
from profiler.launch.payload import NAME, requirements
from profiler.launch.targets import Target
from specs.errors import InvalidInputError

ASK_VARIABLE, TARGET_VARIABLE = "ROOFLINE_ASK", "ROOFLINE_TARGET"
"""Variables of the run that say what was asked, for whoever comes back to it."""

_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SECRET = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})(?:=([A-Za-z0-9_-]{1,200}))?")
_TOKEN_LIKE = re.compile(r"(?:hf|sk|ghp|github_pat|glpat|AKIA)[_-]?[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may cost and where it may go.

    Parameters
    ----------
    max_price_usd_per_h : float
        Of one machine.
    max_duration : str
        As dstack writes it: ``90m``, ``2h``.
    spot_policy : str
        ``auto``, ``spot`` or ``on-demand``.
    retry_for : str
        How long to wait for capacity, and to start anew after an interruption; "" not at all.
    secrets : mapping
        Environment variable to the name of a secret on the server.
    """

    max_price_usd_per_h: float
    max_duration: str = "1h"
    spot_policy: str = "auto"
    fleet: str = "roofline"
    disk_gb: int = 100
    cpus: int = 2
    memory_gb: int = 16
    retry_for: str = ""
    backends: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a ceiling that is none."""
        if not 0 < self.max_price_usd_per_h < 1e6:
            raise InvalidInputError(
                f"--max-price {self.max_price_usd_per_h:g} must be a positive price in USD/h."
            )
        seconds_of(self.max_duration)
        if self.retry_for:
            seconds_of(self.retry_for)

    @property
    def max_duration_s(self) -> int:
        """Longest duration in seconds."""
        return seconds_of(self.max_duration)


def seconds_of(duration: str) -> int:
    """Seconds of a dstack duration such as ``90m``.

    Raises
    ------
    InvalidInputError
        It is none, or zero.
    """
    match = _DURATION.fullmatch(duration)
    if match is None or int(match[1]) == 0:
        raise InvalidInputError(f"{duration!r:.40} is no duration; write 30m, 2h or 1d.")
    return int(match[1]) * _UNIT_S[match[2]]


def secrets_of(words: list[str]) -> dict[str, str]:
    """Read ``--secret HF_TOKEN=hf_token``: a variable and the secret's name on the server.

    Raises
    ------
    InvalidInputError
        Not of that form, or the name looks like the secret itself.
    """
    found = {}
    for word in words:
        match = _SECRET.fullmatch(word)
        name = match[2] or match[1].lower() if match else ""
        if match is None or _TOKEN_LIKE.fullmatch(name):
            shown = word.partition("=")[0][:40]
            raise InvalidInputError(
                f"--secret {shown}=... takes the name of a secret on the dstack server, never "
                f"its value; store it with dstack secret set NAME VALUE, and give {shown}=NAME."
            )
        found[match[1]] = name
    return found


def image_of(ask: Ask, target: Target, image: str = "") -> str:
    """Container image that measures `ask` on `target`.

    Raises
    ------
    InvalidInputError
        None is known.
    """
    if image:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,250}", image):
            raise InvalidInputError(f"--image {image!r:.80} is no image name.")
        return image
    text = (Path(__file__).parent / "images.toml").read_text(encoding="utf-8")
    known: dict[str, dict[str, str]] = tomllib.loads(text)
    found = known[ask.engine].get(target.vendor)
    if found is None:
        runs = ", ".join(sorted(known[ask.engine]))
        raise InvalidInputError(
            f"no image of {ask.engine} for {target.name} is known (it has {runs}); give --image, "
            f"or another --engine."
        )
    return found


def task_of(
    name: str, ask: Ask, target: Target, limits: Limits, *, image: str, payload: str
) -> dict[str, Any]:
    """Task that measures `ask` on `target`, as dstack's YAML has it.

    Parameters
    ----------
    image : str
        Image with tag or digest.
    payload : str
        Absolute path of the zip on this machine.
    """
    env = {ASK_VARIABLE: ask.to_json(), TARGET_VARIABLE: target.word, "PYTHONUNBUFFERED": "1"}
    env["PIP_BREAK_SYSTEM_PACKAGES"] = "1"  # the container is the environment
    env |= {variable: f"${{{{ secrets.{name} }}}}" for variable, name in limits.secrets.items()}
    resources: dict[str, Any] = {
        "cpu": f"x86:{limits.cpus}..",
        "memory": f"{limits.memory_gb}GB..",
        "disk": f"{limits.disk_gb}GB..",
        "gpu": target.resource,
    }
    if target.vendor in ("nvidia", "amd"):
        resources["shm_size"] = "16GB" if target.count > 1 else "8GB"
    task: dict[str, Any] = {
        "type": "task",
        "name": name,
        "image": image,
        "user": "root",
        "env": env,
        "files": [f"{payload}:{NAME}.zip"],
        "commands": _commands(ask, target),
        "resources": resources,
        "max_price": limits.max_price_usd_per_h,
        "max_duration": limits.max_duration,
        "stop_duration": "1m",
        "idle_duration": "0s",
        "spot_policy": limits.spot_policy,
        "fleets": [limits.fleet],
        "tags": {"tool": "roofline"},
    }
    if target.vendor == "google":
        task["privileged"] = True  # the chips' device files
    if limits.retry_for:
        events = ["no-capacity", "interruption"]
        task["retry"] = {"on_events": events, "duration": limits.retry_for}
    for key, values in (("backends", limits.backends), ("regions", limits.regions)):
        if values:
            task[key] = list(values)
    return task


def _commands(ask: Ask, target: Target) -> list[str]:
    """Unpack, install what is missing, and hand over to the agent."""
    commands = [f"python3 -m zipfile -e {NAME}.zip {NAME}", f"cd {NAME}"]
    if ask.engine == "transformers":
        commands.append(join(["python3", "-m", "pip", "install", "-q", *requirements()]))
    elif target.vendor == "nvidia":  # power is welcome and not worth a failed run
        commands.append("python3 -m pip install -q nvidia-ml-py >/dev/null 2>&1 || true")
    return [*commands, "python3 -m profiler.launch.agent plan.json"]


def fleet_of(limits: Limits) -> dict[str, Any]:
    """Fleet template: nothing is rented by it, and nothing stays rented in it.

    Without ``spot_policy`` dstack would drop spot offers in silence, and its default
    resources would drop small machines.
    """
    return {
        "type": "fleet",
        "name": limits.fleet,
        "nodes": "0..",
        "idle_duration": "0s",
        "spot_policy": "auto",
        "resources": {"cpu": "1..", "memory": "0GB..", "disk": "20GB..", "gpu": "0.."},
    }


def yaml_of(configuration: Mapping[str, Any]) -> str:
    """YAML of a configuration, in the order of its keys."""
    import yaml

    text: str = yaml.safe_dump(
        dict(configuration), sort_keys=False, default_flow_style=False, width=1000
    )
    return text
