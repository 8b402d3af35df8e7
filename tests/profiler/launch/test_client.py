# SPDX-License-Identifier: Apache-2.0
"""The load client against servers that sleep a known time."""

import importlib.util
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from profiler.launch.client import main

PATH = Path(__file__).parent / "standins" / "tgi.py"
spec = importlib.util.spec_from_file_location("standin_tgi", PATH)
tgi = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tgi)


class Llama(BaseHTTPRequestHandler):
    """llama.cpp's /completion: exact prompt, 10 ms per token, and every third request fails."""

    seen: ClassVar = []

    def log_message(self, *args):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(asked)
        if len(self.seen) % 3 == 0:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        count = asked["n_predict"]
        for number in range(count):
            time.sleep(0.01)
            event = {"content": "x", "stop": False}
            if number == count - 1:
                timings = {"prompt_n": len(asked["prompt"]), "predicted_n": count}
                event = {"content": "x", "stop": True, "timings": timings}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def drive(dialect, url, out, *, concurrency, requests):
    words = [dialect, url, "--concurrency", str(concurrency), "--requests", str(requests)]
    code = main([*words, "--input-len", "12", "--output-len", "5", "--out", str(out)])
    return code, json.loads(out.read_text())


def test_tgi_is_asked_for_exact_prompts_and_timed(serve, tmp_path):
    code, result = drive("tgi", serve(tgi.Handler), tmp_path / "x", concurrency=3, requests=9)
    assert code == 0
    assert (result["completed"], result["failed"]) == (9, 0)
    for request in result["requests"]:
        assert (request["input_tokens"], request["output_tokens"]) == (12, 5)
        # 20 ms to the first token and 5 ms between: sleeping is never shorter.
        assert request["ttft_s"] >= tgi.TTFT_S
        assert request["e2e_s"] - request["ttft_s"] >= 4 * tgi.TPOT_S * 0.95
    assert result["duration_s"] >= 3 * (tgi.TTFT_S + 4 * tgi.TPOT_S)


def test_llama_cpp_gets_token_numbers_and_failures_are_counted(serve, tmp_path):
    Llama.seen.clear()
    code, result = drive("llama.cpp", serve(Llama), tmp_path / "x", concurrency=1, requests=6)
    assert code == 0
    assert (result["completed"], result["failed"]) == (4, 2)
    assert "503" in result["errors"][0]
    assert {(r["input_tokens"], r["output_tokens"]) for r in result["requests"]} == {(12, 5)}
    assert all(asked["cache_prompt"] is False for asked in Llama.seen)
    assert all(len(asked["prompt"]) == 12 for asked in Llama.seen)


def test_a_server_that_is_not_there(tmp_path, capsys):
    code, result = drive(
        "llama.cpp", "http://127.0.0.1:1", tmp_path / "x", concurrency=1, requests=2
    )
    assert code == 1
    assert result["completed"] == 0
    assert "refused" in capsys.readouterr().out
