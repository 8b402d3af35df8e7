# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from calibration.own import (
    LARGEST,
    MOST_ROWS,
    PRIORS,
    Prior,
    covariance,
    merged,
    points_json,
    posterior,
    read_points,
)
from calibration.own_cases import COORDINATES, WORDS, Cases, octaves_of
from roofline.residual import NUMBERS

LEVELS = Prior(0.2, 0.0, 0.1, 0.0, 0.1, 0.1, 0.0)
"""Levels alone: device and model, no curves."""

CURVES = Prior(0.1, 0.1, 0.1, 0.1, 0.03, 0.1, 0.1)

A = ("serving", "a", "fp8", "fp8/bf16", "now")
B = ("serving", "b", "fp8", "fp8/bf16", "now")


def cases(*words, octaves=None):
    at = np.zeros(len(words)) if octaves is None else octaves
    return Cases.of(words, np.asarray(at, float)[:, None])


def shift(found, words, octave=0.0):
    return float(found.shifts(cases(words, octaves=[octave]))[0][0])


def width(found, words, octave=0.0):
    return float(found.shifts(cases(words, octaves=[octave]))[1][0])


def test_one_row_is_shrunk_as_worked_by_hand():
    # y = 0.1; variances: device 0.04, model 0.01, noise 0.01. With normal noise the share of
    # the device is 0.04 / 0.06, of the model 0.01 / 0.06: shifts of 0.0667 and 0.0167. The
    # rest, 0.0167, is 1/6 of a deviation: the row weighs (5 + 1) / (5 + 1/36) = 1.19 and its
    # noise is 0.84 of the prior's, so that shares move by a few per cent.
    found = posterior(np.array([0.1]), cases(A), LEVELS)
    assert shift(found, B) == pytest.approx(0.0667, rel=0.04)
    assert shift(found, A) == pytest.approx(0.0833, rel=0.04)


def test_covariance_of_two_cases_by_hand():
    # Two octaves apart, the same model, another storage (1.5 octaves), at 0.1 per octave:
    # (0.01 + 0.01 + (0.01 + 0.01) exp(-0.2)) exp(-0.15) = (0.02 + 0.016375) 0.860708
    other = (*A[:3], "fp8/fp8", "now")
    one, two = cases(A, octaves=[1.0]), cases(other, octaves=[3.0])
    assert covariance(one, two, CURVES)[0, 0] == pytest.approx(0.031308, rel=1e-4)
    # Another model besides: half of both, 0.015654.
    two = cases(("serving", "b", *other[2:]), octaves=[3.0])
    assert covariance(one, two, CURVES)[0, 0] == pytest.approx(0.015654, rel=1e-4)


def test_any_covariance_has_an_inverse():
    random = np.random.default_rng(0)
    words = [(random.choice(["serving", "static"]), f"{row % 3}", "x", f"{row % 2}", "now")
             for row in range(60)]  # fmt: skip
    found = covariance(*[Cases.of(words, random.normal(0, 3, (60, 4)))] * 2, CURVES)
    assert np.linalg.eigvalsh(found).min() > -1e-12


def test_a_row_says_less_of_settings_further_off():
    found = posterior(np.array([0.2]), cases(A), CURVES)
    moved = [shift(found, A, octave) for octave in (0.0, 1.0, 4.0, 8.0)]
    assert moved == sorted(moved, reverse=True)
    assert 0.5 * moved[0] < moved[-1] < moved[0] < 0.2
    widths = [width(found, A, octave) for octave in (0.0, 1.0, 4.0, 8.0)]
    assert widths == sorted(widths)


def test_two_rows_give_a_slope():
    found = posterior(np.array([0.0, 0.3]), cases(A, A, octaves=[0.0, 8.0]), CURVES)
    moved = [shift(found, A, octave) for octave in (0.0, 2.0, 4.0, 6.0, 8.0)]
    assert moved == sorted(moved)
    assert moved[0] < 0.1 < 0.2 < moved[-1]


def test_more_rows_move_further_and_never_beyond():
    shifts = [shift(posterior(np.full(n, 0.3), cases(*[A] * n), LEVELS), A) for n in (1, 3, 10)]
    assert shifts == sorted(shifts)
    assert 0.0 < shifts[0] < shifts[-1] < 0.3


def test_order_of_rows_does_not_matter():
    y, names = np.array([0.1, 0.3, -0.2, 0.15]), [A, B, A, B]
    one, two = posterior(y, cases(*names), CURVES), posterior(y[::-1], cases(*names[::-1]), CURVES)
    assert shift(one, A) == pytest.approx(shift(two, A), abs=1e-9)
    assert width(one, A) == pytest.approx(width(two, A))


def test_one_wild_row_moves_little():
    y = np.full(10, 0.1)
    plain = shift(posterior(y, cases(*[A] * 10), LEVELS), A)
    wild = posterior(np.append(y, 2.0), cases(*[A] * 11), LEVELS)
    # Its share in a mean of eleven would be 0.17.
    assert abs(shift(wild, A) - plain) < 0.03
    assert wild.trust[-1] < 0.1 < wild.trust[0]


def test_intervals_narrow_with_rows_and_most_where_they_are():
    few, many = (posterior(np.zeros(n), cases(*[A] * n), CURVES) for n in (2, 30))
    assert width(many, A) < width(few, A) < 1.0
    assert width(many, A) < width(many, B) < 1.0
    # What no row takes away: sqrt((noise + unsure) / (levels and curves + noise + unsure)).
    least = np.sqrt(0.01 / (0.04 + 0.0009 + 0.01))
    assert width(many, A) > 0.9 * least


def test_rows_that_disagree_widen_again():
    calm = posterior(np.zeros(20), cases(*[A] * 20), LEVELS)
    loose = posterior(np.tile([0.5, -0.5], 10), cases(*[A] * 20), LEVELS)
    assert width(loose, A) > 1.5 * width(calm, A)
    assert loose.rough > 4.0 > 1.0 > calm.rough


def test_a_queue_is_not_believed_beyond_a_limit():
    late = posterior(np.array([9.0]), cases(A), LEVELS, target="ttft")
    cut = posterior(np.array([LARGEST["ttft"]]), cases(A), LEVELS, target="ttft")
    assert shift(late, A) == shift(cut, A) < LARGEST["ttft"]


def test_what_is_written_is_what_is_read():
    y = np.array([0.1, 0.3, -0.2])
    mine = cases(A, B, A, octaves=[0.0, 2.0, 1.5])
    found = read_points(points_json(y, mine, CURVES), "tpot")
    assert shift(found, A) == pytest.approx(shift(posterior(y, mine, CURVES), A), abs=1e-12)
    assert found.prior == CURVES


def test_very_many_rows_are_merged_with_those_next_to_them():
    random = np.random.default_rng(1)
    octaves, count = random.uniform(0, 8, 5 * MOST_ROWS), 5 * MOST_ROWS
    y, kept = merged(np.full(count, 0.3), cases(*[A] * count, octaves=octaves))
    assert 10 < y.size <= MOST_ROWS
    assert kept.octaves.min() < 1.0 < 7.0 < kept.octaves.max()
    few = cases(A, B, octaves=[0.0, 0.0])
    assert merged(np.array([0.1, 0.2]), few)[1] is few


def test_coordinates_are_octaves():
    numbers = np.zeros((len(NUMBERS), 2))
    # A step of 3 ms and one of 6 ms: log(1 + 3 ms / step), one doubling.
    numbers[NUMBERS.index("step_host")] = np.log1p([1.0, 0.5])
    numbers[NUMBERS.index("stall")] = np.log([1.0, 4.0])
    found = octaves_of("tpot", numbers, np.array([0.0, 3.0]))
    names = [*COORDINATES["tpot"], "devices"]
    apart = dict(zip(names, found[1] - found[0], strict=True))
    assert apart["step_host"] == pytest.approx(1.0)
    assert apart["stall"] == pytest.approx(2.0)
    assert apart["devices"] == 3.0
    assert sum(abs(each) for each in apart.values()) == pytest.approx(6.0)


def test_words_are_those_of_labels_but_storage():
    assert WORDS == ("mode", "model", "weights", "storage", "era")


def test_every_kind_and_target_has_a_prior():
    for kinds in PRIORS.values():
        assert set(kinds) == {"served", "local", "other"}
        for targets in kinds.values():
            assert set(targets) == {"ttft", "tpot", "power"}
    for kind, targets in PRIORS["unseen"].items():
        for name, prior in targets.items():
            assert PRIORS["seen"][kind][name].device <= prior.device
