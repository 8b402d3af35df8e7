# SPDX-License-Identifier: Apache-2.0
"""Rows of devices that no catalogue has, tuned by nouns that the caller gives."""

import json

import pandas as pd
import pytest

from calibration.correct import ARTIFACT
from calibration.tune import tune
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.errors import InvalidInputError

ROW = {
    "model": "gpt2", "gpu": "l4", "engine": "vllm", "mode": "static", "weight_dtype": "fp16",
    "batch_size": 1.0, "input_tokens": 128.0, "output_tokens": 32.0, "tpot_s": 0.01,
}  # fmt: skip


def test_nouns_in_place_of_a_name_learn_what_the_name_does():
    artifact = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    named = tune(artifact, pd.DataFrame([ROW]))
    assert any("l4|vllm" in block["levels"] for block in named["own"]["tpot"])
    mine = pd.DataFrame([{**ROW, "gpu": "my-board"}])
    nouns = {"gpu": [get_accelerator("l4")], "engine": [get_engine("vllm")]}
    placed = tune(artifact, mine, place=lambda scenarios: scenarios.assign(**nouns))
    assert placed["own"] == named["own"]
    assert [row["gpu"] for row in placed["own_rows"]] == ["my-board"]
    with pytest.raises(InvalidInputError, match="my-board"):
        tune(artifact, mine)
