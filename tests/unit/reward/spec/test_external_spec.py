"""Specifications of the rewards that call a server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reward.spec import RewardSpec
from reward.spec.template import template_parts

SPEC = TypeAdapter(RewardSpec)
JUDGE = {"type": "judge", "base_url": "https://api.example.org/v1", "model": "m"}
REMOTE = {"type": "remote", "url": "http://localhost:9000/score"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({**REMOTE, "url": "localhost:9000"}, "not a URL such as https://"),
        ({**REMOTE, "url": "ftp://example.org"}, "not a URL such as"),
        ({**REMOTE, "url": "http://"}, "not a URL such as"),
        ({**REMOTE, "url": "http://[::1"}, "not a URL"),
        ({**REMOTE, "url": "http://x.org:99999"}, "not a URL"),
        ({**REMOTE, "url": "http://me:pw@x.org"}, "must not hold a user or a password"),
        ({**REMOTE, "url": "http://x.org/#part"}, "has a fragment"),
        ({**REMOTE, "secret": "sk-123"}, "not the name of a secret"),
        ({**REMOTE, "batch_size": 0}, "greater than or equal to 1"),
        ({**REMOTE, "timeout_s": float("inf")}, "finite"),
        ({**JUDGE, "api_key": "sk-ABC"}, "not the name of a secret"),
        ({**JUDGE, "prompt": "Rate {prompt}"}, "{completion} is not in it"),
        ({**JUDGE, "prompt": "{completion.__class__}"}, "not a plain name"),
        ({**JUDGE, "prompt": "{completion} {0[a]}"}, "not a plain name"),
        ({**JUDGE, "prompt": "{completion!r}"}, "{completion!r} is not a plain name"),
        ({**JUDGE, "prompt": "{completion:>9}"}, "{completion:>9} is not a plain name"),
        ({**JUDGE, "prompt": "{completion} {"}, "not a format string"),
        ({**JUDGE, "samples": 3}, "raise temperature or set samples to 1"),
        ({**JUDGE, "extra": {"messages": []}}, "it sets messages"),
        ({**JUDGE, "extra": {"seed": {1, 2}}}, "it is not JSON"),
        ({**JUDGE, "extra": {"seed": float("nan")}}, "it is not JSON"),
        ({**JUDGE, "parse": {"type": "number", "scale": True}}, "`scale` needs `min` and `max`"),
        ({**JUDGE, "parse": {"type": "number", "min": 2, "max": 2}}, "min is 2.0, not below max"),
        ({**JUDGE, "parse": {"type": "regex", "pattern": "a"}}, "has no group"),
        ({**JUDGE, "parse": {"type": "regex", "pattern": "(a"}}, "not a regular expression"),
        ({**JUDGE, "parse": {"type": "label", "labels": {}}}, "at least 1 item"),
        ({**JUDGE, "parse": {"type": "label", "labels": {" ": 1}}}, "a label is blank"),
        ({**JUDGE, "parse": {"type": "label", "labels": {"A": 1, "a": 0}}}, "differ only in case"),
        ({**JUDGE, "parse": {"type": "json", "path": "a..b"}}, "should match pattern"),
    ],
)
def test_a_call_that_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SPEC.validate_python(spec)
    assert message in str(caught.value)


def test_the_defaults_are_usable_and_survive_json() -> None:
    for given in (JUDGE, REMOTE):
        spec = SPEC.validate_python(given)
        assert SPEC.validate_json(SPEC.dump_json(spec)) == spec


def test_a_template_is_cut_into_text_and_names() -> None:
    assert template_parts("a {b} {{c}} d") == (
        ("a ", "b"),
        (" {", None),
        ("c}", None),
        (" d", None),
    )
