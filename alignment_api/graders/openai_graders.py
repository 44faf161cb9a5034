"""The graders of OpenAI's fine-tuning API, as their clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from reward.spec import RewardSpec
from reward.spec.code import MAX_SOURCE_CHARS

_OURS_TOO = "python"
"""Grader type of both APIs; only OpenAI's has a name."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Grader(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str = Field(default="grader", min_length=1, max_length=200)


class StringCheckGrader(_Grader):
    """Compares the answer with a text or a column of the row."""

    type: Literal["string_check"]
    input: str
    """Template of the text to compare; must be `{{sample.output_text}}`."""
    reference: str
    """Template to compare it with: a text, or `{{item.COLUMN}}`."""
    operation: Literal["eq", "ne", "like", "ilike"]


class PythonGrader(_Grader):
    """Python source that defines a function `grade(sample, item)`."""

    type: Literal["python"]
    source: str = Field(min_length=1, max_length=MAX_SOURCE_CHARS)
    image_tag: str | None = None
    """Ignored: the function runs in the service's own environment."""


class TextContent(BaseModel):
    """A text part of a message's content."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["input_text", "output_text"]
    text: str


class GraderMessage(BaseModel):
    """One message to the grading model."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant", "system", "developer"]
    content: str | TextContent | list[str | TextContent]
    type: Literal["message"] | None = None

    @property
    def text(self) -> str:
        """All texts of the content, joined."""
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "\n".join(part if isinstance(part, str) else part.text for part in parts)


class SamplingParams(BaseModel):
    """Sampling parameters of the grading model."""

    model_config = ConfigDict(extra="forbid")

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None


class ScoreModelGrader(_Grader):
    """A score that a model assigns to the answer."""

    type: Literal["score_model"]
    input: list[GraderMessage] = Field(min_length=1)
    model: str = Field(min_length=1)
    range: tuple[Finite, Finite] | None = None
    """Lowest and highest score; 0 and 1 by default."""
    sampling_params: SamplingParams | None = None


class OtherGrader(_Grader):
    """Graders that have no counterpart here."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text_similarity", "label_model"]


class MultiGrader(_Grader):
    """Several graders and a formula that refers to them by name."""

    type: Literal["multi"]
    graders: dict[str, Grader] = Field(min_length=1, max_length=64)
    calculate_output: str = Field(min_length=1)


OpenAiGrader = Annotated[
    StringCheckGrader | PythonGrader | ScoreModelGrader | MultiGrader | OtherGrader,
    Field(discriminator="type"),
]


def _side(grader: Any) -> str:
    if isinstance(grader, _Grader):
        return "openai"
    if not isinstance(grader, dict):
        return "reward"
    kind = grader.get("type")
    is_theirs = kind in ("string_check", "score_model", "multi", "text_similarity", "label_model")
    return "openai" if is_theirs or (kind == _OURS_TOO and "name" in grader) else "reward"


Grader = Annotated[
    Annotated[RewardSpec, Tag("reward")] | Annotated[OpenAiGrader, Tag("openai")],
    Discriminator(_side),
]
"""A reward of this service, or an OpenAI grader; a `python` grader with a `name` is OpenAI's."""

MultiGrader.model_rebuild()
