# SPDX-License-Identifier: Apache-2.0
"""Columns of text, aligned."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], *, align: str, indent: str = "") -> str:
    """Return `rows` as lines with their cells under each other.

    Parameters
    ----------
    rows : sequence of sequences of str
        The first may be a heading; short rows end early.
    align : str
        One letter per column, ``"l"`` or ``"r"``.
    indent : str
        What every line starts with.
    """
    widths = [
        max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(len(align))
    ]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=False)
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)
