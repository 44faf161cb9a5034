"""`docs/REWARDS.md` agrees with the rewards: examples, types, settings, the answer it shows."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.settings import Settings
from reward.batch import BatchReward
from reward.registry import REWARDS
from reward.spec import RewardSpec

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "REWARDS.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", TEXT, re.M | re.S)]
EXAMPLES = [block for block in BLOCKS if "type" in block]
REWARD = TypeAdapter(RewardSpec)
NAMED_BY_EXTRA = {"ifeval": "reward/ifeval/registry.py"}
"""Types whose libraries are asked for elsewhere than in their own class."""


def table_of_types() -> dict[str, list[str]]:
    """Cells of every row of the table, by type."""
    section = TEXT.split("## All types")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        auth="off",
        home=tmp_path_factory.mktemp("home"),
        reward_python=True,
        reward_hosts=("api.example.org", "scores.example.org"),
        reward_secrets={"openai": "one", "scores": "two"},
    )
    with TestClient(create_app(settings)) as started:
        yield started


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec["type"])
def test_example_is_a_reward_that_the_operator_named_there_allows(
    client: TestClient, spec: dict[str, Any]
) -> None:
    REWARD.validate_python(spec)
    answer = client.post("/v1/fine_tuning/alpha/graders/validate", json={"grader": spec})
    assert answer.status_code == 200, answer.text


def test_the_answer_shown_is_what_the_service_answers(client: TestClient) -> None:
    request, shown = [block for block in BLOCKS if "type" not in block]
    given = client.post("/v1/fine_tuning/alpha/graders/run", json=request).json()
    # How long it took is another number every time.
    assert given.pop("seconds") >= 0
    assert shown.pop("seconds") >= 0
    assert given == shown


def test_the_table_has_every_type_once() -> None:
    table = TEXT.split("## All types")[1].split("\n\n")[1]
    assert len(table.splitlines()) - 2 == len(table_of_types())
    assert set(table_of_types()) == set(REWARDS)


@pytest.mark.parametrize("kind", sorted(REWARDS))
def test_row_says_whether_the_score_is_of_the_batch(kind: str) -> None:
    per = table_of_types()[kind][2]
    expected = "batch" if issubclass(REWARDS[kind], BatchReward) else "answer"
    assert per == ("as its components" if kind == "composite" else expected)


@pytest.mark.parametrize("kind", sorted(REWARDS))
def test_row_says_whether_the_extra_is_needed(kind: str) -> None:
    elsewhere = NAMED_BY_EXTRA.get(kind)
    source = (ROOT / elsewhere).read_text() if elsewhere else inspect.getsource(REWARDS[kind])
    needs = "essa-service[rewards]" in source or "require_library(" in source
    assert table_of_types()[kind][5] == ("`rewards`" if needs else "")


def test_variables_of_the_operator_are_settings() -> None:
    variables = set(re.findall(r"ESSA_REWARD_[A-Z_]+", TEXT))
    known = {f"ESSA_{name.upper()}" for name in Settings.model_fields if "reward" in name}
    assert known - variables == {"ESSA_REWARD_SECRETS"}
    assert variables - known == {"ESSA_REWARD_SECRET_OPENAI"}


def test_the_manual_fits_a_sitting() -> None:
    assert len(TEXT.splitlines()) <= 300
