"""Job specifications."""

from essa.spec.base import SpecModel
from essa.spec.data import ChatPrompt, DatasetSpec, DataSpec, TextPrompt
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
    AdapterWarmStart,
    LoraSpec,
    ModelSpec,
    RejectionSamplingWarmStart,
    SftSettings,
    SftWarmStart,
)
from essa.spec.search import (
    CmaEsSearch,
    LadderSpec,
    OpenAiEsSearch,
    RandomSearch,
    SearchSpec,
    SepCmaEsSearch,
    SnesSearch,
)

__all__ = [
    "AdapterWarmStart",
    "AlignmentJobSpec",
    "BudgetSpec",
    "ChatPrompt",
    "CmaEsSearch",
    "DataSpec",
    "DatasetSpec",
    "EngineSpec",
    "EvaluationSpec",
    "LadderSpec",
    "LoraSpec",
    "ModelSpec",
    "OpenAiEsSearch",
    "Precision",
    "QuantizationMethod",
    "QuantizationSpec",
    "RandomSearch",
    "RejectionSamplingWarmStart",
    "RolloutSpec",
    "SearchSpec",
    "SepCmaEsSearch",
    "SftSettings",
    "SftWarmStart",
    "SnesSearch",
    "SpecModel",
    "TextPrompt",
    "TransformersEngineSpec",
    "VllmEngineSpec",
]
