"""The resources that one child may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ChildLimits:
    """Limits of one child.

    Attributes:
        timeout_s: wall-clock time of one item.
        cpu_s: processor time of the child's main process for one item.
        memory_mb: address space of every process.
        output_bytes: bytes kept of the text that one item prints.
        max_processes: processes that the child may have at once, beside its own.
        settable: names of the limits that the user can change; messages name only those.
    """

    timeout_s: float = 10.0
    cpu_s: float = 20.0
    memory_mb: int = 1024
    output_bytes: int = 16_384
    max_processes: int = 32
    settable: tuple[str, ...] = (
        "timeout_s",
        "cpu_s",
        "memory_mb",
        "output_bytes",
        "max_processes",
    )

    def remedy(self, path: str, name: str) -> str:
        """Return the end of a message: what to do about the limit `name`."""
        if name in self.settable:
            return f"simplify what is scored or raise {path}.{name}"
        return "simplify what is scored; this limit is fixed"

    def to_message(self) -> dict[str, Any]:
        """Return the limits in a form that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> ChildLimits:
        """Read limits from the result of `to_message`."""
        fields: dict[str, Any] = {**message, "settable": tuple(message["settable"])}
        return cls(**fields)
