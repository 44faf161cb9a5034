"""Who answers which prompts, and what follows from a budget of completions."""

from __future__ import annotations

from typing import Any

import pytest

from essa.errors import SpecError
from essa.spec import AlignmentJobSpec
from essa.spec.reading.file import validate_job

F1 = {"type": "f1", "reference": "label", "labels": ["a", "b"]}
PAIRS = {"type": "annealed_es", "population": 64}


def job(**parts: Any) -> AlignmentJobSpec:
    plain = {
        "model": {"path": "somewhere"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {"type": "sentiment"},
    }
    return validate_job(plain | parts)


def sizes(spec: AlignmentJobSpec) -> tuple[int, int, int]:
    return spec.search.population, spec.batch_size, spec.groups


def test_every_pair_has_a_prompt_of_its_own_by_default():
    assert sizes(job(search=PAIRS)) == (64, 32, 32)
    assert job(search=PAIRS).method.completions(job(search=PAIRS)) == 64


def test_a_pair_may_have_several_prompts():
    spec = job(search=PAIRS, batch_size=96)
    assert sizes(spec) == (64, 96, 32)
    assert spec.method.completions(spec) == 64 * 3


def test_other_searches_share_their_prompts():
    assert sizes(job(search={"type": "openai_es", "population": 64})) == (64, 32, 1)
    assert sizes(job(search=PAIRS | {"design": "shared"})) == (64, 32, 1)


def test_blocks_of_four_candidates_share_prompts():
    search = {"type": "snes", "population": 16, "design": "blocks"}
    assert sizes(job(search=search, batch_size=8)) == (16, 8, 4)


def test_a_metric_of_a_batch_takes_shared_prompts_by_itself():
    spec = job(search=PAIRS, reward=F1, batch_size=48)
    assert sizes(spec) == (64, 48, 1)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"search": {"type": "snes", "design": "pairs"}}, "search.design"),
        ({"search": PAIRS, "batch_size": 33}, "batch_size"),
        ({"search": {"type": "snes", "population": 18, "design": "blocks"}}, "search.population"),
        ({"search": PAIRS | {"design": "pairs"}, "reward": F1}, "search.design"),
    ],
)
def test_a_design_that_does_not_fit_names_the_setting(parts: dict[str, Any], field: str):
    with pytest.raises(SpecError) as caught:
        job(**parts)
    assert [problem.field for problem in caught.value.detail["problems"]] == [field]


def test_population_batch_and_generations_follow_from_a_budget_of_completions():
    spec = job(search={"type": "annealed_es"}, budget={"completions": 24576})
    assert sizes(spec) == (512, 256, 256)
    assert spec.budget.generations == 48


def test_what_is_given_is_kept_and_the_rest_follows():
    spec = job(search=PAIRS, budget={"completions": 6400, "wall_s": 60})
    assert (*sizes(spec), spec.budget.generations) == (64, 32, 32, 100)
    assert spec.budget.wall_s == 60
    given = job(search=PAIRS, budget={"completions": 6400, "generations": 7})
    assert given.budget.generations == 7


def test_generations_of_a_search_on_shared_prompts_follow_too():
    spec = job(search={"type": "sep_cma_es", "population": 32}, budget={"completions": 24576})
    assert spec.budget.generations == 24


@pytest.mark.parametrize(("completions", "population"), [(100, 16), (10**7, 1024)])
def test_the_population_that_follows_has_bounds(completions: int, population: int):
    spec = job(search={"type": "annealed_es"}, budget={"completions": completions})
    assert spec.search.population == population


def test_a_stored_job_means_the_same_when_it_is_read_again():
    spec = job(search={"type": "annealed_es"}, budget={"completions": 24576})
    assert AlignmentJobSpec.model_validate_json(spec.model_dump_json()) == spec
