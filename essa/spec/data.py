"""Data sets, and the conversion of a row to a prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from essa.spec.base import SpecModel
from reward.spec.template import template_parts


class DatasetSpec(SpecModel):
    """One JSONL file: on the server's disk, or uploaded."""

    path: str | None = None
    file_id: str | None = Field(default=None, pattern=r"^file-[A-Za-z0-9]+$")
    """Id returned by `POST /v1/files`."""
    limit: int | None = Field(default=None, ge=1)
    """Number of rows used, from the start of the file; None uses all."""

    @model_validator(mode="after")
    def _one_source(self) -> DatasetSpec:
        if (self.path is None) == (self.file_id is None):
            raise ValueError("give exactly one of `path` and `file_id`")
        return self


def _checked_template(template: str) -> str:
    template_parts(template, example="prompt")
    return template


RowTemplate = Annotated[str, AfterValidator(_checked_template)]


class ChatPromptSpec(SpecModel):
    """Wrap the row in the model's own chat template.

    A conversational row (`messages`) is used unchanged; a standard row fills in `user`.
    """

    type: Literal["chat"] = "chat"
    system: str | None = None
    user: RowTemplate = "{prompt}"
    """Text with names of the row's columns in braces. Literal braces are written twice."""


class TextPromptSpec(SpecModel):
    """Use plain text."""

    type: Literal["text"] = "text"
    template: RowTemplate = "{prompt}"
    """Text with names of the row's columns in braces. Literal braces are written twice."""


PromptSpec = Annotated[ChatPromptSpec | TextPromptSpec, Field(discriminator="type")]


class DataSpec(SpecModel):
    """The three sets, which are never mixed.

    Training prompts feed the generations, the validation set selects the result and stops the
    search, and the test set is scored once at the end and influences nothing. Sets that are not
    given are split off from `train`, deterministically by the job's seed.
    """

    train: DatasetSpec
    validation: DatasetSpec | None = None
    test: DatasetSpec | None = None
    validation_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of `train` split off for validation if no validation set is given."""
    test_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of `train` split off for the test if no test set is given."""
    prompt: PromptSpec = ChatPromptSpec()
