"""A specification that cannot work is refused by the setting at fault, with words of a fix."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from pydantic import TypeAdapter, ValidationError

from essa.errors import SpecError
from essa.spec.reading.file import validate_job
from essa.spec.reading.problem import Problem, problems_of
from reward.registry import REWARDS
from reward.spec import MAX_NESTING, RewardSpec

REWARD = TypeAdapter(RewardSpec)
NAN, INF = float("nan"), float("inf")


class Bad(NamedTuple):
    """A malformed specification: what the error must name, and words of its fix."""

    given: dict[str, Any]
    field: str
    words: str


TONE = {"type": "sentiment"}
PART = {"name": "tone", "reward": TONE}
LABELS = {"labels": ["yes", "no"]}
F1 = {"type": "f1", **LABELS}
JUDGE = {"type": "judge", "base_url": "https://api.example.org/v1", "model": "grader"}
REMOTE = {"type": "remote", "url": "https://scores.example.org/batch"}
MODEL = {"type": "reward_model", "model": "org/rewards"}


def of(kind: str, **settings: Any) -> dict[str, Any]:
    return {"type": kind, **settings}


def composite(*parts: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return of("composite", components=list(parts), **settings)


def formula(text: str, **part: Any) -> dict[str, Any]:
    return composite({**PART, **part}, combine="formula", formula=text)


def parse(kind: str, **settings: Any) -> dict[str, Any]:
    return {**JUDGE, "parse": of(kind, **settings)}


def inside(reward: dict[str, Any]) -> dict[str, Any]:
    return composite(PART, {"name": "in", "reward": reward})


def nested(times: int) -> dict[str, Any]:
    return TONE if times == 0 else composite({"name": "in", "reward": nested(times - 1)})


BAD_REWARDS = [
    Bad({}, "", "add 'type'"),
    Bad(of("vibes"), "", "set 'type' to one of 'sentiment', 'exact_match'"),
    Bad(of("sentiment", weight=2), "weight", "remove it, or move it to where it belongs"),
    Bad(of("exact_match", reference=""), "reference", "give some text"),
    Bad(of("exact_match", ignorecase=True), "ignorecase", "did you mean `ignore_case`?"),
    Bad(of("exact_match", strip="perhaps"), "strip", "set it to true or false"),
    Bad(of("numeric_match", tolerance=-1), "tolerance", "set it to 0 or more"),
    Bad(of("numeric_match", tolerance="small"), "tolerance", "give a number"),
    Bad(of("numeric_match", tolerance=INF), "tolerance", "give a finite number"),
    Bad(of("regex"), "pattern", "is missing; add it"),
    Bad(of("regex", pattern="("), "pattern", "missing ) at position 1; correct it"),
    Bad(of("regex", pattern=5), "pattern", "give text, in quotes"),
    Bad(of("regex", pattern="a" * 5000), "pattern", "shorten it to 4096 characters"),
    Bad(of("regex", pattern="a", timeout_s=0), "timeout_s", "set it above 0"),
    Bad(of("length"), "", "give `min`, `max` or both, or `target`"),
    Bad(of("length", min=9, max=3), "", "lower min or raise max"),
    Bad(of("length", target=5), "", "give `slack`, above 0"),
    Bad(of("length", target=5, slack=1, min=2), "", "remove one of the two"),
    Bad(of("length", max=2.5), "max", "give a whole number"),
    Bad(of("length", max=5, unit="lines"), "unit", "'characters', 'words' or 'tokens'"),
    Bad(of("keywords"), "", "give `keywords`, `column` or both"),
    Bad(of("keywords", keywords="thanks"), "keywords", "give a list, such as ['thanks']"),
    Bad(of("keywords", keywords=["a", " "]), "keywords", "a keyword is blank: ['a', ' ']; remove"),
    Bad(of("keywords", keywords=["a", 3]), "keywords.1", "give text, in quotes"),
    Bad(of("keywords", keywords=["a"], require="most"), "require", "'any', 'all' or 'share'"),
    Bad(of("keywords", column=""), "column", "give some text"),
    Bad(of("repetition", n=0), "n", "set it to 1 or more"),
    Bad(of("repetition", unit="tokens"), "unit", "set it to 'words' or 'characters'"),
    Bad(of("format"), "", "give `tags`, `sections` or both"),
    Bad(of("format", tags=["<think>"]), "tags", "write it bare, such as 'think'"),
    Bad(of("format", tags=["a", "a"]), "tags", "every tag is named once; given twice: a"),
    Bad(of("format", sections=["#"]), "sections", "write its words"),
    Bad(of("format", sections=["Plan"], only=True), "", "give `tags` or remove `only`"),
    Bad(of("json_schema"), "", "give `json_schema` or `column`, and not both"),
    Bad(of("json_schema", schema={}), "schema", "did you mean `json_schema`?"),
    Bad(of("json_schema", json_schema={"type": "thing"}), "json_schema", "not a JSON Schema"),
    Bad(
        of("json_schema", json_schema={"$ref": "https://example.org/s"}),
        "json_schema",
        "put it under `$defs`",
    ),
    Bad(of("readability", slack=5), "", "give one of them or remove slack"),
    Bad(of("readability", min=70, max=60), "", "lower min or raise max"),
    Bad(of("readability", metric="flesch"), "metric", "set it to 'flesch_reading_ease', "),
    Bad(of("toxicity", threshold=0.5), "threshold", "remove it"),
    Bad(of("reference_logprob", floor=1), "floor", "set it to 0 or less"),
    Bad(of("kl", estimator="k2"), "estimator", "set it to 'k1' or 'k3'"),
    Bad(of("reward_model"), "model", "is missing; add it"),
    Bad({**MODEL, "head": -1}, "head", "set it to 0 or more"),
    Bad({**MODEL, "precision": "int4"}, "precision", "set it to 'bf16', 'fp32', 'int8' or 'nf4'"),
    Bad({**MODEL, "max_length": 0}, "max_length", "set it to 1 or more"),
    Bad(of("judge", model="grader"), "base_url", "is missing; add it"),
    Bad({**JUDGE, "base_url": "api.example.org"}, "base_url", "not a URL such as https://"),
    Bad({**JUDGE, "base_url": "https://me:pw@example.org"}, "base_url", "use a secret"),
    Bad({**JUDGE, "prompt": "Rate it."}, "prompt", "{completion} is not in it"),
    Bad({**JUDGE, "prompt": "{completion"}, "prompt", "write literal braces twice"),
    Bad({**JUDGE, "prompt": "{completion.x}"}, "prompt", "not a plain name such as {completion}"),
    Bad({**JUDGE, "samples": 3}, "", "raise temperature or set samples to 1"),
    Bad({**JUDGE, "extra": {"model": "other"}}, "extra", "it sets model, which the reward sets"),
    Bad({**JUDGE, "api_key": "sk-Abc123"}, "api_key", "never the secret itself"),
    Bad({**JUDGE, "max_retries": 99}, "max_retries", "set it to 10 or less"),
    Bad({**JUDGE, "prices": {"prompt": -1}}, "prices.prompt", "set it to 0 or more"),
    Bad({**JUDGE, "parse": "number"}, "parse", "give a mapping of settings"),
    Bad(parse("words"), "parse", "set 'type' to one of 'number', 'regex', 'label', 'json'"),
    Bad(parse("number", min=5, max=1), "parse", "lower min or raise max"),
    Bad(parse("number", scale=True), "parse", "`scale` needs `min` and `max`; give both"),
    Bad(parse("regex", pattern=r"\d+"), "parse.pattern", "put the number in parentheses"),
    Bad(parse("label", labels={}), "parse.labels", "give 1 entry or more"),
    Bad(parse("label", labels={"Good": 1, "good": 0}), "parse.labels", "keep one of them"),
    Bad(parse("label", labels={"good": "high"}), "parse.labels.good", "give a number"),
    Bad(parse("json", path="a..b"), "parse.path", "write it as the pattern"),
    Bad(of("remote"), "url", "is missing; add it"),
    Bad({**REMOTE, "url": "ftp://example.org"}, "url", "not a URL such as https://"),
    Bad({**REMOTE, "url": "https://example.org:99999"}, "url", "Port out of range"),
    Bad({**REMOTE, "secret": "My key"}, "secret", "small letters, digits and _"),
    Bad({**REMOTE, "batch_size": 0}, "batch_size", "set it to 1 or more"),
    Bad({**REMOTE, "columns": "answer"}, "columns", "give a list, such as ['answer']"),
    Bad(of("math", timeout_s=0), "timeout_s", "set it above 0"),
    Bad(of("math", reference=""), "reference", "give some text"),
    Bad(of("ifeval", score="mean"), "score", "set it to 'share' or 'all'"),
    Bad(of("ifeval", strict="loose"), "strict", "set it to true or false"),
    Bad(of("python"), "", "give `source` or `path`, one of them; given: neither"),
    Bad(of("python", source="a = 1", path="a.py"), "", "one of them; given: both"),
    Bad(of("python", source="a = 1", style="pytest"), "style", "'trl', 'verl' or 'openai'"),
    Bad(of("python", source="a = 1", memory_mb=8), "memory_mb", "set it to 64 or more"),
    Bad(of("f1"), "labels", "is missing; add it"),
    Bad(of("f1", labels=["yes"]), "labels", "give 2 entries or more"),
    Bad(of("f1", labels=["yes", "YES"]), "", "labels must differ; given twice: yes"),
    Bad({**F1, "average": "binary"}, "", "needs `positive`, one of the labels"),
    Bad({**F1, "average": "binary", "positive": "may"}, "", "none of the labels yes, no"),
    Bad({**F1, "positive": "yes"}, "", "set it to binary"),
    Bad(of("balanced_accuracy", labels="yn"), "labels", "give a list, such as ['yn']"),
    Bad(of("balanced_accuracy", labels=["a", ""]), "", "a label is blank: ['a', '']; remove it"),
    Bad(of("balanced_accuracy", **LABELS, take="all"), "take", "set it to 'first' or 'last'"),
    Bad(of("corpus_bleu", max_order=9), "max_order", "set it to 8 or less"),
    Bad(of("corpus_bleu", tokenize="moses"), "tokenize", "set it to '13a', "),
    Bad(of("pass_at_k"), "reward", "is missing; add it"),
    Bad(of("pass_at_k", reward=TONE, k=0), "k", "set it to 1 or more"),
    Bad(of("pass_at_k", reward=F1), "", "f1 cannot stand inside"),
    Bad(of("pass_at_k", reward=inside(F1)), "", "give a reward that scores each answer"),
    Bad(of("percentile", reward="sentiment"), "reward", "give a mapping of settings"),
    Bad(of("percentile", reward=TONE, q=101), "q", "set it to 100 or less"),
    Bad(of("percentile", reward=of("regex", pattern="(")), "reward.pattern", "not a regular"),
    Bad(of("composite"), "components", "is missing; add it"),
    Bad(composite(), "components", "give 1 entry or more"),
    Bad(of("composite", components=PART), "components", "give a list"),
    Bad(composite(PART, PART), "", "component names must differ; given twice: tone"),
    Bad(composite({"name": "tone"}), "components.0.reward", "is missing; add it"),
    Bad(composite({**PART, "name": "a b"}), "components.0.name", "write it as the pattern"),
    Bad(composite({**PART, "weight": "much"}), "components.0.weight", "give a number"),
    Bad(composite({**PART, "weight": NAN}), "components.0.weight", "give a finite number"),
    Bad(composite({**PART, "wieght": 1}), "components.0.wieght", "did you mean `weight`?"),
    Bad(composite(PART, combine="max"), "combine", "'sum', 'product', 'min' or 'formula'"),
    Bad(composite({**PART, "weight": 2}, combine="min"), "", "leave it at 1, or 0 to report only"),
    Bad(composite({**PART, "weight": 0}, combine="min"), "", "use 1"),
    Bad(composite(PART, combine="formula"), "", "`combine: formula` needs a `formula`"),
    Bad(composite(PART, formula="tone"), "", "set it to formula"),
    Bad(formula("tone", weight=2), "", "weigh in the formula"),
    Bad(formula("tone +"), "", "formula: 'tone +' is no formula"),
    Bad(formula("tone + topic"), "", "formula: `topic` is no component; allowed are"),
    Bad(formula("tone.real"), "", "formula: `tone.real` is not allowed; allowed are numbers"),
    Bad(formula("clip(tone)"), "", "clip takes 3"),
    Bad(formula("2"), "", "its components are tone"),
    Bad(formula("my", name="my-tone"), "", "rename it, such as 'my_tone'"),
    Bad(nested(MAX_NESTING + 1), "", f"{MAX_NESTING} is the most"),
    Bad(inside(of("length")), "components.1.reward", "give `min`, `max` or both"),
    Bad(inside(of("vibes")), "components.1.reward", "set 'type' to one of"),
    Bad(
        inside(inside(of("percentile", reward=TONE, q=-1))),
        "components.1.reward.components.1.reward.q",
        "set it to 0 or more",
    ),
    Bad(
        inside(of("pass_at_k", reward=of("keywords", keywords=["a"], require="most"))),
        "components.1.reward.reward.require",
        "set it to 'any', 'all' or 'share'",
    ),
    Bad(
        inside(parse("label", labels={"good": NAN})),
        "components.1.reward.parse.labels.good",
        "give a finite number",
    ),
]


def train(**settings: Any) -> dict[str, Any]:
    return {"data": {"train": {"path": "train.jsonl"}, **settings}}


def search(kind: str, **settings: Any) -> dict[str, Any]:
    return {"search": of(kind, **settings)}


def ladder(**settings: Any) -> dict[str, Any]:
    return search("sep_cma_es", ladder=settings)


PASS_AT_4 = of("pass_at_k", k=4, reward=TONE)

BAD_JOBS = [
    Bad({"reward": "sentiment"}, "reward", "give a mapping of settings"),
    Bad({"reward": None}, "reward", "give a mapping of settings"),
    Bad({"modle": {}}, "modle", "did you mean `model`?"),
    Bad({"model": "org/model"}, "model", "give a mapping of settings"),
    Bad({"model": {}}, "model.path", "is missing; add it"),
    Bad({"name": "x" * 81}, "name", "shorten it to 80 characters"),
    Bad({"seed": -1}, "seed", "set it to 0 or more"),
    Bad({"batch_size": 1}, "batch_size", "set it to 2 or more"),
    Bad({"schema_version": 2}, "schema_version", "set it to 1"),
    Bad({"data": {}}, "data.train", "is missing; add it"),
    Bad({"data": {"train": {}}}, "data.train", "give exactly one of `path` and `file_id`"),
    Bad({"data": {"train": "a.jsonl"}}, "data.train", "give a mapping of settings"),
    Bad({"data": {"train": {"file_id": "../a"}}}, "data.train.file_id", "the pattern ^file-"),
    Bad({"data": {"train": {"path": "a", "limit": 0}}}, "data.train.limit", "set it to 1 or more"),
    Bad(train(test={"path": "a", "file_id": "file-1"}), "data.test", "give exactly one of"),
    Bad(train(validation_fraction=0.7), "data.validation_fraction", "set it below 0.5"),
    Bad(train(prompt={"user": "{prompt}"}), "data.prompt", "add 'type'"),
    Bad(train(prompt=of("jinja")), "data.prompt", "set 'type' to one of 'chat', 'text'"),
    Bad(train(prompt=of("text", user="a")), "data.prompt.user", "move it to where it belongs"),
    Bad(train(prompt=of("chat", user="{prompt")), "data.prompt.user", "write literal braces twice"),
    Bad(
        train(prompt=of("text", template="{prompt.x}")),
        "data.prompt.template",
        "not a plain name such as {prompt}",
    ),
    Bad({"search": {"population": 8}}, "search", "add 'type'"),
    Bad(search("nes"), "search", "set 'type' to one of 'sep_cma_es'"),
    Bad(search("cma_es", population=1), "search.population", "set it to 3 or more"),
    Bad(search("openai_es", population=7), "search", "population is 7; antithetic pairs need an"),
    Bad(search("openai_es", weight_decay=1), "search.weight_decay", "set it below 1"),
    Bad(search("snes", sigma_init="big"), "search.sigma_init", "to 'auto', or give a number"),
    Bad(search("snes", sigma_init=INF), "search.sigma_init", "'auto', or give a finite number"),
    Bad(
        search("snes", target="sum"), "search.target", "set it to 'factors', 'product' or 'weights'"
    ),
    Bad(search("random", alpha=0), "search.alpha", "set it above 0"),
    Bad(search("random", learning_rate=1), "search.learning_rate", "move it to where it belongs"),
    Bad(ladder(candidates=2), "search.ladder.candidates", "set it to 4 or more"),
    Bad(ladder(sigmas=[]), "search.ladder.sigmas", "give 1 entry or more"),
    Bad(ladder(sigmas=[0.1, -1]), "search.ladder.sigmas.1", "set it above 0"),
    Bad(ladder(sigmas=[3, 1]), "search.ladder.sigmas", "write [1.0, 3.0]"),
    Bad({"rollout": {"max_tokens": 0}}, "rollout.max_tokens", "set it to 1 or more"),
    Bad({"rollout": {"temprature": 1}}, "rollout.temprature", "did you mean `temperature`?"),
    Bad({"rollout": {"temperature": INF}}, "rollout.temperature", "give a finite number"),
    Bad({"rollout": {"stop": "END"}}, "rollout.stop", "give a list, such as ['END']"),
    Bad({"rollout": {"stop": [""]}}, "rollout.stop.0", "give some text"),
    Bad(
        {"rollout": {"samples_per_prompt": 4}},
        "rollout.samples_per_prompt",
        "raise the temperature",
    ),
    Bad({"reward": PASS_AT_4}, "rollout.samples_per_prompt", "set it to 4 or more, or lower k"),
    Bad(
        {
            "reward": inside({**PASS_AT_4, "k": 6}),
            "rollout": {"samples_per_prompt": 8, "temperature": 1},
        },
        "warm_start.samples_per_prompt",
        "set it to 6 or more, or lower k",
    ),
    Bad({"evaluation": {"every": 0}}, "evaluation.every", "set it to 1 or more"),
    Bad({"evaluation": {"max_missing_frac": 1}}, "evaluation.max_missing_frac", "set it below 1"),
    Bad(
        {"evaluation": {"serving_precision": "fp8"}},
        "evaluation.serving_precision",
        "set it to 'bf16', 'int8', 'int4' or 'fp32'",
    ),
    Bad({"engine": {"precision": "int8"}}, "engine", "add 'kind'"),
    Bad({"engine": {"kind": "tpu"}}, "engine", "set 'kind' to one of 'vllm', 'transformers'"),
    Bad({"budget": {"tokens": 1.5}}, "budget.tokens", "give a whole number"),
    Bad({"budget": {"target_score": NAN}}, "budget.target_score", "give a finite number"),
    Bad({"warm_start": of("dpo")}, "warm_start", "set 'type' to one of 'rejection_sampling', "),
    Bad({"warm_start": of("sft")}, "warm_start.path", "is missing; add it"),
    Bad(
        {"warm_start": of("rejection_sampling", lora={"rank": 0})},
        "warm_start.lora.rank",
        "set it to 1 or more",
    ),
]


def case_id(bad: Any) -> str:
    return f"{bad.given.get('type', '')}-{bad.field}-{bad.words}"[:60]


def job(**parts: Any) -> dict[str, Any]:
    return {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": TONE,
        **parts,
    }


def problem_of_job(given: dict[str, Any]) -> Problem:
    with pytest.raises(SpecError) as caught:
        validate_job(given)
    (problem,) = caught.value.detail["problems"]
    assert str(problem) == caught.value.message
    return problem


def test_the_job_around_these_specifications_is_valid() -> None:
    validate_job(job())
    for reward in (F1, JUDGE, REMOTE, MODEL, composite(PART), formula("2 * tone")):
        validate_job(job(reward=reward))
    validate_job(job(reward=PASS_AT_4, rollout={"samples_per_prompt": 4, "temperature": 1}))


def test_every_type_of_reward_is_among_them() -> None:
    assert set(REWARDS) <= {bad.given.get("type") for bad in BAD_REWARDS}


@pytest.mark.parametrize("bad", BAD_REWARDS, ids=case_id)
def test_a_job_with_a_bad_reward_names_the_setting_and_the_fix(bad: Bad) -> None:
    problem = problem_of_job(job(reward=bad.given))
    assert problem.field == ".".join(filter(None, ("reward", bad.field)))
    assert bad.words in problem.fix


@pytest.mark.parametrize("bad", BAD_REWARDS, ids=case_id)
def test_a_bad_reward_alone_is_refused_in_the_same_words(bad: Bad) -> None:
    with pytest.raises(ValidationError) as caught:
        REWARD.validate_python(bad.given)
    (problem,) = problems_of(caught.value.errors(), bad.given)
    assert problem.field == bad.field
    assert problem.fix == problem_of_job(job(reward=bad.given)).fix


@pytest.mark.parametrize("bad", BAD_JOBS, ids=case_id)
def test_a_bad_job_names_the_setting_and_the_fix(bad: Bad) -> None:
    problem = problem_of_job(job(**bad.given))
    # What settings of two sections say about each other stands in the words alone.
    assert problem.field == bad.field or (not problem.field and bad.field in problem.fix)
    assert bad.words in problem.fix


def test_what_a_job_lacks_is_told_all_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        validate_job({})
    fields = [problem.field for problem in caught.value.detail["problems"]]
    assert fields == ["model", "data", "reward"]
