# SPDX-License-Identifier: Apache-2.0
"""Watts of a device from what it moves and computes, with constants fitted on boards.

`law` reads the constants (numpy only), `rows` says which published powers are those of a
board, `cases` makes arrays of measured rows, `fit` fits and leaves whole devices out.
"""

from calibration.power.law import load_constants, load_power

__all__ = ["load_constants", "load_power"]
