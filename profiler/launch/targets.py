# SPDX-License-Identifier: Apache-2.0
"""Which machine to rent: ``--gpu`` words as dstack resources.

A word is a name of dstack's (``H100``, ``MI300X``, ``RTX4090``, ``tpu:v5litepod-4``), of
the catalogue (``"RTX 4090"``), or ``cpu``, with an optional memory and number as dstack
writes them (``A100:80GB:2``) or as people do (``2xA100``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from specs.errors import AmbiguousNameError, InvalidInputError, RooflineError

VENDORS = ("nvidia", "amd", "google", "intel", "tenstorrent", "cpu")

_WORD = re.compile(
    r"(?:(?P<times>[1-9]\d{0,2})\s*[xX*]\s*)?(?P<name>[A-Za-z][A-Za-z0-9 +.-]*?)"
    r"(?::(?P<memory>[1-9]\d{0,4})\s*(?:GB|gb|Gb))?(?::(?P<count>[1-9]\d{0,2}))?"
)
_MAKERS = re.compile(r"^(?:nvidia|amd|instinct|geforce|intel|google)[ -]+", re.IGNORECASE)
_TPU = re.compile(r"(?:tpu[:-])?(v[2-6](?:p|e|litepod)?-[1-9]\d{0,4})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of machine.

    Parameters
    ----------
    name : str
        As dstack names it; "cpu" for a machine without accelerator.
    vendor : str
        One of `VENDORS`: decides image and benchmark.
    count : int
        Accelerators, 0 for a CPU.
    memory_gb : int or None
        Memory per accelerator that was asked for.
    """

    name: str
    vendor: str
    count: int = 1
    memory_gb: int | None = None

    @property
    def resource(self) -> str | int:
        """Value of ``resources.gpu``."""
        if self.vendor == "cpu":
            return 0
        if self.vendor == "google":
            return f"tpu:{self.name}"
        memory = f":{self.memory_gb}GB" if self.memory_gb else ""
        return f"{self.vendor}:{self.name}{memory}:{self.count}"

    @property
    def word(self) -> str:
        """What `target_of` reads back as this target."""
        if self.vendor in ("cpu", "google"):
            return self.name
        memory = f":{self.memory_gb}GB" if self.memory_gb else ""
        return f"{self.name}{memory}:{self.count}"

    @property
    def slug(self) -> str:
        """Part of a run's name: lower-case letters, digits, dashes."""
        words = f"{self.count}x{self.name}" if self.count > 1 else self.name
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def targets_of(text: str) -> tuple[Target, ...]:
    """Read a list such as ``H100,2xMI300X,cpu``.

    Raises
    ------
    InvalidInputError
        A word that is no machine, or the same one twice.
    """
    words = [word.strip() for word in text.split(",")]
    targets = tuple(target_of(word) for word in words if word)
    if not targets:
        raise InvalidInputError("no GPU to rent; give --gpu, such as H100,MI300X,L4 or cpu.")
    if len({target.slug for target in targets}) < len(targets):
        raise InvalidInputError(f"--gpu {text!r:.80} names a machine twice; name it once.")
    return targets


def target_of(word: str) -> Target:
    """Read one word of ``--gpu``.

    Raises
    ------
    InvalidInputError
        It is no machine that dstack could rent.
    """
    if word.lower() == "cpu":
        return Target(name="cpu", vendor="cpu", count=0)
    tpu = _TPU.fullmatch(word)
    if tpu is not None:
        return Target(name=tpu.group(1).lower(), vendor="google")
    match = _WORD.fullmatch(word.strip())
    if match is None or (match["times"] and match["count"]):
        raise InvalidInputError(
            f"--gpu {word!r:.60} is no machine; write H100, A100:80GB:2, 2xMI300X, "
            f"tpu:v5litepod-4 or cpu."
        )
    name = _MAKERS.sub("", match["name"].strip())
    memory = int(match["memory"]) if match["memory"] else None
    count = int(match["times"] or match["count"] or 1)
    known = _known(name)
    if known is not None:
        return Target(name=known[0], vendor=known[1], count=count, memory_gb=memory)
    return Target(name=name.replace(" ", ""), vendor=_vendor(name), count=count, memory_gb=memory)


def _known(name: str) -> tuple[str, str] | None:
    """Name and vendor as dstack's own list has them, where that list is installed."""
    try:
        from gpuhunt import KNOWN_ACCELERATORS
    except ImportError:
        return None
    plain = _plain(name)
    for accelerator in KNOWN_ACCELERATORS:
        if _plain(accelerator.name) == plain:
            vendor = str(getattr(accelerator.vendor, "value", accelerator.vendor))
            return str(accelerator.name), vendor
    from difflib import get_close_matches

    names = {_plain(known.name): str(known.name) for known in KNOWN_ACCELERATORS}
    close = [names[key] for key in get_close_matches(plain, names, 3, 0.4)]
    raise InvalidInputError(
        f"dstack rents no GPU named {name!r:.40}; nearest: {', '.join(close) or 'none'}. "
        f"See: dstack offer --gpu 1.. --group-by gpu."
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _vendor(name: str) -> str:
    """Vendor by the catalogue of accelerators."""
    from specs.catalogue import get_accelerator, list_accelerators

    try:
        vendor = get_accelerator(name).vendor
    except AmbiguousNameError:  # all boards called A100 are of one vendor
        word = name.lower().replace(" ", "-")
        vendors = {row.vendor for row in list_accelerators() if word in row.name}
        vendor = vendors.pop() if len(vendors) == 1 else ""
    except RooflineError:
        vendor = ""
    if vendor not in VENDORS:
        raise InvalidInputError(
            f"no vendor is known for --gpu {name!r:.40}; write it as dstack does, such as "
            f"H100, MI300X, RTX4090, and see roofline specs gpus."
        )
    return vendor
