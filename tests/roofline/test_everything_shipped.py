# SPDX-License-Identifier: Apache-2.0
"""Every shipped model and device gives an answer that JSON can hold."""

import json
import math

import numpy as np
import pytest

import roofline
from roofline.report.estimate import estimate_text
from specs.catalogue import list_accelerators
from specs.hub import list_models


def numbers_in(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, float | int):
        yield value


def assert_sound(estimate):
    answer = estimate.to_dict()
    json.dumps(answer, allow_nan=False)
    assert all(math.isfinite(number) and number >= 0 for number in numbers_in(answer))
    assert 0 < estimate.floor.ttft_s <= estimate.ttft_s
    assert estimate.floor.tpot_s <= estimate.tpot_s
    memory = estimate.memory
    parts = memory.weights_bytes + memory.kv_bytes + memory.activation_bytes + memory.runtime_bytes
    assert memory.total_bytes == pytest.approx(parts)
    assert 0 < estimate.power_w.mean <= estimate.power_limit_w
    assert estimate.check_command
    assert estimate_text(estimate)


@pytest.mark.slow
def test_every_model():
    failed = {}
    for row in list_models():
        try:
            assert_sound(roofline.predict(row.name, "H200 SXM", input_len=200, output_len=20))
        except Exception as error:
            failed[row.name] = error
    assert not failed


@pytest.mark.slow
def test_every_accelerator():
    failed = {}
    for row in list_accelerators():
        try:
            assert_sound(roofline.predict("gpt2", row.name, input_len=200, output_len=20))
        except Exception as error:
            failed[row.name] = error
    assert not failed


@pytest.mark.slow
def test_every_accelerator_in_one_table():
    names = [row.name for row in list_accelerators()]
    table = roofline.predict_table({"model": "gpt2", "gpu": names}, errors="column")
    assert not [message for message in table["error"] if message]
    assert np.isfinite(table["ttft_s"]).all()
    assert (table["floor_tpot_s"] <= table["tpot_s"]).all()
