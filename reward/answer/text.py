r"""Finding the answer in mathematical text, and converting plain notation to LaTeX."""

from __future__ import annotations

import re

ANSWER_MARK = "####"
"""Mark before the final answer in GSM8K (Cobbe et al. 2021, arXiv:2110.14168)."""

_DELIMITED = re.compile(r"\$[^$]+\$|\\\(|\\\[|\\boxed\b")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname|begin|end)\s*\{[^{}]*\}")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_SHORT_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_FUNCTIONS = re.compile(
    r"(?:arc)?(?:sin|cos|tan)|(?:sin|cos|tan)h|cot|sec|csc|log|exp|sqrt|min|max|gcd|lcm",
    re.IGNORECASE,
)
_MIXED = re.compile(r"(?<![\d.,/^])(\d+) (\d+)/(\d+)(?![\d/])")
_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?!\w)")
_ROOT = re.compile(r"(?<!\\)\bsqrt\(([^()]*)\)")
_UNIT_WORDS = re.compile(r"(?<=\d)\s+(?:[A-Za-z]{2,}\s*)+$")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"[\s$.,;]*(?:(?:and|or)[\s$]*)?")
_LONGEST_EXPRESSION = 200


def after_mark(text: str) -> str:
    """Return the text after the last `####`; all of the text if there is none."""
    return text.rpartition(ANSWER_MARK)[2].strip()


def last_boxes(text: str) -> str | None:
    """Return the last closed box, with those before it that a comma, `and` or `or` joins to it."""
    spans: list[tuple[int, int]] = []
    for box in _BOX.finditer(text):
        # A box within a box belongs to the outer one.
        if spans and box.start() < spans[-1][1]:
            continue
        end = _closing_brace(text, box.end())
        if end is not None:
            spans.append((box.start(), end))
    if not spans:
        return None
    start, stop = spans.pop()
    while spans and _BETWEEN_BOXES.fullmatch(text, spans[-1][1], start):
        start = spans.pop()[0]
    return text[start:stop]


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.end()
    return None


def marked_tail(text: str) -> str:
    """Return the text after a `####` in the last line; all of the text if that line has none.

    Other lines do not count: models also write headings with `####`.
    """
    lines = text.strip().splitlines()
    return after_mark(lines[-1]) if lines and ANSWER_MARK in lines[-1] else text


def is_marked(text: str) -> bool:
    """Return whether the text delimits its LaTeX."""
    return _DELIMITED.search(text) is not None


def is_expression(text: str) -> bool:
    """Return whether the text is one plain expression, and nothing else.

    If there is white space, two letters may be a word (`it is 5`), else a product (`xy+5`).
    """
    text = text.strip()
    if not text or "\n" in text or len(text) > _LONGEST_EXPRESSION or is_marked(text):
        return False
    words = _SHORT_WORD if re.search(r"\s", text) else _WORD
    return not has_words(text, words) and re.search(r"[0-9A-Za-z\\]", text) is not None


def is_readable(text: str) -> bool:
    """Return whether there is anything mathematical to read: a digit, a symbol or a command, not
    only words. The check is cheap and starts no process."""
    if re.search(r"[0-9]", text) or is_marked(text):
        return True
    return re.search(r"[A-Za-z\\\u221e\u03c0\u2205]", text) is not None and not has_words(text)


def has_words(text: str, pattern: re.Pattern[str] = _WORD) -> bool:
    """Return whether the text has words that are neither commands nor functions."""
    words = pattern.findall(_TEXT_COMMAND.sub("", text))
    return not all(_FUNCTIONS.fullmatch(word) for word in words)


def without_units(text: str) -> str:
    """Return the text without words that follow a number at its end."""
    return _UNIT_WORDS.sub("", text)


def to_latex(text: str) -> str:
    r"""Return a plain expression as LaTeX between dollar signs.

    Words after a number count as units and are dropped, as are currency signs and a final period.
    """
    text = without_units(text.strip(" \t*`.")).replace(r"\$", "").replace("$", "")
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _EXPONENT.sub(r"\1 \\cdot 10^{\2}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = re.sub(r"(?<!\\)%", r"\\%", text).replace("**", "^")
    return f"${text}$"
