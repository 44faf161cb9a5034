"""Syllables of English words, by rule.

Dictionaries of pronunciation are not shipped with the libraries at hand and must not be fetched
while a job runs. Hyphenation patterns are no way out: they never cut off a single letter, which
makes "many" one syllable.
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(
    r"""
    (?<![aeiouyl])e$ | (?<=[aeiouy]l)e$ | (?<=rl)e$                 # time, whole; not table
  | (?<![aeiouyszxlcg])(?<![cs]h)es$ | (?<=[aeiouy]l)es$            # times, holes; not boxes
  | (?<![aeiouytdl])ed$ | (?<=[aeiouylr]l)ed$                       # walked, called; not wanted
    """,
    re.VERBOSE,
)
_APART = re.compile(
    r"""
    (?<=[aeiouy])ing | (?<=[aeiou])y(?=[ao]|e[ert])                 # going, crayon, player
  | ia(?!ge|l|n(?!o)|r) | (?<![cgstx])io(?!u) | iu | ie(?=[rt])     # piano, lion, quiet
  | eo(?!u|pl) | (?<=[dr])ea$ | (?<=cr)ea(?=t) | (?<![gq])ua | oe(?=[mt])  # video, area, create
  | ism$
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=65536)
def count_syllables(word: str) -> int:
    """Count the syllables of a word: groups of vowels, less a silent end, plus vowels apart.

    Of running English text about 98 words in 100 come out as a dictionary of pronunciation has
    them, and errors on both sides nearly cancel out.

    Returns:
        At least 1.
    """
    word = word.lower()
    apart = len(_APART.findall(word)) - len(_SILENT.findall(word))
    return max(1, len(_VOWELS.findall(word)) + apart)
