# SPDX-License-Identifier: Apache-2.0
"""Roofline time, tiles and waves, cache spill."""

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


def test_whole_tiles_on_whole_waves_cost_nothing_extra():
    # 256 x (128 * 132) is one tile of 256 x 128 on each of 132 units.
    assert tile_inflation(256, 128 * 132, unit_count=132, weight_frac=1.0) == 1.0


def test_padding_by_hand():
    # 17 x 64 on one unit: two tiles of 16 x 64 (2048) beat one of 64 x 64 (4096).
    #   2048 / (17 * 64) = 1.88235; half of the excess shows: 1.44118
    full = tile_inflation(17, 64, unit_count=1, weight_frac=1.0)
    assert full == pytest.approx(2048 / 1088, rel=1e-12)
    half = tile_inflation(17, 64, unit_count=1, weight_frac=0.5)
    assert half == pytest.approx(1.0 + 0.5 * (2048 / 1088 - 1.0), rel=1e-12)


def test_a_last_wave_that_is_half_empty_by_hand():
    # 16 x 192 on two units, tiles of 16 x 64: three tiles, 1.5 waves, so two are paid:
    #   2 waves * 2 units * 1024 = 4096 over 16 * 192 = 3072 -> 4/3
    # (64 x 64: 16384; 64 x 128: two tiles in one wave, 16384; larger ones are worse)
    assert tile_inflation(16, 192, unit_count=2, weight_frac=1.0) == pytest.approx(4 / 3)


def test_less_than_a_wave_pays_for_padding_alone():
    # 16 x 64 on 132 units: one tile; split-K spreads it, so nothing is lost.
    assert tile_inflation(16, 64, unit_count=132, weight_frac=1.0) == 1.0
    # one row fills a sixteenth of the tile
    assert tile_inflation(1, 64, unit_count=132, weight_frac=1.0) == 16.0


@given(m=rows, n=columns, u=units, frac=st.floats(0.0, 1.0))
def test_inflation_lengthens_and_more_rows_never_shorten(m, n, u, frac):
    now = tile_inflation(m, n, unit_count=u, weight_frac=frac)
    more = tile_inflation(m + 1, n, unit_count=u, weight_frac=frac)
    assert now >= 1.0
    assert (m + 1) * more >= m * now * (1 - 1e-12)


@given(footprint=amount, cache=amount)
def test_spill_is_what_the_cache_cannot_hold(footprint, cache):
    spilled = spilled_bytes(footprint, cache)
    assert 0.0 <= spilled <= footprint
    assert spilled_bytes(footprint, 0.0) == footprint
