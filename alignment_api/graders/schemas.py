"""What the grader endpoints take and answer."""

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
    """Answers to the same prompt have it in common; by default every answer is of its own."""
    tokens: int | None = Field(default=None, ge=0)
    logprobs: tuple[float, ...] | None = None
    """Of the answer's tokens under the model that wrote it, where the grader needs them."""
    reference_logprobs: tuple[float, ...] | None = None
    """Of the same tokens under the base model."""

    def as_sample(self, position: int) -> Sample:
        """The same as rewards are given it."""
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
    """Rows of the data to check it against."""


class RunGrader(_Model):
    """A grader to try: on answers, all of one candidate and one batch, or as OpenAI's clients do.

    Give `samples`, or `model_sample` and `item`.
    """

    grader: Grader
    samples: tuple[GraderSample, ...] = Field(default=(), max_length=MAX_SAMPLES)
    model_sample: str | None = None
    """One answer."""
    item: dict[str, Any] | None = None
    """The columns of its row."""

    @model_validator(mode="after")
    def _one_form(self) -> RunGrader:
        if bool(self.samples) == (self.model_sample is not None):
            raise ValueError("give `samples`, one or more, or `model_sample`; one of them")
        return self

    @property
    def answers(self) -> tuple[GraderSample, ...]:
        """What to score, in either form."""
        if self.model_sample is None:
            return self.samples
        return (GraderSample(completion=self.model_sample, row=self.item or {}),)


class CheckedGrader(_Model):
    """A grader that can be used."""

    object: Literal["grader"] = "grader"
    grader: dict[str, Any]
    """As it was given, defaults filled in."""
    components: list[str]
    """Names under which every result has its parts."""
    needs: list[str]
    """What the engines must compute for it beyond the text."""
    is_batch: bool
    """The score of an answer depends on the other answers of its batch."""


class GraderResult(_Model):
    """The score of one answer."""

    reward: float | None
    """None where it is missing."""
    components: dict[str, float | None]
    error: str | None


class GraderRun(_Model):
    """Scores of all answers."""

    object: Literal["grader.run"] = "grader.run"
    reward: float | None
    """Mean over the scores that are there: the fitness of a candidate that answered so."""
    missing: int
    seconds: float
    results: list[GraderResult]
    costs: dict[str, dict[str, float | None]]
    """What judges used, by their place in the grader."""


class RunErrors(_Model):
    """OpenAI's list of what may have gone wrong."""

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
    """What OpenAI's clients read beside the reward."""

    name: str
    type: str
    errors: RunErrors
    execution_time: float
    scores: dict[str, float | None]
    token_usage: int | None = None
    sampled_model_name: str | None = None


class OpenAiGraderRun(_Model):
    """The score of one answer, as OpenAI's clients read it."""

    object: Literal["grader.run"] = "grader.run"
    reward: float | None
    sub_rewards: dict[str, float | None]
    """Of every part."""
    metadata: RunMetadata
    model_grader_token_usage_per_model: dict[str, float]
