"""What can be taken out of a job, and in which form."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from essa.spec.base import SpecModel
from essa.spec.engine import Precision


class ExportFormat(StrEnum):
    """Kinds of folders that an export makes."""

    ADAPTER = "adapter"
    MERGED = "merged"
    QUANTIZED = "quantized"


_PRECISIONS = {
    ExportFormat.ADAPTER: (None,),
    ExportFormat.MERGED: (None, Precision.FP32),
    ExportFormat.QUANTIZED: (Precision.INT8, Precision.INT4),
}


class ExportSpec(SpecModel):
    """One export of a job."""

    format: ExportFormat = ExportFormat.ADAPTER
    """`adapter` is a PEFT folder; `merged` a whole model with the adapter in its weights;
    `quantized` an INT8 or INT4 base with the adapter beside it."""
    precision: Precision | None = Field(default=None, validate_default=True)
    """Of `quantized`: int8 (default) or int4. Of `merged`: fp32, or by default what the base's
    weights are stored in."""
    checkpoint: int | None = Field(default=None, ge=0, le=999_999)
    """Generation whose mean vector is exported, 0 is the warm start; by default the one that the
    job selected."""

    @field_validator("precision")
    @classmethod
    def _fits_the_format(cls, precision: Precision | None, info: ValidationInfo) -> Any:
        form = info.data.get("format")
        if form is None:  # refused already
            return precision
        if form is ExportFormat.QUANTIZED and precision is None:
            return Precision.INT8
        allowed = _PRECISIONS[form]
        if precision not in allowed:
            words = " or ".join(name for name in allowed if name)
            fix = f"set it to {words}" if words else "leave it out"
            if words and None in allowed:
                fix += " or leave it out"
            raise ValueError(f"precision is {precision} but format is {form}; {fix}")
        return precision

    @property
    def key(self) -> str:
        """Fit for a file name: `merged`, `quantized-int8`, `adapter-000012`."""
        number = None if self.checkpoint is None else f"{self.checkpoint:06d}"
        return "-".join(part for part in (self.format, self.precision, number) if part)

    def __str__(self) -> str:
        where = "" if self.checkpoint is None else f" of generation {self.checkpoint}"
        return f"{self.format}{f' {self.precision}' if self.precision else ''}{where}"
