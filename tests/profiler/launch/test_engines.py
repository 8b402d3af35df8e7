# SPDX-License-Identifier: Apache-2.0
"""The commands of each engine, against its documented options."""

from dataclasses import replace

import pytest

from profiler.importers import IMPORTERS
from profiler.launch.ask import ENGINES, Ask
from profiler.launch.engines import CASES_PER_STEP, steps_of
from profiler.launch.results import READERS
from profiler.launch.targets import target_of
from specs.errors import InvalidInputError

ASK = Ask(
    model="Qwen/Qwen3-8B", engine="vllm", batches=(1, 8), input_lens=(512,), output_lens=(129,)
)
H100, MI300X = target_of("H100"), target_of("MI300X")


def values(step, option):
    return [step.argv[i + 1] for i, word in enumerate(step.argv) if word == option]


def test_vllm_forward_measures_the_prompt_and_the_middle_of_the_decode():
    (step,) = steps_of(ASK, H100)
    # 129 tokens are generated at contexts 513 ... 641: their middle is 577 = 512 + 65.
    assert values(step, "--case") == [
        "prefill0=1*512",
        "decode0=1*1@577",
        "prefill1=8*512",
        "decode1=8*1@577",
    ]
    assert values(step, "--kv-len-jitter") == ["0"]  # its default blurs the context by half
    assert values(step, "--max-model-len") == ["641"]
    assert values(step, "--load-format") == ["dummy"]
    assert step.argv[0] == "python3"
    (two,) = steps_of(ASK, target_of("2xH100"))
    assert two.argv[:2] == ["torchrun", "--nproc-per-node=2"]
    assert values(two, "--tensor-parallel-size") == ["2"]


def test_few_points_share_a_start():
    many = replace(ASK, batches=tuple(range(1, 2 * CASES_PER_STEP + 2)))
    assert [len(step.points) for step in steps_of(many, H100)] == [CASES_PER_STEP] * 2 + [1]


def test_vllm_on_rocm_times_the_first_token_apart():
    steps = steps_of(replace(ASK, batches=(8,)), MI300X)
    assert [step.argv[:3] for step in steps] == [["vllm", "bench", "latency"]] * 2
    assert [values(step, "--output-len") for step in steps] == [["1"], ["129"]]
    assert [step.points[0]["output_tokens"] for step in steps] == [1, 129]


def test_exact_lengths_mean_0_to_vllm_and_1_to_sglang():
    served = replace(ASK, batches=(), concurrencies=(64,))
    (vllm,) = steps_of(served, H100)
    (sglang,) = steps_of(replace(served, engine="sglang"), H100)
    assert values(vllm, "--random-range-ratio") == ["0"]
    assert values(sglang, "--random-range-ratio") == ["1"]
    for step in (vllm, sglang):
        assert values(step, "--max-concurrency") == ["64"]
        assert values(step, "--num-prompts") == ["256"]
        assert step.server["ready"] == "http://127.0.0.1:{port}/health"


def test_sglang_static():
    (step,) = steps_of(replace(ASK, engine="sglang", weight_dtype="bf16"), H100)
    at = step.argv.index("--batch-size")
    assert step.argv[at + 1 : at + 3] == ["1", "8"]
    assert values(step, "--dtype") == ["bfloat16"]
    assert "sglang.bench_one_batch" in step.argv[2]  # the older place of the module


def test_transformers_runs_the_profiler_itself():
    ask = replace(ASK, engine="transformers", weight_dtype="bf16,fp32", max_minutes=10)
    (step,) = steps_of(ask, target_of("2xL4"))
    assert step.argv[:4] == ["python3", "-m", "roofline", "profile"]
    assert values(step, "--batch") == ["1,8"]
    assert values(step, "--dtype") == ["bf16,fp32"]
    assert values(step, "--num-gpus") == ["2"]
    assert values(step, "--max-minutes") == ["10"]


def test_kernels_and_tables_need_no_model():
    ask = Ask(model="", engine="transformers", kernels=True, tabular=True, max_minutes=5)
    kernels, tabular = steps_of(ask, H100)
    assert kernels.argv[3:6] == ["profile", "--kernels", "--store"]
    assert "--tabular" in tabular.argv
    assert values(kernels, "--max-minutes") == ["2.5"]
    with pytest.raises(InvalidInputError, match="need no engine"):
        replace(ASK, kernels=True)


def test_the_profiler_takes_the_command_it_is_given():
    from roofline.cli.parser import Parser
    from roofline.cli.profile import add_arguments

    ask = replace(ASK, engine="transformers", weight_dtype="bf16", weights=True, max_minutes=10)
    (step,) = steps_of(ask, H100)
    parser = Parser(prog="roofline profile")
    add_arguments(parser)
    args = parser.parse_args(step.argv[4:])
    assert args.batch == (1, 8)
    assert args.store == step.result


def test_llama_cpp():
    steps = steps_of(replace(ASK, engine="llama.cpp", batches=(1,)), target_of("cpu"))
    assert values(steps[0], "-d") == ["0,512"]
    assert values(steps[0], "-ngl") == ["0"]
    with pytest.raises(InvalidInputError, match="one sequence"):
        steps_of(replace(ASK, engine="llama.cpp"), H100)


def test_what_an_engine_cannot_do():
    for ask, says in (
        (replace(ASK, engine="tgi"), "give --concurrency"),
        (replace(ASK, engine="tgi", batches=(), concurrencies=(1,)), "add --weights"),
        (replace(ASK, engine="transformers", concurrencies=(1,)), "serves no requests"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            steps_of(ask, H100)


def test_every_result_has_a_reader():
    for engine in ENGINES:
        ask = Ask(model="m/m", engine=engine, concurrencies=(2,), weights=True)
        static = Ask(model="m/m", engine=engine, batches=(1,))
        asks = {"tgi": (ask,), "transformers": (static,)}.get(engine, (ask, static))
        for asked in asks:
            for target in (H100, MI300X):
                for step in steps_of(asked, target):
                    assert step.format in {"rows", *READERS, *IMPORTERS}
                    assert step.points
