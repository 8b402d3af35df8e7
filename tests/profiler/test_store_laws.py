# SPDX-License-Identifier: Apache-2.0
"""Whatever a measurement may hold, it comes back from every format as it was."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from profiler.parts import table_of, write_part
from profiler.store import Store
from profiler.tables import FORMATS, read_table_file, write_table_file
from specs.measurement import COLUMNS, WORDS, Measurement

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    "text": TEXT,
    "int": st.none() | st.integers(1, 10**9),
    "float": st.none() | st.floats(1e-3, 1e4),
    "floats": st.lists(st.floats(1e-9, 1e6), max_size=3),
    "raw": st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text("abc_", min_size=1, max_size=5),
                "statistic": TEXT,
                "unit": TEXT,
                "value": st.floats(allow_nan=False, allow_infinity=False),
            }
        ),
        max_size=2,
    ),
}
FIXED = {
    "schema_version": st.just(1),
    "measured_at": st.sampled_from(["", "2026-01-31", "2026-01-31T12:00:00.123456Z"]),
    "environment": st.sampled_from(["", "{}", '{"torch": "2.13", "threads": 1}']),
    "reason": st.text("abc:", min_size=1, max_size=9),
    **{name: st.sampled_from(words) for name, words in WORDS.items()},
}


@st.composite
def measurements(draw):
    """A measurement with a random handful of its columns."""
    names = draw(st.sets(st.sampled_from(list(COLUMNS)), max_size=15))
    given_ = {
        name: draw(FIXED.get(name, VALUES[COLUMNS[name].type]))
        for name in sorted(names | {"kind", "reason"})
    }
    return Measurement(**given_)


ODD = '\r\n, \r \u2028 \x85 \x00 "quoted"'


@given(rows=st.lists(measurements(), min_size=1, max_size=3))
@example(rows=[Measurement(kind="llm", notes=ODD, gpu_raw="\r")])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_changes_on_the_way(tmp_path, rows, suffix):
    path = tmp_path / f"rows{suffix}"
    write_table_file(table_of(rows), path)
    problems = []
    assert read_table_file(path, problems.append) == rows
    assert problems == []


@given(row=measurements())
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_store_gives_back_what_it_took(tmp_path, row):
    folder = tmp_path / "store"
    write_part(folder, [row])
    assert Store(folder).read()[-1] == row
    for path in Store(folder).parts():
        path.unlink()
