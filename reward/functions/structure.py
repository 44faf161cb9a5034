"""Rewards for answers that other programs read: tags, sections, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn, cast

from reward.base import ItemReward
from reward.column import read_column, unusable
from reward.errors import RewardConfigError, RewardTimeoutError
from reward.sample import Sample
from reward.schema_check import SchemaError, build_validator, is_satisfied
from reward.spec import FormatSpec, JsonSchemaSpec

MAX_DEPTH = 64
"""Deepest nesting of objects and lists in an answer; deeper answers score 0."""
MAX_STARTS = 200
"""Opening braces that are tried in the search for the first object."""
FENCE = "```"


class Format(ItemReward[FormatSpec]):
    """Presence of tags and sections, scored 0 or 1 or as the share of points met.

    Points: every tag occurs once, closed and not empty; several tags follow one another in the
    order given (in any order, without overlap, if `ordered` is false); with `only`, all tags are
    correct and there is nothing else; every section occurs. An empty completion meets none.

    A chat template may open the first tag at the end of the prompt, as those of reasoning models
    do; that opening tag counts as part of the completion.
    """

    def _score_item(self, sample: Sample) -> float:
        spec = self.spec
        text = self._opening(sample.prompt) + sample.completion
        spans = [_find(text, tag) for tag in spec.tags]
        right = [span for span in spans if span is not None]
        complete = len(right) == len(spans)
        points = [span is not None for span in spans]
        points += [_has_heading(text, section) for section in spec.sections]
        if len(spec.tags) > 1:
            points.append(complete and _in_a_row(right if spec.ordered else sorted(right)))
        if spec.only:
            points.append(complete and not _outside(text, right).strip())
        return float(all(points)) if spec.require == "all" else sum(points) / len(points)

    def _opening(self, prompt: str) -> str:
        end = prompt.rstrip()
        return next((f"<{tag}>" for tag in self.spec.tags if end.endswith(f"<{tag}>")), "")


class _Span(NamedTuple):
    start: int
    end: int


def _find(text: str, tag: str) -> _Span | None:
    """Return the span from the opening to the end of the closing tag; None if it is malformed."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        return None
    start, inner_end = text.index(opening), text.index(closing)
    if not text[start + len(opening) : inner_end].strip():
        return None
    return _Span(start, inner_end + len(closing))


def _in_a_row(spans: list[_Span]) -> bool:
    return all(one.end <= other.start for one, other in pairwise(spans))


def _outside(text: str, spans: list[_Span]) -> str:
    rest: list[str] = []
    end = 0
    for span in sorted(spans):
        rest.append(text[end : span.start])
        end = max(end, span.end)
    return "".join([*rest, text[end:]])


def _has_heading(text: str, section: str) -> bool:
    name = r"[ \t]+".join(re.escape(word) for word in section.split())
    # Blanks and stars are bounded, so that a line of them takes linear time.
    bold = r"[*_]{0,3}"
    hashed = rf"#{{1,6}}[ \t]{{1,8}}{bold}{name}[ \t]?:?{bold}:?[ \t]{{0,8}}#{{0,6}}[ \t\r]*$"
    colon = rf"{bold}{name}{bold}[ \t]?:"
    pattern = rf"^[ \t]{{0,3}}(?:{hashed}|{colon})"
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None


class JsonSchema(ItemReward[JsonSchemaSpec]):
    """1 if the completion, or its extracted part, is JSON and satisfies the schema, else 0.

    JSON is that of RFC 8259: no NaN, no comments, only white space around it. Numbers that Python
    cannot hold (beyond 4,300 digits, or larger than a float) and values nested deeper than 64
    score 0. If the check takes longer than `timeout_s`, the score is missing.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._validator(columns)

    def _score_item(self, sample: Sample) -> float:
        validator = self._validator(sample.columns)
        try:
            value = self._extract(sample.completion)
        except (ValueError, RecursionError):
            return 0.0
        if not _is_flat(value):
            return 0.0
        try:
            return float(is_satisfied(validator, value, self.spec.timeout_s))
        except TimeoutError as error:
            raise RewardTimeoutError(
                f"{self.path}: the check against the schema took longer than "
                f"{self.spec.timeout_s} s; simplify its patterns or raise {self.path}.timeout_s",
                field=f"{self.path}.timeout_s",
            ) from error
        except SchemaError as error:
            setting = f"{self.path}.{'column' if self.spec.column else 'json_schema'}"
            raise RewardConfigError(f"{setting}: {error}", field=setting) from error

    def _extract(self, text: str) -> Any:
        if self.spec.extract == "first_object":
            return _first_object(text)
        if self.spec.extract == "fenced":
            text = _first_block(text)
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)

    def _validator(self, row: Mapping[str, Any]) -> Any:
        column, setting = self.spec.column, f"{self.path}.column"
        if column is None:
            return _built(json.dumps(self.spec.json_schema))
        value = read_column(row, column, setting)
        try:
            schema = json.loads(value) if isinstance(value, str) else value
            if not isinstance(schema, dict) or not schema:
                raise SchemaError("no object with keywords")
            return _built(json.dumps(schema))
        except (ValueError, TypeError, RecursionError) as error:
            raise unusable(row, column, setting, f"not a JSON Schema ({error})") from error


@lru_cache(maxsize=1024)
def _built(schema: str) -> Any:
    return build_validator(json.loads(schema))


def _first_block(text: str) -> str:
    language = ""
    block: list[str] | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if block is None:
            if mark.startswith(FENCE):
                language, block = mark.strip("`").strip().casefold(), []
        elif mark.startswith(FENCE) and not mark.strip("`"):
            if language == "json":
                return "\n".join(block)
            block = None
        else:
            block.append(line)
    raise ValueError("no block of json")


def _first_object(text: str) -> Any:
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    start = -1
    for _ in range(MAX_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            break
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError("no object")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _is_flat(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for part in level for inner in _inside(part)]
        if not level:
            return True
    return False
