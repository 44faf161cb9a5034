"""Building rewards from their specifications."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.functions.batch import F1, BalancedAccuracy, CorpusBleu, PassAtK, Percentile
from reward.functions.composite import Composite
from reward.functions.ifeval import Ifeval
from reward.functions.judge import Judge
from reward.functions.likelihood import Kl, ReferenceLogprob
from reward.functions.math import Math
from reward.functions.python import Python
from reward.functions.quality import Readability, Toxicity
from reward.functions.remote import Remote
from reward.functions.reward_model import RewardModelReward
from reward.functions.rules import (
    ExactMatch,
    Keywords,
    Length,
    NumericMatch,
    Regex,
    Repetition,
    Sentiment,
)
from reward.functions.structure import Format, JsonSchema
from reward.resources import RewardResources
from reward.spec import RewardSpec

REWARDS: dict[str, type[Reward[Any]]] = {
    "balanced_accuracy": BalancedAccuracy,
    "composite": Composite,
    "corpus_bleu": CorpusBleu,
    "exact_match": ExactMatch,
    "f1": F1,
    "format": Format,
    "ifeval": Ifeval,
    "json_schema": JsonSchema,
    "judge": Judge,
    "keywords": Keywords,
    "kl": Kl,
    "length": Length,
    "math": Math,
    "numeric_match": NumericMatch,
    "pass_at_k": PassAtK,
    "percentile": Percentile,
    "python": Python,
    "readability": Readability,
    "reference_logprob": ReferenceLogprob,
    "regex": Regex,
    "repetition": Repetition,
    "remote": Remote,
    "reward_model": RewardModelReward,
    "sentiment": Sentiment,
    "toxicity": Toxicity,
}
"""Reward class for every `type` of `RewardSpec`."""


def build_reward(
    spec: RewardSpec, path: str = "reward", resources: RewardResources | None = None
) -> Reward[Any]:
    """Build the reward that a specification describes. Starts nothing.

    Args:
        spec: a validated specification.
        path: path of the reward in the job; error messages name settings below it.
        resources: what the operator and the job lend; nothing by default.
    Raises:
        RewardConfigError: no reward of this type is registered, or the operator does not allow it.
    """
    cls = REWARDS.get(spec.type)
    if cls is None:
        known = ", ".join(sorted(REWARDS))
        raise RewardConfigError(
            f"{path}.type is {spec.type!r}, which is not registered; use one of {known}",
            field=f"{path}.type",
        )
    # Passed in: a reward that contains others cannot import this module, which imports it.
    return cls(spec, path, replace(resources or RewardResources(), build=build_reward))
