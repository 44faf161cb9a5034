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
"""Seed of langdetect, which samples: without it a text could get another language next time."""


def response_language(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer is in the language; text without a letter always is."""
    return detect(text) in (kwargs["language"], None)


def detect(text: str) -> str | None:
    """Return the code of the language, such as `en` or `zh-cn`; None if it cannot be detected."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    try:
        detector.append(text)
        return detector.detect()
    except LangDetectException:
        return None


def language(name: str) -> Argument:
    """Return an argument for the code of a language that langdetect knows."""
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
