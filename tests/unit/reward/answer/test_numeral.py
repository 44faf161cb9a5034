from __future__ import annotations

import time
from contextlib import suppress
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.answer.numeral import difference, last_number
from reward.errors import RewardParseError

numbers = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=3
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        ("She has 18 eggs.", "18"),
        ("12 - 4 = 8, so the answer is 8 eggs", "8"),
        ("1,234,567.50 dollars", "1234567.50"),
        ("1,2,3", "3"),
        (".5", "0.5"),
        ("18.00", "18"),
        ("1e5", "100000"),
        ("1.5e-3 g", "0.0015"),
        ("**18**", "18"),
        ("18apples", "18"),
    ],
)
def test_plain_numbers(text: str, number: str) -> None:
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-3", "-3"),
        ("−3", "-3"),
        ("x = -3", "-3"),
        ("(-3)", "-3"),
        ("-$3", "-3"),
        ("$-3", "-3"),
        ("-.5", "-0.5"),
        ("5-3", "3"),
        ("5 - 3", "3"),
        ("f(2)-3", "3"),
        ("10-12 days", "12"),
        ("10–12 days", "12"),
        ("$5-$3", "3"),
    ],
)
def test_a_minus_is_a_sign_only_where_nothing_stands_before_it(text: str, number: str) -> None:
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["$1,000", "€1,000", "£ 1,000", "1,000 USD", r"\$1,000", "1000%"])
def test_currency_and_percent_are_units(text: str) -> None:
    assert last_number(text) == 1000


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3/4", "0.75"),
        ("3 / 4", "0.75"),
        ("-3/4", "-0.75"),
        ("1 3/4 cups", "1.75"),
        ("-1 3/4", "-1.75"),
        ("1,000 1/2", "1000.5"),
        ("5 12/4", "3"),
        ("3/4/2020", "2020"),
        ("12 / 4 = 3", "3"),
        ("7 and 3/0", "7"),
    ],
)
def test_fractions(text: str, number: str) -> None:
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (r"\boxed{-18}", "-18"),
        (r"$\frac{3}{4}$", "0.75"),
        (r"-\dfrac{3}{4}", "-0.75"),
        (r"1\frac{3}{4}", "1.75"),
        ("$70{,}000$", "70000"),
        (r"70,\!000", "70000"),
        (r"25\%", "25"),
        (r"18\text{ cm}^2", "18"),
    ],
)
def test_latex(text: str, number: str) -> None:
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["18 litres of H2O", "18 cm^20", "18 m2", "18 of type x204"])
def test_digits_of_words_and_units_are_not_numbers(text: str) -> None:
    assert last_number(text) == 18


@pytest.mark.parametrize("text", ["", "eighteen", "####", "-", "1/0", "H2O", "$", "."])
def test_text_without_a_number_is_refused(text: str) -> None:
    with pytest.raises(RewardParseError):
        last_number(text)


@settings(deadline=None)
@given(numbers)
def test_a_number_is_read_back_however_it_is_written(number: Decimal) -> None:
    sign, size = "-" if number < 0 else "", abs(number)
    for text in (f"{number:f}", f"{number:,f}", f"is {sign}${size:,f}.", f"**{number:f} km**"):
        assert last_number(text) == number


@settings(deadline=None)
@given(st.integers(-999, 999), st.integers(1, 999))
def test_a_fraction_is_read_back(top: int, bottom: int) -> None:
    assert abs(last_number(f"so {top}/{bottom} left") * bottom - top) < Decimal("1e-30")


@settings(deadline=None)
@given(st.text(alphabet="0123456789,./-$ ^{}eEx\\frac", max_size=40))
def test_any_text_gives_a_finite_number_or_a_parse_error(text: str) -> None:
    with suppress(RewardParseError):
        assert last_number(text).is_finite()


def test_neighbours_above_the_precision_of_a_float_stay_apart() -> None:
    big = 10**25
    assert difference(last_number(f"{big}"), last_number(f"{big + 1}")) == 1


def test_the_thread_precision_does_not_change_the_result() -> None:
    with localcontext(prec=2):
        assert difference(last_number("1,000"), last_number("2,234.5")) == Decimal("1234.5")
        assert last_number("1234 1/2") == Decimal("1234.5")


@pytest.mark.parametrize("unit", ["1", "1,", "1/", "1 ", "-", "$-", ",111", "1 1/", "\\frac{1}"])
def test_long_degenerate_text_is_read_in_linear_time(unit: str) -> None:
    started = time.perf_counter()
    with suppress(RewardParseError):
        last_number(unit * 20_000)
    # Quadratic behaviour takes minutes here, so the slack for a busy machine is harmless.
    assert time.perf_counter() - started < 5
