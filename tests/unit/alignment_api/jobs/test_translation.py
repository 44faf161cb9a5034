"""OpenAI's request becomes the specification it means, or says what is wrong in its own words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from alignment_api.errors import MethodNotAvailableError
from alignment_api.graders.translation import GraderEndpoint
from alignment_api.jobs.requests import CreateRequest
from alignment_api.jobs.translation import JobRequest, read_request
from essa.errors import SpecError
from essa.spec import TextPromptSpec
from essa.spec.constrained import ConstrainedSpec
from essa.spec.grpo import GrpoSpec
from essa.spec.reading.problem import Problem
from tests.narrowing import of_kind

FILE = "file-0123abcd"
CHECK = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
SCORE = {
    "type": "score_model",
    "name": "judge",
    "model": "some-model",
    "input": [
        {"role": "system", "content": "You grade."},
        {"role": "user", "content": "Is {{sample.output_text}} like {{item.answer}}? {yes}"},
    ],
    "range": [0, 5],
    "sampling_params": {"temperature": 0.5, "max_completions_tokens": 9, "top_p": 0.9},
}
ENDPOINT = GraderEndpoint("https://judge.example.org/v1", "judge_key")

_requests: TypeAdapter[Any] = TypeAdapter(CreateRequest)


def read(body: dict[str, Any], endpoint: GraderEndpoint | None = ENDPOINT) -> JobRequest:
    return read_request(_requests.validate_python(body), endpoint)


def request(kind: str, content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    method = {"type": kind, kind: content}
    return {"model": "org/model", "training_file": FILE, "method": method, **changes}


def graded(grader: dict[str, Any], **hyperparameters: Any) -> dict[str, Any]:
    return request("reinforcement", {"grader": grader, "hyperparameters": hyperparameters})


def reward_of(grader: dict[str, Any]) -> dict[str, Any]:
    return read(graded(grader)).spec.reward.model_dump(mode="json", exclude_defaults=True)


def test_evolution_holds_every_setting_but_model_files_and_seed() -> None:
    content = {
        "name": "polite",
        "reward": {"type": "sentiment"},
        "search": {"type": "snes", "population": 8},
        "rollout": {"max_tokens": 9},
        "prompt": {"type": "text", "template": "{question}"},
        "test_fraction": 0.3,
        "batch_size": 4,
    }
    found = read(
        request(
            "evolution",
            content,
            validation_file="file-1",
            test_file="file-2",
            seed=7,
            suffix="kind",
            metadata={"team": "a"},
            priority=3,
        )
    )
    spec = found.spec
    assert (spec.name, spec.model.path, spec.seed, spec.batch_size) == ("polite", "org/model", 7, 4)
    assert spec.method.type == "evolution"
    assert (spec.search.type, spec.search.population) == ("snes", 8)
    files = [getattr(spec.data, name).file_id for name in ("train", "validation", "test")]
    assert files == [FILE, "file-1", "file-2"]
    prompt = of_kind(TextPromptSpec, spec.data.prompt)
    assert (prompt.template, spec.data.test_fraction) == ("{question}", 0.3)
    assert found.priority == 3
    assert found.kept == {
        "suffix": "kind",
        "metadata": {"team": "a"},
        "method": {"type": "evolution", "evolution": content},
    }


def test_constrained_evolution_holds_the_methods_own_settings_too() -> None:
    parts = [
        {"name": "tone", "reward": {"type": "sentiment"}},
        {"name": "short", "reward": {"type": "length", "max": 9}},
    ]
    content = {
        "reward": {"type": "composite", "components": parts},
        "objective": "tone",
        "constraints": [{"component": "short", "threshold": 0.5, "direction": ">="}],
    }
    given = read(request("constrained_evolution", content)).spec.method
    method = of_kind(ConstrainedSpec, given)
    assert method.objective == "tone"
    assert method.constraints[0].component == "short"


def test_grpo_holds_the_methods_own_settings_too() -> None:
    content = {
        "reward": {"type": "sentiment"},
        "preset": "paper",
        "group_size": 4,
        "optimizer": "lion",
        "temperature": 0.9,
        "rollout": {"max_tokens": 9},
        "batch_size": 16,
    }
    found = read(request("grpo", content))
    method = of_kind(GrpoSpec, found.spec.method)
    assert (method.group_size, method.optimizer) == (4, "lion")
    assert (method.learning_rate, method.mini_batch) == (1e-5, 64)
    assert (found.spec.batch_size, found.spec.rollout.max_tokens) == (16, 9)
    # The temperature of the method is that of training rollouts only.
    assert (method.temperature, found.spec.rollout.temperature) == (0.9, 0)
    assert found.kept["method"] == {"type": "grpo", "grpo": content}


def test_best_of_n_says_how_many_answers() -> None:
    content = {"reward": {"type": "sentiment"}, "samples": 4, "temperature": 0.7}
    spec = read(request("best_of_n", content)).spec
    assert spec.method.model_dump() == {"type": "best_of_n", "samples": 4, "temperature": 0.7}
    assert spec.rollout.temperature == 0
    with pytest.raises(SpecError, match=r"method\.best_of_n\.samples"):
        read(request("best_of_n", content | {"samples": 1}))


def test_reinforcement_is_a_grader_and_defaults() -> None:
    spec = read(graded(CHECK, batch_size=6, eval_interval=3, n_epochs="auto")).spec
    assert (spec.method.type, spec.search.type) == ("evolution", "sep_cma_es")
    assert (spec.batch_size, spec.evaluation.every) == (6, 3)
    assert spec.reward.type == "exact_match"


def test_a_whole_specification_is_told_by_its_model() -> None:
    body = {
        "model": {"path": "org/model"},
        "data": {"train": {"file_id": FILE}},
        "reward": {"type": "sentiment"},
        "priority": -1,
        "suffix": "s",
    }
    found = read(body)
    assert (found.spec.model.path, found.priority) == ("org/model", -1)
    assert found.kept["method"] == {"type": "evolution"}
    assert found.kept["suffix"] == "s"


@pytest.mark.parametrize(
    ("grader", "reward"),
    [
        ({"type": "sentiment"}, {}),
        (CHECK, {"strip": False}),
        (
            CHECK | {"reference": "a.b", "operation": "eq"},
            {"pattern": r"a\.b", "full_match": True},
        ),
        (CHECK | {"reference": "a.b", "operation": "like"}, {"pattern": r"a\.b"}),
        (
            CHECK | {"reference": "", "operation": "ilike"},
            {"pattern": "(?:)", "ignore_case": True},
        ),
        (
            {"type": "python", "name": "mine", "source": "def grade(sample, item):\n    return 1"},
            {
                "source": "def grade(sample, item):\n    return 1",
                "function": "grade",
                "style": "openai",
            },
        ),
        (
            SCORE,
            {
                "base_url": "https://judge.example.org/v1",
                "model": "some-model",
                "system": "You grade.",
                "prompt": "Is {completion} like {answer}? {{yes}}\n\n"
                "Reply with a number from 0 to 5 and nothing else.",
                "temperature": 0.5,
                "max_tokens": 9,
                "extra": {"top_p": 0.9},
                "parse": {"min": 0.0, "max": 5.0},
                "api_key": "judge_key",
            },
        ),
        (
            {
                "type": "multi",
                "name": "both",
                "graders": {"right": CHECK, "tone": {"type": "sentiment"}},
                "calculate_output": "right + 2 * tone",
            },
            {
                "components": [
                    {"name": "right", "reward": {"strip": False}},
                    {"name": "tone", "reward": {}},
                ],
                "combine": "formula",
                "formula": "right + 2 * tone",
            },
        ),
    ],
)
def test_a_grader_becomes_the_reward_that_scores_as_it_does(
    grader: dict[str, Any], reward: dict[str, Any]
) -> None:
    assert reward_of(grader) == reward


def test_not_equal_is_one_minus_equal() -> None:
    reward = reward_of(CHECK | {"operation": "ne"})
    assert (reward["combine"], reward["formula"]) == ("formula", "1 - same")


@pytest.mark.parametrize(
    ("grader", "param", "words"),
    [
        (CHECK | {"operation": "like"}, "operation", "'keywords'"),
        (CHECK | {"input": "{{item.question}}"}, "input", "sample.output_text"),
        (CHECK | {"input": "x {{sample.output_text}}"}, "input", "alone"),
        (CHECK | {"reference": "{{item.a}} or {{item.b}}"}, "reference", "{{item.COLUMN}}"),
        (CHECK | {"reference": "{{sample.output_text}}"}, "reference", "plain text"),
        ({"type": "text_similarity", "name": "t", "x": 1}, "type", "no counterpart"),
        ({"type": "label_model", "name": "t"}, "type", "no counterpart"),
        (SCORE | {"input": [{"role": "system", "content": "x"}]}, "input", "one message"),
        (
            SCORE | {"input": [{"role": "user", "content": "{{sample.output_json}}"}]},
            "input",
            "can be filled",
        ),
        (SCORE | {"input": [{"role": "user", "content": "grade it"}]}, "", "completion"),
        (SCORE | {"range": [5, 0]}, "", "lower min"),
        (
            {
                "type": "multi",
                "name": "m",
                "graders": {"a": {"type": "sentiment"}},
                "calculate_output": "b",
            },
            "",
            "`b` is no component",
        ),
        (
            {
                "type": "multi",
                "name": "m",
                "graders": {"a": {"type": "label_model", "name": "l"}},
                "calculate_output": "a",
            },
            "graders.a.type",
            "no counterpart",
        ),
    ],
)
def test_a_grader_without_counterpart_says_what_to_use(
    grader: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(graded(grader))
    where = "method.reinforcement.grader"
    assert caught.value.detail["field"] == (f"{where}.{param}" if param else where)
    assert words in caught.value.message


def test_a_model_that_grades_needs_an_endpoint() -> None:
    with pytest.raises(SpecError, match="ESSA_GRADER_URL"):
        read(graded(SCORE), endpoint=None)


@pytest.mark.parametrize("kind", ["supervised", "dpo", "magic"])
def test_a_method_that_is_not_offered_is_refused(kind: str) -> None:
    body = request(kind, {}) if kind != "magic" else request("evolution", {})
    body["method"]["type"] = kind
    with pytest.raises(MethodNotAvailableError, match="constrained_evolution") as caught:
        read(body)
    assert caught.value.code == "method_not_available"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (
            request("evolution", {"reward": {"type": "sentiment"}, "seed": 1}),
            "method.evolution.seed",
            "no such setting",
        ),
        (
            request("evolution", {"reward": {"type": "sentiment"}, "objective": "x"}),
            "method.evolution.objective",
            "no such setting",
        ),
        (
            request("evolution", {"reward": {"type": "sentiment"}, "search": {"type": "x"}}),
            "method.evolution.search",
            "'sep_cma_es'",
        ),
        (request("evolution", {}), "method.evolution.reward", "is missing"),
        (
            request(
                "evolution",
                {"reward": {"type": "sentiment"}, "prompt": {"type": "chat", "user": "{"}},
            ),
            "method.evolution.prompt.user",
            "format string",
        ),
        (
            request("constrained_evolution", {"reward": {"type": "sentiment"}}),
            "method.constrained_evolution.objective",
            "is missing",
        ),
        (
            request(
                "evolution", {"reward": {"type": "sentiment"}}, hyperparameters={"n_epochs": 2}
            ),
            "hyperparameters",
            "method.evolution",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}}, hyperparameters={"n_epochs": 2}),
            "hyperparameters",
            "method.grpo",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}, "learning_rate": 0}),
            "method.grpo.learning_rate",
            "above 0",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}, "group_size": 1}),
            "method.grpo.group_size",
            "2 or more",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}, "optimizer": "sophia"}),
            "method.grpo.optimizer",
            "'adamw'",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}, "objective": "tone"}),
            "method.grpo.objective",
            "learning_rate",
        ),
        (
            request(
                "grpo", {"reward": {"type": "sentiment"}, "engine": {"kind": "vllm", "workers": 0}}
            ),
            "method.grpo.engine.workers",
            "1 or more",
        ),
        (
            request("evolution", {"reward": {"type": "sentiment"}, "learning_rate": 1e-4}),
            "method.evolution.learning_rate",
            "no such setting",
        ),
        (
            request("grpo", {"reward": {"type": "sentiment"}, "mini_batch": 7}),
            "method.grpo.mini_batch",
            "7",
        ),
        (
            request("grpo", {"reward": {"type": "corpus_bleu"}}),
            "method.grpo.reward",
            "corpus_bleu",
        ),
        (
            {"model": "m", "training_file": FILE, "method": {"type": "evolution"}},
            "method.evolution",
            "is missing",
        ),
    ],
)
def test_what_is_wrong_is_told_in_the_requests_words(
    body: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(body)
    assert caught.value.detail["field"] == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("data.train.file_id", "training_file"),
        ("data.validation.file_id", "validation_file"),
        ("model.path", "model"),
        ("reward.pattern", "method.reinforcement.grader.pattern"),
        ("batch_size", "method.reinforcement.hyperparameters.batch_size"),
        ("engine.workers", "method.reinforcement.engine.workers"),
        ("seed", "seed"),
    ],
)
def test_later_problems_are_told_in_the_requests_words(field: str, sent: str) -> None:
    assert read(graded(CHECK)).told(Problem(field, None, "wrong")).field == sent
