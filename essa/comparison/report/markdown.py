"""A report in Markdown: text and tables; figures appear as tables of their data."""

from __future__ import annotations

from collections.abc import Sequence

from essa.comparison.report.blocks import Block, Code, Figure, Table, Text


def to_markdown(title: str, blocks: Sequence[Block], command: str) -> str:
    """Return the report as Markdown.

    Args:
        title: title of the report.
        blocks: parts of the report, in order.
        command: command line that reproduces every table and figure.
    """
    parts = [f"# {_plain(title)}"]
    for block in blocks:
        parts += _block(block, command)
    return "\n\n".join(parts) + "\n"


def _block(block: Block, command: str) -> list[str]:
    head = f"## {_plain(block.title)}"
    made = f"Made by `{command}`."
    if isinstance(block, Text):
        return [head, *map(_plain, block.paragraphs)]
    if isinstance(block, Code):
        return [head, _fenced(block.text)]
    if isinstance(block, Figure):
        return [head, _plain(block.description), _table(block.table), made]
    return [head, *([_plain(block.note)] if block.note else []), _table(block), made]


def _table(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Escape a name given by a user, so that nothing in it becomes markup."""
    return text.replace("<", "&lt;").replace("\\", "\\\\").replace("`", "\\`").replace("_", "\\_")


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"
