# SPDX-License-Identifier: Apache-2.0
from roofline.report.table import table


def test_columns_stand_under_each_other():
    rows = [("name", "rate", "note"), ("a", "1,000", "first"), ("longer", "2", "")]
    assert table(rows, align="lrl").splitlines() == [
        "name     rate  note",
        "a       1,000  first",
        "longer      2",
    ]


def test_short_rows_end_early():
    assert table([("a", "b"), ("c",)], align="ll", indent="  ") == "  a  b\n  c"


def test_no_rows_are_no_lines():
    assert table([], align="ll") == ""
