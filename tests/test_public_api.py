# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import subprocess
import sys

import pytest

import roofline

NAMES = {
    "Accelerator",
    "Engine",
    "Estimate",
    "Model",
    "RooflineError",
    "get_engine",
    "predict",
    "predict_table",
}


def loaded_after(statement):
    watch = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_public_names_are_frozen():
    assert set(roofline.__all__) == NAMES
    assert all(hasattr(roofline, name) for name in NAMES)


def test_import_is_light_and_looks_down_only():
    loaded = loaded_after("import roofline")
    tops = {name.partition(".")[0] for name in loaded}
    heavy = {"torch", "transformers", "pandas", "sklearn", "scipy", "pyarrow", "requests", "bs4"}
    assert not tops & (heavy | {"huggingface_hub", "rich", "calibration", "profiler"})
    above = ("roofline.cli", "roofline.report", "roofline.explain", "roofline.facts")
    assert not [name for name in loaded if name.startswith(above)]


@pytest.mark.parametrize(
    "package", ["specs", "calibration", "profiler", "roofline.explain", "calibration.correct"]
)
def test_every_package_imports_first(package):
    # A cycle shows only in the order of imports that triggers it.
    loaded_after(f"import {package}; import roofline; roofline.predict")


def test_specs_know_nothing_of_the_predictor():
    loaded = loaded_after("import specs.hub, specs.catalogue, specs.engine, specs.node")
    assert not [name for name in loaded if name.partition(".")[0] == "roofline"]
    assert "numpy" not in loaded


def test_predict_returns_a_frozen_estimate():
    estimate = roofline.predict("gpt2", "L4", input_len=64, output_len=8)
    assert isinstance(estimate, roofline.Estimate)
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate.ttft_s = 0.0


def test_nouns_are_taken_as_they_are():
    by_name = roofline.predict("gpt2", "L4", engine="sglang")
    from specs.catalogue import get_accelerator
    from specs.hub import get_model

    nouns = (get_model("gpt2"), get_accelerator("L4"))
    assert roofline.predict(*nouns, engine=roofline.get_engine("sglang")) == by_name


def test_errors_of_the_library_share_one_base():
    for call in (
        lambda: roofline.predict("gpt2", "no such card"),
        lambda: roofline.predict("gpt2", "L4", engine="no such engine"),
        lambda: roofline.predict("gpt2", "L4", batch=0),
        lambda: roofline.predict_table({"model": "gpt2"}),
    ):
        with pytest.raises(roofline.RooflineError):
            call()
