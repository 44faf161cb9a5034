"""What the file endpoints answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class DataFile(BaseModel):
    """One uploaded JSONL file. Jobs name it by `file_id`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["file"] = "file"
    filename: str
    purpose: str = "fine-tune"
    status: Literal["processed"] = "processed"
    """A file that cannot be used is not kept."""
    bytes: int
    rows: int
    sha256: str
    created_at: int
    """Unix seconds."""


class DataFileList(BaseModel):
    """A page of uploaded files."""

    object: Literal["list"] = "list"
    data: list[DataFile]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
