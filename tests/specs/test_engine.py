# SPDX-License-Identifier: Apache-2.0
"""Engine profiles load, resolve their sources, and say what they must."""

from dataclasses import replace

import pytest

from specs.accelerator import APIS
from specs.engine import get_engine, list_engines
from specs.errors import SpecDataError, UnknownNameError
from specs.sources import get_source


@pytest.mark.parametrize("name", list_engines())
def test_every_profile_loads_and_names_a_source(name):
    engine = get_engine(name)
    assert engine.name == name
    assert get_source(engine.source).title


def test_the_profiles_of_the_issue_exist():
    wanted = {"ideal", "vllm", "sglang", "trtllm", "tgi", "transformers", "llama.cpp"}
    assert wanted <= set(list_engines())


def test_ideal_has_no_overhead_at_all():
    ideal = get_engine("ideal")
    for field in ("kernel_floor_s", "attention_floor_s", "host_step_s", "host_launch_s"):
        assert getattr(ideal, field) == 0.0
    assert ideal.compute_frac == ideal.memory_frac == ideal.link_frac == 1.0


@pytest.mark.parametrize(
    ("written", "name"),
    [("TensorRT-LLM", "trtllm"), ("llamacpp", "llama.cpp"), ("HF", "transformers")],
)
def test_names_as_people_write_them(written, name):
    assert get_engine(written).name == name


def test_gaps_are_of_interfaces_that_exist():
    with pytest.raises(SpecDataError, match="vulcan"):
        replace(get_engine("llama.cpp"), gap_s=(("vulcan", 1e-6),))
    assert dict(get_engine("llama.cpp").gap_s).keys() <= set(APIS)
    assert get_engine("ideal").gap_s == ()


def test_an_unknown_engine_lists_those_there_are():
    with pytest.raises(UnknownNameError, match=r"vlm.*vllm"):
        get_engine("vlm")


def test_older_releases_differ_where_they_say_and_nowhere_else():
    today, v0, eager = (get_engine("vllm", year) for year in (0, 2024, 2023))
    assert (today.until_year, v0.until_year, eager.until_year) == (0, 2024, 2023)
    assert v0.host_sequence_s > today.host_sequence_s
    assert v0.graph_decode
    assert not eager.graph_decode
    assert (v0.compute_frac, v0.kv_block_tokens) == (today.compute_frac, today.kv_block_tokens)
    assert get_engine("vllm", 2021) is eager
    assert get_engine("vllm", 2025) is get_engine("vllm", 2100) is today
    assert get_engine("sglang", 2023) is get_engine("sglang")


def test_a_build_of_another_engine_takes_what_it_does_not_state():
    build, whole = get_engine("llamafile"), get_engine("llama.cpp")
    assert (build.name, build.base) == ("llamafile", "llama.cpp")
    assert build.memory_frac == whole.memory_frac
    assert dict(get_engine("llamafile", 2025).gap_s)["cuda-graphs"] > 0.0
    assert "cuda-graphs" not in dict(build.gap_s)


def test_interfaces_that_capture_nothing_exist():
    with pytest.raises(SpecDataError, match="vulcan"):
        replace(get_engine("vllm"), eager_apis=("vulcan",))
