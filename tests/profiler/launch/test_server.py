# SPDX-License-Identifier: Apache-2.0
"""Against a real dstack server on loopback; machines and engine are stand-ins."""

import json
import signal

import pytest

from profiler.store import Store
from roofline.cli.main import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DIGEST = "sha256:" + "5" * 64
COMMON = [
    *("profile", "--dstack", "--engine", "tgi", "--model", "gpt2", "--weights", "--json"),
    *("--concurrency", "1,2", "--input-len", "16", "--output-len", "4"),
    *("--image", f"registry.invalid/standin@{DIGEST}", "--max-duration", "30m"),
]


LONGEST_S = 240


@pytest.fixture(autouse=True)
def limit():
    """A run that never ends fails the test instead of holding it up."""

    def over(number, frame):
        raise TimeoutError(f"not done after {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(capsys, *words):
    """Exit code, answer and notes of a command."""
    code = main([*COMMON, *words])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_plans(project, capsys):
    dry = ("--dry-run", "--max-price")
    code, answer, notes = run(capsys, "--gpu", "H100,MI300X,L4,cpu", *dry, "4", "--disk", "20")
    assert code == 0
    assert answer["checked"] == project
    assert "nothing was rented" in notes
    offers = {planned["gpu"]: planned["offers"] for planned in answer["runs"]}
    assert {
        gpu: sorted(offer["price_usd_per_h"] for offer in of) for gpu, of in offers.items()
    } == {
        "H100:1": [1.5, 2.0],
        "MI300X:1": [3.0],
        "L4:1": [0.5],
        "cpu": [0.1],
    }
    # Half an hour at the dearest offer within the ceiling.
    ceilings = {planned["gpu"]: planned["ceiling_usd"] for planned in answer["runs"]}
    assert ceilings["H100:1"] == pytest.approx(1.0)
    assert ceilings["MI300X:1"] == pytest.approx(1.5)

    code, answer, notes = run(capsys, "--gpu", "H100,L4", *dry, "1.6")
    assert [offer["price_usd_per_h"] for offer in answer["runs"][0]["offers"]] == [1.5]
    code, answer, notes = run(capsys, "--gpu", "H100", *dry, "4", "--spot", "on-demand")
    assert [offer["price_usd_per_h"] for offer in answer["runs"][0]["offers"]] == [2.0]

    code, answer, notes = run(capsys, "--gpu", "H100,L4", *dry, "1")
    assert code == 0
    assert "no offer for H100:1 at 1 USD/h or less; it is left out" in notes
    code, answer, notes = run(capsys, "--gpu", "H100", *dry, "1")
    assert code == 2
    assert "no offer for H100:1 at 1 USD/h or less" in notes.splitlines()[-1]
    code, answer, notes = run(capsys, "--gpu", "tpu:v5litepod-4", *dry, "9")
    assert code == 2
    assert "no offer for v5litepod-4" in notes


def test_refusals(project, capsys, monkeypatch):
    def last_line(*words):
        code, _, notes = run(capsys, "--gpu", "L4", "--max-price", "1", *words)
        assert code == 2
        return notes.splitlines()[-1]

    assert "no secret hf_token in project main" in last_line("--secret", "HF_TOKEN", "--dry-run")
    assert "nobody is there to confirm" in last_line()  # and nothing is submitted
    assert "no project 'other'" in last_line("--project", "other")
    assert "cannot find the run absent in project main" in last_line("--attach", "absent")
    monkeypatch.setenv("DSTACK_TOKEN", "wrong")
    assert f"{project} refuses the token" in last_line()
    monkeypatch.setenv("DSTACK_SERVER_URL", "http://127.0.0.1:1")
    assert "no dstack server answers at http://127.0.0.1:1" in last_line()
    code, answer, notes = run(capsys, "--gpu", "L4", "--max-price", "1", "--dry-run")
    assert code == 0
    assert answer["checked"] is None
    assert "not checked" in notes


def test_runs(project, capsys, monkeypatch, tmp_path):
    """Six runs at once that go well or wrong in their own ways, and one fan-out."""
    monkeypatch.setattr("profiler.launch.follow.POLL_S", 1.0)
    spend = ("--max-price", "2", "--yes")
    names = {}
    for way in ("failing", "killed", "killed-spot", "doubled", "cut", "torn"):
        machine = ("--gpu", "H100", "--spot", "spot") if way == "killed-spot" else ("--gpu", "L4")
        code, answer, notes = run(capsys, *machine, *spend, "--detach", "--name", way)
        assert code == 0, notes
        names[way] = answer["runs"][0]
        assert f"--attach {names[way]}" in notes

    # A fan-out: two machines measure, the third cannot be had and costs them nothing.
    code, answer, notes = run(capsys, "--gpu", "L4,H100,MI300X", *spend, "--name", "plain")
    assert code == 2
    assert "1 of 3 runs gave nothing: no offer for MI300X:1" in notes.splitlines()[-1]
    assert [(r["status"], r["measured"], r["complete"]) for r in answer["runs"]] == [
        ("done", 2, True),
        ("done", 2, True),
    ]
    rows = [row for row in Store().read() if row.run_id.startswith("plain")]
    assert len(rows) == 4
    on_l4 = next(row for row in rows if row.instance == "standin-l4" and row.concurrency == 2)
    assert (on_l4.region, on_l4.price_usd_per_h) == ("XX-2", 0.5)
    assert (on_l4.image_digest, on_l4.gpu, on_l4.engine) == (DIGEST, "l4", "tgi")
    assert (on_l4.input_tokens, on_l4.output_tokens, on_l4.mode) == (16, 4, "serving")
    assert on_l4.quality == "ok"
    # The stand-in sleeps 20 ms before the first token and 5 ms between tokens; a busy
    # machine may take long to wake it, though not a hundred times as long.
    assert 0.020 <= on_l4.ttft_s < 2.0
    assert 0.005 <= on_l4.tpot_s < 0.5
    assert {row.instance for row in rows} == {"standin-l4", "standin-h100"}

    code, answer, notes = run(capsys, "--attach", ",".join(names.values()), "--max-price", "2")
    assert code == 2  # one of them measured nothing
    ends = {way: next(r for r in answer["runs"] if r["run"] == name) for way, name in names.items()}
    kept = {
        way: [row for row in Store().read() if row.run_id == name] for way, name in names.items()
    }
    assert {way: end["status"] for way, end in ends.items()} == {
        "failing": "failed",
        "killed": "failed",
        "killed-spot": "failed",
        "doubled": "done",
        "cut": "done",
        "torn": "done",
    }
    assert "1 of 6 runs gave nothing" in notes.splitlines()[-1]
    assert [(row.quality, row.reason) for row in kept["failing"]] == [
        ("failed", "server: out of memory")
    ] * 2
    assert not any(row.figures for row in kept["failing"])
    assert [row.quality for row in kept["killed"]] == ["partial"]
    assert "the machine stopped answering" in kept["killed"][0].reason
    assert kept["killed"][0].ttft_s >= 0.020
    assert "the spot machine was taken back" in kept["killed-spot"][0].reason
    assert kept["killed-spot"][0].price_usd_per_h == 1.5
    assert [row.quality for row in kept["doubled"]] == ["ok", "ok"]
    assert [(row.quality, row.reason) for row in kept["cut"]] == [("partial", "log incomplete")]
    assert [row.quality for row in kept["torn"]] == ["ok", "ok"]  # printed twice, lost once

    # Coming back again adds nothing.
    before = len(Store().read())
    code, answer, notes = run(capsys, "--attach", names["torn"], "--max-price", "2")
    assert (code, answer["runs"][0]["new"], len(Store().read())) == (0, 0, before)
