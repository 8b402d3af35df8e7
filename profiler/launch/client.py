# SPDX-License-Identifier: Apache-2.0
"""Keeps a server of TGI or llama.cpp at a given load, and times every request.

``python3 -m profiler.launch.client DIALECT URL --concurrency 8 ... --out client.json``.
One thread per request in flight; each sends its next request when its last one has ended.
Times are from just before the request is sent: to the first event with text (TTFT), to
the last one (end to end). Token counts are the server's own.

Standard library alone, Python 3.8 and later: it runs inside the engines' images.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "by")


def main(argv: list[str] | None = None) -> int:
    """Drive the load and write one JSON object; 0 unless every request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dialect", choices=("tgi", "llama.cpp"))
    parser.add_argument("url")
    for name in ("concurrency", "requests", "input-len", "output-len"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    ask = tgi_request if args.dialect == "tgi" else llama_request
    requests = [
        ask(args.url, args.input_len, args.output_len, random.Random(seed))
        for seed in range(args.requests)
    ]
    started = time.perf_counter()
    answers = drive(requests, args.concurrency)
    duration_s = time.perf_counter() - started
    done = [answer for answer in answers if "error" not in answer]
    result = {
        "dialect": args.dialect,
        "concurrency": args.concurrency,
        "duration_s": duration_s,
        "completed": len(done),
        "failed": len(answers) - len(done),
        "errors": sorted({answer["error"] for answer in answers if "error" in answer})[:5],
        "requests": done,
    }
    Path(args.out).write_text(json.dumps(result), encoding="utf-8")
    print(f"{len(done)} of {len(answers)} requests in {duration_s:.1f} s", flush=True)
    if not done:
        print("; ".join(result["errors"]), flush=True)
    return 0 if done else 1


def drive(requests: list[urllib.request.Request], concurrency: int) -> list[dict[str, Any]]:
    """Answers to all requests, `concurrency` of them in flight."""
    waiting, lock, answers = iter(requests), threading.Lock(), []  # type: Any, Any, list[Any]

    def work() -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            answer = timed(request)
            with lock:
                answers.append(answer)

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def timed(request: urllib.request.Request) -> dict[str, Any]:
    """One streamed request: its times and the server's token counts."""
    start = time.perf_counter()
    first = last = None
    counts: dict[str, Any] = {}
    try:
        with urllib.request.urlopen(request, timeout=600) as stream:
            for event in events(stream):
                now = time.perf_counter()
                if _has_text(event):
                    first, last = first or now, now
                counts.update(_counts(event))
                if "error" in event:
                    return {"error": str(event["error"])[:200]}
    except (OSError, ValueError) as error:
        return {"error": str(error)[:200]}
    if first is None or last is None:
        return {"error": "no token came"}
    return {"ttft_s": first - start, "e2e_s": last - start, **counts}


def events(stream: Any) -> Iterator[dict[str, Any]]:
    """JSON objects of a stream of server-sent events."""
    for line in stream:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("data:") and text[5:].strip() != "[DONE]":
            event = json.loads(text[5:])
            if isinstance(event, dict):
                yield event


def _has_text(event: dict[str, Any]) -> bool:
    return bool(event.get("token")) or bool(event.get("content"))


def _counts(event: dict[str, Any]) -> dict[str, int]:
    """Token counts of an event that has them: the last one of a request."""
    details, timings = event.get("details") or {}, event.get("timings") or {}
    found = {
        "input_tokens": details.get("input_length", timings.get("prompt_n")),
        "output_tokens": details.get("generated_tokens", timings.get("predicted_n")),
    }
    return {name: int(value) for name, value in found.items() if value}


def llama_request(url: str, length: int, out: int, rng: random.Random) -> urllib.request.Request:
    """Request to llama.cpp: a prompt of exactly `length` token numbers, no cache."""
    prompt = [rng.randrange(100, 20000) for _ in range(length)]
    body = {"prompt": prompt, "n_predict": out, "ignore_eos": True, "stream": True}
    return _post(f"{url}/completion", {**body, "cache_prompt": False, "temperature": 0})


def tgi_request(url: str, length: int, out: int, rng: random.Random) -> urllib.request.Request:
    """Request to TGI: a text cut where the server's own tokenizer counts `length` tokens."""
    text = " ".join(rng.choice(_WORDS) for _ in range(2 * length))
    with urllib.request.urlopen(_post(f"{url}/tokenize", {"inputs": text}), timeout=60) as answer:
        tokens = json.loads(answer.read())
    if len(tokens) > length:
        text = text[: int(tokens[length - 1]["stop"])]
    options = {"max_new_tokens": out, "details": True, "do_sample": False}
    # Random words rarely end a text, and no option of TGI forbids it: counts are read back.
    return _post(f"{url}/generate_stream", {"inputs": text, "parameters": options})


def _post(url: str, body: dict[str, Any]) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(url, json.dumps(body).encode(), headers)


if __name__ == "__main__":
    sys.exit(main())
