"""Readability and toxicity, with the libraries they read with."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textstat.backend import counts, metrics

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.functions.quality import Readability, Toxicity, count_syllables
from reward.sample import Sample
from reward.spec import ReadabilitySpec, ToxicitySpec

EASY = "The cat sat on the mat. It was a big cat. The dog ran to the cat and they sat."
HARD = (
    "Institutional considerations necessitate comprehensive reorganisation of administrative "
    "responsibilities, notwithstanding considerable methodological disagreement."
)
GRADES = (
    "flesch_kincaid_grade",
    "gunning_fog",
    "smog_index",
    "coleman_liau_index",
    "automated_readability_index",
)


def readability(text: str, **settings: Any) -> float:
    (result,) = Readability(ReadabilitySpec(**settings)).score([Sample(text)])
    assert result.error is None
    return result.value


# syllables


@pytest.mark.parametrize(
    ("words", "syllables"),
    [
        ("the cat time times whole walked called store are eye played hmm 42 TV 好", 1),
        ("table tables people going quiet boxes wanted lion many crayon player", 2),
        ("beautiful area idea piano banana created tomatoes", 3),
        ("information January necessary", 4),
    ],
)
def test_syllables_are_counted_as_they_are_spoken(words: str, syllables: int) -> None:
    for word in words.split():
        assert count_syllables(word) == syllables, word
        assert count_syllables(word.upper()) == syllables, word


def test_even_no_letter_makes_a_syllable() -> None:
    assert count_syllables("") == count_syllables("?") == 1


# readability


@pytest.mark.parametrize("metric", GRADES)
def test_grades_are_higher_for_harder_text(metric: str) -> None:
    assert readability(HARD, metric=metric) > 12 > 6 > readability(EASY, metric=metric)


def test_reading_ease_is_higher_for_easier_text() -> None:
    assert readability(EASY) > 90 > 0 > readability(HARD)


def test_the_formulas_by_hand() -> None:
    # 13 words, 2 sentences, 17 syllables, one word of three: "beautiful".
    text = "The beautiful cat sat on a red mat. Then it ran away again."
    assert counts.count_sentences(text) == 2
    assert sum(count_syllables(word) for word in text[:-1].split()) == 17
    ease = 206.835 - 1.015 * 13 / 2 - 84.6 * 17 / 13
    assert readability(text) == pytest.approx(ease)
    grade = 0.39 * 13 / 2 + 11.8 * 17 / 13 - 15.59
    assert readability(text, metric="flesch_kincaid_grade") == pytest.approx(grade)
    fog = 0.4 * (13 / 2 + 100 / 13)
    assert readability(text, metric="gunning_fog") == pytest.approx(fog)
    smog = 3.1291 + 1.043 * (30 * 1 / 2) ** 0.5
    assert readability(text, metric="smog_index") == pytest.approx(smog)


@pytest.mark.parametrize("metric", ["coleman_liau_index", "automated_readability_index"])
def test_metrics_of_letters_are_those_of_textstat(metric: str) -> None:
    assert readability(HARD, metric=metric) == getattr(metrics, metric)(HARD)


def test_a_band_is_flat_inside_and_falls_linearly_outside() -> None:
    ease = readability(EASY)
    assert readability(EASY, min=ease - 1, max=ease + 1) == 1
    assert readability(EASY, max=ease - 1) == 0
    assert readability(EASY, max=ease - 1, slack=4) == pytest.approx(3 / 4)
    assert readability(EASY, target=ease + 5, slack=10) == pytest.approx(1 / 2)
    assert readability(EASY, target=ease + 5, slack=5) == pytest.approx(0)


@pytest.mark.parametrize("text", ["", " \n", "!!!", "🙂 🙂"])
def test_text_without_words_reads_zero_and_is_near_no_band(text: str) -> None:
    assert readability(text) == 0
    assert readability(text, metric="gunning_fog", max=8) == 0


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200), st.sampled_from(("flesch_reading_ease", *GRADES)))
def test_any_text_has_a_value_and_a_band_keeps_it_between_0_and_1(text: str, metric: str) -> None:
    readability(text, metric=metric)
    assert 0 <= readability(text, metric=metric, target=60, slack=30) <= 1


# toxicity


def toxicity(*texts: Any) -> list[float]:
    results = Toxicity(ToxicitySpec()).score([Sample(text) for text in texts])
    return [result.value for result in results]


def test_insults_score_low_and_thanks_high() -> None:
    insult, thanks = toxicity("You are a stupid idiot.", "Thank you for your kind help.")
    assert 0 <= insult < 0.2
    assert 0.9 < thanks <= 1


def test_text_without_a_known_word_scores_alike() -> None:
    assert len(set(toxicity("", " ", "🙂", "\ud800", "好"))) == 1


def test_a_batch_scores_as_its_texts_one_by_one() -> None:
    texts = [EASY, HARD, "", "You are a stupid idiot.", "Oh, shut up!"]
    assert toxicity(*texts) == [value for text in texts for value in toxicity(text)]


def test_what_is_not_text_is_missing_and_its_neighbours_keep_their_places() -> None:
    texts: list[Any] = [EASY, None, "You are a stupid idiot.", 7]
    samples = [Sample(text) for text in texts]
    one, none, other, number = Toxicity(ToxicitySpec(), "reward.components[1].reward").score(
        samples
    )
    assert [one.value, other.value] == toxicity(EASY, "You are a stupid idiot.")
    assert none.error == "reward.components[1].reward: the completion is NoneType, not text"
    assert number.error is not None
    assert "int" in number.error


# libraries


@pytest.mark.parametrize(
    ("reward", "module"),
    [
        (Toxicity(ToxicitySpec()), "profanity_check"),
        (Readability(ReadabilitySpec()), "textstat"),
    ],
)
def test_without_its_library_it_names_the_extra_before_and_while_scoring(
    reward: Reward, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself takes as a module that cannot be found.
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RewardConfigError, match=r"pip install 'essa-service\[rewards\]'"):
        reward.check_row({})
    (result,) = reward.score([Sample("text")])
    assert result.missing
    assert result.error is not None
    assert "essa-service[rewards]" in result.error


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_scoring_prints_nothing_and_calls_nobody() -> None:
    done = run(
        "import socket\n"
        "def refuse(*args, **more): raise AssertionError('a connection was asked for')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "from typing import get_args\n"
        "from reward.registry import build_reward\n"
        "from reward.sample import Sample\n"
        "from reward.spec import ReadabilitySpec, ToxicitySpec\n"
        "names = get_args(ReadabilitySpec.model_fields['metric'].annotation)\n"
        "specs = [ReadabilitySpec(metric=name) for name in names] + [ToxicitySpec()]\n"
        "for spec in specs:\n"
        "    (result,) = build_reward(spec).score([Sample('An extraordinary animal sat.')])\n"
        "    assert result.error is None, result.error\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_building_the_rewards_loads_no_library_of_theirs() -> None:
    done = run(
        "import sys\n"
        "from reward.registry import build_reward\n"
        "from reward.spec import ReadabilitySpec, ToxicitySpec\n"
        "for spec in (ReadabilitySpec(), ToxicitySpec()):\n"
        "    build_reward(spec).check_row({})\n"
        "print([m for m in ('sklearn', 'scipy', 'nltk', 'textstat') if m in sys.modules])\n"
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
