"""Answers of the file endpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class DataFile(BaseModel):
    """One uploaded JSONL file. Jobs refer to it by its id."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["file"] = "file"
    filename: str
    purpose: str = "fine-tune"
    status: Literal["processed"] = "processed"
    """State of the file; unusable files are not kept."""
    bytes: int
    rows: int
    sha256: str
    created_at: int
    """Time of the upload in Unix seconds."""


class DataFileList(BaseModel):
    """A page of uploaded files."""

    object: Literal["list"] = "list"
    data: list[DataFile]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(BaseModel):
    """A file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
