# SPDX-License-Identifier: Apache-2.0
"""Records in a log: numbered, compressed, hashed blocks that survive what logs go through.

A job's log is the one thing that outlives its machine, and nothing about it is safe:
lines are cut where a chunk ends, other processes write between them, a server repeats or
drops a page, a quota ends it. So every line of a block stands for itself::

    @roofline1 RUN INDEX PART/PARTS SHA256 BASE64 CRC32;

The checksum of the line covers all of it, the hash covers the whole compressed block, and
the block says its own run and number again inside. A block is returned when all of that
agrees and not otherwise: loss makes a gap that is reported, never a wrong record.

Runs on the rented machine too: standard library alone, Python 3.8 and later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MARK = "@roofline1"
PART_CHARS = 700
"""Base64 characters of a line: shorter than any log viewer's or terminal's limit."""

MOST_BYTES = 64 * 2**20
"""Largest block that is unpacked; a job's own log quota is smaller."""

_LINE = re.compile(
    rb"@roofline1 ([A-Za-z0-9-]{1,64}) (\d{1,9}) (\d{1,6})/(\d{1,6}) ([0-9a-f]{64}) "
    rb"([A-Za-z0-9+/=]{1,1024}) ([0-9a-f]{8});"
)
_MARK = MARK.encode()


@dataclass(frozen=True)
class Decoded:
    """What a log says, and what it no longer says.

    Parameters
    ----------
    blocks : tuple of dict
        Payloads in the order of their numbers, each exactly as it was encoded.
    repeated : int
        Lines that came more than once.
    damaged : int
        Marks whose line does not agree with its checksum.
    incomplete : tuple of int
        Numbers of blocks of which some parts, or agreeing ones, are missing.
    missing : tuple of int
        Numbers of which nothing came, below the highest seen or announced by the end.
    ended : bool
        The job's closing block is there: it finished its list.
    """

    blocks: tuple[dict[str, Any], ...]
    repeated: int
    damaged: int
    incomplete: tuple[int, ...]
    missing: tuple[int, ...]
    ended: bool

    @property
    def complete(self) -> bool:
        """Nothing that the job wrote is lost."""
        return self.ended and not self.incomplete and not self.missing


def encode(run: str, index: int, payload: dict[str, Any]) -> list[str]:
    """Lines of block `index` of `run`; `payload` must be JSON of its own, without NaN."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", run) or not 0 <= index < 10**9:
        raise ValueError(f"a block needs a plain run name and a number: {run!r} {index!r}")
    text = json.dumps(
        {"run": run, "index": index, "payload": payload}, sort_keys=True, allow_nan=False
    )
    packed = zlib.compress(text.encode(), 9)
    digest = hashlib.sha256(packed).hexdigest()
    body = base64.b64encode(packed).decode()
    parts = [body[start : start + PART_CHARS] for start in range(0, len(body), PART_CHARS)]
    lines = []
    for number, part in enumerate(parts):
        line = f"{MARK} {run} {index} {number}/{len(parts)} {digest} {part}"
        lines.append(f"{line} {_crc(line.encode())};")
    return lines


def decode(log: bytes, run: str) -> Decoded:
    """Read the blocks of `run` in the joined bytes of its log.

    Two blocks of one number that differ cannot both be right: the one complete first is
    kept, as a repeated page of a log comes after the page.
    """
    wanted = run.encode()
    parts: dict[tuple[int, str, int], dict[int, bytes]] = {}
    repeated = good = 0
    for match in _LINE.finditer(log):
        line, crc = match.group(0), match.group(7)
        if _crc(line[: -len(crc) - 2]).encode() != crc:
            continue
        good += 1
        if match.group(1) != wanted:
            continue
        key = (int(match.group(2)), match.group(5).decode(), int(match.group(4)))
        held = parts.setdefault(key, {})
        number = int(match.group(3))
        repeated += number in held
        held.setdefault(number, match.group(6))
    whole: dict[int, dict[str, Any]] = {}
    for (index, digest, count), held in parts.items():
        payload = _payload(run, index, digest, [held.get(number) for number in range(count)])
        if payload is not None:
            whole.setdefault(index, payload)
    return _decoded(whole, {key[0] for key in parts}, repeated, log.count(_MARK) - good)


def _decoded(
    whole: dict[int, dict[str, Any]], seen: Iterable[int], repeated: int, damaged: int
) -> Decoded:
    ordered = tuple(whole[index] for index in sorted(whole))
    last = next((block for block in ordered if block.get("kind") == "end"), None)
    seen = set(seen)
    expected = int(last["blocks"]) if last is not None else max(seen, default=-1) + 1
    return Decoded(
        blocks=ordered,
        repeated=repeated,
        damaged=damaged,
        incomplete=tuple(sorted(seen - set(whole))),
        missing=tuple(index for index in range(min(expected, 10**6)) if index not in seen),
        ended=last is not None,
    )


def _payload(run: str, index: int, digest: str, parts: list[bytes | None]) -> dict[str, Any] | None:
    """Payload of a block whose parts are all there and agree with all it says of itself."""
    if not parts or any(part is None for part in parts):
        return None
    try:
        packed = base64.b64decode(b"".join(part for part in parts if part), validate=True)
        if hashlib.sha256(packed).hexdigest() != digest:
            return None
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MOST_BYTES)
        block = json.loads(text)
    except (ValueError, zlib.error):
        return None
    if not isinstance(block, dict) or block.get("run") != run or block.get("index") != index:
        return None
    payload = block.get("payload")
    return payload if isinstance(payload, dict) else None


def _crc(line: bytes) -> str:
    return f"{zlib.crc32(line) & 0xFFFFFFFF:08x}"
