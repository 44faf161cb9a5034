"""Building blocks of a report, independent of its format."""

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
    """Verbatim text."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Formatted cells; an empty cell is an unknown value. The first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Curves of arms over one axis, and the same data as a table.

    Attributes:
        axis: name of the axis, one of `history.AXES`.
        description: text that describes the figure.
        curves: bands by arm.
    """

    title: str
    axis: str
    description: str
    curves: dict[str, Band]
    table: Table


Block = Text | Code | Table | Figure
