# SPDX-License-Identifier: Apache-2.0
"""The correction that ships: small, read with numpy alone, and honest about its standing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from calibration.correct import ARTIFACT, SCHEMA, load, shipped
from roofline.predict import predict
from roofline.residual import QUANTITIES
from specs.catalogue import get_accelerator
from specs.engine import get_engine
from specs.errors import SpecDataError

ROOT = Path(__file__).parents[2]
MODEL = "meta-llama/Llama-3.1-8B"


def test_it_is_a_small_file_of_plain_json():
    assert ARTIFACT.stat().st_size < 1_000_000
    raw = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    assert raw["schema"] == SCHEMA
    assert {"ttft", "tpot"} <= set(raw["targets"])
    assert {"data_sha256", "rows_fitted", "errors", "coverage"} <= set(raw["meta"])
    for ends in raw["intervals"].values():
        for group in ends.values():
            assert all(low < 0.0 < high for low, high in group.values())


def test_reading_it_needs_numpy_alone():
    code = (
        "import sys\n"
        "for name in ('pandas', 'sklearn', 'scipy', 'torch', 'transformers', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "from roofline.predict import predict\n"
        "from calibration.correct import shipped\n"
        f"e = predict({MODEL!r}, 'h100-sxm5-80gb', engine='vllm', correction=shipped())\n"
        "print(e.interval.standing, e.tpot_s / e.interval.analytic['tpot_s'])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    standing, ratio = done.stdout.rsplit(maxsplit=1)
    assert standing == "measured here"
    assert float(ratio) != 1.0


@pytest.mark.parametrize(
    ("card", "engine", "wanted"),
    [
        ("h100-sxm5-80gb", "vllm", "measured here"),
        ("rtx-4090", "llama.cpp", "measured here"),
        ("h100-pcie-80gb", "vllm", "interpolated"),
        ("tpu-v5e", "vllm", "extrapolated"),
        ("gtx-1080-ti", "vllm", "extrapolated"),
    ],
)
def test_standing_says_how_near_the_data_are(card, engine, wanted):
    found = predict(MODEL, card, engine=engine, correction=shipped())
    assert found.interval.standing == wanted
    assert set(found.interval.low) == set(QUANTITIES)
    words = "this one among them" if wanted == "measured here" else "this one not"
    assert words in found.basis.correction
    assert f"residual of {engine} from" in found.basis.correction


def test_basis_counts_the_rows_and_devices_behind_an_engine():
    raw = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    rows = raw["meta"]["rows_by_engine"]["vllm"]
    devices = len(raw["targets"]["tpot"]["seen"]["vllm"])
    text = shipped().basis(get_accelerator("l4"), get_engine("vllm"))
    assert text.startswith(
        f"residual of vllm from {rows:,} rows on {devices} devices, this one not"
    )
    ideal = shipped().basis(get_accelerator("l4"), get_engine("ideal"))
    assert ideal == "none: ideal is not corrected"


@pytest.mark.parametrize(
    "text",
    ["not json", "[1, 2]", '{"schema": 99, "targets": {}}', '{"schema": 1}', '"words"', ""],
)
def test_a_foreign_file_is_refused_on_one_line(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecDataError, match=r"other\.json .*roofline calibrate fit") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecDataError, match=r"nowhere\.json cannot be read"):
        load(tmp_path / "nowhere.json")
