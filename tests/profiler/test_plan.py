# SPDX-License-Identifier: Apache-2.0
"""Plans: every combination once, known and named before anything is built."""

import pytest

from profiler.plan import Grid, plan
from profiler.run_target import Target
from specs.errors import InvalidInputError, RooflineError

CPU = Target(kind="cpu", devices=("cpu",), name="a processor", threads=2)
GPU = Target(kind="cuda", devices=("cuda:0",), name="a GPU", threads=2)
DEVICE = {"gpu_raw": "a processor", "num_gpus": 1}

GRID = Grid(
    models=("gpt2", "Qwen/Qwen3-0.6B"),
    batches=(1, 8),
    input_lens=(128, 512),
    output_lens=(32,),
    dtypes=("fp32", "bf16"),
)


def test_every_combination_is_one_point():
    points = plan(GRID, CPU, DEVICE)
    assert len(points) == 2 * 2 * 2 * 2
    assert len({point.point_id for point in points}) == len(points)
    asked = {
        (p.columns["model"], p.columns["weight_dtype"], p.columns["batch_size"]) for p in points
    }
    assert ("openai-community/gpt2", "bf16", 8) in asked


def test_points_of_one_model_stand_together_and_cheap_ones_first():
    keys = [(p.columns["model"], p.columns["weight_dtype"]) for p in plan(GRID, CPU, DEVICE)]
    assert len([k for k, before in zip(keys, [None, *keys], strict=False) if k != before]) == 4
    sizes = [p.columns["input_tokens"] * p.columns["batch_size"] for p in plan(GRID, CPU, DEVICE)]
    assert sizes[:4] == [128, 1024, 512, 4096]


def test_the_same_question_has_the_same_id_and_another_another():
    first, again = plan(GRID, CPU, DEVICE), plan(GRID, CPU, DEVICE)
    assert [p.point_id for p in first] == [p.point_id for p in again]
    threads = Target(kind="cpu", devices=("cpu",), name="a processor", threads=1)
    ids = {p.point_id for p in first}
    assert ids.isdisjoint(p.point_id for p in plan(GRID, threads, DEVICE))
    other = {**DEVICE, "gpu_raw": "another"}
    assert ids.isdisjoint(p.point_id for p in plan(GRID, CPU, other))


def test_a_model_named_twice_is_measured_once():
    twice = Grid(models=("gpt2", "openai-community/gpt2"))
    assert len(plan(twice, CPU, DEVICE)) == 1


def test_the_default_dtype_is_that_of_the_device():
    model = Grid(models=("gpt2",))
    assert plan(model, CPU, DEVICE)[0].columns["weight_dtype"] == "fp32"
    assert plan(model, GPU, DEVICE)[0].columns["weight_dtype"] == "bf16"


def test_kernels_are_planned_for_one_device():
    points = plan(Grid(kernels=True, dtypes=("fp32",)), CPU, DEVICE)
    assert {"gemm", "copy", "launch", "norm"} <= {p.columns["op"] for p in points}
    assert {p.columns["method"] for p in points} == {"kernel-cold-t2"}


def test_tabular_models_need_the_processor():
    pytest.importorskip("sklearn")
    estimators = {p.columns["estimator"] for p in plan(Grid(tabular=True), CPU, DEVICE)}
    assert {"RandomForestRegressor", "HistGradientBoostingRegressor", "Ridge"} <= estimators
    with pytest.raises(InvalidInputError, match="--device cpu --tabular"):
        plan(Grid(tabular=True), GPU, DEVICE)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (Grid(), "nothing to measure"),
        (Grid(models=("gpt2",), captures=("graph",)), "needs a CUDA or ROCm device"),
        (Grid(models=("gpt2",), captures=("magic",)), "eager, compiled, graph"),
        (Grid(models=("gpt2",), dtypes=("fp8",)), "fp32, bf16, fp16"),
        (Grid(kernels=True, dtypes=("tf32",)), "fp32, bf16, fp16"),
        (Grid(models=("gpt2",), batches=(0,)), "at least 1"),
        (Grid(models=("bert-base-uncased",)), "no decoder-only"),
        (Grid(models=("gpt2",), batches=tuple(range(1, 2**17))), "points were asked for"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(grid, says):
    with pytest.raises(RooflineError, match=says):
        plan(grid, CPU, DEVICE)
