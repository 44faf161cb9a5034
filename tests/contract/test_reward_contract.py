"""What every registered reward keeps, whatever it computes."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import TypeAdapter

from reward.base import Reward
from reward.errors import RewardConfigError, RewardError
from reward.registry import REWARDS, build_reward
from reward.resources import RewardPolicy, RewardResources
from reward.sample import Sample
from reward.sample import samples_of as bare_samples_of
from reward.spec import RewardSpec, SentimentSpec
from tests.contract.counting_scorer import CountOfGood
from tests.contract.scoring_server import count_of_good, running_server

SPEC = TypeAdapter(RewardSpec)


class Example(NamedTuple):
    spec: dict[str, Any]
    row: dict[str, Any]
    best: str
    worst: str
    column: str | None = None
    setting: str = ""
    served: str | None = None
    """Setting that is given the address of the local scoring server."""


EXAMPLES = {
    "sentiment": Example({}, {}, "What a wonderful, lovely day!", "A horrible, awful disaster."),
    "exact_match": Example({}, {"answer": "Paris"}, "Paris", "Rome", "answer", "reward.reference"),
    "numeric_match": Example(
        {}, {"answer": "so\n#### 18"}, "It is 18.", "It is 19.", "answer", "reward.reference"
    ),
    "regex": Example({"pattern": r"\d{4}"}, {}, "in 1984", "in '84"),
    "length": Example({"max": 3}, {}, "three short words", "more than three short words"),
    "judge": Example(
        {"model": "counter", "prompt": "{topic}: {completion}", "parse": {"type": "number"}},
        {"topic": "praise"},
        "good, so good",
        "bad",
        "topic",
        "reward.prompt",
        served="base_url",
    ),
    "remote": Example({}, {"topic": "praise"}, "good, so good", "bad", served="url"),
    "reward_model": Example({"model": "no folder is opened here"}, {}, "good, so good", "bad"),
    "keywords": Example(
        {"column": "topic"},
        {"topic": "train"},
        "The train left.",
        "A bus.",
        "topic",
        "reward.column",
    ),
    "repetition": Example({"n": 2}, {}, "one two three four", "one two one two"),
    "format": Example({"tags": ["answer"]}, {}, "<answer>4</answer>", "4"),
    "json_schema": Example(
        {"json_schema": {"required": ["city"]}, "extract": "first_object"},
        {},
        'It is {"city": "Paris"}.',
        'It is {"town": "Paris"}.',
    ),
    "readability": Example(
        {},
        {},
        "The cat sat on the mat. It was a big cat.",
        "Institutional considerations necessitate comprehensive reorganisation.",
    ),
    "toxicity": Example({}, {}, "Thank you for your help.", "You are a stupid idiot."),
    "reference_logprob": Example({}, {}, "a cat", "a catastrophe"),
    "kl": Example({}, {}, "a cat", "a catastrophe"),
    "f1": Example(
        {"labels": ["yes", "no"]},
        {"answer": "yes"},
        "I would say yes.",
        "No.",
        "answer",
        "reward.reference",
    ),
    "balanced_accuracy": Example(
        {"labels": ["yes", "no"]},
        {"answer": "yes"},
        "I would say yes.",
        "No.",
        "answer",
        "reward.reference",
    ),
    "corpus_bleu": Example(
        {},
        {"answer": "The cat sat on the mat."},
        "The cat sat on a mat.",
        "Dogs bark.",
        "answer",
        "reward.reference",
    ),
    "ifeval": Example(
        {},
        {
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{}, {"relation": "at least", "num_words": 3}],
        },
        "Three words here.",
        "No, two.",
        "instruction_id_list",
        "reward.instructions",
    ),
    "math": Example(
        {},
        {"answer": r"so\n#### \frac{1}{2}"},
        "It is 0.5.",
        "It is 0.6.",
        "answer",
        "reward.reference",
    ),
    "python": Example(
        {
            "source": "def grade(sample, item):\n"
            "    return sample['output_text'].count(item['good'])\n"
        },
        {"good": "good"},
        "good, so good",
        "bad",
    ),
    "pass_at_k": Example(
        {"reward": {"type": "exact_match"}},
        {"answer": "Paris"},
        "Paris",
        "Rome",
        "answer",
        "reward.reward.reference",
    ),
    "percentile": Example(
        {"q": 50, "reward": {"type": "keywords", "column": "topic"}},
        {"topic": "train"},
        "The train left.",
        "A bus.",
        "topic",
        "reward.reward.column",
    ),
    "composite": Example(
        {
            "components": [
                {"name": "tone", "reward": {"type": "sentiment"}},
                {"name": "topic", "reward": {"type": "keywords", "column": "topic"}},
            ]
        },
        {"topic": "train"},
        "I love this wonderful train.",
        "I hate it.",
        "topic",
        "reward.components[1].reward.column",
    ),
}

every_reward = pytest.mark.parametrize("kind", sorted(EXAMPLES))


LENT = RewardResources(
    RewardPolicy(allow_python=True, allowed_hosts=("127.0.0.1",), allow_private_hosts=True),
    open_scorer=lambda spec: CountOfGood(),
)
"""What the rewards under contract may use."""

_server_url: list[str] = []
_opened: list[Reward] = []


@pytest.fixture(scope="module", autouse=True)
def _scoring_server() -> Iterator[None]:
    with running_server(count_of_good) as server:
        _server_url[:] = [server.url]
        yield


@pytest.fixture(autouse=True)
def _closed_after_the_test() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def samples_of(texts: Sequence[Any], rows: Sequence[dict[str, Any]]) -> list[Sample]:
    """Samples as an engine would hand them on: one token a word and one at the end."""
    samples = []
    for sample in bare_samples_of(texts, rows):
        words = sample.completion.split() if isinstance(sample.completion, str) else []
        # The base likes short words, the candidate likes all alike.
        base = tuple(max(-50.0, -0.1 * len(word)) for word in [*words, "."])
        own = (-0.1,) * len(base)
        samples.append(replace(sample, tokens=len(base), logprobs=own, reference_logprobs=base))
    return samples


def built(kind: str) -> Reward:
    example = EXAMPLES[kind]
    served = {example.served: _server_url[0]} if example.served else {}
    spec = SPEC.validate_python({"type": kind, **example.spec, **served})
    _opened.append(build_reward(spec, resources=LENT))
    return _opened[-1]


def test_every_type_of_the_union_is_registered_and_under_contract() -> None:
    union = get_args(RewardSpec)[0]
    types = {member.model_fields["type"].default for member in get_args(union)}
    assert types == set(REWARDS) == set(EXAMPLES)


@every_reward
def test_a_better_completion_scores_higher(kind: str) -> None:
    example = EXAMPLES[kind]
    best, worst = built(kind).score(samples_of([example.best, example.worst], [example.row] * 2))
    assert best.error is None
    assert worst.error is None
    assert best.value > worst.value


@every_reward
def test_results_follow_the_order_of_the_completions(kind: str) -> None:
    example, reward = EXAMPLES[kind], built(kind)
    texts = [example.worst, example.best, "", example.best]
    together = reward.score(samples_of(texts, [example.row] * 4))
    turned = reward.score(samples_of(texts[::-1], [example.row] * 4))[::-1]
    assert [result.value for result in turned] == pytest.approx([r.value for r in together])
    assert together[1].value > together[0].value


@every_reward
def test_a_completion_scores_the_same_in_any_company_unless_the_reward_looks_at_the_batch(
    kind: str,
) -> None:
    example, reward = EXAMPLES[kind], built(kind)
    texts = [example.worst, example.best, "", example.best]
    together = reward.score(samples_of(texts, [example.row] * 4))
    alone = [reward.score(samples_of([text], [example.row]))[0] for text in texts]
    assert reward.is_batch or together == alone


@every_reward
def test_an_empty_batch_gives_no_results(kind: str) -> None:
    assert built(kind).score([]) == []


@every_reward
@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00", "\ud800", "🙂" * 50, "9" * 5000, "a " * 3000]
)
def test_any_text_has_a_finite_score(kind: str, text: str) -> None:
    (result,) = built(kind).score(samples_of([text], [EXAMPLES[kind].row]))
    assert result.error is None
    assert math.isfinite(result.value)


@every_reward
def test_one_bad_item_is_missing_and_its_neighbours_are_scored(kind: str) -> None:
    example = EXAMPLES[kind]
    reward = built(kind)
    texts: list[Any] = [None, example.best, example.worst]
    bad, *good = reward.score(samples_of(texts, [example.row] * 3))
    assert bad.missing
    assert bad.error is not None
    assert "NoneType" in bad.error
    assert good == reward.score(samples_of([example.best, example.worst], [example.row] * 2))


@every_reward
def test_components_of_a_result_are_the_declared_ones_even_when_missing(kind: str) -> None:
    example = EXAMPLES[kind]
    reward = built(kind)
    texts: list[Any] = [None, example.best]
    for result in reward.score(samples_of(texts, [example.row] * 2)):
        assert tuple(result.components) == reward.component_names


def test_completions_and_rows_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(RewardError, match="2 completions came with 1 rows"):
        samples_of(["a", "b"], [{}])


@every_reward
def test_inputs_are_not_modified(kind: str) -> None:
    example = EXAMPLES[kind]
    rows = [copy.deepcopy(example.row), {}]
    completions = [example.best, example.worst]
    built(kind).score(samples_of(completions, rows))
    assert rows == [example.row, {}]
    assert completions == [example.best, example.worst]


@every_reward
def test_check_row_accepts_a_usable_row(kind: str) -> None:
    built(kind).check_row(EXAMPLES[kind].row)


reading_a_column = pytest.mark.parametrize(
    "kind", sorted(kind for kind, example in EXAMPLES.items() if example.column)
)


@reading_a_column
def test_check_row_names_missing_column_and_setting(kind: str) -> None:
    example = EXAMPLES[kind]
    with pytest.raises(RewardConfigError) as caught:
        built(kind).check_row({"question": "?"})
    assert caught.value.detail == {"field": example.setting, "column": example.column}
    for part in (f"{example.column!r}", "'question'", example.setting):
        assert part in str(caught.value)


@reading_a_column
@pytest.mark.parametrize("value", [None, True, {"a": 1}, [["nested"]], []])
def test_check_row_refuses_a_column_it_cannot_use(kind: str, value: Any) -> None:
    example = EXAMPLES[kind]
    with pytest.raises(RewardConfigError, match=r"column '\w+' is") as caught:
        built(kind).check_row({str(example.column): value})
    assert example.setting in str(caught.value)


@reading_a_column
def test_a_row_without_the_column_scores_missing_and_not_zero(kind: str) -> None:
    example = EXAMPLES[kind]
    lacking, whole = built(kind).score(samples_of([example.best] * 2, [{}, example.row]))
    assert lacking.missing
    assert lacking.error is not None
    assert example.setting in lacking.error
    assert not whole.missing


def test_a_type_that_is_not_registered_is_named() -> None:
    spec = SentimentSpec.model_construct(type="vibes")
    with pytest.raises(RewardConfigError, match=r"reward\.type is 'vibes'.*sentiment"):
        build_reward(spec)


def test_the_package_loads_no_engine() -> None:
    heavy = ("torch", "ray", "vllm", "transformers", "peft", "essa", "workers", "alignment_api")
    code = f"import sys, reward.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
