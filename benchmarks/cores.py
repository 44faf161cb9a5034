"""Side by side on several CPU cores: one piece of work at a time on each."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")


def numbers(given: str) -> list[int]:
    """The numbers of a comma-separated argument."""
    return [int(one) for one in given.split(",")]


def on_free_cores(
    run: Callable[[Case, int], Outcome], cases: Sequence[Case], cores: Sequence[int]
) -> list[Outcome]:
    """Call `run(case, core)` for every case on whichever core is free; outcomes in order."""
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in cores:
        free.put(core)

    def take(case: Case) -> Outcome:
        core = free.get()
        try:
            return run(case, core)
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(cores)) as pool:
        return list(pool.map(take, cases))
