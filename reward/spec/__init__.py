"""Reward specifications: a reward is data, not code.

Higher is better for every reward. The class of the same name in `reward/functions/` says in detail
what a reward computes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reward.spec.batch import (
    AnyBatchSpec,
    BalancedAccuracySpec,
    CorpusBleuSpec,
    F1Spec,
    PassAtKSpec,
    PercentileSpec,
)
from reward.spec.code import PythonSpec
from reward.spec.composite import MAX_NESTING, CompositeComponentSpec, CompositeSpec
from reward.spec.external import AnyExternalSpec, JudgeSpec, RemoteSpec
from reward.spec.ifeval import IfevalSpec
from reward.spec.likelihood import AnyLikelihoodSpec, KlSpec, ReferenceLogprobSpec
from reward.spec.math import MathSpec
from reward.spec.quality import AnyQualitySpec, ReadabilitySpec, ToxicitySpec
from reward.spec.reward_model import RewardModelSpec
from reward.spec.rules import (
    AnyRuleSpec,
    ExactMatchSpec,
    KeywordsSpec,
    LengthSpec,
    NumericMatchSpec,
    RegexSpec,
    RepetitionSpec,
    SentimentSpec,
)
from reward.spec.structure import AnyStructureSpec, FormatSpec, JsonSchemaSpec

RewardSpec = Annotated[
    AnyRuleSpec
    | AnyStructureSpec
    | AnyQualitySpec
    | AnyLikelihoodSpec
    | RewardModelSpec
    | AnyExternalSpec
    | MathSpec
    | IfevalSpec
    | PythonSpec
    | AnyBatchSpec
    | CompositeSpec,
    Field(discriminator="type"),
]

for _recursive in (CompositeComponentSpec, CompositeSpec, PassAtKSpec, PercentileSpec):
    _recursive.model_rebuild()

__all__ = [
    "MAX_NESTING",
    "BalancedAccuracySpec",
    "CompositeComponentSpec",
    "CompositeSpec",
    "CorpusBleuSpec",
    "ExactMatchSpec",
    "F1Spec",
    "FormatSpec",
    "IfevalSpec",
    "JsonSchemaSpec",
    "JudgeSpec",
    "KeywordsSpec",
    "KlSpec",
    "LengthSpec",
    "MathSpec",
    "NumericMatchSpec",
    "PassAtKSpec",
    "PercentileSpec",
    "PythonSpec",
    "ReadabilitySpec",
    "ReferenceLogprobSpec",
    "RegexSpec",
    "RemoteSpec",
    "RepetitionSpec",
    "RewardModelSpec",
    "RewardSpec",
    "SentimentSpec",
    "ToxicitySpec",
]
