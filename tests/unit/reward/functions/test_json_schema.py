from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from reward.base import RewardResult
from reward.errors import RewardConfigError
from reward.functions.structure import JsonSchema
from reward.sample import Sample
from reward.schema_check import SchemaError, build_validator, is_satisfied
from reward.spec import JsonSchemaSpec

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city"],
    "additionalProperties": False,
}
PARIS = '{"city": "Paris", "people": 2100000}'
SLOW = "^(a|aa)+$"


def result(text: Any, row: dict[str, Any] | None = None, **settings: Any) -> RewardResult:
    if "column" not in settings:
        settings.setdefault("json_schema", CITY)
    return JsonSchema(JsonSchemaSpec(**settings)).score([Sample(text, row or {})])[0]


def value(text: str, row: dict[str, Any] | None = None, **settings: Any) -> float:
    found = result(text, row, **settings)
    assert found.error is None
    return found.value


@pytest.mark.parametrize("text", [PARIS, f"\n {PARIS} \n", '{"city": ""}'])
def test_json_that_satisfies_the_schema_scores_one(text: str) -> None:
    assert value(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        '{"city": 75}',
        '{"people": 2}',
        '{"city": "Paris", "people": -1}',
        '{"city": "Paris", "mayor": "?"}',
        '["Paris"]',
        "{'city': 'Paris'}",
        '{"city": "Paris",}',
        '{"city": "Paris"} // done',
        f"{PARIS}{PARIS}",
        f"Here: {PARIS}",
        f"```json\n{PARIS}\n```",
    ],
)
def test_anything_else_scores_zero(text: str) -> None:
    assert value(text) == 0


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "9" * 5000, "[" * 100_000])
def test_what_json_or_python_cannot_hold_scores_zero(text: str) -> None:
    assert value(text, json_schema={"not": {"type": "null"}}) == 0
    assert value("1e99", json_schema={"not": {"type": "null"}}) == 1


def test_nesting_has_a_limit() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    assert value("[" * 64 + "]" * 64, json_schema=tree) == 1
    assert value("[" * 66 + "]" * 66, json_schema=tree) == 0


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{PARIS}\n```",
        f"Here you are:\n\n```JSON\n{PARIS}\n```\nAnything else?",
        f"```python\nx = 1\n```\nand\n```json\n{PARIS}\n```\n```json\n[]\n```",
        f"  ```json\r\n  {PARIS}\r\n  ```\r\n",
    ],
)
def test_the_first_block_of_json_is_read(text: str) -> None:
    assert value(text, extract="fenced") == 1


@pytest.mark.parametrize(
    "text",
    [PARIS, f"```\n{PARIS}\n```", f"```json\n{PARIS}", f"```json\n[]\n```\n```json\n{PARIS}\n```"],
)
def test_without_such_a_block_or_with_a_wrong_one_first_it_scores_zero(text: str) -> None:
    assert value(text, extract="fenced") == 0


@pytest.mark.parametrize(
    "text",
    [
        PARIS,
        f"Sure! {PARIS} Anything else?",
        f"Of the form {{city}}: {PARIS}",
        f"[1, {PARIS}] {{}}",
        '{"city": "a } b"}',
    ],
)
def test_the_first_object_is_found_in_prose(text: str) -> None:
    assert value(text, extract="first_object") == 1


@pytest.mark.parametrize("text", ["", "{", "{{}", f"{{}} {PARIS}", '{"city": "Par'])
def test_only_the_first_object_counts(text: str) -> None:
    assert value(text, extract="first_object") == 0


def test_degenerate_text_is_searched_quickly() -> None:
    started = time.perf_counter()
    for unit in ("{", '{"a":', "```json\n", "```\n", '{"a":[1,1,1,1,1,'):
        for extract in ("first_object", "fenced", "whole"):
            assert value(unit * 20_000, extract=extract) == 0
    assert time.perf_counter() - started < 10


# a schema in the row


@pytest.mark.parametrize("schema", [CITY, json.dumps(CITY)])
def test_every_row_may_bring_its_schema(schema: Any) -> None:
    other = {"type": "array"}
    reward = JsonSchema(JsonSchemaSpec(column="schema"))
    samples = [Sample(PARIS, {"schema": schema}), Sample(PARIS, {"schema": other})]
    assert [found.value for found in reward.score(samples)] == [1, 0]
    reward.check_row(samples[0].columns)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("{", "Expecting property name"),
        ("[]", "no object with keywords"),
        (True, "no object with keywords"),
        (["a"], "no object with keywords"),
        ({}, "no object with keywords"),
        ({"type": "text"}, "'text' is not valid"),
        ({"enum": {1, 2}}, "not JSON serializable"),
    ],
)
def test_a_row_without_a_usable_schema_is_refused_and_missing(schema: Any, problem: str) -> None:
    reward = JsonSchema(JsonSchemaSpec(column="schema"))
    with pytest.raises(RewardConfigError, match=r"column 'schema' is not a JSON Schema") as caught:
        reward.check_row({"schema": schema})
    assert problem in str(caught.value)
    assert caught.value.detail == {"field": "reward.column", "column": "schema"}
    found = result(PARIS, {"schema": schema}, column="schema")
    assert found.missing
    assert found.error is not None
    assert "reward.column" in found.error


# schemas that cannot work


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "text"}, r"not a JSON Schema: 'text' is not valid .* at \$.type"),
        ({"properties": {"a": {"minimum": "0"}}}, r"at \$\.properties\.a\.minimum"),
        ({"$schema": "https://example.org/mine"}, "no known draft; leave it out"),
        ({"$schema": 7}, "no known draft"),
        ({"$ref": "https://example.org/city.json"}, "outside the schema; nothing is fetched"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "outside the schema"),
        ({"$ref": "#/$defs/city"}, "'#/\\$defs/city', which is not there"),
        ({"$ref": "#city"}, "which is not there"),
        ({"$defs": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}, "at the top"),
        ({"pattern": "(a"}, "not a 'regex'"),
        ({"pattern": r"\p{nothing}"}, "regex"),
        (
            {"patternProperties": {"a": True}, "unevaluatedProperties": False},
            "cannot be used together",
        ),
    ],
)
def test_a_schema_that_cannot_work_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JsonSchemaSpec(json_schema=schema)


def test_a_schema_nested_without_measure_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"items": schema}
    with pytest.raises(ValidationError, match=r"make it flatter|recursion"):
        JsonSchemaSpec(json_schema=schema)


def test_references_inside_the_schema_are_followed() -> None:
    schema = {
        "$id": "https://example.org/root",
        "$defs": {"name": {"$anchor": "name", "type": "string"}},
        "properties": {"a": {"$ref": "#/$defs/name"}, "b": {"$ref": "#name"}},
    }
    assert value('{"a": "x", "b": "y"}', json_schema=schema) == 1
    assert value('{"a": "x", "b": 1}', json_schema=schema) == 0


def test_a_schema_of_an_older_draft_is_read_as_that() -> None:
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3}
    older = draft4 | {"exclusiveMaximum": True}
    assert value("3", json_schema=draft4) == 1
    assert value("3", json_schema=older) == 0
    with pytest.raises(ValidationError, match="exclusiveMaximum"):
        JsonSchemaSpec(json_schema={"maximum": 3, "exclusiveMaximum": True})


def test_a_schema_that_goes_round_in_circles_is_missing() -> None:
    found = result("1", json_schema={"$ref": "#"})
    assert found.missing
    assert found.error is not None
    assert "reward.json_schema: the schema refers to itself without end" in found.error


# time


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"pattern": SLOW}, json.dumps("a" * 80 + "b")),
        ({"patternProperties": {SLOW: False}}, json.dumps({"a" * 80 + "b": 1})),
        (
            {"patternProperties": {SLOW: True}, "additionalProperties": False},
            json.dumps({"a" * 80 + "b": 1}),
        ),
        ({"propertyNames": {"pattern": SLOW}}, json.dumps({"a" * 80 + "b": 1})),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": {"pattern": SLOW}},
            json.dumps(["a" * 80 + "b"]),
        ),
        (
            {"$ref": "#/other/a", "other": {"a": {"pattern": SLOW}}},
            json.dumps("a" * 80 + "b"),
        ),
        (
            {
                "$defs": {
                    "e0": True,
                    **{
                        f"e{i}": {"allOf": [{"$ref": f"#/$defs/e{i - 1}"}] * 2}
                        for i in range(1, 40)
                    },
                },
                "$ref": "#/$defs/e39",
            },
            "1",
        ),
    ],
)
def test_a_check_without_end_is_missing_after_its_timeout(schema: Any, text: str) -> None:
    started = time.perf_counter()
    found = result(text, json_schema=schema, timeout_s=0.1)
    assert found.missing
    assert found.error is not None
    assert "0.1 s" in found.error
    assert "reward.timeout_s" in found.error
    # Without a limit this takes longer than anyone waits.
    assert time.perf_counter() - started < 10


def test_the_next_item_has_its_own_time() -> None:
    reward = JsonSchema(JsonSchemaSpec(json_schema={"pattern": SLOW}, timeout_s=0.1))
    slow, quick = reward.score([Sample(json.dumps("a" * 80 + "b")), Sample('"aaa"')])
    assert slow.missing
    assert quick.value == 1


# against jsonschema

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("abx", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abx"), inner, max_size=3),
    max_leaves=8,
)
keywords = st.fixed_dictionaries(
    {},
    optional={
        "pattern": st.sampled_from(["^a", "b$", "x|a"]),
        "patternProperties": st.dictionaries(
            st.sampled_from(["^a", "b$"]), st.sampled_from([True, False, {"type": "string"}])
        ),
        "additionalProperties": st.sampled_from([True, False, {"type": "integer"}]),
        "properties": st.dictionaries(st.sampled_from(["a", "ab", "x"]), st.booleans()),
        "items": st.sampled_from([{"pattern": "a"}, {"additionalProperties": False}, True]),
    },
)


@settings(deadline=None)
@given(keywords, values)
def test_a_bounded_check_says_the_same_as_jsonschema(schema: Any, instance: Any) -> None:
    expected = Draft202012Validator(schema).is_valid(instance)
    assert is_satisfied(build_validator(schema), instance, 60) == expected


def test_building_a_validator_leaves_the_schema_as_it_was() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "integer"}
    assert is_satisfied(build_validator(schema), 3, 60)
    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "integer",
    }


def test_a_schema_error_is_a_value_error_that_says_why() -> None:
    with pytest.raises(SchemaError, match="no known draft"):
        build_validator({"$schema": "x"})
