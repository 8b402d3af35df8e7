# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from profiler.importers import Facts, MissingFactsError
from profiler.importers.draft import Draft
from profiler.importers.facts import FLAGS, finish
from specs.errors import InvalidInputError
from specs.measurement import COLUMNS

COMMON = {"run_id": "r", "tool": "t", "source": "imported", "source_ref": "f"}


def draft(**columns):
    made = Draft(needs=("gpu", "model"))
    made.put(**columns)
    made.figure("e2e_s", 2.0, "s", "a time")
    return made


def test_the_file_states_and_the_caller_fills_up():
    facts = Facts(gpu="RTX 4090", tp=2, pp=2, source="me", license="CC-BY-4.0", source_ref="url")
    row = finish(draft(model="gpt2", dp=3), facts, COMMON)
    assert (row.gpu, row.gpu_raw) == ("rtx-4090", "RTX 4090")
    assert row.num_gpus == 12  # 2 * 2 * 3
    assert (row.source, row.license, row.source_ref) == ("me", "CC-BY-4.0", "url")
    assert json.loads(row.environment)["definitions"] == {"e2e_s": "a time"}


def test_a_stated_number_of_devices_is_not_worked_out():
    row = finish(draft(model="gpt2", gpu_raw="L4", num_gpus=8, tp=8, dp=8), Facts(), COMMON)
    assert row.num_gpus == 8


def test_the_files_name_of_a_device_is_kept():
    row = finish(draft(model="x/y", gpu_raw="NVIDIA H100 80GB HBM3"), Facts(), COMMON)
    assert (row.gpu, row.gpu_raw) == ("h100-sxm5-80gb", "NVIDIA H100 80GB HBM3")
    assert row.model == "x/y"  # unknown models stay as given
    named = finish(draft(model="x/y", gpu_raw="Board 7"), Facts(gpu="L4"), COMMON)
    assert (named.gpu, named.gpu_raw) == ("l4", "Board 7")


def test_missing_facts_are_listed_together():
    with pytest.raises(MissingFactsError) as caught:
        finish(draft(gpu_raw="Board 7"), Facts(), COMMON)
    assert caught.value.missing == ("--gpu (the file says 'Board 7')", "--model")


def test_one_of_several_facts_is_enough():
    made = draft(model="gpt2", gpu_raw="L4")
    made.needs = ("concurrency|request_rate",)
    assert finish(made, Facts(request_rate=2.0), COMMON).request_rate == 2
    with pytest.raises(MissingFactsError, match="--concurrency or --request-rate"):
        finish(made, Facts(), COMMON)


def test_contradictions_are_listed_together():
    made = draft(model="gpt2", gpu_raw="L4", tp=8, engine="vllm", weight_dtype="bfloat16")
    facts = Facts(tp=1, engine="sglang", weight_dtype="fp8")
    with pytest.raises(InvalidInputError) as caught:
        finish(made, facts, COMMON)
    for option in ("--tp 1", "--engine sglang", "--weight-dtype fp8"):
        assert option in str(caught.value)


def test_agreement_in_other_words_is_no_contradiction():
    made = draft(model="gpt2", gpu_raw="L4", engine="TensorRT-LLM", weight_dtype="float16")
    row = finish(made, Facts(engine="trtllm", weight_dtype="half", gpu="NVIDIA L4"), COMMON)
    assert (row.engine, row.weight_dtype) == ("trtllm", "fp16")


def test_lengths_may_differ_by_special_tokens():
    made = draft(model="gpt2", gpu_raw="L4", input_tokens=513.0)
    assert finish(made, Facts(input_tokens=512), COMMON).input_tokens == 513  # as counted
    with pytest.raises(InvalidInputError, match="--input-len 256"):
        finish(made, Facts(input_tokens=256), COMMON)


def test_every_fact_has_an_option_and_a_column():
    assert set(FLAGS) <= set(COLUMNS)
    for name in set(FLAGS) - {"measured_at"}:
        assert name in Facts.__slots__
