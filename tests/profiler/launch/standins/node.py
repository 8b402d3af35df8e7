# SPDX-License-Identifier: Apache-2.0
"""A process in the place of a rented machine: ssh on loopback and the runner's HTTP API.

Runs a job's commands in a folder of its own, with this Python as ``python3``, a pip that
does nothing, and a stand-in for TGI. The name of a run says what shall go wrong:

    killed-...     the machine dies while the second step runs
    failing-...    the engine does not start
    doubled-...    every piece of the log arrives twice
    cut-...        the log ends while the second step runs
    torn-...       the log loses the first step's result, the first time it is printed

Usage: node.py AUTHORIZED_KEYS; prints its ssh port.
"""

import asyncio
import base64
import io
import os
import pathlib
import signal
import sys
import tarfile
import tempfile
import time

import asyncssh
from aiohttp import web

HERE = pathlib.Path(__file__).parent
ROOT = pathlib.Path(tempfile.mkdtemp(prefix="standin-"))
RUNNER_PORT = 10999
PIECE = 4096


class Job:
    """The one job of this machine."""

    def __init__(self):
        self.spec, self.archives, self.states, self.logs = None, {}, [], []
        self.process, self.last, self.pulled = None, 0, 0

    @property
    def name(self):
        return self.spec["run"]["run_spec"]["run_name"]

    def now(self):
        """Milliseconds, and never the same twice: a server asks for what is later."""
        self.last = max(time.time_ns() // 1_000_000, self.last + 1)
        return self.last

    def say(self, state, **more):
        self.states.append({"state": state, "timestamp": self.now(), **more})

    def hear(self, data):
        """Take a piece of the job's output into the log, or spoil it."""
        for _ in range(2 if self.name.startswith("doubled") else 1):
            message = base64.b64encode(data).decode()
            self.logs.append({"message": message, "timestamp": self.now()})


def unpack(archive, target):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            out = target.joinpath(*pathlib.PurePosixPath(member.name).parts[1:])
            if member.isdir():
                out.mkdir(parents=True, exist_ok=True)
            else:
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_bytes(tar.extractfile(member).read())


def tools():
    """A folder with python3 and the stand-in engine, first on the job's PATH."""
    folder = ROOT / "bin"
    folder.mkdir()
    scripts = {
        "python3": f'[ "$2" = pip ] && exit 0\nexec {sys.executable} "$@"',
        "text-generation-launcher": f'exec {sys.executable} {HERE / "tgi.py"} "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


async def work(job):
    spec = job.spec["job_spec"]
    folder = ROOT / "w"
    folder.mkdir()
    for archive in spec["file_archives"]:
        unpack(job.archives[archive["id"]], folder / archive["path"].lstrip("/"))
    env = {**os.environ, **spec["env"], "DSTACK_RUN_NAME": job.name, "HOME": str(ROOT)}
    env["PATH"] = f"{tools()}:{env['PATH']}"
    job.say("running")
    job.process = await asyncio.create_subprocess_exec(
        *spec["commands"],
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    heard = b""
    while data := await job.process.stdout.read(PIECE):
        steps, heard = heard.count(b"\n["), heard + data
        if job.name.startswith("cut") and steps >= 2:
            continue
        if job.name.startswith("torn") and steps == 1:
            continue
        job.hear(data)
        if job.name.startswith("killed") and heard.count(b"\n[") >= 2:
            os.killpg(job.process.pid, signal.SIGSTOP)
            while job.pulled < job.last:  # the server asks for what is later than it holds
                await asyncio.sleep(0.1)
            os.killpg(job.process.pid, signal.SIGKILL)
            os._exit(9)
    status = await job.process.wait()
    if status == 0:
        job.say("done", termination_reason="done_by_runner", exit_status=0)
    else:
        job.say("failed", termination_reason="container_exited_with_error", exit_status=status)


def routes(job):
    table = web.RouteTableDef()

    @table.get("/api/healthcheck")
    async def health(request):
        return web.json_response({"service": "dstack-runner", "version": "0.22.5"})

    @table.get("/api/metrics")
    async def metrics(request):
        return web.Response(status=404)

    @table.post("/api/submit")
    async def submit(request):
        job.spec = await request.json()
        return web.json_response({})

    @table.post("/api/upload_archive")
    async def upload(request):
        part = await (await request.multipart()).next()
        job.archives[part.filename] = await part.read()
        return web.json_response({})

    @table.post("/api/upload_code")
    async def code(request):
        await request.read()
        return web.json_response({})

    @table.post("/api/run")
    async def run(request):
        job.task = asyncio.create_task(work(job))
        return web.json_response({"working_dir": str(ROOT / "w"), "username": "root"})

    @table.get("/api/pull")
    async def pull(request):
        since = job.pulled = int(request.query.get("timestamp", 0))
        states = [item for item in job.states if item["timestamp"] > since]
        logs = [item for item in job.logs if item["timestamp"] > since]
        last = max([item["timestamp"] for item in states + logs], default=since)
        return web.json_response(
            {
                "job_states": states,
                "job_logs": logs,
                "runner_logs": [],
                "last_updated": last,
                "no_connections_secs": 0,
                "has_more": False,
            }
        )

    @table.post("/api/stop")
    async def stop(request):
        if job.process is not None and job.process.returncode is None:
            os.killpg(job.process.pid, signal.SIGTERM)
        return web.json_response({})

    return table


async def main(keys):
    app = web.Application(client_max_size=2**30)
    app.add_routes(routes(Job()))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]

    async def forward(reader, writer):
        """Every machine has the runner at one port; on one host each needs its own."""
        near_reader, near_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source, sink):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.write_eof()

        await asyncio.gather(
            copy(reader, near_writer), copy(near_reader, writer), return_exceptions=True
        )
        writer.close()
        near_writer.close()

    class Server(asyncssh.SSHServer):
        def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
            return forward if dest_port == RUNNER_PORT else False

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        server_factory=Server,
        authorized_client_keys=asyncssh.import_authorized_keys(keys),
        encoding=None,
    )
    print(listener.get_port(), flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # no orphans when a test is killed
        await asyncio.sleep(1)


asyncio.run(main(sys.argv[1]))
