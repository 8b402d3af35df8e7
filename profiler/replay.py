# SPDX-License-Identifier: Apache-2.0
"""Records what a device's sensors said, and plays it back as a device.

A recording is one JSON object: the device's name, slug, source and versions, and per field
a list of ``[seconds, value or null, reason]``, in order of time. Played back, a field holds
its last value until the next; before the first it holds the first.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from profiler.device import REASONS, Device, Sensor, known_field
from specs.errors import InvalidInputError

VERSION = 1


class Recorder:
    """A device that passes readings on and keeps them."""

    def __init__(self, device: Device, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._now = now
        self._start_s = now()
        self._lock = Lock()
        self._reads: dict[str, list[tuple[float, float | None, str]]] = {}
        self._throttle: list[tuple[float, str]] = []

    @property
    def source(self) -> str:
        """Source of the device that is recorded."""
        return self._device.source

    @property
    def name(self) -> str:
        """Name of the device that is recorded."""
        return self._device.name

    @property
    def slug(self) -> str:
        """Its name in the catalogue."""
        return self._device.slug

    @property
    def versions(self) -> Mapping[str, str]:
        """Its versions."""
        return self._device.versions

    def read(self, field: str) -> Sensor:
        """Read `field` and keep it."""
        sensor = self._device.read(field)
        with self._lock:
            row = (self._now() - self._start_s, sensor.value, sensor.reason)
            self._reads.setdefault(field, []).append(row)
        return sensor

    def throttle_words(self) -> str:
        """Ask for throttling and keep the answer."""
        words = self._device.throttle_words()
        with self._lock:
            self._throttle.append((self._now() - self._start_s, words))
        return words

    def to_dict(self) -> dict[str, Any]:
        """Return the recording so far."""
        with self._lock:
            return {
                "version": VERSION,
                "name": self.name,
                "slug": self.slug,
                "source": self.source,
                "versions": dict(self.versions),
                "reads": {
                    field: [list(row) for row in rows] for field, rows in self._reads.items()
                },
                "throttle": [list(row) for row in self._throttle],
            }

    def save(self, path: Path) -> None:
        """Write the recording as JSON."""
        path.write_text(json.dumps(self.to_dict()))


class ReplayDevice:
    """A recording as a device; it starts when it is made.

    Parameters
    ----------
    recording : mapping
        As `Recorder.to_dict` gives it.
    now : callable
        Clock in seconds; another one plays faster, or in steps.
    """

    def __init__(
        self, recording: Mapping[str, Any], *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        _check(recording)
        self._recording = recording
        self._now = now
        self._start_s = now()

    @property
    def source(self) -> str:
        """Say that it is a replay, and of what."""
        return f"replay of {self._recording['source']}"

    @property
    def name(self) -> str:
        """Name of the device that was recorded."""
        return str(self._recording["name"])

    @property
    def slug(self) -> str:
        """Its name in the catalogue."""
        return str(self._recording["slug"])

    @property
    def versions(self) -> Mapping[str, str]:
        """Its versions."""
        return dict(self._recording["versions"])

    def read(self, field: str) -> Sensor:
        """Return what `field` was at this time of the recording."""
        rows = self._recording["reads"].get(known_field(field), [])
        if not rows:
            return Sensor(None, "unsupported")
        _, value, reason = self._at(rows)
        return Sensor(value, reason)

    def throttle_words(self) -> str:
        """Return what held the clocks back at this time of the recording."""
        rows = self._recording["throttle"]
        return str(self._at(rows)[1]) if rows else ""

    def _at(self, rows: Any) -> Any:
        after = bisect_right(rows, self._now() - self._start_s, key=lambda row: row[0])
        return rows[max(0, after - 1)]


def load_replay(path: Path, *, now: Callable[[], float] = time.perf_counter) -> ReplayDevice:
    """Open the recording in `path`.

    Raises
    ------
    InvalidInputError
        It cannot be read, or is no recording.
    """
    try:
        recording = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path.name} as a recording: {error}.") from None
    return ReplayDevice(recording, now=now)


def _check(recording: Any) -> None:
    if not isinstance(recording, Mapping) or recording.get("version") != VERSION:
        raise InvalidInputError(f"this is no recording of version {VERSION}; record it anew.")
    missing = {"name", "slug", "source", "versions", "reads", "throttle"} - set(recording)
    if missing:
        raise InvalidInputError(f"a recording lacks {', '.join(sorted(missing))}; record it anew.")
    for field, rows in recording["reads"].items():
        times_s = [row[0] for row in rows]
        reasons = {row[2] for row in rows} - {""}
        if times_s != sorted(times_s) or not reasons <= set(REASONS):
            raise InvalidInputError(
                f"{field} of a recording is out of order or has an unknown reason; record it anew."
            )
