# SPDX-License-Identifier: Apache-2.0
"""One ``roofline profile``: from its options to stored rows and what is said of them."""

from __future__ import annotations

import os
import secrets
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.models import require
from profiler.plan import Grid, Point, plan
from profiler.reference import SLOWED_FRAC
from profiler.run import Interrupted, RunResult, pending, run_plan
from profiler.run_bench import Bench
from profiler.run_target import Target, find_target, host_target
from profiler.sensors import FINDERS, find_devices
from profiler.store import Store
from specs.errors import InvalidInputError, RooflineError, StoreError
from specs.measurement import Measurement, now_utc

__all__ = ["Answer", "Interrupted", "Session"]


class NothingMeasuredError(RooflineError):
    """Every point of a run failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run came to."""

    run_id: str
    result: RunResult
    store: Path
    gpu_file: Path | None = None
    no_gpu_file: str = ""
    slowed_frac: float | None = None
    """By how much neighbours slowed this processor at most; None where it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "run_id": self.run_id,
            "store": str(self.store),
            "gpu_file": str(self.gpu_file) if self.gpu_file else None,
            "no_gpu_file": self.no_gpu_file,
            "slowed_frac": self.slowed_frac,
            "skipped": self.result.skipped,
            "left": self.result.left,
            "measurements": [row.to_dict() for row in self.result.measured],
        }

    def text(self) -> str:
        """Tables of the figures, and where they are kept."""
        from profiler.run_report import tables_text

        lines = [tables_text(self.result.measured)] if self.result.measured else []
        said = f"{len(self.result.measured)} points measured, stored in {self.store}"
        if self.result.skipped:
            said += f"; {self.result.skipped} were there already"
        if self.result.left:
            said += f"; {self.result.left} left when the time was up (--resume goes on)"
        lines.append(f"{said}.")
        if self.slowed_frac is not None and self.slowed_frac > SLOWED_FRAC:
            lines.append(
                f"Neighbours slowed this processor by up to {self.slowed_frac:.0%} while it was "
                f"measured: the figures are no better than that."
            )
        if self.no_gpu_file:
            lines.append(self.no_gpu_file)
        if self.gpu_file:
            lines.append(f"Measured peaks: {self.gpu_file} (predict with --gpu measured).")
        return "\n".join(lines)


@dataclass(kw_only=True)
class Session:
    """A plan, the bench it runs on, and the store it goes to."""

    points: list[Point]
    bench: Bench
    store: Store
    resume: bool
    weights: bool
    max_s: float

    @classmethod
    def of(cls, args: Namespace) -> Session:
        """Read the options of the command line.

        Raises
        ------
        RooflineError
            Something that is not here, or cannot be measured.
        """
        grid = Grid(
            models=args.model,
            batches=args.batch,
            input_lens=args.input_len,
            output_lens=args.output_len,
            dtypes=args.dtype,
            captures=args.capture,
            weights=args.weights,
            kernels=args.kernels,
            tabular=args.tabular,
        )
        if not (grid.models or grid.kernels or grid.tabular):
            raise InvalidInputError(
                "nothing to measure; give --model NAME, --kernels or --tabular."
            )
        if grid.models:  # before a point is stored as failed for want of a package
            require("torch", "transformers", *(["accelerate"] if args.num_gpus > 1 else []))
        if grid.models or grid.kernels:
            target = find_target(args.device, num_gpus=args.num_gpus, threads=args.threads)
        else:
            target = host_target(args.device, threads=args.threads)
        bench = _bench(target, power=not args.no_power)
        bench.budget_s = args.budget
        return cls(
            points=plan(grid, target, bench.device_columns),
            bench=bench,
            store=Store(args.store),
            resume=args.resume,
            weights=args.weights,
            max_s=60 * args.max_minutes if args.max_minutes else float("inf"),
        )

    def run(self, *, quiet: bool = False) -> Answer:
        """Measure and store.

        Raises
        ------
        Interrupted
            Ctrl-C.
        NothingMeasuredError
            Every point failed; the rows that say why are stored.
        """
        require("pyarrow")
        _make_folder(self.store.path)  # before an hour of measuring, not after
        self.bench.deadline_s = time.perf_counter() + self.max_s
        try:
            result = run_plan(
                self.points,
                self.bench,
                self.store,
                weights=self.weights,
                resume=self.resume,
                quiet=quiet,
            )
        except Interrupted:
            self._gpu_file()
            raise
        failed = [row for row in result.measured if row.quality == "failed"]
        if failed and len(failed) == len(result.measured):
            raise NothingMeasuredError(_all_failed(failed, self.store.path))
        gpu_file, why = self._gpu_file()
        return Answer(
            run_id=self.bench.run_id,
            result=result,
            store=self.store.path,
            gpu_file=gpu_file,
            no_gpu_file=why,
            slowed_frac=self.bench.slowed_frac,
        )

    def _gpu_file(self) -> tuple[Path | None, str]:
        """Write the measured peaks, where kernels are asked for; or say why not."""
        ids = {point.point_id for point in self.points if point.kind == "kernel"}
        rows = [row for row in self.store.read() if row.point_id in ids] if ids else []
        if not rows:
            return None, ""
        from profiler.kernels_peaks import write_measured

        try:
            path = write_measured(rows, self.bench.target, self.bench.sensors, self.store.path)
        except RooflineError as error:  # the rows are measured and stored all the same
            return None, str(error)
        return path, ""

    def listed(self) -> dict[str, Any]:
        """The points of a dry run, for JSON."""
        todo = {point.point_id for point in self._todo()}
        return {
            "device": self.bench.target.name,
            "store": str(self.store.path),
            "points": [
                {"point_id": p.point_id, "title": p.title, "stored": p.point_id not in todo}
                for p in self.points
            ],
        }

    def listed_text(self) -> str:
        """The points of a dry run."""
        todo = self._todo()
        target = self.bench.target
        lines = [point.title for point in todo]
        head = f"{len(todo)} points on {target.name} ({', '.join(target.devices)})"
        if len(todo) < len(self.points):
            head += f", {len(self.points) - len(todo)} more are stored"
        return "\n".join([f"{head}:", *lines, f"They would be stored in {self.store.path}."])

    def stopped_text(self, result: RunResult) -> str:
        """What is kept after Ctrl-C, and how to go on."""
        done = len(result.measured) + result.skipped
        return (
            f"stopped; {done} of {len(self.points)} points are stored in {self.store.path}. "
            f"The same command with --resume measures the rest."
        )

    def _todo(self) -> list[Point]:
        return pending(self.points, self.store, resume=self.resume)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the store {path} ({error.strerror}); name a folder with --store or "
            f"ROOFLINE_STORE."
        ) from None


def _bench(target: Target, *, power: bool) -> Bench:
    """Open the sensors of the target's devices."""
    sources = ("rapl",) if target.kind == "cpu" else tuple(s for s in FINDERS if s != "rapl")
    found, reasons = find_devices(sources)
    first = int(target.devices[0].partition(":")[2] or 0)
    sensors = found[first : first + len(target.devices)]
    why = next(iter(reasons.values()), "no sensor")
    if not power:
        sensors, why = [], "switched off"
    elif target.kind != "cpu" and sensors and sensors[0].name not in (target.name, ""):
        sensors, why = [], "sensors are of another device"
    moment = now_utc().replace("-", "").replace(":", "")
    return Bench(
        target=target,
        run_id=f"{moment}-{secrets.token_hex(4)}",
        sensors=sensors,
        no_sensor=why,
    )


def _all_failed(failed: list[Measurement], store: os.PathLike[str]) -> str:
    reasons = list(dict.fromkeys(row.reason for row in failed))
    more = f" ({len(reasons) - 1} more reasons are stored in {store})" if len(reasons) > 1 else ""
    which = "the only point" if len(failed) == 1 else f"all {len(failed)} points"
    return f"{which} failed: {reasons[0]}{more}"
