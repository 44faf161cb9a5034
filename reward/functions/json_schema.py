"""JSON that satisfies a schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

from reward.base import ItemReward
from reward.column import read_column, unusable
from reward.errors import RewardConfigError, RewardTimeoutError
from reward.sample import Sample
from reward.schema_check import SchemaError, build_validator, is_satisfied
from reward.spec import JsonSchemaReward

MAX_DEPTH = 64
"""Objects and lists inside one another in an answer; deeper ones score 0."""
MAX_STARTS = 200
"""Opening braces that are tried in search of the first object."""
FENCE = "```"


class JsonSchema(ItemReward[JsonSchemaReward]):
    """1 where the completion, or the part asked for, is JSON and satisfies the schema, else 0.

    JSON is that of RFC 8259: no NaN, no comments, no text around it but white space. Numbers that
    Python cannot hold (beyond 4,300 digits, or larger than a float) and values nested deeper than
    64 score 0. A check that is not done within `timeout_s` is missing.
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
    language, block = "", None
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


def _is_flat(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [list(part.values()) if isinstance(part, dict) else part for part in level]
        level = [part for parts in inner if isinstance(parts, list) for part in parts]
        if not level:
            return True
    return False
