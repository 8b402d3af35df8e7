# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.errors import InvalidInputError
from specs.units import (
    BYTE_UNITS,
    GB,
    GIB,
    TB,
    TIB,
    format_bytes,
    format_energy,
    format_flops,
    format_flops_rate,
    format_power,
    format_rate,
    format_time_s,
    parse_bytes,
    parse_power,
    parse_rate,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80GB", 80e9),
        ("80 gb", 80e9),
        ("24GiB", 24 * 2**30),
        ("24 Gi", 24 * 2**30),
        ("512M", 512e6),
        ("1,024 B", 1024),
        ("1_000", 1000),
        ("1.5e9", 1.5e9),
        (".5TB", 0.5e12),
        ("1TiB", 2.0**40),
        (80, 80.0),
    ],
)
def test_bytes_as_people_write_them(text, value):
    assert parse_bytes(text) == value


def test_decimal_and_binary_multiples_differ():
    assert GB == 1e9
    assert GIB == 2**30
    assert TB == 1e12
    assert TIB == 2**40
    # a file of 3.56 GiB as llama.cpp prints it is 3.82 GB
    assert format_bytes(parse_bytes("3.56 GiB")) == "3.82 GB"


@pytest.mark.parametrize(
    "text", ["", "GB", "80 potatoes", "-1GB", "nan", "inf", "1e999 GB", "8 0GB", True, None, [1]]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_bytes(text)


def test_power():
    assert parse_power("300W") == 300.0
    assert parse_power("1.2 kW") == 1200.0
    assert parse_power(450) == 450.0
    assert parse_power("500 mW") == 0.5
    with pytest.raises(InvalidInputError, match="megawatts"):
        parse_power("3 MW")
    with pytest.raises(InvalidInputError):
        parse_power("300GB")


def test_time_and_rates():
    assert parse_time("250ms") == 0.25
    assert parse_time("3min") == 180.0
    assert parse_rate("3.35TB/s", "B/s") == 3.35e12
    assert parse_rate("989.4 TFLOPS", "FLOP/s") == pytest.approx(989.4e12)
    with pytest.raises(InvalidInputError):
        parse_rate("3 parsec", "B/s")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (format_bytes(16.06e9), "16.1 GB"),
        (format_bytes(0), "0 B"),
        (format_bytes(999.96e6), "1.00 GB"),
        (format_bytes(2**30, binary=True), "1.00 GiB"),
        (format_bytes(12), "12.0 B"),
        (format_rate(3.35e12), "3.35 TB/s"),
        (format_rate(1234.0, "tok/s"), "1.23 ktok/s"),
        (format_rate(0.5, "req/s"), "0.500 req/s"),
        (format_flops(117_440_512), "117 MFLOP"),
        (format_flops_rate(989.4e12), "989 TFLOP/s"),
        (format_time_s(35.07e-6), "35.1 us"),
        (format_time_s(0.0123), "12.3 ms"),
        (format_time_s(4.56), "4.56 s"),
        (format_time_s(150), "2.50 min"),
        (format_time_s(10800), "3.00 h"),
        (format_time_s(0), "0 s"),
        (format_power(356.4), "356 W"),
        (format_power(1200), "1.20 kW"),
        (format_energy(0.0456), "45.6 mJ"),
        (format_energy(float("inf")), "inf J"),
    ],
)
def test_printing(made, text):
    assert made == text


sizes = st.floats(min_value=1.0, max_value=1e17)


@given(size=sizes, binary=st.booleans())
def test_printed_bytes_read_back_within_half_a_last_digit(size, binary):
    text = format_bytes(size, binary=binary, digits=4)
    # binary multiples print up to 1023: still four digits or more
    assert parse_bytes(text) == pytest.approx(size, rel=0.6e-3)


@given(number=st.floats(min_value=0, max_value=1e9), unit=st.sampled_from(sorted(BYTE_UNITS)))
def test_number_and_unit_is_number_times_unit(number, unit):
    assert parse_bytes(f"{number!r}{unit}") == pytest.approx(number * BYTE_UNITS[unit])


@given(rate=st.floats(min_value=1.0, max_value=9e20))
def test_printed_rates_read_back(rate):
    assert parse_rate(format_rate(rate, digits=5), "B/s") == pytest.approx(rate, rel=1e-4)


@given(time=st.floats(min_value=1e-9, max_value=1e6))
def test_printed_times_read_back(time):
    assert parse_time(format_time_s(time, digits=5)) == pytest.approx(time, rel=1e-4)


@given(text=st.text(max_size=30))
def test_any_text_parses_or_is_refused(text):
    try:
        assert parse_bytes(text) >= 0
    except InvalidInputError:
        return
