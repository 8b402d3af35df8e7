# SPDX-License-Identifier: Apache-2.0
"""Answers like TGI's server, as fast as it is told: 20 ms to the first token, 5 ms between.

Tokens are words. A run named failing-... finds it out of memory.
"""

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TTFT_S, TPOT_S = 0.02, 0.005


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def _head(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def do_GET(self):
        self._head("text/plain")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._head("application/json")
            tokens, at = [], 0
            for number, word in enumerate(asked["inputs"].split(" ")):
                tokens.append({"id": number, "text": word, "start": at, "stop": at + len(word)})
                at += len(word) + 1
            self.wfile.write(json.dumps(tokens).encode())
            return
        self._head("text/event-stream")
        count = asked["parameters"]["max_new_tokens"]
        time.sleep(TTFT_S)
        for number in range(count):
            event = {"token": {"id": number, "text": "x"}}
            if number == count - 1:
                length = len(asked["inputs"].split(" "))
                event["details"] = {"generated_tokens": count, "input_length": length}
            self.wfile.write(f"data:{json.dumps(event)}\n\n".encode())
            time.sleep(TPOT_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_known_args()[0].port
    if os.environ.get("DSTACK_RUN_NAME", "").startswith("failing"):
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
