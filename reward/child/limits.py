"""What one child may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ChildLimits:
    """Limits of one child.

    Attributes:
        timeout_s: wall clock, one item.
        cpu_s: processor time of the child's main process, one item.
        memory_mb: address space of every process.
        output_bytes: what is kept of the text that one item prints.
        max_processes: processes that the child may have at once, beside its own.
        settable: which of these the user can change; messages name only those.
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
        """The end of a message: what to do about the limit of this name."""
        if name in self.settable:
            return f"simplify what is scored or raise {path}.{name}"
        return "simplify what is scored; this limit is fixed"

    def to_message(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> ChildLimits:
        """From what `to_message` gave."""
        fields: dict[str, Any] = {**message, "settable": tuple(message["settable"])}
        return cls(**fields)
