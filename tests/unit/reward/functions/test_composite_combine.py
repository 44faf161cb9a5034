from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from reward.functions.composite import Composite
from reward.registry import build_reward
from reward.sample import Sample, samples_of
from reward.spec import MAX_NESTING, RewardSpec

SPEC = TypeAdapter(RewardSpec)

CHARACTERS = {"type": "length", "unit": "characters", "max": 0, "slack": 10}
"""1 - characters / 10."""
HAS_A = {"type": "regex", "pattern": "a"}
MATCH = {"type": "exact_match"}
F1 = {"type": "f1", "labels": ["a", "b"], "average": "micro"}
WORST = {"type": "percentile", "q": 0, "reward": CHARACTERS}


def part(name: str, reward: dict[str, Any], weight: float = 1.0) -> dict[str, Any]:
    return {"name": name, "weight": weight, "reward": reward}


def composite(combine: str, *parts: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "composite", "combine": combine, "components": list(parts), **rest}


def built(combine: str, *parts: dict[str, Any], **rest: Any) -> Composite:
    reward = build_reward(SPEC.validate_python(composite(combine, *parts, **rest)))
    assert isinstance(reward, Composite)
    return reward


def texts(*completions: Any, answer: Any = "a") -> list[Sample]:
    return samples_of(completions, [{"answer": answer}] * len(completions))


def values(reward: Composite, samples: Sequence[Sample]) -> list[float]:
    results = reward.score(samples)
    assert [result.error for result in results] == [None] * len(samples)
    return [result.value for result in results]


def negative(reward: dict[str, Any]) -> dict[str, Any]:
    return composite("sum", part("x", reward, -1.0))


def test_a_product_takes_weights_as_exponents() -> None:
    short, has_a = part("short", CHARACTERS, 2.0), part("has_a", HAS_A)
    both, one = built("product", short, has_a).score(texts("a" * 5, "x"))
    assert both.value == pytest.approx(0.25)
    assert both.components == {"short": 0.5, "has_a": 1.0}
    assert one.value == 0
    assert one.components == {"short": 0.9, "has_a": 0.0}


def test_an_exponent_of_zero_only_reports() -> None:
    reward = built("product", part("short", CHARACTERS), part("has_a", HAS_A, 0.0))
    assert values(reward, texts("xxxxx")) == [0.5]


@pytest.mark.parametrize("exponent", [0.5, -1.5])
def test_a_negative_value_has_no_fractional_power(exponent: float) -> None:
    reward = built("product", part("low", negative(CHARACTERS), exponent), part("a", HAS_A))
    (result,) = reward.score(texts("aaaaa"))
    assert result.missing
    assert f"component low is -0.5, which has no power {exponent:g}" in str(result.error)
    assert result.components == {"low": -0.5, "low.x": 0.5, "a": 1.0}


def test_a_negative_value_has_a_whole_power() -> None:
    reward = built("product", part("low", negative(CHARACTERS), 3.0))
    assert values(reward, texts("xxxxx")) == [-0.125]


def test_zero_has_no_negative_power_and_its_neighbours_are_scored() -> None:
    reward = built("product", part("a", HAS_A, -1.0))
    zero, one = reward.score(texts("x", "a"))
    assert zero.missing
    assert one.value == 1


def test_a_product_beyond_the_largest_float_is_missing() -> None:
    big = [part(f"c{i}", composite("sum", part("x", HAS_A, 1e200))) for i in range(2)]
    (result,) = built("product", *big).score(texts("a"))
    assert "the product is not finite" in str(result.error)


def test_min_takes_the_smallest_and_passes_over_what_is_reported_only() -> None:
    reward = built("min", part("short", CHARACTERS), part("a", HAS_A), part("m", MATCH, 0.0))
    first, second = reward.score(texts("aaa", "x"))
    assert (first.value, second.value) == (0.7, 0.0)
    assert first.components == {"short": 0.7, "a": 1.0, "m": 0.0}


def test_a_formula_is_computed_for_every_answer() -> None:
    reward = built(
        "formula",
        part("short", CHARACTERS),
        part("a", HAS_A),
        part("seen", MATCH),
        formula="0.5*short + max(0, a - 0.2)",
    )
    assert values(reward, texts("aaaa", "xxxx")) == pytest.approx([1.1, 0.3])
    assert not reward.is_batch
    assert reward.batch_component_names == ()


def test_an_answer_without_a_value_of_the_formula_is_missing_and_others_are_not() -> None:
    reward = built("formula", part("a", HAS_A), formula="1 / a")
    lost, kept = reward.score(texts("x", "a"))
    assert lost.missing
    assert lost.components == {"a": 0.0}
    assert str(lost.error).startswith("reward.formula: `1 / a` has no finite value")
    assert "where a = 0" in str(lost.error)
    assert kept.value == 1


@pytest.mark.parametrize("combine", ["sum", "product", "min", "formula"])
@pytest.mark.parametrize("other", [HAS_A, F1])
def test_a_missing_component_makes_the_value_missing_whatever_the_combination(
    combine: str, other: dict[str, Any]
) -> None:
    rest = {"formula": "other"} if combine == "formula" else {}
    reward = built(combine, part("m", MATCH), part("other", other), **rest)
    no_text: Any = None
    samples = [*texts("a", "b"), Sample("a"), Sample(no_text, {"answer": "a"})]
    results = reward.score(samples)
    assert [result.missing for result in results] == [False, False, True, True]
    assert all(tuple(result.components) == reward.component_names for result in results)
    assert "component m: " in str(results[2].error)
    assert "NoneType" in str(results[3].error)


answers = st.lists(st.sampled_from(["a", "b", "a a a", "none here"]), min_size=1, max_size=9)


def micro_f1(samples: Sequence[Sample]) -> float:
    hits = sum(sample.completion.startswith("a") for sample in samples)
    alarms = sum(sample.completion == "b" for sample in samples)
    return 2 * hits / (2 * hits + alarms + len(samples) - hits)


def shortness(samples: Sequence[Sample]) -> float:
    return float(np.mean([1 - len(sample.completion) / 10 for sample in samples]))


@settings(max_examples=60, deadline=None)
@given(answers)
@pytest.mark.parametrize(
    ("combine", "rest", "function"),
    [
        ("sum", {}, lambda f1, short: f1 + short),
        ("product", {}, lambda f1, short: f1 * short),
        ("min", {}, min),
        ("formula", {"formula": "sqrt(f1) / (1 + short)"}, lambda f1, s: math.sqrt(f1) / (1 + s)),
    ],
)
def test_the_mean_over_a_batch_is_the_combination_of_its_means(
    combine: str, rest: dict[str, Any], function: Callable[..., float], completions: list[str]
) -> None:
    reward = built(combine, part("f1", F1), part("short", CHARACTERS), **rest)
    assert reward.is_batch
    assert reward.batch_component_names == ("f1",)
    samples = texts(*completions)
    expected = function(micro_f1(samples), shortness(samples))
    assert np.mean(values(reward, samples)) == pytest.approx(expected, abs=1e-9)


def test_shares_of_a_combination_are_leave_one_out_of_the_means() -> None:
    reward = built("product", part("worst", WORST), part("short", CHARACTERS, 2.0))
    samples = texts("a", "xxx", "xxxxx", "xxxxxx")
    results = reward.score(samples)
    worst, short = (np.array([r.components[n] for r in results]) for n in ("worst", "short"))

    def metric(kept: list[int]) -> float:
        return worst[kept].mean() * short[kept].mean() ** 2

    everyone = list(range(4))
    whole = metric(everyone)
    pseudo = np.array([4 * whole - 3 * metric([j for j in everyone if j != i]) for i in everyone])
    assert whole == pytest.approx(0.4 * 0.625**2)
    assert [r.value for r in results] == pytest.approx(pseudo - pseudo.mean() + whole)
    # Nobody gains by being worse.
    assert sorted((r.value for r in results), reverse=True) == [r.value for r in results]


def test_a_product_of_the_batch_is_not_the_mean_of_products() -> None:
    reward = built("product", part("f1", F1), part("m", MATCH))
    samples = texts("a", "b")
    f1, match = (
        [result.components[name] for result in reward.score(samples)] for name in ("f1", "m")
    )
    assert np.mean(values(reward, samples)) == pytest.approx(0.25)
    assert np.mean(np.multiply(f1, match)) != pytest.approx(0.25)


def test_a_combination_stays_one_of_the_batch_inside_another() -> None:
    inner = composite("sum", part("f1", F1), part("short", CHARACTERS))
    reward = built("min", part("inner", inner), part("a", HAS_A))
    assert reward.batch_component_names == ("inner",)
    samples = texts("a", "b", "b")
    expected = min(micro_f1(samples) + shortness(samples), 1 / 3)
    assert np.mean(values(reward, samples)) == pytest.approx(expected)


def test_a_batch_whose_means_have_no_combination_is_missing_with_a_message() -> None:
    reward = built("formula", part("f1", F1), formula="log(f1)")
    results = reward.score(texts("b", "b"))
    assert [result.missing for result in results] == [True, True]
    assert "reward.formula: `log(f1)`" in str(results[0].error)
    assert results[0].components == {"f1": 0.0}


def test_an_answer_that_alone_gives_the_batch_a_value_leaves_it_one() -> None:
    reward = built("formula", part("f1", F1), formula="log(f1)")
    samples = texts("a", "b", "b")
    assert np.mean(values(reward, samples)) == pytest.approx(math.log(micro_f1(samples)))


def test_a_root_at_zero_is_not_lost_to_rounding() -> None:
    worst = {"type": "percentile", "q": 20, "reward": CHARACTERS}
    reward = built("product", part("worst", worst, 0.5))
    samples = texts(*["x" * length for length in (3, 7, 10, 10, 1, 2, 9)])
    assert np.mean(values(reward, samples)) == pytest.approx(math.sqrt(0.02), abs=1e-9)
    samples = texts(*["x" * length for length in (3, 7, 10, 10, 1, 2)])
    assert np.mean(values(reward, samples)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (composite("max", part("a", HAS_A)), "'sum', 'product', 'min' or 'formula'"),
        (composite("formula", part("a", HAS_A)), "needs a `formula`"),
        (composite("min", part("a", HAS_A), formula="a"), "not read with `combine: min`"),
        (composite("formula", part("a", HAS_A), formula="b"), "formula: `b` is no component"),
        (
            composite("formula", part("top-ic", HAS_A), formula="top-ic"),
            "'top-ic' cannot stand in a formula.*such as 'top_ic'",
        ),
        (composite("formula", part("2nd", HAS_A), formula="1"), "such as 'c_2nd'"),
        (composite("formula", part("if", HAS_A), formula="1"), "such as 'c_if'"),
        (
            composite("formula", part("a", HAS_A, 0.5), formula="a"),
            "component a has weight 0.5, which `combine: formula` has no use for",
        ),
        (composite("min", part("a", HAS_A, -1)), "has weight -1.*1, or 0 to report only"),
        (composite("min", part("a", HAS_A, 0)), "every component has weight 0"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SPEC.validate_python(spec)


def test_nesting_is_counted_through_other_rewards() -> None:
    def wrapped(depth: int) -> dict[str, Any]:
        inner: dict[str, Any] = CHARACTERS
        for level in range(depth):
            inner = composite("sum", part("x", inner))
            if level == 2:
                inner = {"type": "percentile", "reward": inner}
        return inner

    SPEC.validate_python(wrapped(MAX_NESTING))
    with pytest.raises(ValidationError, match=f"{MAX_NESTING + 1} deep"):
        SPEC.validate_python(wrapped(MAX_NESTING + 1))
