"""The base of every specification class."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """Frozen model that forbids unknown fields and non-finite numbers; field docstrings become JSON
    Schema descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SettingError(ValueError):
    """A setting that conflicts with others, reported under its own name.

    For validators of a whole specification, whose errors have no location in pydantic.
    """

    def __init__(self, field: str, value: object, fix: str) -> None:
        super().__init__(f"{field} is {value!r}, which {fix}")
        self.field = field
        self.value = value
        self.fix = fix
