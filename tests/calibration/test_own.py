# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from calibration.own import PRIORS, Prior, narrowed, posterior

PRIOR = Prior((0.04, 0.0, 0.01, 0.0), 0.01)
A, B = ("serving", "a", "fp8"), ("serving", "b", "fp8")


def effect(found, names):
    """Shift of a case, by hand from the levels that it shares."""
    own = ((), names[:1], names[1:2], names[1:])
    return sum(levels.get(key, (0.0,))[0] for levels, key in zip(found.levels, own, strict=True))


def test_one_row_is_shrunk_as_worked_by_hand():
    # y = 0.1; variances: device 0.04, model 0.01, noise 0.01. With normal noise the share of
    # the device is 0.04 / 0.06, of the model 0.01 / 0.06: shifts of 0.0667 and 0.0167. The
    # rest, 0.0167, is 1/6 of a deviation: the row weighs (5 + 1) / (5 + 1/36) = 1.19 and the
    # noise is nearly the prior's, so that shares move by a few per cent.
    found = posterior(np.array([0.1]), [A], PRIOR)
    assert effect(found, B) == pytest.approx(0.0667, rel=0.05)
    assert effect(found, A) == pytest.approx(0.0833, rel=0.05)


def test_more_rows_move_further_and_never_beyond():
    shifts = [effect(posterior(np.full(n, 0.3), [A] * n, PRIOR), A) for n in (1, 3, 10, 100)]
    assert shifts == sorted(shifts)
    assert 0.0 < shifts[0] < shifts[-1] < 0.3


def test_order_of_rows_does_not_matter():
    y = np.array([0.1, 0.3, -0.2, 0.15])
    names = [A, B, A, B]
    one, two = posterior(y, names, PRIOR), posterior(y[::-1], names[::-1], PRIOR)
    assert effect(one, A) == pytest.approx(effect(two, A), abs=1e-6)
    assert one.narrow == pytest.approx(two.narrow)


def test_one_wild_row_moves_little():
    y = np.full(10, 0.1)
    plain = effect(posterior(y, [A] * 10, PRIOR), A)
    wild = posterior(np.append(y, 2.0), [A] * 11, PRIOR)
    # Its share in a mean of eleven would be 0.17.
    assert abs(effect(wild, A) - plain) < 0.03
    assert wild.weight[-1] < 0.1 < wild.weight[0]


def test_intervals_narrow_with_rows_and_most_where_they_are():
    few, many = posterior(np.zeros(2), [A] * 2, PRIOR), posterior(np.zeros(30), [A] * 30, PRIOR)
    flat = [{"|".join(k): v for k, v in found.narrow.items()} for found in (few, many)]
    assert narrowed(flat[1], A) < narrowed(flat[0], A) < 1.0
    assert narrowed(flat[1], A) < narrowed(flat[1], B) < 1.0
    assert narrowed({}, A) == 1.0


def test_rows_that_disagree_widen_again():
    calm = posterior(np.zeros(20), [A] * 20, PRIOR)
    loose = posterior(np.tile([0.5, -0.5], 10), [A] * 20, PRIOR)
    assert loose.narrow[A] > calm.narrow[A]
    assert loose.noise > 2 * PRIOR.noise


def test_every_kind_and_target_has_a_prior():
    for kinds in PRIORS.values():
        assert set(kinds) == {"served", "local", "other"}
        for targets in kinds.values():
            assert set(targets) == {"ttft", "tpot", "power"}
    for kind, targets in PRIORS["unseen"].items():
        for name, prior in targets.items():
            assert PRIORS["seen"][kind][name].effects[0] <= prior.effects[0]
