"""Reward specifications: a reward is data, not code.

Higher is better for every reward. What a reward computes in detail stands in the class of the
same name under `reward/functions/`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reward.spec.batch import (
    BalancedAccuracyReward,
    CorpusBleuReward,
    F1Reward,
    PassAtKReward,
    PercentileReward,
)
from reward.spec.code import PythonReward
from reward.spec.composite import MAX_NESTING, CompositeComponent, CompositeReward
from reward.spec.external import JudgeReward, RemoteReward
from reward.spec.ifeval import IfevalReward
from reward.spec.likelihood import KlReward, ReferenceLogprobReward
from reward.spec.math import MathReward
from reward.spec.quality import ReadabilityReward, ToxicityReward
from reward.spec.reward_model import RewardModelSpec
from reward.spec.rules import (
    ExactMatchReward,
    KeywordsReward,
    LengthReward,
    NumericMatchReward,
    RegexReward,
    RepetitionReward,
    SentimentReward,
)
from reward.spec.structure import FormatReward, JsonSchemaReward

RewardSpec = Annotated[
    SentimentReward
    | ExactMatchReward
    | NumericMatchReward
    | RegexReward
    | LengthReward
    | KeywordsReward
    | RepetitionReward
    | FormatReward
    | JsonSchemaReward
    | ReadabilityReward
    | ToxicityReward
    | ReferenceLogprobReward
    | KlReward
    | RewardModelSpec
    | JudgeReward
    | RemoteReward
    | MathReward
    | IfevalReward
    | PythonReward
    | F1Reward
    | BalancedAccuracyReward
    | CorpusBleuReward
    | PassAtKReward
    | PercentileReward
    | CompositeReward,
    Field(discriminator="type"),
]

for _recursive in (CompositeComponent, CompositeReward, PassAtKReward, PercentileReward):
    _recursive.model_rebuild()

__all__ = [
    "MAX_NESTING",
    "BalancedAccuracyReward",
    "CompositeComponent",
    "CompositeReward",
    "CorpusBleuReward",
    "ExactMatchReward",
    "F1Reward",
    "FormatReward",
    "IfevalReward",
    "JsonSchemaReward",
    "JudgeReward",
    "KeywordsReward",
    "KlReward",
    "LengthReward",
    "MathReward",
    "NumericMatchReward",
    "PassAtKReward",
    "PercentileReward",
    "PythonReward",
    "ReadabilityReward",
    "ReferenceLogprobReward",
    "RegexReward",
    "RemoteReward",
    "RepetitionReward",
    "RewardModelSpec",
    "RewardSpec",
    "SentimentReward",
    "ToxicityReward",
]
