"""Finding numbers in text as people and models write them."""

from __future__ import annotations

import re
from decimal import Context, Decimal

from reward.errors import RewardParseError

# Decimal and not float or int: 2**53 + 1 stays distinct from 2**53, and a run of 5,000 digits,
# which a degenerate completion may contain, is above Python's limit for int(). The context is our
# own because the thread's context may have been changed.
_ARITHMETIC = Context(prec=40)

_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})++(?![0-9])|[0-9]++)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]++)?|\.[0-9]++)"
_VALUE = re.compile(
    rf"""
    # A minus sign; after a word, a number or a bracket it is a hyphen or a subtraction.
    (?P<sign>(?<![\w)\]}}%.\-−–])(?<![0-9][$€£¥₹])[-−–])?
    [$€£¥₹]?
    (?<![A-Za-z_0-9])(?<![0-9]\.)                # not H2O, x1, cm2, nor a part of x18
    (?<![A-Za-z}}]\^)(?<![A-Za-z}}]\^\{{)        # nor cm^2
    (?:
        (?<!/)(?<!/[ ])                          # a date has two slashes, a fraction one
        (?:(?P<whole>{_WHOLE})[ ])?
        (?P<top>{_DECIMAL})[ ]?/[ ]?(?P<bottom>{_DECIMAL})(?![ ]?/[ ]?[0-9])
      |
        (?P<plain>{_DECIMAL}(?:[eE][+-]?[0-9]{{1,3}}(?![0-9A-Za-z]))?)
    )
    """,
    re.VERBOSE,
)

_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{\s*([0-9][0-9.,]*)\s*\}\{\s*([0-9][0-9.,]*)\s*\}")
_LATEX_MIXED = re.compile(r"(?<=[0-9])(?=\\[dt]?frac\{)")
_LATEX_MARKS = (("{,}", ","), (r"\!", ""), (r"\,", ""), (r"\$", "$"), (r"\%", "%"))


def last_number(text: str) -> Decimal:
    """Return the last number of a text.

    Understands thousands commas, decimals, a minus sign, a currency sign before the digits,
    exponents (`1e5`), fractions (`3/4`), mixed numbers (`1 3/4`) and their LaTeX forms. Units are
    ignored, and a percent sign is a unit: `25%` is 25. Digits that belong to a word (`H2O`) or to
    the exponent of a unit (`cm^2`) are not numbers, nor is a division by zero.

    Returns:
        The number, fractions rounded to 40 digits.
    Raises:
        RewardParseError: there is no number.
    """
    matches = list(_VALUE.finditer(_without_latex(text)))
    for match in reversed(matches):
        number = _number(match)
        if number is not None:
            return number
    raise RewardParseError("the text has no number")


def difference(left: Decimal, right: Decimal) -> Decimal:
    """Return the absolute difference of two numbers."""
    return _ARITHMETIC.subtract(left, right).copy_abs()


def _without_latex(text: str) -> str:
    if "\\" not in text and "{,}" not in text:
        return text
    for mark, plain in _LATEX_MARKS:
        text = text.replace(mark, plain)
    return _LATEX_FRACTION.sub(r"\1/\2", _LATEX_MIXED.sub(" ", text))


def _number(match: re.Match[str]) -> Decimal | None:
    if match["plain"] is not None:
        size = _digits(match["plain"])
    else:
        top, bottom = _digits(match["top"]), _digits(match["bottom"])
        if bottom == 0:
            return None
        # "gave 5 12/4" is two numbers: only a proper fraction belongs to the whole before it.
        if match["whole"] is not None and top < bottom:
            top = _ARITHMETIC.fma(_digits(match["whole"]), bottom, top)
        size = _ARITHMETIC.divide(top, bottom)
    return size.copy_negate() if match["sign"] else size


def _digits(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))
