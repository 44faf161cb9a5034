"""Code for child processes: calls the user's function with arguments from the parent process."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, cast

MODULE = "reward_function"


def load(arguments: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Run the file and return a function that calls the user's function.

    Args:
        arguments: `source`, `filename`, `function`, and the `style`. An item is a list of
            positional arguments and a dictionary of keyword arguments; the user's function gets
            only the keywords that it accepts.
    """
    module = types.ModuleType(MODULE)
    module.__file__ = arguments["filename"]
    # Dataclasses and pickling look their module up.
    sys.modules[MODULE] = module
    exec(compile(arguments["source"], arguments["filename"], "exec"), module.__dict__)
    function = getattr(module, arguments["function"])
    accepted = _accepted(function)
    read = {"trl": _list_of_scores, "verl": _score_or_dictionary, "openai": _score}[
        arguments["style"]
    ]

    def handle(item: Any) -> Any:
        positional, keyword = item
        if accepted is not None:
            keyword = {name: value for name, value in keyword.items() if name in accepted}
        result = function(*positional, **keyword)
        if inspect.isawaitable(result):
            result = asyncio.run(_wait(result))
        return read(result)

    return handle


def _accepted(function: Callable[..., Any]) -> set[str] | None:
    """Return the names of the function's parameters; None if it accepts any keyword."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


async def _wait(result: Any) -> Any:
    return await result


def _list_of_scores(result: Any) -> list[float | None]:
    if isinstance(result, str | bytes | Mapping) or not hasattr(result, "__iter__"):
        raise TypeError(f"the function returned {_short(result)}, not a list of scores")
    return [None if value is None else _score(value) for value in result]


def _score_or_dictionary(result: Any) -> float:
    if not isinstance(result, Mapping):
        return _score(result)
    entries = cast("Mapping[Any, Any]", result)
    if "score" not in entries:
        raise KeyError(f"the dictionary has no 'score', only {_short(list(entries))}")
    return _score(entries["score"])


def _score(value: Any) -> float:
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"the function returned {_short(value)}, not a number")
    return float(value)


def _short(value: Any) -> str:
    return f"{value!r:.100} ({type(value).__name__})"
