"""Job specifications."""

from essa.spec.base import SpecModel
from essa.spec.data import ChatPromptSpec, DatasetSpec, DataSpec, TextPromptSpec
from essa.spec.engine import (
    EngineSpec,
    Precision,
    QuantizationMethod,
    QuantizationSpec,
    RolloutSpec,
    TransformersEngineSpec,
    VllmEngineSpec,
)
from essa.spec.job import AlignmentJobSpec, BudgetSpec, EvaluationSpec
from essa.spec.model import (
    AdapterWarmStartSpec,
    LoraSpec,
    ModelSpec,
    RejectionSamplingWarmStartSpec,
    SftSpec,
    SftWarmStartSpec,
)
from essa.spec.search import (
    CmaEsSpec,
    LadderSpec,
    OpenAiEsSpec,
    RandomSearchSpec,
    SearchSpec,
    SepCmaEsSpec,
    SnesSpec,
)

__all__ = [
    "AdapterWarmStartSpec",
    "AlignmentJobSpec",
    "BudgetSpec",
    "ChatPromptSpec",
    "CmaEsSpec",
    "DataSpec",
    "DatasetSpec",
    "EngineSpec",
    "EvaluationSpec",
    "LadderSpec",
    "LoraSpec",
    "ModelSpec",
    "OpenAiEsSpec",
    "Precision",
    "QuantizationMethod",
    "QuantizationSpec",
    "RandomSearchSpec",
    "RejectionSamplingWarmStartSpec",
    "RolloutSpec",
    "SearchSpec",
    "SepCmaEsSpec",
    "SftSpec",
    "SftWarmStartSpec",
    "SnesSpec",
    "SpecModel",
    "TextPromptSpec",
    "TransformersEngineSpec",
    "VllmEngineSpec",
]
