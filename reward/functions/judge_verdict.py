"""Reading the score from a judge's reply."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any, cast

import regex

from reward.answer.numeral import last_number
from reward.errors import RewardParseError
from reward.spec.external import (
    JsonParseSpec,
    JudgeParse,
    LabelParseSpec,
    NumberParseSpec,
    RangedSpec,
    RegexParseSpec,
)

MATCH_TIMEOUT_S = 1.0
"""Longest time for a pattern to match."""
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def read_verdict(reply: str, parse: JudgeParse) -> float:
    """Read the score from a judge's reply.

    Raises:
        RewardParseError: the score is absent or out of range; the message omits the reply.
    """
    if isinstance(parse, LabelParseSpec):
        return _label(reply, parse)
    if isinstance(parse, NumberParseSpec):
        value = _number(reply, parse)
    elif isinstance(parse, RegexParseSpec):
        value = _group(reply, parse)
    else:
        value = _field(reply, parse)
    return _in_range(value, parse)


def _in_range(value: float, parse: RangedSpec) -> float:
    low, high = parse.min, parse.max
    if not math.isfinite(value):
        raise RewardParseError(f"the number is {value}, not a finite one")
    if (low is not None and value < low) or (high is not None and value > high):
        raise RewardParseError(f"the number is {value:g}, outside of min {low} and max {high}")
    if parse.scale and low is not None and high is not None:
        return (value - low) / (high - low)
    return value


def _number(reply: str, parse: NumberParseSpec) -> float:
    if parse.max is not None:
        reply = _best_mark(parse.max).sub(r"\1", reply)
    return float(last_number(reply))


@lru_cache(maxsize=64)
def _best_mark(best: float) -> re.Pattern[str]:
    """Return a pattern for `8/10`, which with a best mark of 10 is neither 0.8 nor 10."""
    mark = rf"{re.escape(f'{best:g}')}(?:\.0+)?(?![0-9]|[.,/][0-9])"
    return re.compile(rf"([0-9])\s*(?:/|\bout\s+of\b)\s*{mark}")


def _group(reply: str, parse: RegexParseSpec) -> float:
    try:
        match = regex.compile(parse.pattern).search(reply, timeout=MATCH_TIMEOUT_S)
    except TimeoutError as error:
        raise RewardParseError(
            f"the pattern gave no answer within {MATCH_TIMEOUT_S:g} s; simplify it"
        ) from error
    if match is None or match[1] is None:
        raise RewardParseError("the pattern is not found")
    return float(last_number(match[1]))


def _label(reply: str, parse: LabelParseSpec) -> float:
    scores = {_normal(label): score for label, score in parse.labels.items()}
    found = _labels(tuple(scores)).findall(reply.casefold())
    if not found:
        raise RewardParseError(f"none of the labels {', '.join(parse.labels)} is in it")
    return scores[_normal(found[-1])]


def _normal(label: str) -> str:
    return " ".join(label.casefold().split())


@lru_cache(maxsize=64)
def _labels(labels: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(labels, key=len, reverse=True)
    words = (r"\s+".join(map(re.escape, label.split())) for label in longest_first)
    # Not \b: it would never match beside a label's own punctuation, as in "A+".
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")


def _field(reply: str, parse: JsonParseSpec) -> float:
    value: Any = _json(reply)
    for step in parse.path.split("."):
        try:
            key = int(step) if isinstance(value, list) else step
            value = cast(Any, value)[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise RewardParseError(f"its JSON has no {parse.path!r}") from error
    if isinstance(value, str):
        return float(last_number(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RewardParseError(f"{parse.path!r} in its JSON is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _json(reply: str) -> Any:
    fenced = _FENCE.findall(reply)
    bare = reply[reply.find("{") : reply.rfind("}") + 1]
    for text in (reply, *fenced[-1:], bare):
        try:
            return json.loads(text)
        # A value error covers malformed JSON and integers with too many digits.
        except (ValueError, RecursionError):
            continue
    raise RewardParseError("it holds no JSON")
