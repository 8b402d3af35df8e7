# SPDX-License-Identifier: Apache-2.0
"""Watts of a device from what it moves and computes, with constants fitted on boards.

`law` applies (numpy only), `rows` says which published powers are those of a board, `fit`
fits and leaves whole devices out.
"""
