"""What a report is made of, in no format yet."""

from __future__ import annotations

from dataclasses import dataclass

from essa.comparison.curves import Band


@dataclass(frozen=True)
class Text:
    """A heading with paragraphs."""

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text that is shown as it is."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Cells as people read them; an empty one is not known. The first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Curves of arms over one axis, and the same as a table.

    Attributes:
        axis: name of the axis, one of `history.AXES`.
        description: what it shows, in words.
        curves: by arm.
    """

    title: str
    axis: str
    description: str
    curves: dict[str, Band]
    table: Table


Block = Text | Code | Table | Figure
