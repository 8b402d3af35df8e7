# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of a plan on a rented machine and prints every result as blocks.

``python3 -m profiler.launch.agent plan.json``. Each step is a command; as it ends, its
result goes to the log, where it is safe. A step that fails is reported and the next one
runs. At the end all blocks are printed once more, if they are small: a line that another
process spoilt the first time is then repaired.

Standard library alone, Python 3.8 and later: engine images hold nothing else for certain.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from profiler.launch.blocks import encode

REPEATED_BYTES = 2**19
"""Blocks up to this size in all are printed twice: little beside a log's quota of 50 MB."""

MOST_RESULT_BYTES = 8 * 2**20
TAIL_LINES = 12
WATCH_S = 1.0
POWER_PERIOD_S = 0.1

_MEMORY_WORDS = ("out of memory", "outofmemoryerror", "hip out of memory", "resource_exhausted")


class Log:
    """Writes blocks to the job's log, each line in one piece."""

    def __init__(self, run: str) -> None:
        self._run, self._count, self._lines = run, 0, []  # type: str, int, list[str]

    def put(self, payload: dict[str, Any]) -> None:
        """Print one block and number it."""
        lines = encode(self._run, self._count, payload)
        self._count += 1
        self._lines += lines
        _print(lines)

    def close(self) -> None:
        """Print the closing block, then everything again if that is little."""
        self.put({"kind": "end", "blocks": self._count + 1})
        if sum(map(len, self._lines)) <= REPEATED_BYTES:
            _print(self._lines)


def _print(lines: Iterable[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        # A leading line break ends what another process has left unfinished.
        data = f"\n{line}\n".encode()
        while data:
            data = data[os.write(1, data) :]


class Server:
    """The engine's server that a step needs, kept for the next step that needs the same."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._wanted = folder, None  # type: Path, Any
        self._process: subprocess.Popen[bytes] | None = None
        self._port = ""

    def addressed(self, text: str) -> str:
        """`text` with the port of the running server."""
        return text.replace("{port}", self._port)

    def ensure(self, wanted: Mapping[str, Any] | None) -> str:
        """Start, keep or stop; "" once it answers, else why it does not."""
        if wanted == self._wanted and self._process and self._process.poll() is None:
            return ""
        self.stop()
        if wanted is None:
            return ""
        log, self._port = self._folder / "server.log", _free_port()
        with log.open("wb") as out:
            try:
                self._process = subprocess.Popen(
                    _python_first([self.addressed(word) for word in wanted["argv"]]),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return f"server: {error.strerror or error}"
        self._wanted = wanted
        end = time.monotonic() + float(wanted["timeout_s"])
        while time.monotonic() < end:
            if self._process.poll() is not None:
                return f"server: {_why(log, self._process.returncode)}"
            if _answers(self.addressed(str(wanted["ready"]))):
                return ""
            time.sleep(WATCH_S)
        self.stop()
        return f"server: not ready after {wanted['timeout_s']:g} s"

    def stop(self) -> None:
        """End the server and everything it started."""
        if self._process is not None:
            _end(self._process)
        self._process = self._wanted = None


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _python_first(argv: list[str]) -> list[str]:
    """Run ``python3`` by the interpreter that runs this."""
    return [sys.executable, *argv[1:]] if argv[0] == "python3" else argv


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status < 400)
    except (OSError, ValueError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
            process.wait(patience_s)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue


class Power:
    """Mean power while a command runs, read by roofline's own sensors where they are."""

    def __init__(self) -> None:
        self.reason, self._samples, self._devices = "", [], []  # type: str, list[float], list[Any]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            from profiler.sensors import find_devices

            self._devices, reasons = find_devices(("nvml", "amdsmi"))
            self.reason = "" if self._devices else f"power: {', '.join(sorted(reasons.values()))}"
        except Exception as error:  # a sensor must never cost the measurement
            self.reason = f"power: {type(error).__name__}"

    def devices(self) -> list[dict[str, Any]]:
        """Names and states of the accelerators."""
        found = []
        for device in self._devices:
            limit = device.read("power_limit_w").value
            found.append({"name": device.name, "slug": device.slug, "power_limit_w": limit})
            found[-1]["versions"] = dict(device.versions)
        return found

    def start(self) -> None:
        """Begin a window."""
        self._samples, self._stop = [], threading.Event()
        if self._devices:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def mean_w(self) -> float | None:
        """End the window; mean per accelerator over all of it, loading included."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return sum(self._samples) / len(self._samples) if self._samples else None

    def _watch(self) -> None:
        while not self._stop.wait(POWER_PERIOD_S):
            values = [device.read("power_w").value for device in self._devices]
            known = [value for value in values if value]
            if len(known) == len(values):
                self._samples.append(sum(known) / len(known))


def main(argv: list[str]) -> int:
    """Run the plan of `argv` and return the exit status: 0 if any step gave a result."""
    plan = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    folder = Path(plan.get("folder") or "results").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    power, log, server = Power(), Log(plan["run"]), Server(folder)
    log.put({"kind": "start", "steps": len(plan["steps"]), **environment(power)})
    good = 0
    try:
        for number, step in enumerate(plan["steps"]):
            print(f"[{number + 1}/{len(plan['steps'])}] {step['name']}", flush=True)
            error = server.ensure(step.get("server"))
            step = {**step, "argv": [server.addressed(word) for word in step["argv"]]}
            good += run_step(number, step, folder, log, power, error)
    finally:
        server.stop()
    log.close()
    return 0 if good else 1


def run_step(
    number: int, step: dict[str, Any], folder: Path, log: Log, power: Power, error: str
) -> bool:
    """Run one step and report it; `error` is why it cannot even start."""
    place = folder / str(number)
    place.mkdir(parents=True, exist_ok=True)
    started = time.time()
    power.start()
    sent: set[str] = set()
    if not error:
        error = _command(step, place, lambda: _send_rows(number, step, place, log, sent))
    mean_w = power.mean_w()
    block: dict[str, Any] = {"kind": "result", "step": number, "error": error}
    block.update({name: step[name] for name in ("points", "format", "result")})
    block.update(seconds=round(time.time() - started, 1), finished=time.time())
    if step["format"] == "rows":
        _send_rows(number, step, place, log, sent)
        block["files"] = len(sent)
    elif not error:
        text, block["error"] = _result(place / step["result"])
        if step.get("server"):  # elsewhere the window holds the loading too
            block.update(power_w=mean_w, power_reason=power.reason)
        block["text"] = text
    log.put(block)
    return not block["error"] or bool(sent)


def _command(step: dict[str, Any], place: Path, watch: Any) -> str:
    """Run the step's command; "" if it ended well, else why not."""
    out = place / "output.log"
    env = {**os.environ, **_ENV}
    if step["format"] in _OURS:  # an engine shall not find our packages before its own
        paths = (str(Path.cwd()), os.environ.get("PYTHONPATH", ""))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with out.open("wb") as sink:
        try:
            process = subprocess.Popen(
                _python_first(step["argv"]),
                cwd=place,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"{step['argv'][0]}: {error.strerror or error}"
        end = time.monotonic() + float(step["timeout_s"])
        while process.poll() is None:
            if time.monotonic() > end:
                _end(process)
                return f"stopped after {step['timeout_s']:g} s"
            watch()
            try:
                process.wait(WATCH_S)
            except subprocess.TimeoutExpired:
                continue
    return "" if process.returncode == 0 else _why(out, process.returncode)


_OURS = ("rows", "client")
"""Formats that modules of this package write."""

_ENV = {
    "PYTHONUNBUFFERED": "1",
    "TQDM_MININTERVAL": "60",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def _why(log: Path, status: int) -> str:
    """Short reason from the end of a log, whose last lines go to the job's log too."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    for line in said[-TAIL_LINES:]:
        print(f"| {line[:400]}", flush=True)
    text = "\n".join(said[-200:]).lower()
    if any(word in text for word in _MEMORY_WORDS):
        return "out of memory"
    return f"exit {status}: {said[-1][:160] if said else 'no output'}"


def _send_rows(number: int, step: dict[str, Any], place: Path, log: Log, sent: set[str]) -> None:
    """Print part-files that a ``roofline profile`` has finished since the last look."""
    if step["format"] != "rows":
        return
    for path in sorted((place / step["result"]).glob("*.parquet")):
        if path.name.startswith((".", "_")) or path.name in sent:
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        log.put({"kind": "rows", "step": number, "name": path.name, "data": data})
        sent.add(path.name)


def _result(path: Path) -> tuple[str, str]:
    """Text of a result file, or why there is none."""
    try:
        if path.stat().st_size > MOST_RESULT_BYTES:
            return "", f"result too large: {path.stat().st_size} bytes"
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return "", f"no result: {getattr(error, 'strerror', None) or error}"
    return text, "" if text.strip() else "no result: the file is empty"


def environment(power: Power) -> dict[str, Any]:
    """What this machine and image are."""
    return {
        "devices": power.devices(),
        "power_reason": power.reason,
        "host_cpu": _host_cpu(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": _versions(),
    }


def _host_cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _versions() -> dict[str, str]:
    """Versions of the packages that decide what was measured."""
    from importlib import metadata

    found = {}
    for name in ("vllm", "sglang", "transformers", "torch", "text-generation-server"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
