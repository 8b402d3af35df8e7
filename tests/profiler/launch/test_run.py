# SPDX-License-Identifier: Apache-2.0
"""The command without a server: dry runs, refusals, the question, Ctrl-C."""

import io
import json
import sys

import pytest
import yaml

from profiler.launch import run as running
from profiler.launch.server import Offer, Plan
from roofline.cli.main import main

WORDS = ("profile", "--dstack", "--model", "Qwen/Qwen3-8B", "--engine", "vllm")


class Server:
    """Offers for everything, and a list of what was asked of it."""

    url, project = "http://server", "main"

    def __init__(self, project=None):
        self.did = []

    def missing_secrets(self, names):
        return []

    def fleet_problem(self, name):
        return None

    def create_fleet(self, configuration):
        self.did.append("fleet")

    def plan(self, task, *, fleet_exists):
        assert not fleet_exists
        offer = Offer(
            backend="aws",
            instance="p5",
            region="eu",
            price_usd_per_h=3.0,
            spot=False,
            gpus="1 x H100",
            availability="available",
        )
        return Plan(offers=(offer,), total=1, highest_usd_per_h=3.0)

    def submit(self, task):
        self.did.append(task["name"])
        return task["name"]


@pytest.fixture
def server(monkeypatch):
    made = Server()
    monkeypatch.setattr(running, "DstackServer", lambda project: made)
    monkeypatch.setattr(running, "pinned", lambda image: (image, ""))
    return made


def test_a_dry_run_needs_neither_package_nor_server(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dstack", None)
    monkeypatch.setitem(sys.modules, "dstack.api", None)
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    words = ("--gpu", "H100,MI300X,L4", "--max-price", "4", "--dry-run")
    assert main([*WORDS, *words]) == 0
    out, err = capsys.readouterr()
    fleet, *tasks = yaml.safe_load_all(out)
    assert fleet["type"] == "fleet"
    assert [task["resources"]["gpu"] for task in tasks] == [
        "nvidia:H100:1",
        "amd:MI300X:1",
        "nvidia:L4:1",
    ]
    assert "not checked: a rented machine needs the dstack package" in err
    assert main([*WORDS, *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["checked"] is None
    assert [run["ceiling_usd"] for run in answer["runs"]] == [None] * 3

    assert main([*WORDS, *words[:-1]]) == 2
    assert "pip install 'roofline[dstack]'" in capsys.readouterr().err


def test_dstack_that_nobody_configured(monkeypatch, tmp_path, capsys):
    pytest.importorskip("dstack")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DSTACK_SERVER_URL", "DSTACK_TOKEN", "DSTACK_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(running, "pinned", lambda image: (image, ""))
    assert main([*WORDS, "--gpu", "H100", "--max-price", "4"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "add it with dstack project add, or set DSTACK_SERVER_URL and DSTACK_TOKEN" in line


def test_the_yaml_can_be_kept_with_what_it_carries(server, tmp_path, capsys):
    words = ("--gpu", "H100", "--max-price", "4", "--dry-run", "--save-yaml", str(tmp_path))
    assert main([*WORDS, *words]) == 0
    fleet, task = sorted(tmp_path.glob("*.dstack.yml"), key=lambda path: len(path.name))
    asked = yaml.safe_load(task.read_text())
    source, _, _ = asked["files"][0].partition(":")
    assert (tmp_path / f"{asked['name']}.zip").samefile(source)
    assert yaml.safe_load(fleet.read_text())["name"] == "roofline"
    assert server.did == []


def answer_with(monkeypatch, text):
    stdin = io.StringIO(text)
    stdin.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", stdin)


def test_it_asks_before_spending(server, monkeypatch, capsys):
    words = (*WORDS, "--gpu", "H100,L4", "--max-price", "4", "--max-duration", "30m", "--detach")
    answer_with(monkeypatch, "n\n")
    assert main(words) == 2
    err = capsys.readouterr().err
    # Two machines at 3 USD/h for half an hour.
    assert "at most 3.00 USD" in err
    assert (
        err.splitlines()[-1]
        == "Rent now, for at most 3.00 USD? [y/N] roofline: nothing was rented."
    )
    assert server.did == []
    answer_with(monkeypatch, "y\n")
    assert main(words) == 0
    assert server.did[0] == "fleet"
    assert len(server.did) == 3


def test_leaving_says_how_to_come_back(server, monkeypatch, capsys):
    def interrupted(server, names):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "follow_shown", interrupted)
    assert main([*WORDS, "--gpu", "H100", "--max-price", "4", "--yes"]) == 130
    err = capsys.readouterr().err
    assert f"roofline profile --dstack --attach {server.did[1]}" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--gpu", "H100"), "no price ceiling; give --max-price"),
        (("--max-price", "4"), "no GPU to rent; give --gpu"),
        (("--gpu", "H100", "--max-price", "0"), "must be a positive price"),
        (("--gpu", "H100", "--max-price", "4", "--max-duration", "soon"), "is no duration"),
        (("--gpu", "H100", "--max-price", "4", "--secret", "A=b c"), "never its value"),
        (("--gpu", "H100", "--max-price", "4", "--name", "Bad Name"), "--name"),
    ],
)
def test_one_line_each(server, capsys, words, says):
    assert main([*WORDS, *words]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert len(err.splitlines()) == 1
    assert out == ""
