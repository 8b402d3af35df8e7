# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at any moment: what was acknowledged is there, and all that is there reads."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from profiler.parts import draft_folder
from profiler.store import Store

KILLS = 100

# One interpreter imports everything once and forks a writer per line it is sent: a writer
# then starts within milliseconds, and the kill falls into its appends, not its imports.
NURSERY = """
import os, sys
from profiler.store import Store
from specs.measurement import Measurement
import pyarrow.parquet, pyarrow.compute
store = Store(sys.argv[1])
Store(sys.argv[1] + "-warm").append([Measurement(kind="llm")])
print("ready", flush=True)
for line in sys.stdin:
    run = line.strip()
    child = os.fork()
    if child:
        print("child", child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    for batch in range(1, 100_000):
        store.append([Measurement(kind="llm", run_id=run, batch_size=batch, tpot_s=0.01)])
        os.write(1, f"done {run} {batch}\\n".encode())
"""


def point(line):
    """``done RUN BATCH`` as what a row holds."""
    _, run, batch = line.split()
    return run, int(batch)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_hundred_kills_lose_no_finished_point(tmp_path):
    dice = random.Random(4)
    folder = tmp_path / "store"
    nursery = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", NURSERY, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
    )
    acknowledged = set()
    try:
        assert nursery.stdout.readline() == "ready\n"
        for number in range(KILLS):
            nursery.stdin.write(f"run-{number}\n")
            nursery.stdin.flush()
            child = int(nursery.stdout.readline().removeprefix("child "))
            for _ in range(dice.choice([0, 1, 1, 2])):
                acknowledged.add(point(nursery.stdout.readline()))
            time.sleep(dice.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            while (line := nursery.stdout.readline()) != "dead\n":
                acknowledged.add(point(line))
    finally:
        nursery.stdin.close()
        nursery.wait(timeout=20)
        nursery.stdout.close()
    problems = []
    found = [(row.run_id, row.batch_size) for row in Store(folder).read(on_problem=problems.append)]
    assert problems == []
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
    # Written and not yet acknowledged: at most the last of each writer.
    assert len(found) - len(acknowledged) <= KILLS
    # Some died while they wrote, or this shows nothing.
    assert list(draft_folder(folder).iterdir())
