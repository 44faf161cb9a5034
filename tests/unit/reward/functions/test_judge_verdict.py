"""Reading a judge's reply."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import TypeAdapter

from reward.errors import RewardParseError
from reward.functions.judge_verdict import read_verdict
from reward.spec.external import JudgeParse

PARSE = TypeAdapter(JudgeParse)
TEN = {"type": "number", "min": 0, "max": 10}
LABELS = {"type": "label", "labels": {"good": 1, "not good": 0, "A+": 4}}


def read(reply: str, **parse: Any) -> float:
    return read_verdict(reply, PARSE.validate_python(parse))


@pytest.mark.parametrize(
    ("reply", "parse", "expected"),
    [
        ("7", TEN, 7),
        ("I thought of 3, but: **8.5**", TEN, 8.5),
        ("8/10", TEN, 8),
        ("I give it 8 out of 10.", TEN, 8),
        ("Score: 7.5 / 10.0", TEN, 7.5),
        ("10/10", TEN, 10),
        ("It has 8/100 faults: 2", TEN, 2),
        ("3/4", {"type": "number"}, 0.75),
        ("-2", {"type": "number"}, -2),
        ("4", {"type": "number", "min": 1, "max": 5, "scale": True}, 0.75),
        ("5", {**TEN, "scale": True}, 0.5),
        ("Score: 4\nof 9", {"type": "regex", "pattern": r"Score:\s*(\S+)"}, 4),
        ("it is GOOD.", LABELS, 1),
        ("Not\n good", LABELS, 0),
        ("good? no: not good", LABELS, 0),
        ("Grade: a+.", LABELS, 4),
        ("goodness, good", LABELS, 1),
        ('{"score": 7}', {"type": "json"}, 7),
        ('{"score": "7"}', {"type": "json"}, 7),
        ('Here:\n```json\n{"score": 7}\n```\nSo {well}.', {"type": "json"}, 7),
        ('I say {"score": 7}, clearly.', {"type": "json"}, 7),
        ('{"a": [{"b": 0.5}]}', {"type": "json", "path": "a.0.b"}, 0.5),
        ("[1, 2]", {"type": "json", "path": "1"}, 2),
    ],
)
def test_a_reply_is_read(reply: str, parse: dict[str, Any], expected: float) -> None:
    assert read(reply, **parse) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reply", "parse", "problem"),
    [
        ("great", TEN, "no number"),
        ("", TEN, "no number"),
        ("11", TEN, "11, outside of min 0.0 and max 10.0"),
        ("-1", TEN, "-1, outside"),
        ("9" * 400, {"type": "number"}, "not a finite one"),
        ("none", {"type": "regex", "pattern": r"(\d)"}, "not found"),
        ("bad", LABELS, "none of the labels good, not good, A"),
        ("goodness", LABELS, "none of the labels"),
        ("7", {"type": "json"}, "no 'score'"),
        ("{7", {"type": "json"}, "no JSON"),
        ('{"score": true}', {"type": "json"}, "no number"),
        ('{"score": null}', {"type": "json"}, "no number"),
        ('{"score": NaN}', {"type": "json"}, "not a finite one"),
        (f'{{"score": 1{"0" * 400}}}', {"type": "json"}, "not a finite one"),
        (f'{{"score": 1{"0" * 5000}}}', {"type": "json"}, "no JSON"),
        ('{"a": [1]}', {"type": "json", "path": "a.b"}, "no 'a.b'"),
        ("[" * 100_000, {"type": "json"}, "no JSON"),
    ],
)
def test_a_reply_that_says_nothing_usable_is_an_error(
    reply: str, parse: dict[str, Any], problem: str
) -> None:
    with pytest.raises(RewardParseError) as caught:
        read(reply, **parse)
    assert problem in str(caught.value)


def test_a_pattern_that_backtracks_for_ever_is_given_up() -> None:
    started_s = time.monotonic()
    with pytest.raises(RewardParseError, match="no answer within 1 s"):
        read("a" * 80 + "b", type="regex", pattern=r"((a|aa)+)$")
    assert time.monotonic() - started_s < 10
