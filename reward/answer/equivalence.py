r"""Code for child processes: checks whether an answer equals a reference, with math-verify.

The time limits of the library (https://github.com/huggingface/Math-Verify) are off: they use
signals, and the parent process enforces the time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from reward.answer.text import (
    has_words,
    is_expression,
    is_marked,
    is_readable,
    last_boxes,
    marked_tail,
    to_latex,
    without_units,
)

LATEX = LatexExtractionConfig(boxed_match_priority=0)
PLAIN = ExprExtractionConfig()


def load(arguments: Mapping[str, Any]) -> Callable[[Any], float]:
    """Return a function that compares one completion with one reference.

    Args:
        arguments: `boxed_only`. An item has `completion`, and `reference` without its `####`.
    """
    # math-verify warns that its time limits are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    boxed_only = bool(arguments["boxed_only"])

    def handle(item: Mapping[str, str]) -> float:
        reference = read_reference(item["reference"])
        if not reference:
            raise ValueError(f"nothing mathematical in the reference {item['reference']!r:.100}")
        answer = read_completion(item["completion"], boxed_only)
        return float(any(_equal(*pair) for pair in itertools.product(reference, answer)))

    return handle


def read_reference(text: str) -> list[Any]:
    """Parse a reference; return an empty list if nothing can be read."""
    if not is_readable(text):
        return []
    if is_marked(text) or has_words(without_units(text)):
        found = _parse(text, LATEX, PLAIN)
    else:
        found = _parse(to_latex(text), LATEX)
    # Besides values, `found` has the text, by which two answers without a formula could be equal.
    return found if any(not isinstance(part, str) for part in found) else []


def read_completion(text: str, boxed_only: bool) -> list[Any]:
    """Parse the answer of a completion; return an empty list if nothing can be read."""
    boxes = last_boxes(text)
    if boxes is not None:
        return _parse(boxes, LATEX)
    if boxed_only:
        return []
    text = marked_tail(text)
    if is_expression(text):
        return _parse(to_latex(text), LATEX)
    return _parse(text, LATEX, PLAIN)


def _parse(text: str, *configurations: Any) -> list[Any]:
    return parse(text, list(configurations), parsing_timeout=None, raise_on_error=False)


def _equal(reference: Any, answer: Any) -> bool:
    try:
        return verify(reference, answer, timeout_seconds=None, raise_on_error=True)
    # Values that are too large to compare are not known to differ.
    except (MemoryError, RecursionError):
        raise
    # The library fails in many ways on things that cannot be compared, such as a set and a word.
    except Exception:
        return False
