# SPDX-License-Identifier: Apache-2.0
"""How long the predictor itself takes: a cold start, and predictions per second.

    python -m benchmarks.speed [--most 1000000] [--repeats 7] [--json]

The cold start is the wall time of ``roofline predict ... --json`` in a fresh process
over that of ``python -c "import numpy"``, the two taken in turn so that a busy machine
slows both. Throughput is that of `roofline.predict_table` on two tables: one model on
one GPU over batch and lengths, and a mixture of models, GPUs, engines, degrees and
formats; each by the plain roofline and with the correction that ships. The first call on
a mixture also reads its models and compiles their plans.
Figures are medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from calibration.correct import shipped
from roofline.correction import Correction
from roofline.predict import predict_table
from roofline.table import usable_cpus
from specs.model_records import list_models

ROOT = Path(__file__).parents[1]

COMMAND = ("predict", "meta-llama/Llama-3.1-8B", "--gpu", "h100-sxm5-80gb", "--json")

FORBIDDEN = ("torch", "transformers", "pandas", "sklearn", "scipy", "requests", "bs4")
"""What a prediction must never import; ``huggingface_hub`` only for unknown models."""

GPUS = (
    "h100-sxm5-80gb", "h200-sxm-141gb", "b200", "a100-sxm4-40gb", "a100-pcie-80gb", "l40s",
    "l4", "a10", "a30", "a40", "t4", "v100-sxm2-32gb", "rtx-a6000", "rtx-a5000", "rtx-5090",
    "rtx-5080", "rtx-5070", "rtx-4090", "rtx-4080", "rtx-4070", "rtx-4060", "rtx-3090",
    "rtx-3080-10gb", "rtx-3060", "rtx-2080-ti", "mi210", "mi250x", "mi300x", "mi325x", "gaudi-2",
)  # fmt: skip
ENGINES = ("vllm", "sglang", "trtllm", "transformers", "llama.cpp")


def one_model(size: int, seed: int = 0) -> dict[str, Any]:
    """Scenarios of one model on one GPU over batch and lengths."""
    rng = np.random.default_rng(seed)
    return {
        "model": "meta-llama/Llama-3.1-8B",
        "gpu": "h100-sxm5-80gb",
        "batch": rng.integers(1, 513, size),
        "input_len": rng.integers(1, 8193, size),
        "output_len": rng.integers(1, 2049, size),
    }


def mixed(size: int, seed: int = 0, models: int = 40) -> dict[str, Any]:
    """Scenarios of many models, GPUs, engines, degrees and formats, drawn at random.

    The models are spread evenly over the shipped records. Some rows cannot be: heads
    that the degree does not divide.
    """
    rng = np.random.default_rng(seed)
    names = [row.name for row in list_models()]
    names = names[:: max(len(names) // models, 1)][:models]

    def drawn(values: Sequence[Any]) -> np.ndarray:
        chosen: np.ndarray = np.array(values)[rng.integers(0, len(values), size)]
        return chosen

    return {
        **one_model(size, seed),
        "model": drawn(names),
        "gpu": drawn(GPUS),
        "engine": drawn(ENGINES),
        "tp": drawn((1, 2, 4, 8)),
        "weight_dtype": drawn(("", "fp8", "int4")),
        "kv_dtype": drawn(("", "fp8")),
    }


def cold_start(repeats: int = 7) -> dict[str, Any]:
    """Wall times of fresh processes in turn, and the forbidden modules that were loaded."""
    predict = [sys.executable, "-m", "roofline", *COMMAND]
    numpy = [sys.executable, "-c", "import numpy"]
    for words in (predict, numpy):
        _seconds(words)  # byte code and page cache
    pairs = [(_seconds(predict), _seconds(numpy)) for _ in range(repeats)]
    return {
        "predict_s": median(ours for ours, _ in pairs),
        "import_numpy_s": median(theirs for _, theirs in pairs),
        "ratio": median(ours / theirs for ours, theirs in pairs),
        "forbidden_imports": forbidden_imports(),
    }


def _seconds(words: Sequence[str]) -> float:
    start = perf_counter()
    subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def forbidden_imports() -> list[str]:
    """Modules of `FORBIDDEN` that one prediction in a fresh process loads."""
    code = (
        "import sys; from roofline.cli.main import main; "
        f"main({list(COMMAND)!r}); print(*sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    return [name for name in FORBIDDEN if name in loaded]


def throughput(
    make: Callable[[int], dict[str, Any]],
    size: int,
    repeats: int = 5,
    correction: Correction | None = None,
) -> dict[str, float]:
    """Predictions per second of tables of `size` rows: the first call, and those after.

    `per_cpu_s` is the best per second of processor time, which other processes on the
    machine disturb least; several threads add theirs up. `peak_bytes` is the most memory
    that the process ever held so far.
    """
    scenarios = make(size)
    times, cpu_times = [], []
    for _ in range(repeats + 1):
        start, cpu_start = perf_counter(), process_time()
        predict_table(scenarios, errors="column", correction=correction)
        times.append(perf_counter() - start)
        cpu_times.append(process_time() - cpu_start)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "rows": size,
        "first_per_s": size / times[0],
        "per_s": size / median(times[1:]),
        "best_per_s": size / min(times[1:]),
        "per_cpu_s": size / max(min(cpu_times[1:]), 1e-9),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def report(most: int = 1_000_000, repeats: int = 7) -> dict[str, Any]:
    """Measure everything; tables grow tenfold from 100 rows to `most`."""
    sizes = [10**power for power in range(2, 10) if 10**power <= most]
    growth = {
        name: [throughput(make, size, 5 if size <= 100_000 else 3, correction) for size in sizes]
        for name, make, correction in (
            ("one_model", one_model, None),
            ("one_model_corrected", one_model, shipped()),
            ("mixed", mixed, None),
            ("mixed_corrected", mixed, shipped()),
        )
    }
    return {
        "cpus": usable_cpus(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "cold_start": cold_start(repeats),
        **growth,
    }


TITLES = {
    "one_model": "one model, one GPU",
    "one_model_corrected": "the same, corrected",
    "mixed": "mixed",
    "mixed_corrected": "mixed, corrected",
}


def as_text(found: dict[str, Any]) -> str:
    """Lay the report out as text."""
    cold = found["cold_start"]
    lines = [
        f"{found['cpus']} CPUs, Python {found['python']}, numpy {found['numpy']}",
        f"cold start      {cold['predict_s']:.3f} s, {cold['ratio']:.2f} x the "
        f"{cold['import_numpy_s']:.3f} s of importing numpy",
        f"must not load   {', '.join(cold['forbidden_imports']) or 'none loaded'}",
    ]
    for name, title in TITLES.items():
        lines += [
            "",
            f"{title:20}{'first call':>14}{'median':>14}{'best':>14}{'CPU time':>14}{'peak':>10}",
        ]
        for row in found[name]:
            rates = "".join(
                f"{row[key]:>12,.0f}/s"
                for key in ("first_per_s", "per_s", "best_per_s", "per_cpu_s")
            )
            size = f"{row['rows']:,} rows"
            lines.append(f"{size:20}{rates}{row['peak_bytes'] / 1e6:>7,.0f} MB")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of the largest table")
    parser.add_argument("--repeats", type=int, default=7, help="fresh processes of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(argv)
    found = report(asked.most, asked.repeats)
    print(json.dumps(found, indent=1) if asked.json else as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
