# SPDX-License-Identifier: Apache-2.0
"""What is written for dstack: targets, images, ceilings, secrets, YAML."""

import re
import sys
from argparse import ArgumentParser
from dataclasses import replace

import pytest
import yaml

from profiler.launch import add_launch_arguments
from profiler.launch.ask import ENGINES, Ask
from profiler.launch.options import ask_of, limits_of
from profiler.launch.targets import Target, target_of, targets_of
from profiler.launch.task import (
    Limits,
    fleet_of,
    image_of,
    seconds_of,
    secrets_of,
    task_of,
    yaml_of,
)
from specs.errors import InvalidInputError

ASK = Ask(model="Qwen/Qwen3-8B", engine="vllm", batches=(1,))
LIMITS = Limits(max_price_usd_per_h=4.0)


def task(target=None, ask=ASK, limits=LIMITS, image="some/image:1"):
    target = target or target_of("H100")
    return task_of("roofline-x", ask, target, limits, image=image, payload="/tmp/x.zip")


@pytest.mark.parametrize(
    ("word", "resource", "slug"),
    [
        ("H100", "nvidia:H100:1", "h100"),
        ("A100:80GB:2", "nvidia:A100:80GB:2", "2xa100"),
        ("2xMI300X", "amd:MI300X:2", "2xmi300x"),
        ("RTX 4090", "nvidia:RTX4090:1", "rtx4090"),
        ("tpu:v5litepod-4", "tpu:v5litepod-4", "v5litepod-4"),
        ("v6e-8", "tpu:v6e-8", "v6e-8"),
        ("cpu", 0, "cpu"),
    ],
)
def test_words_become_resources(word, resource, slug):
    target = target_of(word)
    assert target.resource == resource
    assert target.slug == slug
    assert target_of(target.word) == target  # as it comes back from a run's environment


def test_words_that_are_no_machine():
    for text, says in (
        ("", "no GPU to rent"),
        ("H100,H100", "twice"),
        ("8xH100:8", "no machine"),
        ("H100;rm", "no machine"),
        ("H9999", "H9999"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            targets_of(text)


def test_a_task_never_leaves_the_cost_to_chance():
    for engine in ENGINES:
        for word in ("H100", "MI300X", "cpu", "tpu:v5litepod-4"):
            made = task(target_of(word), replace(ASK, engine=engine))
            assert made["max_price"] == 4.0
            assert made["max_duration"] == "1h"
            assert made["idle_duration"] == "0s"
            assert made["user"] == "root"
            assert made["resources"]["cpu"].startswith("x86:")
            assert made["spot_policy"] == "auto"
            assert made["fleets"] == ["roofline"]
            assert made["files"][0].startswith("/")
    assert "retry" not in task()
    assert task(limits=replace(LIMITS, retry_for="30m"))["retry"] == {
        "on_events": ["no-capacity", "interruption"],
        "duration": "30m",
    }
    assert task(target_of("tpu:v5litepod-4"))["privileged"] is True
    assert "privileged" not in task()


def test_yaml_reads_back_as_it_was():
    for configuration in (task(), fleet_of(LIMITS)):
        assert yaml.safe_load(yaml_of(configuration)) == configuration


def test_dstack_takes_every_task_and_the_fleet():
    pytest.importorskip("dstack")
    from dstack._internal.core.models.configurations import parse_apply_configuration

    for engine in ENGINES:
        for word in ("H100", "2xMI300X", "cpu", "tpu:v5litepod-4"):
            limits = replace(LIMITS, retry_for="1h", regions=("eu",), secrets={"HF_TOKEN": "hf"})
            made = task(target_of(word), replace(ASK, engine=engine), limits)
            parsed = parse_apply_configuration(yaml.safe_load(yaml_of(made)))
            assert parsed.max_price == 4.0
            assert parsed.max_duration == 3600
            assert parsed.idle_duration == 0
    fleet = parse_apply_configuration(yaml.safe_load(yaml_of(fleet_of(LIMITS))))
    assert fleet.spot_policy.value == "auto"
    assert (fleet.nodes.min, fleet.nodes.max) == (0, None)


def test_secrets_travel_by_name_alone():
    limits = replace(LIMITS, secrets=secrets_of(["HF_TOKEN", "KEY=my-key"]))
    env = task(limits=limits)["env"]
    assert env["HF_TOKEN"] == "${{ secrets.hf_token }}"
    assert env["KEY"] == "${{ secrets.my-key }}"
    token = "hf_" + "A1b2" * 8
    for word in (f"HF_TOKEN={token}", "HF TOKEN=x", "=x", "A=b c"):
        with pytest.raises(InvalidInputError, match="never its value") as caught:
            secrets_of([word])
        assert token not in str(caught.value)


def test_images_by_engine_and_vendor():
    assert image_of(ASK, target_of("L4")) == "vllm/vllm-openai:latest"
    assert "rocm" in image_of(ASK, target_of("MI300X"))
    assert "cpu" in image_of(ASK, target_of("cpu"))
    assert "tpu" in image_of(ASK, target_of("tpu:v5litepod-4"))
    assert image_of(ASK, target_of("L4"), "my/own:2") == "my/own:2"
    with pytest.raises(InvalidInputError, match="give --image"):
        image_of(replace(ASK, engine="tgi"), target_of("tpu:v5litepod-4"))
    with pytest.raises(InvalidInputError, match="no image name"):
        image_of(ASK, target_of("L4"), "x; rm -rf /")


def test_durations():
    assert [seconds_of(text) for text in ("90s", "30m", "2h", "1d")] == [90, 1800, 7200, 86400]
    for text in ("", "2", "h", "0m", "-1h", "1.5h", "off"):
        with pytest.raises(InvalidInputError, match="no duration"):
            seconds_of(text)


def test_a_ceiling_that_is_none():
    for price in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="--max-price"):
            Limits(max_price_usd_per_h=price)


def arguments(*words):
    parser = ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--batch")
    add_launch_arguments(parser)
    return parser.parse_args(words)


def test_options_become_nouns():
    args = arguments("--model", "gpt2", "--batch", "1,8", "--gpu", "cpu", "--max-price", "$0.5")
    assert ask_of(args).batches == (1, 8)
    assert ask_of(args).engine == "transformers"
    limits = limits_of(args)
    assert (limits.max_price_usd_per_h, limits.disk_gb) == (0.5, 20)
    with pytest.raises(InvalidInputError, match="give --max-price"):
        limits_of(arguments("--gpu", "L4"))
    for words, says in (
        ((), "give --model"),
        (("--model", "./here"), "cannot see local files"),
        (("--model", "gpt2", "--engine", "ideal"), "it can be transformers"),
        (("--model", "gpt2", "--batch", "some"), "no list of whole numbers"),
        (("--model", "gpt2", "--batch", "0"), "must be positive"),
    ):
        with pytest.raises(InvalidInputError, match=re.escape(says)):
            ask_of(arguments(*words))


def test_an_ask_survives_the_journey():
    ask = replace(ASK, concurrencies=(4,), weight_dtype="fp8", weights=True)
    assert Ask.from_json(ask.to_json()) == ask
    for text in ("", "{}", "[]", '{"model": 1}'):
        with pytest.raises(InvalidInputError, match="ROOFLINE_ASK"):
            Ask.from_json(text)


def test_a_target_without_a_list_of_dstack_uses_the_catalogue(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    assert target_of("A100:80GB:2").resource == "nvidia:A100:80GB:2"
    assert target_of("MI300X") == Target(name="MI300X", vendor="amd")
    assert target_of("NVIDIA L4").resource == "nvidia:L4:1"
    with pytest.raises(InvalidInputError, match="no vendor is known"):
        target_of("Frobnicator9000")
