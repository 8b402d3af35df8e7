# SPDX-License-Identifier: Apache-2.0
"""Folders of measured kernels, in either layout, become laws; what cannot is said in a line."""

import json

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

from calibration.operators.apply import load_operators  # noqa: E402
from calibration.operators.facts import facts_of  # noqa: E402
from calibration.operators.features import SCHEMES, gemm_terms  # noqa: E402
from calibration.operators.fit import refitted  # noqa: E402
from calibration.operators.kernels import read_samples  # noqa: E402
from calibration.operators.laws import LAWS  # noqa: E402
from profiler.store import Store  # noqa: E402
from specs.catalogue import get_accelerator  # noqa: E402
from specs.errors import InvalidInputError, RooflineError  # noqa: E402
from specs.measurement import Measurement  # noqa: E402

DEVICES = ("a100-sxm4-80gb", "l40s", "rtx-4090")

# Half of what an engine's kernels reach: nothing the shipped constants could be taken for.
SLOW = {
    "e_c": 0.4, "e_m": 0.45, "b": 0.3, "t_0": 20e-6, "w_tile": 0.5, "fill": 100.0, "warm": 0.4,
}  # fmt: skip


def products(name, rows=60, seed=0):
    """Products in bf16 on a device, timed by `SLOW`, as columns of a table of kernels."""
    rng = np.random.default_rng(seed)
    m, n, k = (np.ceil(2.0 ** rng.uniform(low, 14, rows)).astype(int) for low in (0, 9, 9))
    facts = facts_of(get_accelerator(name))
    terms = gemm_terms(m, n, k, scheme=SCHEMES["bf16"], facts=facts)
    terms["resident"] = np.zeros(rows)
    columns = {"gpu": name, "op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": k}
    return pd.DataFrame({**columns, "latency_s": LAWS["gemm"].time_s(SLOW, terms)})


def as_measurements(table, clock="device", **change):
    """The same rows as the profiler stores them."""
    environment = json.dumps({"timing": {"clock": clock}})
    kept = {"kind": "kernel", "engine": "torch", "quality": "ok", "environment": environment}
    return [
        Measurement(**{**kept, "run_id": "r", "point_id": str(number), **row, **change})
        for number, row in enumerate(table.to_dict("records"))
    ]


@pytest.fixture
def folder(tmp_path):
    """Tables of `DEVICES`, one in each form."""
    first, second, third = (products(name, seed=seed) for seed, name in enumerate(DEVICES))
    first.assign(op_detail="gemm").to_csv(tmp_path / "first.csv", index=False)
    Store(tmp_path).append(as_measurements(second)[:25])
    Store(tmp_path).append(as_measurements(second)[25:])
    third.assign(op_detail="gemm", launch="cuda_graph").to_parquet(tmp_path / "third.parquet")
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / "_draft.csv").write_text("no,table")
    return tmp_path


def test_both_layouts_are_read(folder):
    samples = {sample.device: sample for sample in read_samples(folder)}
    assert sorted(samples) == sorted(DEVICES)
    for seed, name in enumerate(DEVICES):
        assert (samples[name].operator, len(samples[name])) == ("gemm_bf16", 60)
        expected = products(name, seed=seed)["latency_s"]
        np.testing.assert_allclose(np.sort(samples[name].seconds), np.sort(expected))


def test_laws_follow_the_kernels_of_the_folder_and_keep_the_rest(folder):
    shipped, said = load_operators(), []
    laws = refitted(folder, shipped, say=said.append)
    assert (laws.meta["fitted"], laws.meta["rows"]) == (["gemm_bf16"], 180)
    assert laws.meta["devices"] == sorted(DEVICES)
    assert set(laws.meta["kept"]) == set(shipped.pools) - {"gemm_bf16"}
    for name in laws.meta["kept"]:
        assert laws.pools[name] is not None
        assert set(laws.pools[name].devices) == set(shipped.pools[name].devices)
    assert any("gemm_bf16" in text for text in said)
    # Also a device that nobody measured takes after those in the folder.
    for name, within in ((DEVICES[1], 0.1), ("rtx-6000-ada", 0.35)):
        facts = facts_of(get_accelerator(name))
        constants = laws.constants("gemm_bf16", facts)
        assert constants["e_m"] == pytest.approx(SLOW["e_m"], rel=within)
        assert shipped.constants("gemm_bf16", facts)["e_m"] > 1.5 * SLOW["e_m"]


@pytest.mark.parametrize(
    ("clock", "change", "says"),
    [
        ("wall", {}, "no two devices"),  # launches from the host are in these times
        ("device", {"quality": "throttled"}, "no two devices"),
        ("device", {"dtype": "fp8"}, "no two devices"),  # without quantisation: no such law
        ("device", {"gpu": ""}, "120 kernels passed over"),
        ("device", {"gpu": "no-such-card"}, "120 kernels passed over"),
        ("device", {"gpu": "l40s"}, "only l40s has"),
    ],
)
def test_measurements_that_no_law_can_use(tmp_path, clock, change, says):
    both = pd.concat([products(name) for name in DEVICES[:2]], ignore_index=True)
    Store(tmp_path).append(as_measurements(both, clock, **change))
    said = []
    with pytest.raises(InvalidInputError, match="devices or more; add tables") as failed:
        refitted(tmp_path, load_operators(), say=said.append)
    assert says in str(failed.value) + "".join(said)
    assert "\n" not in str(failed.value)


def test_rows_without_a_size_or_a_time_do_not_count(tmp_path):
    table = products(DEVICES[0]).assign(op_detail="gemm").astype({"k": float})
    table.loc[:4, "k"] = np.nan
    table.loc[5:9, "latency_s"] = 0.0
    table.to_csv(tmp_path / "a.csv", index=False)
    (sample,) = read_samples(tmp_path)
    assert len(sample) == 50
    table.drop(columns="n").to_csv(tmp_path / "a.csv", index=False)
    assert read_samples(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (None, "", "no kernel tables"),
        ("a.csv", "gpu,op\nl4,gemm\n", "a.csv is no table of kernels: it lacks dtype, latency_s"),
        ("a.parquet", "not parquet", "a.parquet cannot be read as a table"),
        ("a.csv", "gpu,op,dtype,latency_s,m,n,k\nnope,gemm,bf16,1e-3,1,1,1\n", "nope"),
    ],
)
def test_folders_that_hold_none_are_one_line(tmp_path, name, text, says):
    if name is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(RooflineError, match=says) as failed:
        refitted(tmp_path, load_operators())
    assert "\n" not in str(failed.value)


def test_no_folder_is_one_line(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no folder .*nowhere; give"):
        refitted(tmp_path / "nowhere", load_operators())
