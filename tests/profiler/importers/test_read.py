# SPDX-License-Identifier: Apache-2.0
"""Which importer reads a file, and what becomes of files that nobody can read."""

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.importers import IMPORTERS, Facts, detect, read_results
from profiler.parts import table_of
from specs.errors import InvalidInputError, RooflineError

HERE = Path(__file__).parent


def example(module, name):
    return runpy.run_path(str(HERE / f"test_{module}.py"))[name]


REAL = json.loads((HERE / "data" / "optimum_benchmark.json").read_text())
PHASES = {name: REAL["report"][name] for name in ("prefill", "decode", "generate")}
EXAMPLES = {
    "sglang-one-batch": example("sglang", "ONE_BATCH"),
    "sglang-serving": example("sglang", "SERVING"),
    "vllm-serve": example("vllm", "SERVE"),
    "vllm-latency": example("vllm", "LATENCY"),
    "vllm-throughput": {
        "elapsed_time": 2.0,
        "num_requests": 4,
        "total_num_tokens": 80,
        "tokens_per_second": 40.0,
    },
    "vllm-forward": [example("vllm", "case")("dec", [1], [64], 100.0)],
    "optimum-benchmark": {"config": REAL["config"], "report": PHASES},
    "llama-bench": [example("llama_bench", "GPU_TEST")],
    "llm-d": {
        **example("llmd", "REPORT"),
        "scenario": {"stack": [], "load": {"standardized": {"tool": "guidellm"}}},
    },
    "aiperf": example("aiperf", "EXPORT"),
    "genai-perf": example("genai_perf", "EXPORT"),
    "guidellm": example("guidellm", "REPORT"),
    "trtllm-bench": example("trtllm", "REPORT"),
    "inferencex": example("inferencex", "SINGLE"),
}
EVERYTHING = Facts(
    gpu="L4",
    model="gpt2",
    engine_version="1.0",
    weight_dtype="bf16",
    tp=1,
    input_tokens=64,
    output_tokens=16,
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_is_recognised_by_its_fields_alone(write, name):
    assert detect(write(EXAMPLES[name], "misleading-llama-bench.csv")) == name


def test_every_importer_of_a_tool_has_an_example():
    others = {"sglang-one-batch-server", "sglang-offline", "dstack-log", "table"}
    assert set(EXAMPLES) == set(IMPORTERS) - others


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("{", "damaged JSON"),
        ('{"a": 1', "damaged JSON"),
        ('{"a": 1}\n{"b"', "line 2 of 2"),
        ("[]", "JSON without an object"),
        ("[1, 2]", "JSON without an object"),
        ('{"foo": 1, "bar": 2}', r"no known tool \(it has foo, bar\)"),
        ("hello world", "without 'Time taken"),
        ("[" * 100_000, "nested too deeply|damaged"),
        ('{"a": ' + "9" * 5000 + "}", "damaged JSON|no known tool"),
    ],
)
def test_foreign_and_damaged_files_are_told_in_one_line(write, content, why):
    with pytest.raises(InvalidInputError, match=why) as caught:
        detect(write(content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_what_is_no_file_is_told(tmp_path):
    with pytest.raises(InvalidInputError, match="no such file"):
        detect(tmp_path / "absent.json")
    with pytest.raises(InvalidInputError, match="a folder"):
        detect(tmp_path)
    binary = tmp_path / "x"
    binary.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InvalidInputError, match="neither text nor Parquet"):
        detect(binary)
    binary.write_bytes(b"PAR1cut off")
    with pytest.raises(InvalidInputError, match="damaged Parquet"):
        detect(binary)


def test_an_importer_can_be_named_and_must_fit(write):
    path = write(EXAMPLES["vllm-serve"])
    with pytest.raises(InvalidInputError, match="no guidellm file"):
        read_results(path, importer="guidellm")
    with pytest.raises(InvalidInputError, match="no importer is called 'vlm'"):
        read_results(path, importer="vlm")


def test_the_same_bytes_have_the_same_run(write):
    one = read_results(write(EXAMPLES["trtllm-bench"], "a.json")).rows[0]
    two = read_results(write(EXAMPLES["trtllm-bench"], "b.json")).rows[0]
    assert one.run_id == two.run_id
    assert one.point_id == two.point_id


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"gpu": "quux9000"}, "quux9000"),
        ({"weight_dtype": "fp99"}, "fp99"),
        ({"tp": -1}, "tp is -1"),
        ({"tp": 1.5}, "whole number"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"input_tokens": float("nan")}, "input_tokens"),
        ({"measured_at": "yesterday"}, "measured_at"),
    ],
)
def test_facts_that_cannot_be_are_refused_at_once(facts, why):
    with pytest.raises(RooflineError, match=why):
        Facts(**facts)


def test_halves_of_characters_do_not_reach_the_store(write, hardware):
    bad = {**EXAMPLES["vllm-serve"], "model_id": "x\ud800", "p1\ud800_ttft_ms": 1.0}
    found = read_results(write(bad), Facts(**hardware))
    assert found.rows[0].model == "x?"
    table_of(found.rows)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["inf", "NaN", "1e999", "auto", "none", "20250914-021127", "ms", "MJ"])
    | st.sampled_from([-1, 0, 1, 2**62, 10**400, 1e308, 5e-324])
)
KEYS = st.text(max_size=6) | st.sampled_from(["unit", "avg", "mean", "successful", "gpus"])
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def leaves_of(value, path=()):
    """Paths of everything inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from leaves_of(item, (*path, key))


def replaced(value, path, new):
    copied = json.loads(json.dumps(value))
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copied


def read_any(content, folder):
    """Read whatever it is; anything but an error of ours is a bug. Rows can be kept."""
    path = folder / "fuzz.json"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    try:
        found = read_results(path, EVERYTHING)
    except RooflineError:
        return
    if found.rows:
        table_of(found.rows)


FUZZ = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(value=ANY)
def test_any_json_raises_nothing_but_our_errors(tmp_path, value):
    read_any(json.dumps(value), tmp_path)


@FUZZ
@given(text=st.text(max_size=200))
def test_any_text_raises_nothing_but_our_errors(tmp_path, text):
    read_any(text, tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
@FUZZ
@given(data=st.data())
def test_a_known_file_with_anything_in_it_raises_nothing_else(tmp_path, name, data):
    example = EXAMPLES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(leaves_of(example))))
        example = replaced(example, path, data.draw(ANY))
        if not isinstance(example, (dict, list)) or not list(leaves_of(example)):
            break
    read_any(json.dumps(example), tmp_path)
