# SPDX-License-Identifier: Apache-2.0
"""Which commands measure an ask inside an engine's container.

A recipe returns steps. A step is one command with one result: the unit that is reported,
and lost, together. Everything that an engine loads once and then measures cheaply shares
a step, up to `CASES_PER_STEP`; `format` names the importer that reads the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from profiler.launch.ask import Ask
from profiler.launch.targets import Target
from specs.errors import InvalidInputError

CASES_PER_STEP = 8
"""Cases that share one start of an engine: a minute of loading against eight points lost."""

PORT = "{port}"
"""Stands for a free port, which the agent finds when it starts the server."""

REQUESTS_PER_SLOT = 4
"""Requests sent per request in flight: the first fill the server, the rest keep it full."""

LEAST_REQUESTS = 32

Argv = list[str]
Points = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command on the rented machine.

    Parameters
    ----------
    name : str
        For the progress line.
    argv : list of str
        The command; its first word may be ``python3``.
    points : tuple of dict
        Asked columns of the points in its result.
    format : str
        How the result reads: a key of `profiler.launch.results.READERS`.
    result : str
        File that the command writes, or the folder of part-files it fills.
    server : dict or None
        Command that must be serving meanwhile, and the address that says it is; both
        with `PORT` in them, as `argv` has.
    """

    name: str
    argv: Argv
    points: Points
    format: str
    result: str
    server: dict[str, Any] | None = None
    timeout_s: float = 3600.0


def steps_of(ask: Ask, target: Target) -> tuple[Step, ...]:
    """Steps that measure `ask` on `target`.

    Raises
    ------
    InvalidInputError
        The engine cannot measure such a point at all.
    """
    return tuple(_RECIPES[ask.engine](ask, target))


def _dtype(ask: Ask) -> str:
    words = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    return words.get(ask.weight_dtype, ask.weight_dtype) or "auto"


def _groups(points: Points) -> Iterable[Points]:
    for start in range(0, len(points), CASES_PER_STEP):
        yield points[start : start + CASES_PER_STEP]


def _longest(points: Points) -> int:
    return max(int(point["input_tokens"] + point["output_tokens"]) for point in points)


def _requests(point: Mapping[str, Any]) -> int:
    return max(LEAST_REQUESTS, REQUESTS_PER_SLOT * int(point["concurrency"]))


def _transformers(ask: Ask, target: Target) -> Iterable[Step]:
    """One ``roofline profile`` for all batches: it keeps every point as it is finished."""
    if ask.concurrencies:
        raise InvalidInputError(
            "transformers serves no requests; give --batch, or an engine that does."
        )
    if ask.model:
        argv = ["--model", ask.model, "--capture", ask.capture]
        argv += ["--num-gpus", str(max(1, target.count))]
        for option, values in (
            ("batch", ask.batches),
            ("input-len", ask.input_lens),
            ("output-len", ask.output_lens),
        ):
            argv += [f"--{option}", ",".join(map(str, values))]
        argv += ["--weights"] if ask.weights else []
        yield _profile("models", argv, ask, ask.points(serving=False))
    if ask.kernels:
        yield _profile("kernels", ["--kernels"], ask, ({"kind": "kernel"},))
    if ask.tabular:
        yield _profile("tabular", ["--tabular"], ask, ({"kind": "tabular"},))


def _profile(name: str, words: Argv, ask: Ask, points: Points) -> Step:
    argv = ["python3", "-m", "roofline", "profile", *words, "--store", "rows"]
    argv += ["--dtype", ask.weight_dtype] if ask.weight_dtype else []
    if ask.max_minutes:  # of all that is asked for
        kinds = bool(ask.model) + ask.kernels + ask.tabular
        argv += ["--max-minutes", f"{ask.max_minutes / kinds:g}"]
    return Step(
        name=f"roofline profile, {name}",
        argv=argv,
        points=points,
        format="rows",
        result="rows",
        timeout_s=86400.0,
    )


def _vllm(ask: Ask, target: Target) -> Iterable[Step]:
    """Static points from ``bench forward``, where it runs, else from ``bench latency``."""
    static = ask.points(serving=False)
    if target.vendor == "nvidia":
        yield from (_vllm_forward(ask, target, group) for group in _groups(static))
    else:  # bench forward hangs on ROCm, and needs CUDA graphs
        for point in static:
            yield from _vllm_latency(ask, target, point)
    for point in ask.points(serving=True):
        yield _vllm_serve(ask, target, point)


def _vllm_load(ask: Ask, target: Target) -> Argv:
    load = [] if ask.weights else ["--load-format", "dummy"]
    return [*load, "--dtype", _dtype(ask), "--tensor-parallel-size", str(max(1, target.count))]


def _vllm_forward(ask: Ask, target: Target, points: Points) -> Step:
    """A prefill of the prompts and a decode step at the middle of its context, per point."""
    cases = []
    for number, point in enumerate(points):
        batch, length, out = (point[k] for k in ("batch_size", "input_tokens", "output_tokens"))
        cases += ["--case", f"prefill{number}={batch}*{length}"]
        cases += ["--case", f"decode{number}={batch}*1@{length + (out + 1) // 2}"]
    argv = ["python3", "-m", "vllm.entrypoints.cli.main", "bench", "forward"]
    if target.count > 1:
        argv = ["torchrun", f"--nproc-per-node={target.count}", *argv[1:]]
    argv += ["--model", ask.model, *_vllm_load(ask, target)]
    argv += ["--max-model-len", str(_longest(points)), "--kv-len-jitter", "0"]
    argv += ["--iters", "20", "--samples", "5", "--output-json", "forward.json", *cases]
    return Step(
        name=f"vllm bench forward, {len(points)} points",
        argv=argv,
        points=points,
        format="vllm-forward",
        result="forward.json",
    )


def _vllm_latency(ask: Ask, target: Target, point: dict[str, Any]) -> Iterable[Step]:
    """The whole generation, and its first token alone, from which decode is the rest."""
    for out in sorted({1, int(point["output_tokens"])}):
        argv = ["vllm", "bench", "latency", "--model", ask.model, *_vllm_load(ask, target)]
        argv += ["--input-len", str(point["input_tokens"]), "--output-len", str(out)]
        argv += ["--batch-size", str(point["batch_size"]), "--output-json", "latency.json"]
        argv += ["--num-iters-warmup", "5", "--num-iters", "15"]
        yield Step(
            name=f"vllm bench latency, batch {point['batch_size']}, {out} out",
            argv=argv,
            points=({**point, "output_tokens": out},),
            format="vllm-latency",
            result="latency.json",
        )


def _vllm_serve(ask: Ask, target: Target, point: dict[str, Any]) -> Step:
    argv = ["vllm", "bench", "serve", "--model", ask.model, "--port", PORT]
    argv += ["--dataset-name", "random", "--random-range-ratio", "0", "--ignore-eos"]
    argv += _random_load(point)
    argv += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99"]
    argv += ["--save-result", "--save-detailed", "--result-filename", "serve.json"]
    serve = ["vllm", "serve", ask.model, "--port", PORT, *_vllm_load(ask, target)]
    return _served("vllm bench serve", argv, point, "vllm-serve", "serve.json", serve)


def _random_load(point: Mapping[str, Any]) -> Argv:
    """Options that the serving benchmarks of vLLM and SGLang have in common."""
    return [
        *("--random-input-len", str(point["input_tokens"])),
        *("--random-output-len", str(point["output_tokens"])),
        *("--num-prompts", str(_requests(point))),
        *("--max-concurrency", str(point["concurrency"])),
    ]


def _served(
    name: str, argv: Argv, point: dict[str, Any], reads: str, result: str, serve: Argv
) -> Step:
    """One load against the server that `serve` starts."""
    ready = f"http://127.0.0.1:{PORT}/health"
    return Step(
        name=f"{name}, {point['concurrency']} in flight",
        argv=argv,
        points=(point,),
        format=reads,
        result=result,
        server={"argv": serve, "ready": ready, "timeout_s": 1800.0},
    )


def _sglang(ask: Ask, target: Target) -> Iterable[Step]:
    """``one_batch`` for static batches; modules by their new place, else by their old one."""
    load = [] if ask.weights else ["--load-format", "dummy"]
    load += ["--dtype", _dtype(ask), "--tp-size", str(max(1, target.count))]
    shapes = [(length, out) for length in ask.input_lens for out in ask.output_lens]
    for length, out in shapes if ask.batches else ():
        yield _sglang_one_batch(ask, load, length, out)
    for point in ask.points(serving=True):
        argv = _module("sglang.benchmark.serving", "sglang.bench_serving")
        argv += ["--backend", "sglang", "--port", PORT, "--dataset-name", "random-ids"]
        argv += [*_random_load(point), "--random-range-ratio", "1", "--output-details"]
        argv += ["--output-file", "serving.jsonl"]
        serve = ["python3", "-m", "sglang.launch_server", "--model-path", ask.model]
        serve += ["--port", PORT, *load]
        yield _served("sglang serving", argv, point, "sglang-serving", "serving.jsonl", serve)


def _sglang_one_batch(ask: Ask, load: Argv, length: int, out: int) -> Step:
    """All batches of one shape: they share a start of the engine."""
    argv = _module("sglang.benchmark.one_batch", "sglang.bench_one_batch")
    argv += ["--model-path", ask.model, *load, "--run-name", "roofline"]
    argv += ["--batch-size", *map(str, ask.batches)]
    argv += ["--input-len", str(length), "--output-len", str(out)]
    argv += ["--result-filename", "one_batch.jsonl"]
    return Step(
        name=f"sglang one_batch, {length} in, {out} out",
        argv=argv,
        points=tuple(
            {"mode": "static", "batch_size": b, "input_tokens": length, "output_tokens": out}
            for b in ask.batches
        ),
        format="sglang-one-batch",
        result="one_batch.jsonl",
    )


def _module(new: str, old: str) -> Argv:
    """Run whichever of two modules the image has: SGLang moved its benchmarks in 0.5."""
    code = (
        "import importlib.util as u, runpy, sys; "
        f"new = u.find_spec({new.rsplit('.', 1)[0]!r}) and u.find_spec({new!r}); "
        f"runpy.run_module({new!r} if new else {old!r}, run_name='__main__', alter_sys=True)"
    )
    return ["python3", "-c", code]


def _tgi(ask: Ask, target: Target) -> Iterable[Step]:
    """Served load alone: TGI has no benchmark whose result a program can read."""
    if ask.batches:
        raise InvalidInputError(
            "TGI measures served load alone; give --concurrency instead of --batch."
        )
    if not ask.weights:
        raise InvalidInputError("TGI has no random weights; add --weights to load the real ones.")
    serve = ["text-generation-launcher", "--model-id", ask.model, "--port", PORT]
    serve += ["--num-shard", str(max(1, target.count))]
    serve += ["--dtype", _dtype(ask)] if ask.weight_dtype else []
    for point in ask.points(serving=True):
        yield _client("tgi", point, serve)


def _llama_cpp(ask: Ask, target: Target) -> Iterable[Step]:
    """``llama-bench`` for one sequence, the server and our client for several."""
    layers = ["-ngl", "0" if target.vendor == "cpu" else "99"]
    if any(batch != 1 for batch in ask.batches):
        raise InvalidInputError(
            "llama-bench measures one sequence; give --batch 1, or --concurrency for several."
        )
    for group in _groups(ask.points(serving=False)):
        for point in group:
            length, out = point["input_tokens"], point["output_tokens"]
            argv = ["/app/llama-bench", "-hf", ask.model, *layers, "-o", "json", "-r", "5"]
            argv += ["-p", str(length), "-n", str(out), "-d", f"0,{length}"]
            yield Step(
                name=f"llama-bench, {length} in, {out} out",
                argv=["sh", "-c", 'exec "$@" > bench.json', "sh", *argv],
                points=(point,),
                format="llama-bench",
                result="bench.json",
            )
    for point in ask.points(serving=True):
        slots = int(point["concurrency"])
        context = slots * _longest((point,))
        serve = ["/app/llama-server", "-hf", ask.model, *layers, "--port", PORT]
        serve += ["-np", str(slots), "-c", str(context)]
        yield _client("llama.cpp", point, serve)


def _client(dialect: str, point: dict[str, Any], serve: Argv) -> Step:
    argv = ["python3", "-m", "profiler.launch.client", dialect]
    argv += [f"http://127.0.0.1:{PORT}", "--concurrency", str(point["concurrency"])]
    argv += ["--requests", str(_requests(point)), "--input-len", str(point["input_tokens"])]
    argv += ["--output-len", str(point["output_tokens"]), "--out", "client.json"]
    return _served(f"{dialect} server", argv, point, "client", "client.json", serve)


_RECIPES: Mapping[str, Callable[[Ask, Target], Iterable[Step]]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "sglang": _sglang,
    "tgi": _tgi,
    "llama.cpp": _llama_cpp,
}
