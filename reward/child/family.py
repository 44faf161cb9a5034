"""The processes that a process has started, read from `/proc`."""

from __future__ import annotations

import os
from typing import NamedTuple


class Entry(NamedTuple):
    """One line of the process table."""

    parent: int
    session: int


def family(leader: int) -> set[int]:
    """Return the process ids of a session leader, its session and all descendants of these.

    A process that left the session is found by its parents; one whose parent ended, by its session.
    The set is empty if `/proc` cannot be read.
    """
    table = _table()
    found = {pid for pid, entry in table.items() if leader in (pid, entry.session)}
    children: dict[int, list[int]] = {}
    for pid, entry in table.items():
        children.setdefault(entry.parent, []).append(pid)
    new = set(found)
    while new:
        new = {child for pid in new for child in children.get(pid, ())} - found
        found |= new
    return found


def _table() -> dict[int, Entry]:
    table: dict[int, Entry] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return table
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The program's name is in brackets and may contain anything, even brackets.
                fields = file.read().rpartition(b")")[2].split()
        # Processes end while they are being listed.
        except OSError:
            continue
        if fields[0] != b"Z":
            table[int(name)] = Entry(int(fields[1]), int(fields[3]))
    return table
