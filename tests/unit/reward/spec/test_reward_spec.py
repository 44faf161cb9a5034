from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reward.spec import RewardSpec

SPEC = TypeAdapter(RewardSpec)
TONE = {"name": "tone", "reward": {"type": "sentiment"}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "vibes"}, "does not match any of the expected tags"),
        ({"type": "sentiment", "scale": 2}, "Extra inputs are not permitted"),
        ({"type": "exact_match", "reference": ""}, "at least 1 character"),
        ({"type": "numeric_match", "tolerance": -1}, "greater than or equal to 0"),
        ({"type": "numeric_match", "tolerance": float("inf")}, "finite number"),
        ({"type": "regex", "pattern": "(a"}, "not a regular expression: missing \\)"),
        ({"type": "regex", "pattern": "a", "timeout_s": 0}, "greater than 0"),
        ({"type": "length"}, "give `min`, `max` or both"),
        ({"type": "length", "min": 9, "max": 3}, "min is 9, above max, which is 3"),
        ({"type": "length", "target": 9, "max": 9, "slack": 1}, "by its ends or by its middle"),
        ({"type": "length", "target": 9}, "target is 9 and slack 0; give `slack`"),
        ({"type": "readability", "slack": 5}, "slack is 5.0, but there is no `min`"),
        ({"type": "readability", "target": 60}, "give `slack`, above 0"),
        ({"type": "readability", "min": 9, "max": 3}, "min is 9.0, above max, which is 3.0"),
        ({"type": "repetition", "n": 0}, "greater than or equal to 1"),
        ({"type": "reference_logprob", "floor": 1}, "less than or equal to 0"),
        ({"type": "format"}, "give `tags`, `sections` or both"),
        ({"type": "format", "tags": ["<think>"]}, "'<think>' is not a name; write it bare"),
        ({"type": "format", "tags": ["a", "b", "a"]}, "given twice: a"),
        ({"type": "format", "sections": ["Plan", "## plan:"]}, "given twice: plan"),
        ({"type": "format", "sections": ["#"]}, "not a heading"),
        ({"type": "format", "sections": ["Plan"], "only": True}, "outside `tags`"),
        ({"type": "json_schema"}, "give `json_schema` or `column`, and not both"),
        ({"type": "json_schema", "json_schema": {}, "column": "a"}, "and not both"),
        ({"type": "keywords"}, "give `keywords`, `column` or both"),
        ({"type": "keywords", "keywords": ["train", " "]}, "a keyword is blank"),
        ({"type": "composite", "components": []}, "at least 1 item"),
        ({"type": "composite", "components": [TONE, TONE]}, "given twice: tone"),
        ({"type": "composite", "components": [{**TONE, "name": "a.b"}]}, "should match pattern"),
        ({"type": "composite", "components": [{**TONE, "weight": float("nan")}]}, "finite number"),
    ],
)
def test_a_reward_that_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SPEC.validate_python(spec)


def test_a_spec_survives_json() -> None:
    inner = {"type": "composite", "components": [TONE]}
    spec = SPEC.validate_python(
        {"type": "composite", "components": [{"name": "in", "weight": -0.5, "reward": inner}]}
    )
    assert SPEC.validate_json(SPEC.dump_json(spec)) == spec


def test_every_setting_is_described_in_the_schema() -> None:
    schema = SPEC.json_schema()
    described = schema["$defs"]["NumericMatchSpec"]["properties"]
    assert "GSM8K" in described["reference"]["description"]
    assert all(model.get("description") for model in schema["$defs"].values())
