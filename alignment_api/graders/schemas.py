"""Requests and answers of the grader endpoints."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alignment_api.graders.openai_graders import Grader
from reward.sample import Sample

MAX_SAMPLES = 256


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class GraderSample(_Model):
    """One answer to score."""

    completion: str
    row: dict[str, Any] = Field(default_factory=dict)
    """Columns that the grader reads, such as the reference answer."""
    prompt: str = ""
    messages: tuple[dict[str, str], ...] = ()
    group: int | None = None
    """Group number shared by the answers to one prompt; by default each answer is its own group."""
    tokens: int | None = Field(default=None, ge=0)
    logprobs: tuple[float, ...] | None = None
    """Log-probabilities of the answer's tokens under the model that wrote it, if needed."""
    reference_logprobs: tuple[float, ...] | None = None
    """Log-probabilities of the same tokens under the base model."""

    def as_sample(self, position: int) -> Sample:
        """Convert to the form that rewards take."""
        return Sample(
            self.completion,
            self.row,
            prompt=self.prompt,
            messages=self.messages,
            group=position if self.group is None else self.group,
            tokens=self.tokens,
            logprobs=self.logprobs,
            reference_logprobs=self.reference_logprobs,
        )


class ValidateGrader(_Model):
    """A grader to check."""

    grader: Grader
    rows: tuple[dict[str, Any], ...] = Field(default=(), max_length=MAX_SAMPLES)
    """Data rows to check the grader against."""


class RunGrader(_Model):
    """A grader to run on answers, all of one candidate and one batch, or as OpenAI's clients do.

    Give `samples`, or `model_sample` and `item`.
    """

    grader: Grader
    samples: tuple[GraderSample, ...] = Field(default=(), max_length=MAX_SAMPLES)
    model_sample: str | None = None
    """One answer, in OpenAI's form."""
    item: dict[str, Any] | None = None
    """Data row of that answer, by column."""

    @model_validator(mode="after")
    def _one_form(self) -> RunGrader:
        if bool(self.samples) == (self.model_sample is not None):
            raise ValueError("give `samples`, one or more, or `model_sample`; one of them")
        return self

    @property
    def answers(self) -> tuple[GraderSample, ...]:
        """The answers to score, from either form."""
        if self.model_sample is None:
            return self.samples
        return (GraderSample(completion=self.model_sample, row=self.item or {}),)


class CheckedGrader(_Model):
    """A grader that can be used."""

    object: Literal["grader"] = "grader"
    grader: dict[str, Any]
    """Grader as it was sent, with its defaults filled in."""
    components: list[str]
    """Names of the components that every result contains."""
    needs: list[str]
    """Values beyond the text that the engines must compute for the grader."""
    is_batch: bool
    """Whether an answer's score depends on the other answers of its batch."""


class GraderResult(_Model):
    """The score of one answer."""

    reward: float | None
    """Score; null if it is missing."""
    components: dict[str, float | None]
    error: str | None


class GraderRun(_Model):
    """Scores of all answers."""

    object: Literal["grader.run"] = "grader.run"
    reward: float | None
    """Mean over the scores that are not missing: the fitness of a candidate with these answers."""
    missing: int
    seconds: float
    results: list[GraderResult]
    costs: dict[str, dict[str, float | None]]
    """Usage of the judges, by their place in the grader."""


class RunErrors(_Model):
    """OpenAI's list of possible errors."""

    formula_parse_error: bool = False
    invalid_variable_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    other_error: bool = False
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False


class RunMetadata(_Model):
    """The fields beside the reward that OpenAI's clients read."""

    name: str
    type: str
    errors: RunErrors
    execution_time: float
    scores: dict[str, float | None]
    token_usage: int | None = None
    sampled_model_name: str | None = None


class OpenAiGraderRun(_Model):
    """The score of one answer, in OpenAI's shape."""

    object: Literal["grader.run"] = "grader.run"
    reward: float | None
    sub_rewards: dict[str, float | None]
    """Scores of the grader's parts, by name."""
    metadata: RunMetadata
    model_grader_token_usage_per_model: dict[str, float]
