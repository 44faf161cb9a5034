"""Rewards for completions that other programs read: tags, sections, JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from reward.schema_check import SchemaError, build_validator
from reward.spec.model import RewardSpecModel


class FormatSpec(RewardSpecModel):
    """Presence of the required tags and sections in the completion.

    For answers such as `<think>...</think><answer>...</answer>`, give `tags: [think, answer]` and
    `only: true`.
    """

    type: Literal["format"] = "format"
    tags: tuple[str, ...] = ()
    """Names of tags, each of which must occur exactly once as `<name>...</name>` with text between.
    If the prompt ends in an opening tag, the completion starts inside that tag."""
    ordered: bool = True
    """Require the tags in the order given. Tags may never overlap."""
    only: bool = False
    """Allow nothing but white space outside the tags."""
    sections: tuple[str, ...] = ()
    """Headings that must occur at the start of a line, as `# Heading` of any level or as
    `Heading:`; case and bold type are ignored."""
    require: Literal["all", "share"] = "all"
    """Score. `all`: 1 if every point is met, else 0; `share`: the share of points met. Points are
    every tag, every section, the order of the tags if there are several, and `only`."""

    @field_validator("tags")
    @classmethod
    def _tags_are_names(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not tag or any(sign in "<>/" or sign.isspace() for sign in tag):
                raise ValueError(f"tag {tag!r} is not a name; write it bare, such as 'think'")
        return _differ("tag", tags)

    @field_validator("sections")
    @classmethod
    def _sections_are_headings(cls, sections: tuple[str, ...]) -> tuple[str, ...]:
        bare = tuple(section.strip().lstrip("#").rstrip(":").strip() for section in sections)
        for section, heading in zip(sections, bare, strict=True):
            if not heading or "\n" in heading:
                raise ValueError(
                    f"section {section!r} is not a heading of one line; write its words"
                )
        _differ("section", tuple(heading.casefold() for heading in bare))
        return bare

    @model_validator(mode="after")
    def _something(self) -> FormatSpec:
        if not self.tags and not self.sections:
            raise ValueError("give `tags`, `sections` or both")
        if self.only and not self.tags:
            raise ValueError(
                "`only: true` is about text outside `tags`, but there are none; give `tags` or "
                "remove `only`"
            )
        return self


class JsonSchemaSpec(RewardSpecModel):
    """1 if the completion is JSON that satisfies a JSON Schema, else 0.

    Drafts 3 to 2020-12 are supported; without `$schema` it is 2020-12. `format` is not checked, and
    nothing is fetched: `$ref` may only point into the schema itself.
    """

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] | None = None
    """Schema for every row."""
    column: str | None = Field(default=None, min_length=1)
    """Column that holds the schema of the row, as an object or as JSON text; give this or
    `json_schema`."""
    extract: Literal["whole", "fenced", "first_object"] = "whole"
    """Part of the completion that is checked. `whole`: all of it; `fenced`: the first block between
    a line "```json" and a line "```"; `first_object`: the first JSON object in it."""
    timeout_s: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    """Longest time for a check; if it takes longer, the score is missing."""

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            try:
                build_validator(schema)
            except SchemaError as error:
                raise ValueError(str(error)) from error
        return schema

    @model_validator(mode="after")
    def _one_schema(self) -> JsonSchemaSpec:
        if (self.json_schema is None) == (self.column is None):
            raise ValueError("give `json_schema` or `column`, and not both")
        return self


def _differ(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"every {kind} is named once; given twice: {', '.join(doubles)}")
    return names


AnyStructureSpec = FormatSpec | JsonSchemaSpec
"""Every reward of this module, for the union in `reward.spec`."""
