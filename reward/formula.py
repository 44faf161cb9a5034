"""Arithmetic over named numbers, safe to take from a user.

The syntax is a small part of Python's, read with `ast` and never compiled: numbers, names, the
operators and functions below, comparisons (1 or 0) and `x if condition else y`.

Source:
    The same idea as `calculate_output` of the multigrader in OpenAI's reinforcement fine-tuning.
"""

from __future__ import annotations

import ast
import math
import operator
import reprlib
from collections.abc import Callable, Collection, Mapping

MAX_LENGTH = 1000
"""Characters of a formula."""
MAX_DEPTH = 64
"""Operations inside operations. Python's own parser gives up at about 200 parentheses."""
MAX_EXPONENT = 64
"""Largest absolute exponent of `**`."""


class FormulaError(ValueError):
    """A formula cannot be read, or has no value for these numbers."""


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError(f"the exponent {exponent:g} is beyond {MAX_EXPONENT}")
    # Not `**`: a negative base with a fractional exponent would come out complex.
    return math.pow(base, exponent)


def _clip(value: float, low: float, high: float) -> float:
    if low > high:
        raise ValueError(f"the lower end {low:g} is above the upper end {high:g}")
    return min(max(value, low), high)


def _round(value: float, digits: float = 0.0) -> float:
    if abs(digits) > 15 or digits != int(digits):
        raise ValueError(f"{digits:g} is not a number of digits")
    return round(value, int(digits))


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda one, other: one / other,
    ast.FloorDiv: lambda one, other: one // other,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MANY = 64
_FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {
    "min": (min, 2, _MANY),
    "max": (max, 2, _MANY),
    "abs": (math.fabs, 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "clip": (_clip, 3, 3),
    "round": (_round, 1, 2),
}
"""Function, least and largest number of arguments."""


class Formula:
    """A checked formula: call it with the values of its names.

    Args:
        text: the formula; line breaks count as blanks.
        names: what it may name.
    Raises:
        FormulaError: it is not a formula over these names; says which part, and what is allowed.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text = " ".join(text.split())
        self._allowed = tuple(names)
        self._found: set[str] = set()
        self._root = self._read()
        self._check(self._root, 1)
        self.names = tuple(name for name in self._allowed if name in self._found)
        if not self.names:
            raise FormulaError(
                f"{self._text!r} names no component, so that it cannot change; its components are "
                f"{', '.join(self._allowed)}"
            )

    def __call__(self, values: Mapping[str, float]) -> float:
        """Compute the formula; every step must be finite.

        Args:
            values: a finite number for each of `names`.
        Raises:
            FormulaError: a step divides by zero, overflows or is not defined; says which.
        """
        return self._value(self._root, values)

    def _read(self) -> ast.expr:
        if len(self._text) > MAX_LENGTH:
            raise FormulaError(f"{len(self._text)} characters long; {MAX_LENGTH} is the most")
        if "#" in self._text:
            raise FormulaError(f"`#` is not allowed; {self._rules()}")
        try:
            return ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            where = f" at character {error.offset}" if error.offset else ""
            raise FormulaError(
                f"{reprlib.repr(self._text)} is no formula ({error.msg}{where}); {self._rules()}"
            ) from error
        except (RecursionError, MemoryError, ValueError) as error:
            raise FormulaError(f"cannot be read ({error}); {self._rules()}") from error

    def _check(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise FormulaError(f"nested deeper than {MAX_DEPTH} operations; make it simpler")
        for operand in self._operands(node):
            self._check(operand, depth + 1)

    def _operands(self, node: ast.expr) -> list[ast.expr]:
        """The parts of an allowed node, which are yet to be checked."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._number(node, value)
            case ast.Name(id=name) if name in self._allowed:
                self._found.add(name)
                return []
            case ast.BinOp(left, op, right) if type(op) in _BINARY:
                return [left, right]
            case ast.UnaryOp(op, operand) if type(op) in _UNARY:
                return [operand]
            case ast.Compare(left, ops, others) if all(type(op) in _COMPARISON for op in ops):
                return [left, *others]
            case ast.IfExp(test, body, orelse):
                return [test, body, orelse]
            case ast.Call(ast.Name(id=name), args, []) if name in _FUNCTIONS:
                _, least, most = _FUNCTIONS[name]
                if not least <= len(args) <= most:
                    counts = f"{least}" if least == most else f"{least} to {most}"
                    raise FormulaError(
                        f"{self._part(node)} has {len(args)} arguments; {name} takes {counts}"
                    )
                return args
            case _:
                problem = "is no component" if isinstance(node, ast.Name) else "is not allowed"
                raise FormulaError(f"{self._part(node)} {problem}; {self._rules()}")

    def _number(self, node: ast.expr, value: float) -> list[ast.expr]:
        try:
            if math.isfinite(float(value)):
                return []
        except OverflowError:
            pass
        raise FormulaError(f"{self._part(node)} is larger than the largest number")

    def _value(self, node: ast.expr, values: Mapping[str, float]) -> float:
        try:
            value = float(self._step(node, values))
            if math.isfinite(value):
                return value
            reason = f"it is {value}"
        except FormulaError:
            raise
        except (ArithmeticError, ValueError) as error:
            reason = str(error)
        at = ", ".join(f"{name} = {values[name]:g}" for name in self.names)
        raise FormulaError(f"{self._part(node)} has no finite value ({reason}) where {at}")

    def _step(self, node: ast.expr, values: Mapping[str, float]) -> float:
        match node:
            case ast.Constant(value=int() | float() as value):
                return value
            case ast.Name(id=name):
                return values[name]
            case ast.BinOp(left, op, right):
                return _BINARY[type(op)](self._value(left, values), self._value(right, values))
            case ast.UnaryOp(op, operand):
                return _UNARY[type(op)](self._value(operand, values))
            case ast.Compare(left, ops, others):
                numbers = [self._value(part, values) for part in (left, *others)]
                pairs = zip(ops, numbers, numbers[1:], strict=False)
                return all(_COMPARISON[type(op)](one, other) for op, one, other in pairs)
            case ast.IfExp(test, body, orelse):
                # Only the branch that is taken, so that a condition can guard a division.
                return self._value(body if self._value(test, values) else orelse, values)
            case ast.Call(ast.Name(id=name), args, _):
                return _FUNCTIONS[name][0](*(self._value(part, values) for part in args))
            case _:
                raise AssertionError(f"{ast.dump(node)} passed the check")

    def _part(self, node: ast.expr) -> str:
        part = ast.get_source_segment(self._text, node) or ast.dump(node)
        return f"`{part if len(part) <= 60 else part[:57] + '...'}`"

    def _rules(self) -> str:
        return (
            f"allowed are numbers, the components {', '.join(self._allowed)}, + - * / // % **, "
            f"comparisons, `x if condition else y`, and the functions {' '.join(_FUNCTIONS)}"
        )
