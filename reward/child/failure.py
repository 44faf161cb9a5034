"""One line about an exception in a child."""

from __future__ import annotations

import traceback

MAX_CHARS = 500


def describe(error: BaseException, filename: str | None) -> str:
    """Return the last line of the traceback, with the line of the user's file that raised.

    Args:
        filename: file of the user's code; None if all code is ours.
    """
    try:
        text = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
    # The text of an exception comes from the code that raised it, and that code may fail again.
    except Exception:
        text = type(error).__name__
    lines = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if filename is not None and frame.f_code.co_filename == filename
    ]
    where = f" (line {lines[-1]} of {filename})" if lines else ""
    return text[:MAX_CHARS] + where
