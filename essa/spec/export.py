"""Exports of a job and their formats."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from essa.spec.base import SpecModel
from essa.spec.engine import Precision


class ExportFormat(StrEnum):
    """Kind of folder that an export writes."""

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
    """Kind of export: `adapter` is a PEFT folder, `merged` a whole model with the adapter merged
    into its weights, `quantized` an INT8 or INT4 base next to the adapter."""
    precision: Precision | None = Field(default=None, validate_default=True)
    """Precision of the weights. `quantized`: int8 (default) or int4. `merged`: fp32, or by default
    the format in which the base's weights are stored."""
    checkpoint: int | None = Field(default=None, ge=0, le=999_999)
    """Generation whose mean vector is exported (0 is the warm start); by default the one that the
    job selected."""

    @field_validator("precision")
    @classmethod
    def _fits_the_format(cls, precision: Precision | None, info: ValidationInfo) -> Any:
        form = info.data.get("format")
        if form is None:  # already refused
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
        """Name of the export for files: `merged`, `quantized-int8`, `adapter-000012`."""
        number = None if self.checkpoint is None else f"{self.checkpoint:06d}"
        return "-".join(part for part in (self.format, self.precision, number) if part)

    def __str__(self) -> str:
        where = "" if self.checkpoint is None else f" of generation {self.checkpoint}"
        return f"{self.format}{f' {self.precision}' if self.precision else ''}{where}"
