"""The language of a text, and the instruction `language:response_language`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from reward.ifeval.argument import Argument

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory

SEED = 0
"""langdetect draws at random; without a seed the same text has one language now, another then."""


def response_language(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """The answer is in the language. Text without a letter is in every language."""
    return detect(text) in (kwargs["language"], None)


def detect(text: str) -> str | None:
    """Return the code of the language, as `en` or `zh-cn`; None where nothing tells it."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    try:
        detector.append(text)
        return detector.detect()
    except LangDetectException:
        return None


def language(name: str) -> Argument:
    """A code of a language that can be told."""
    wanted = "a code that langdetect knows, as 'en' or 'zh-cn'"
    return Argument(name, wanted, lambda value: isinstance(value, str) and value in _codes())


@cache
def _factory() -> DetectorFactory:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    # Not langdetect.detect(): its one factory, and so its seed, belongs to the whole process.
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(SEED)
    return factory


@cache
def _codes() -> frozenset[str]:
    from langdetect.detector_factory import PROFILES_DIRECTORY

    return frozenset(os.listdir(PROFILES_DIRECTORY))
