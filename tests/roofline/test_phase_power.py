# SPDX-License-Identifier: Apache-2.0
"""Power between what was learned and what energies sum to."""

import numpy as np
import pytest

from roofline.phase_power import LEARNED_SHARE, between


def test_the_geometric_mean_and_where_a_limit_is_asked_for_the_law_alone():
    summed, learned = [np.array([100.0, 100.0])] * 3, [np.array([400.0, 400.0])] * 3
    found = between(summed, learned, np.array([False, True]))
    assert LEARNED_SHARE == 0.5
    assert len(found) == 3
    for each in found:
        assert each.tolist() == pytest.approx([200.0, 400.0])
