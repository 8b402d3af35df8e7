# SPDX-License-Identifier: Apache-2.0
"""What the README promises. Its two long command lines are run by .ci/run."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.readme import SESSION, block_after, printed_now, session_now, sessions_renewed
from roofline.cli import main as face
from roofline.cli.parser import Parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("roofline ")
]
NEEDS_MORE = ("./my-model", "specs fetch", ">")


def test_sample_output_is_what_it_prints_now():
    # To renew it: python -m benchmarks.readme
    assert block_after("first-output", README) == printed_now(README)


@pytest.mark.slow
def test_sessions_show_what_they_print_now():
    assert SESSION.findall(README)
    assert sessions_renewed(README) == README


def test_a_session_is_run_again_line_by_line():
    old = "$ roofline specs gpu l4 --json\nstale\n$ roofline predict nobody --gpu l4\nstale\n"
    lines = session_now(old).splitlines()
    assert lines[0] == "$ roofline specs gpu l4 --json"
    assert lines[1] == "{"
    assert "$ roofline predict nobody --gpu l4" in lines
    assert lines[-1].startswith("roofline: nobody")
    assert "stale" not in lines


def test_commands_of_console_blocks_are_understood():
    # Blocks that are not sessions were taken on one machine: their commands still parse.
    blocks = re.findall(r"```console\n(.*?)```", README, re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) > 5
    for line in lines:
        command, *words = shlex.split(line.partition(" | ")[0], comments=True)[2:]
        module = import_module(f"roofline.cli.{face._MODULES.get(command, command)}")
        parser = Parser(prog=command)
        module.add_arguments(parser)
        parser.parse_args(words)


@pytest.mark.parametrize("line", [x for x in EXAMPLES if not any(n in x for n in NEEDS_MORE)])
def test_examples_run(capsys, line):
    assert face.main(shlex.split(line)[1:]) == 0
    done = capsys.readouterr()
    assert len(done.out) > 200
    assert done.err == ""


def test_example_with_a_path_runs(capsys, tmp_path):
    import json

    from specs.hub import get_config

    (line,) = [x for x in EXAMPLES if "./my-model" in x]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(get_config("Qwen/Qwen3-8B")[0]), encoding="utf-8")
    assert face.main(shlex.split(line.replace("./my-model/config.json", str(path)))[1:]) == 0
    assert "mi300x" in capsys.readouterr().out


def test_examples_in_python_run():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["table"]["ttft_s"].shape == (2,)
    assert names["estimate"].memory.fits


def test_opening_keeps_its_order():
    order = ["# roofline", "first-command", "first-output", "How wrong it is", "What it answers"]
    places = [README.index(part) for part in (*order, "test-command")]
    assert places == sorted(places)


def test_commands_are_one_line_each():
    for name in ("first-command", "test-command"):
        assert len(block_after(name, README).splitlines()) == 1
        assert block_after(name, README).startswith("python3 -m venv .venv && ")


def test_counts_are_true():
    from specs.catalogue import list_accelerators
    from specs.hub import list_models

    models, devices = re.search(r"([\d,]+) model configurations and ([\d,]+) acc", README).groups()
    assert len(list_models()) >= int(models.replace(",", ""))
    assert len(list_accelerators()) >= int(devices.replace(",", ""))


def test_files_it_names_exist():
    for path in ("benchmarks/scoreboard.py", "roofline/DECISIONS.md", "specs/data/sources"):
        assert path in README
        assert (ROOT / path).exists()
