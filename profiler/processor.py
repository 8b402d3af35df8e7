# SPDX-License-Identifier: Apache-2.0
"""Which processor this is, also where a virtual machine hides its marketing name.

Hosts of clouds show names such as "Intel(R) Xeon(R) Processor". Family and model still
tell the generation, and the flags tell which units products run on: bf16 is twelve times
as fast with ``amx_bf16`` as by conversion. Numbers: ``arch/x86/include/asm/intel-family.h``,
``arch/x86/kernel/cpu/amd.c`` and ``arch/arm64/include/asm/cputype.h`` of the Linux kernel.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

CPUINFO = Path("/proc/cpuinfo")

#: (vendor, family, model) -> generation. Servers' alone: others show their names.
GENERATIONS = MappingProxyType(
    {
        ("GenuineIntel", 6, 0x4F): "Broadwell",
        ("GenuineIntel", 6, 0x55): "Skylake to Cooper Lake",  # the stepping tells them apart
        ("GenuineIntel", 6, 0x6A): "Ice Lake",
        ("GenuineIntel", 6, 0x8F): "Sapphire Rapids",
        ("GenuineIntel", 6, 0xCF): "Emerald Rapids",
        ("GenuineIntel", 6, 0xAD): "Granite Rapids",
        ("GenuineIntel", 6, 0xAF): "Sierra Forest",
        ("AuthenticAMD", 0x17, 0x01): "Naples",
        ("AuthenticAMD", 0x17, 0x31): "Rome",
        ("AuthenticAMD", 0x19, 0x01): "Milan",
        ("AuthenticAMD", 0x19, 0x11): "Genoa",
        ("AuthenticAMD", 0x19, 0xA0): "Bergamo",
        ("AuthenticAMD", 0x1A, 0x02): "Turin",
        ("AuthenticAMD", 0x1A, 0x11): "Turin Dense",
    }
)

#: (implementer, part) -> core. Arm's Linux states no name at all.
ARM_CORES = MappingProxyType(
    {
        (0x41, 0xD0C): "Arm Neoverse N1",
        (0x41, 0xD40): "Arm Neoverse V1",
        (0x41, 0xD49): "Arm Neoverse N2",
        (0x41, 0xD4F): "Arm Neoverse V2",
        (0x41, 0xD84): "Arm Neoverse V3",
        (0xC0, 0xAC3): "AmpereOne",
    }
)

#: Flags that decide by which units products and streams run.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_fp16",
    "amx_int8",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
)


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the processor's name as the system gives it; "" if it does not.

    A name without a number, as virtual machines have it, gets its generation in brackets.
    """
    fields = _fields(cpuinfo)
    name = next(
        (fields[key] for key in ("model name", "cpu model", "Processor") if key in fields), ""
    )
    if not name and sys.platform == "darwin":
        return _darwin_name()
    found = generation(cpuinfo)
    if not name:
        return found
    return f"{name} ({found})" if found and not re.search(r"\d", name) else name


def generation(cpuinfo: Path = CPUINFO) -> str:
    """Return the generation that family and model name; "" if they name none known here."""
    fields = _fields(cpuinfo)
    arm = ARM_CORES.get((_number(fields, "CPU implementer"), _number(fields, "CPU part")), "")
    x86 = fields.get("vendor_id", ""), _number(fields, "cpu family"), _number(fields, "model")
    return arm or GENERATIONS.get(x86, "")


def cpu_facts(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """Return name, generation, numbers and `FEATURES` of the processor, those that are told."""
    fields = _fields(cpuinfo)
    flags = set(f"{fields.get('flags', '')} {fields.get('Features', '')}".split())
    numbers = {name: _number(fields, key) for name, key in _NUMBERS.items()}
    return {
        "cpu": cpu_name(cpuinfo),
        "cpu_vendor": fields.get("vendor_id", ""),
        "cpu_generation": generation(cpuinfo),
        **{name: number for name, number in numbers.items() if number >= 0},
        "cpu_features": [name for name in FEATURES if name in flags],
    }


def is_virtual(cpuinfo: Path = CPUINFO) -> bool | None:
    """Return whether a hypervisor says that it is there (x86 alone tells)."""
    flags = _fields(cpuinfo).get("flags")
    return None if flags is None else "hypervisor" in flags.split()


_NUMBERS = {
    "cpu_family": "cpu family",
    "cpu_model": "model",
    "cpu_stepping": "stepping",
    "cpu_implementer": "CPU implementer",
    "cpu_part": "CPU part",
}


def _fields(cpuinfo: Path) -> dict[str, str]:
    """Return what is said of the first processor."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if value.strip():
            found.setdefault(key.strip(), " ".join(value.split()))
    return found


def _number(fields: dict[str, str], key: str) -> int:
    try:
        return int(fields[key], 0)
    except (KeyError, ValueError):
        return -1


def _darwin_name() -> str:
    asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
