"""The base of every reward specification."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RewardSpecModel(BaseModel):
    """Frozen model without unknown fields; field docstrings become JSON Schema descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
