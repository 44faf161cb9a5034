"""Parse server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Message(NamedTuple):
    """One message of a stream. `id` is empty where none was sent."""

    id: str
    event: str
    data: str


def read_messages(lines: Iterable[str]) -> Iterator[Message]:
    """Yield the messages of a stream given by its lines; comments and `retry` are passed over."""
    number, event, data = "", "message", []
    for line in lines:
        if not line:
            if data:
                yield Message(number, event, "\n".join(data))
            number, event, data = "", "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id":
            number = value
