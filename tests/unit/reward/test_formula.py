from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.formula import MAX_DEPTH, MAX_EXPONENT, MAX_LENGTH, Formula, FormulaError

NAMES = ("a", "b", "top_ic")
VALUES = {"a": 0.5, "b": -2.0, "top_ic": 3.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 0.5),
        ("  0.5*a +\n max(0, top_ic - 0.2) ", 3.05),
        ("-a + +b - -1", -1.5),
        ("1e-3 * a * 1_000", 0.5),
        ("a / b", -0.25),
        ("b // a", -4.0),
        ("top_ic % 2", 1.0),
        ("2 ** top_ic ** a", 2 ** math.sqrt(3)),
        ("b ** 3", -8.0),
        ("a > 0", 1.0),
        ("a == 0.5", 1.0),
        ("a != 0.5", 0.0),
        ("0 <= a < 0.4", 0.0),
        ("2 * (b >= -2) + (a <= 0.1)", 2.0),
        ("a if b > 0 else top_ic", 3.0),
        ("1 / (a - 0.5) if a != 0.5 else 7", 7.0),
        ("min(a, b, top_ic)", -2.0),
        ("max(a, b)", 0.5),
        ("abs(b)", 2.0),
        ("floor(a) + ceil(a)", 1.0),
        ("exp(a) * log(top_ic)", math.exp(0.5) * math.log(3)),
        ("sqrt(top_ic + 1)", 2.0),
        ("clip(top_ic, 0, 1) + clip(b, -1, 1)", 0.0),
        ("round(top_ic / 7, 2)", 0.43),
        ("round(b * 0.8)", -2.0),
    ],
)
def test_a_formula_is_computed(text: str, value: float) -> None:
    result = Formula(text, NAMES)(VALUES)
    assert type(result) is float
    assert result == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.real", "`a.real` is not allowed"),
        ("(1).__class__ + a", "`(1).__class__` is not allowed"),
        ("__import__('os') + a", "`__import__('os')` is not allowed"),
        ("pow(a, 2)", "`pow(a, 2)` is not allowed"),
        ("eval(a)", "`eval(a)` is not allowed"),
        ("abs(x=a)", "`abs(x=a)` is not allowed"),
        ("max(a, *[b])", "`*[b]` is not allowed"),
        ("max(**a)", "`max(**a)` is not allowed"),
        ("min(a, b)(a)", "`min(a, b)(a)` is not allowed"),
        ("(a if a else max)(a, b)", "is not allowed"),
        ("a[0]", "`a[0]` is not allowed"),
        ("a[1:2]", "`a[1:2]` is not allowed"),
        ("'text'", "`'text'` is not allowed"),
        ('f"{a}"', "is not allowed"),
        ("b'1' * a", "`b'1'` is not allowed"),
        ("[a, b]", "`[a, b]` is not allowed"),
        ("(a, b)", "is not allowed"),
        ("{a: b}", "`{a: b}` is not allowed"),
        ("max(a, (x for x in a))", "`(x for x in a)` is not allowed"),
        ("[x for x in a]", "is not allowed"),
        ("lambda: a", "`lambda: a` is not allowed"),
        ("(y := a)", "is not allowed"),
        ("a and b", "`a and b` is not allowed"),
        ("not a", "`not a` is not allowed"),
        ("~a", "`~a` is not allowed"),
        ("a | b", "`a | b` is not allowed"),
        ("a << 2", "`a << 2` is not allowed"),
        ("a @ b", "`a @ b` is not allowed"),
        ("a is b", "`a is b` is not allowed"),
        ("a in b", "`a in b` is not allowed"),
        ("a + True", "`True` is not allowed"),
        ("a + None", "`None` is not allowed"),
        ("a + ...", "`...` is not allowed"),
        ("a + 2j", "`2j` is not allowed"),
        ("a + c", "`c` is no component"),
        ("top-ic", "`top` is no component"),
        ("a + max", "`max` is no component"),
        ("a + 1e999", "`1e999` is larger"),
        ("a + 1" + "0" * 400, "is larger than the largest number"),
        ("min(a)", "`min(a)` has 1 arguments; min takes 2 to"),
        ("clip(a, b)", "`clip(a, b)` has 2 arguments; clip takes 3"),
        ("sqrt()", "`sqrt()` has 0 arguments; sqrt takes 1"),
        ("a # + b", "`#` is not allowed"),
        ("a +", "invalid syntax"),
        ("a b", "is no formula"),
        ("a; b", "is no formula"),
        ("y = a", "is no formula"),
        ("import os", "is no formula"),
        ("", "is no formula"),
        ("a\x00b", "null bytes"),
        ("(" * 300 + "a" + ")" * 300, "too many nested parentheses"),
        ("-" * 900 + "a", "nested deeper"),
        ("+".join(["a"] * (MAX_DEPTH + 1)), "nested deeper"),
        ("a+" * MAX_LENGTH + "a", f"characters long; {MAX_LENGTH} is the most"),
        ("1 + 2", "'1 + 2' names no component"),
    ],
)
def test_anything_else_is_refused_and_named(text: str, part: str) -> None:
    with pytest.raises(FormulaError) as caught:
        Formula(text, NAMES)
    assert part in str(caught.value)


def test_a_refusal_lists_what_is_allowed() -> None:
    with pytest.raises(FormulaError) as caught:
        Formula("open(a)", NAMES)
    for part in ("a, b, top_ic", "+ - * / // % **", "if condition else", "min max abs", "clip"):
        assert part in str(caught.value)


def test_a_long_part_is_cut_in_the_message() -> None:
    with pytest.raises(FormulaError) as caught:
        Formula(f"[{'a, ' * 200}]", NAMES)
    assert "`[a, a, " in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 + b / (a - 0.5)", "`b / (a - 0.5)` has no finite value (float division by zero)"),
        ("b // (a - 0.5)", "`b // (a - 0.5)`"),
        ("b % (a - 0.5)", "`b % (a - 0.5)`"),
        ("exp(2000 * a)", "`exp(2000 * a)` has no finite value (math range error)"),
        ("log(b)", "`log(b)`"),
        ("log(a - 0.5)", "`log(a - 0.5)`"),
        ("sqrt(b)", "`sqrt(b)`"),
        ("b ** a", "`b ** a`"),
        ("(a - 0.5) ** -1", "`(a - 0.5) ** -1`"),
        ("a ** 1000", f"the exponent 1000 is beyond {MAX_EXPONENT}"),
        ("1e300 ** 2 + a", "`1e300 ** 2`"),
        ("min(1, 1e308 * 10 * a)", "`1e308 * 10` has no finite value (it is inf)"),
        ("clip(a, 1, 0)", "the lower end 1 is above the upper end 0"),
        ("round(a, 0.5)", "0.5 is not a number of digits"),
        ("round(a, 400)", "400 is not a number of digits"),
    ],
)
def test_a_step_without_a_finite_value_is_named_with_the_values(text: str, part: str) -> None:
    formula = Formula(text, NAMES)
    with pytest.raises(FormulaError) as caught:
        formula(VALUES)
    assert part in str(caught.value)
    assert "a = 0.5" in str(caught.value) or "b = -2" in str(caught.value)


def test_only_the_names_that_stand_in_it_are_needed() -> None:
    formula = Formula("b + a", NAMES)
    assert formula.names == ("a", "b")
    assert formula({"a": 1.0, "b": 2.0}) == 3


pieces = st.sampled_from(
    [
        *NAMES,
        *"0123456789.()[]{}+-*/%<>=!,:;'\"~@&|^",
        "**",
        " if ",
        " else ",
        "max",
        "lambda ",
        "__class__",
        "exp",
        "log",
        " for ",
        " in ",
        "e9",
        "\n",
        "\\",
        "é",
    ]
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=30).map("".join))
def test_any_text_is_a_formula_or_refused_and_any_value_finite_or_refused(text: str) -> None:
    try:
        value = Formula(text, NAMES)(VALUES)
    except FormulaError:
        return
    assert type(value) is float
    assert math.isfinite(value)
