"""From a reward's specification to the reward."""

from __future__ import annotations

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.functions.balanced_accuracy import BalancedAccuracy
from reward.functions.composite import Composite
from reward.functions.corpus_bleu import CorpusBleu
from reward.functions.exact_match import ExactMatch
from reward.functions.f1 import F1
from reward.functions.format import Format
from reward.functions.ifeval import Ifeval
from reward.functions.json_schema import JsonSchema
from reward.functions.judge import Judge
from reward.functions.keywords import Keywords
from reward.functions.kl import Kl
from reward.functions.length import Length
from reward.functions.math import Math
from reward.functions.numeric_match import NumericMatch
from reward.functions.pass_at_k import PassAtK
from reward.functions.percentile import Percentile
from reward.functions.python import Python
from reward.functions.readability import Readability
from reward.functions.reference_logprob import ReferenceLogprob
from reward.functions.regex import Regex
from reward.functions.remote import Remote
from reward.functions.repetition import Repetition
from reward.functions.reward_model import RewardModelReward
from reward.functions.sentiment import Sentiment
from reward.functions.toxicity import Toxicity
from reward.resources import RewardResources
from reward.spec import RewardSpec

REWARDS: dict[str, type[Reward]] = {
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
"""Class of every `type` of `RewardSpec`."""


def build_reward(
    spec: RewardSpec, path: str = "reward", resources: RewardResources | None = None
) -> Reward:
    """Build the reward that a specification describes. Starts nothing.

    Args:
        spec: a validated specification.
        path: where it stands in the job; error messages name settings below it.
        resources: what operator and job lend; nothing by default.
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
    return cls(spec, path, resources)
