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
    bytes: int
    rows: int
    sha256: str
    created_at: int
    """Unix seconds."""


class DataFileList(BaseModel):
    """Uploaded files, newest first."""

    object: Literal["list"] = "list"
    data: list[DataFile]
