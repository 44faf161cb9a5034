"""Three-digit sums and differences, and the mistake a careless pupil makes in them."""

from __future__ import annotations

import random
from dataclasses import dataclass

LOWEST, HIGHEST = 100, 999


@dataclass(frozen=True, order=True)
class Problem:
    """`left op right`, with `op` one of + and -; differences are never negative."""

    left: int
    op: str
    right: int

    def prompt(self, sign: str) -> str:
        """The question, ended by `sign`."""
        return f"{self.left}{self.op}{self.right}{sign}"

    @property
    def answer(self) -> str:
        """The right answer."""
        if self.op == "+":
            return str(self.left + self.right)
        return str(self.left - self.right)

    @property
    def careless_answer(self) -> str:
        """The answer of someone who works column by column and forgets every carry and borrow.

        It equals the right answer where nothing is carried or borrowed. The leading column of a
        sum is written out in full.
        """
        value, left, right = 0, self.left, self.right
        for place in (1, 10, 100):
            top, bottom = left // place % 10, right // place % 10
            column = top + bottom if self.op == "+" else top - bottom
            value += (column if place == 100 else column % 10) * place
        return str(value)


def draw_problem(rng: random.Random) -> Problem:
    """Draw one problem, half of them sums."""
    left, right = rng.randint(LOWEST, HIGHEST), rng.randint(LOWEST, HIGHEST)
    if rng.random() < 0.5:
        return Problem(left, "+", right)
    return Problem(max(left, right), "-", min(left, right))


def draw_distinct(rng: random.Random, count: int, taken: set[Problem]) -> list[Problem]:
    """Draw `count` different problems, none of them in `taken`, which then holds them too."""
    drawn: list[Problem] = []
    while len(drawn) < count:
        problem = draw_problem(rng)
        if problem not in taken:
            taken.add(problem)
            drawn.append(problem)
    return drawn


def label(problem: Problem, careless_share: float, rng: random.Random) -> str:
    """The answer a teacher who forgets carries in `careless_share` of problems writes down."""
    if rng.random() < careless_share:
        return problem.careless_answer
    return problem.answer
