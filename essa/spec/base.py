"""The base of every specification class."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """Frozen, closed to unknown fields; numbers are finite; field docstrings become JSON Schema
    descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SettingError(ValueError):
    """A setting that does not go with others, told where it stands.

    For validators of a whole specification: what pydantic knows of their errors is no place.
    """

    def __init__(self, field: str, value: object, fix: str) -> None:
        super().__init__(f"{field} is {value!r}, which {fix}")
        self.field = field
        self.value = value
        self.fix = fix
