# SPDX-License-Identifier: Apache-2.0
"""Roofline time, tiles and waves, cache spill."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.physics.kernel import kernel_time_s, spilled_bytes, tile_inflation

amount, factor = st.floats(0.0, 1e18), st.floats(1.0, 1e3)
rows, columns, units = st.integers(1, 20_000), st.integers(1, 200_000), st.integers(1, 304)


@given(flops=amount, moved=amount, k=factor)
def test_more_bandwidth_or_peak_never_hurts(flops, moved, k):
    slow_s = kernel_time_s(flops, moved, peak_flops_per_s=1e15, mem_bytes_per_s=1e12)
    assert kernel_time_s(flops, moved, peak_flops_per_s=1e15, mem_bytes_per_s=k * 1e12) <= slow_s
    assert kernel_time_s(flops, moved, peak_flops_per_s=k * 1e15, mem_bytes_per_s=1e12) <= slow_s


@given(flops=amount, moved=amount, k=factor)
def test_k_times_the_work_is_k_times_the_time(flops, moved, k):
    once_s = kernel_time_s(flops, moved, peak_flops_per_s=1e15, mem_bytes_per_s=1e12)
    many_s = kernel_time_s(k * flops, k * moved, peak_flops_per_s=1e15, mem_bytes_per_s=1e12)
    assert many_s == pytest.approx(k * once_s, rel=1e-12)


def test_decode_projection_on_h100_by_hand():
    # One bf16 token through a 4096 -> 14336 projection:
    #   work  = 2 * 4096 * 14336                 = 117 440 512 FLOP
    #   moved = 2 * (4096*14336 + 4096 + 14336)  = 117 477 376 B
    #   0.119 us to compute, 35.07 us to move: memory-bound
    time_s = kernel_time_s(
        117_440_512, 117_477_376, peak_flops_per_s=989.4e12, mem_bytes_per_s=3.35e12
    )
    assert time_s == pytest.approx(35.07e-6, rel=1e-3)  # worked to four digits


def inflation_of(m, n, *, unit_count, **more):
    (factor,) = tile_inflation(np.array([m]), np.array([n]), unit_count=unit_count, **more)
    return factor


def test_whole_tiles_on_whole_waves_cost_nothing_extra():
    # 256 x (128 * 132) is one tile of 256 x 128 on each of 132 units.
    assert inflation_of(256, 128 * 132, unit_count=132) == 1.0


def test_padding_by_hand():
    # 17 x 64 on one unit: two tiles of 16 x 64 (2048) beat one of 64 x 64 (4096).
    assert inflation_of(17, 64, unit_count=1) == pytest.approx(2048 / (17 * 64), rel=1e-12)


def test_a_last_wave_that_is_half_empty_by_hand():
    # 16 x 192 on two units, tiles of 16 x 64: three tiles, 1.5 waves, so two are paid:
    #   2 waves * 2 units * 1024 = 4096 over 16 * 192 = 3072 -> 4/3
    # (64 x 64: 16384; 64 x 128: two tiles in one wave, 16384; larger ones are worse)
    assert inflation_of(16, 192, unit_count=2) == pytest.approx(4 / 3)


def test_less_than_a_wave_pays_for_padding_alone():
    # 16 x 64 on 132 units: one tile; split-K spreads it, so nothing is lost.
    assert inflation_of(16, 64, unit_count=132) == 1.0
    # one row fills a sixteenth of the tile
    assert inflation_of(1, 64, unit_count=132) == 16.0


def test_groups_share_rows_out_by_hand():
    # 34 rows over two GEMMs of 64 columns, 17 each, on one unit:
    #   four tiles of 16 x 64 (4096) over 34 * 64 = 2176
    assert inflation_of(34, 64, unit_count=1, groups=2.0) == pytest.approx(4096 / 2176)
    # Rows that differ from group to group fill 17/16 + 15/32 = 1.53125 tiles each on average,
    # 3.0625 in all: less than a wave of four units, so padding alone.
    uneven = inflation_of(34, 64, unit_count=4, groups=2.0, uneven=True)
    assert uneven == pytest.approx(3.0625 * 1024 / 2176)


@given(m=rows, n=columns, u=units)
def test_inflation_lengthens_and_more_rows_never_shorten(m, n, u):
    now = inflation_of(m, n, unit_count=u)
    more = inflation_of(m + 1, n, unit_count=u)
    assert now >= 1.0
    assert (m + 1) * more >= m * now * (1 - 1e-12)


@given(m=rows, n=st.lists(columns, min_size=2, max_size=4), u=units, groups=st.integers(1, 256))
def test_inflation_of_arrays_is_that_of_each(m, n, u, groups):
    units_of, grouped = np.array([float(u), 7.0]), np.array([float(groups), 1.0])
    together = tile_inflation(
        np.array([m, 5.0]), np.array(n)[:, None], unit_count=units_of, groups=grouped
    )
    assert together.shape == (len(n), 2)
    for row, width in zip(together, n, strict=True):
        assert row[0] == inflation_of(m, width, unit_count=u, groups=groups)
        assert row[1] == inflation_of(5.0, width, unit_count=7.0)


@given(footprint=amount, cache=amount)
def test_spill_is_what_the_cache_cannot_hold(footprint, cache):
    spilled = spilled_bytes(footprint, cache)
    assert 0.0 <= spilled <= footprint
    assert spilled_bytes(footprint, 0.0) == footprint
