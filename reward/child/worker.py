"""The main program of a child process."""

from __future__ import annotations

import importlib
import os
import resource
from collections.abc import Callable
from typing import Any

from reward.child.failure import describe
from reward.child.frame import ChannelClosed, read_message, write_message
from reward.child.isolation import apply_limits, grant_cpu, isolate
from reward.child.limits import ChildLimits
from reward.child.output import Output

Handler = Callable[[Any], Any]


def main() -> None:
    """Serve items until the pipe ends.

    The first message names the limits and `program`, a module with `load(arguments)`, which returns
    a function of an item; the reply has `notes`. The reply to every item has `value` or `error`,
    the printed text and the peak memory.
    """
    # Away from the descriptors that programs expect to be the standard streams.
    requests, replies = (os.dup(fd) for fd in (0, 1))
    setup = read_message(requests)
    limits = ChildLimits.from_message(setup["limits"])
    isolation = isolate(setup["parent"], setup["folder"], (requests, replies))
    output = Output(limits.output_bytes)
    output.install()
    apply_limits(limits, isolation.separate)
    filename = setup["arguments"].get("filename")
    handler, answer = _load(setup, filename)
    write_message(replies, answer | _state(output) | {"notes": isolation.notes})
    me = os.getpid()
    while handler is not None:
        try:
            request = read_message(requests)
        except ChannelClosed:
            return
        grant_cpu(request["cpu_s"])
        answer = _attempt(lambda item=request["item"]: {"value": handler(item)}, filename)
        if os.getpid() != me:
            # The item forked, and this is the copy: only the original may answer.
            os._exit(0)
        _reply(replies, answer | _state(output))


def _load(setup: dict[str, Any], filename: str | None) -> tuple[Handler | None, dict[str, Any]]:
    loaded: list[Handler] = []

    def load() -> dict[str, Any]:
        loaded.append(importlib.import_module(setup["program"]).load(setup["arguments"]))
        return {}

    answer = _attempt(load, filename)
    return (loaded[0] if loaded else None), answer


def _attempt(work: Callable[[], dict[str, Any]], filename: str | None) -> dict[str, Any]:
    try:
        return work()
    # Whatever the user's code raises, SystemExit and KeyboardInterrupt included, concerns only this
    # item and is returned as its error.
    except BaseException as error:
        is_memory = isinstance(error, MemoryError)
        return {"error": describe(error, filename), "is_memory": is_memory}


def _state(output: Output) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"output": output.take(), "peak_mb": peak / 1024}


def _reply(fd: int, answer: dict[str, Any]) -> None:
    try:
        write_message(fd, answer)
    except ValueError as error:
        write_message(fd, {"error": f"the answer cannot be sent: {error}", "peak_mb": 0.0})
