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
