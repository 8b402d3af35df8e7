# SPDX-License-Identifier: Apache-2.0
"""Errors of a correction on measurements, also of devices that no catalogue has."""

import json

import pandas as pd
import pytest

from calibration.correct import ARTIFACT, from_dict
from calibration.scored import scored
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.errors import InvalidInputError

ROW = {
    "model": "gpt2", "gpu": "l4", "engine": "vllm", "mode": "static", "weight_dtype": "fp16",
    "batch_size": 1.0, "input_tokens": 128.0, "output_tokens": 32.0, "tpot_s": 0.01,
}  # fmt: skip


def test_rows_of_a_device_without_a_name_are_judged_by_the_nouns_given():
    correction = from_dict(json.loads(ARTIFACT.read_text(encoding="utf-8")))
    named = scored(pd.DataFrame([ROW]), correction)
    assert [row["metric"] for row in named["errors"] if row["by"] == "all"] == ["tpot_s"]
    mine = pd.DataFrame([{**ROW, "gpu": "my-board"}])
    nouns = {"gpu": [get_accelerator("l4")], "engine": [get_engine("vllm")]}
    placed = scored(mine, correction, place=lambda scenarios: scenarios.assign(**nouns))
    assert placed == named
    with pytest.raises(InvalidInputError, match="my-board"):
        scored(mine, correction)
